package promotion

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Bounds of asking registries what belongs to a digest. It happens only where a
// runtime reports something else than the reference says.
const (
	// evidenceBudget is for what environments wait for, in one look.
	evidenceBudget = 20 * time.Second
	// warningBudget is for what nobody waits for, in one warningPeriod. A registry
	// of Dev that is gone must not hold up what does not need it.
	warningBudget = 3 * time.Second
	warningPeriod = time.Minute
)

// errNoTimeLeft: what was asked before took all the time there is.
var errNoTimeLeft = errors.New("registries took too long to answer; they are asked again later")

// inquiry asks registries what belongs to digests, within a budget of time, and
// about each digest once: what it found stays in the engine's memory, what
// failed fails again until the next inquiry. It is safe for concurrent use.
type inquiry struct {
	memory *memory

	mu     sync.Mutex // guards the fields below
	left   time.Duration
	failed map[string]error
}

func (m *memory) inquire(budget time.Duration) *inquiry {
	return &inquiry{memory: m, left: budget, failed: map[string]error{}}
}

// contentsOf asks a registry, unless the answer is known already. The error
// wraps registry.ErrNotFound when the repository does not have the digest.
func (q *inquiry) contentsOf(ctx context.Context, r registry.Reader, registryName, repo, digest string) (contents, error) {
	if known, ok := q.memory.contentsOf(digest); ok {
		return known, nil
	}
	key := registryName + "/" + repo + "@" + digest
	q.mu.Lock()
	left, err := q.left, q.failed[key]
	q.mu.Unlock()
	switch {
	case err != nil:
		return contents{}, err
	case left <= 0:
		return contents{}, fmt.Errorf("%s: %w", key, errNoTimeLeft)
	}
	bounded, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	began := time.Now()
	found, err := readContents(bounded, r, repo, digest)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left -= time.Since(began)
	if err != nil {
		q.failed[key] = err
		return contents{}, err
	}
	q.memory.keep(digest, found)
	return found, nil
}

package promotion

import (
	"slices"
	"sync"
	"time"
)

// memory is what an engine remembers between two looks. All of it can be had
// again: it saves requests and repeated log lines.
type memory struct {
	mu sync.Mutex // guards the fields below
	// contents by digest.
	contents map[string]contents
	// unseen are the namespaces that were reported as not visible.
	unseen map[string]bool
	// pokedFor is for whom Argo CD was told again to generate anew, pokedAt when.
	pokedFor []string
	pokedAt  time.Time
}

// pokePause is how long Argo CD gets to follow before it is told again about the
// same. Its Applications change one by one, and each change leads to a look.
const pokePause = 5 * time.Second

// pokeFor reports whether Argo CD has to be told about those who wait for it,
// and remembers that it is.
func (m *memory) pokeFor(waiting []string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.pokedFor, waiting) && now.Sub(m.pokedAt) < pokePause {
		return false
	}
	m.pokedFor, m.pokedAt = waiting, now
	return true
}

// first reports whether a namespace is found not visible for the first time.
func (m *memory) first(namespace string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unseen[namespace] {
		return false
	}
	if m.unseen == nil {
		m.unseen = map[string]bool{}
	}
	m.unseen[namespace] = true
	return true
}

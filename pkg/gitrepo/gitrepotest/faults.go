package gitrepotest

import (
	"context"
	"fmt"
	"sync"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Calls counts what a repository was asked.
type Calls struct {
	Refs, Fetch, Object, Push int
}

// Faults wraps a repository and breaks chosen pushes, in the two ways in which
// a write can break: it never arrived, or it took place and the answer was
// lost. It is safe for concurrent use.
type Faults struct {
	repo gitrepo.Repo

	mu     sync.Mutex // guards all below
	calls  Calls
	lost   map[int]bool
	silent map[int]bool
}

var _ gitrepo.Repo = (*Faults)(nil)

// Faulty wraps a repository; without a further call nothing breaks.
func Faulty(repo gitrepo.Repo) *Faults {
	return &Faults{repo: repo, lost: map[int]bool{}, silent: map[int]bool{}}
}

// LosePush makes the n-th push (1 is the first ever) fail without effect.
func (f *Faults) LosePush(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost[n] = true
}

// LoseAnswer makes the n-th push (1 is the first ever) take place and then
// report an error all the same. A push that fails by itself reports its own.
func (f *Faults) LoseAnswer(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent[n] = true
}

// Calls returns the counters so far; broken pushes count too.
func (f *Faults) Calls() Calls {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *Faults) count(counter *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	*counter++
	return *counter
}

// URL implements [gitrepo.Reader].
func (f *Faults) URL() string { return f.repo.URL() }

// Refs implements [gitrepo.Reader].
func (f *Faults) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	f.count(&f.calls.Refs)
	return f.repo.Refs(ctx, prefixes...)
}

// Fetch implements [gitrepo.Reader].
func (f *Faults) Fetch(ctx context.Context, ids []gitrepo.Hash, options gitrepo.FetchOptions) error {
	f.count(&f.calls.Fetch)
	return f.repo.Fetch(ctx, ids, options)
}

// Object implements [gitrepo.Reader].
func (f *Faults) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	f.count(&f.calls.Object)
	return f.repo.Object(id)
}

// Push implements [gitrepo.Writer].
func (f *Faults) Push(ctx context.Context, push gitrepo.Push) error {
	n := f.count(&f.calls.Push)
	f.mu.Lock()
	lost, silent := f.lost[n], f.silent[n]
	f.mu.Unlock()
	if lost {
		return fmt.Errorf("git repository %s: %w: push %d was lost on purpose", f.repo.URL(), gitrepo.ErrUnreachable, n)
	}
	if err := f.repo.Push(ctx, push); err != nil || !silent {
		return err
	}
	return fmt.Errorf("git repository %s: %w: the answer to push %d was lost on purpose", f.repo.URL(), gitrepo.ErrUnreachable, n)
}

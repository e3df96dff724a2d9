package gitrepotest_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func TestFaulty(t *testing.T) {
	const main = gitrepo.Heads + "main"
	for _, test := range []struct {
		name string
		arm  func(*gitrepotest.Faults)
		took bool
	}{
		{"lost push", func(f *gitrepotest.Faults) { f.LosePush(2) }, false},
		{"lost answer", func(f *gitrepotest.Faults) { f.LoseAnswer(2) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			repo := gitrepotest.Faulty(gitrepo.NewMemory("memory:shop"))
			test.arm(repo)
			first := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})
			second, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "2"}, "second", first)
			push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, Old: first, New: second}}, Objects: objects}
			if err := repo.Push(t.Context(), push); !errors.Is(err, gitrepo.ErrUnreachable) {
				t.Fatalf("got %v, want %v", err, gitrepo.ErrUnreachable)
			}
			if got := gitrepotest.MustRefs(t, repo)[main] == second; got != test.took {
				t.Errorf("the push took place: %t, want %t", got, test.took)
			}
			err := repo.Push(t.Context(), push)
			if moved := errors.As(err, new(*gitrepo.RefMovedError)); moved != test.took {
				t.Errorf("the same push again: %v", err)
			}
			calls := repo.Calls()
			calls.Object = 0 // an implementation detail of Commit
			if diff := cmp.Diff(gitrepotest.Calls{Refs: 2, Push: 3}, calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSuiteThroughFaults shows that a wrapper that breaks nothing changes
// nothing.
func TestSuiteThroughFaults(t *testing.T) {
	gitrepotest.Suite(t, func(*testing.T) gitrepotest.Fixture {
		repo := gitrepo.NewMemory("memory:shop")
		return gitrepotest.Fixture{Client: func() gitrepo.Repo { return gitrepotest.Faulty(repo.Client()) }, RoundTrips: repo.RoundTrips, Filters: true}
	})
}

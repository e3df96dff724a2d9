package promotion

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// doctored shows refs as somebody with every right has left them: another
// commit, or, where that is empty, none.
type doctored struct {
	gitrepo.Repo
	refs map[string]gitrepo.Hash
}

func (d *doctored) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	refs, err := d.Repo.Refs(ctx, prefixes...)
	maps.Copy(refs, d.refs)
	maps.DeleteFunc(refs, func(_ string, id gitrepo.Hash) bool { return id == "" })
	return refs, err
}

// TestSeenBefore: the last environment leaves no trace in other refs; whoever has
// seen its branch notices all the same, until the branch is put back.
func TestSeenBefore(t *testing.T) {
	const branch = "refs/heads/environments/prod"
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.settle(func() *Engine { return s.engine(nil) })
	if err := s.byHand(Request{Environment: "prod"}); err != nil {
		t.Fatal(err)
	}
	s.settle(func() *Engine { return s.engine(nil) })
	tip := s.refs()[branch]
	older := gitrepo.Hash("")
	repo := s.server.Client()
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{}, tip)
	commits, err := gitrepo.FirstParents(repo, tip, 0)
	if err != nil || len(commits) != 3 {
		t.Fatalf("%d entries, %v", len(commits), err)
	}
	older = commits[1].ID

	for _, test := range []struct {
		name, says string
		to         gitrepo.Hash
	}{
		{"deleted", "its branch environments/prod is gone; it was at " + string(tip), ""},
		{"set back", "its branch environments/prod was moved to " + older.Short() + ", which does not follow " + string(tip), older},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := &doctored{Repo: s.server.Client(), refs: map[string]gitrepo.Hash{}}
			e := s.engine(seen)
			reason := func() string {
				t.Helper()
				state, err := e.Observe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				prod, _ := state.Environment("prod")
				if d := Plan(state); prod.Unreadable != "" && !hasWait(d.Waits, "prod", LedgerUnavailable) {
					t.Errorf("waits %v", d.Waits)
				}
				return prod.Unreadable
			}
			if got := reason(); got != "" {
				t.Fatalf("before: %s", got)
			}
			seen.refs[branch] = test.to
			for range 2 {
				if got := reason(); !strings.HasPrefix(got, test.says) {
					t.Errorf("%q does not begin with %q", got, test.says)
				}
			}
			delete(seen.refs, branch)
			if got := reason(); got != "" {
				t.Errorf("after it was put back: %s", got)
			}
		})
	}

	// Who never saw it cannot tell.
	state, err := s.engine(&doctored{Repo: s.server.Client(), refs: map[string]gitrepo.Hash{branch: ""}}).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if prod, _ := state.Environment("prod"); prod.Unreadable != "" {
		t.Errorf("a guess: %s", prod.Unreadable)
	}
}

// TestNewEnvironmentIsNotLost: an environment that is put in between two others,
// or comes to an old pipeline, was never opened.
func TestNewEnvironmentIsNotLost(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	between := strings.Replace(configuration, "- {name: prod, after: [stage]",
		"- {name: qa, after: [stage], path: envs/qa, registry: stage, promote: auto}\n- {name: canary, after: [dev], path: envs/canary, registry: stage, promote: auto}\n- {name: prod, after: [qa]", 1)
	s.commit(gitrepotest.Files{"propagator.yaml": between})
	state, err := s.engine(nil).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"qa", "canary", "prod"} {
		if e, ok := state.Environment(name); !ok || e.Unreadable != "" {
			t.Errorf("%s: %v %s", name, ok, e.Unreadable)
		}
	}
	if _, err := PlanReopen(state, "qa", "why not"); err == nil || !strings.Contains(err.Error(), "nothing says that it was ever opened") {
		t.Errorf("reopened: %v", err)
	}
}

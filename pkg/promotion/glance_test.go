package promotion

import (
	"context"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// lister counts how often the refs were listed.
type lister struct {
	gitrepo.Repo
	lists int
}

func (l *lister) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	l.lists++
	return l.Repo.Refs(ctx, prefixes...)
}

// TestGlance: what Argo CD reports is looked at with the refs of a moment ago, what
// is written is not, and what git has meanwhile is seen when that moment is over.
func TestGlance(t *testing.T) {
	s := newShop(t)
	s.run()
	repo := &lister{Repo: s.server.Client()}
	engine := s.engine(repo)
	glance := func() Result {
		t.Helper()
		result, err := engine.Reconcile(Glance(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	expect := func(lists int, why string) {
		t.Helper()
		if repo.lists != lists {
			t.Fatalf("%s: the refs were listed %d times, want %d", why, repo.lists, lists)
		}
	}
	asked := s.clock
	if again := glance().Again; !again.IsZero() {
		t.Errorf("all is listed now, and the engine wants to look again at %s", again)
	}
	expect(1, "nothing is known")

	// Somebody commits, and tells nobody.
	s.commit(gitrepotest.Files{"README.md": "more"})
	s.clock = asked.Add(refsLife - time.Millisecond)
	result := glance()
	if !result.Again.Equal(asked.Add(refsLife)) || len(result.Done) > 0 {
		t.Errorf("did %v, and looks again at %s", result.Done, result.Again)
	}
	expect(1, "a moment later")
	s.argo.follow(t)
	if result := glance(); len(result.Done) > 0 {
		t.Errorf("did %v with refs in which the commit is not", result.Done)
	}
	expect(1, "Dev has it")
	s.clock = asked.Add(refsLife)
	if result := glance(); len(result.Done) != 1 || result.Done[0].Kind != Capture {
		t.Errorf("did %v, want a capture", result.Done)
	}
	// A list for the look, none for the push, and one after it.
	expect(3, "the moment is over")

	// Stage has the snapshot. That is written on the word of a new list, and seen by
	// one of those that are there.
	s.argo.follow(t)
	if result := glance(); len(result.Done) == 0 || result.Done[0].Kind != Record {
		t.Errorf("did %v, want a record first", result.Done)
	}
	if repo.lists < 5 {
		t.Errorf("something was written, and the refs were listed %d times more", repo.lists-3)
	}

	// So a hold counts that nobody has told of.
	s.argo.follow(t)
	reconcile(t, engine)
	s.commit(gitrepotest.Files{"README.md": "and more"})
	reconcile(t, engine)
	before := repo.lists
	person := s.engine(nil)
	state, err := person.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanNote(state, "stage", Note{Event: snapshot.EventHold, Reason: "wait"})
	if err != nil {
		t.Fatal(err)
	}
	if err := person.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.argo.follow(t)
	if result := glance(); len(result.Done) != 1 || result.Done[0].Kind != Capture || s.entry("stage").Event != snapshot.EventHold {
		t.Errorf("did %v, and stage has %s", result.Done, s.entry("stage").Subject())
	}
	expect(before+2, "one to write, one after that")
	before = repo.lists
	if _, err := engine.Observe(Exact(Glance(t.Context()))); err != nil {
		t.Fatal(err)
	}
	if repo.lists == before {
		t.Error("an exact look took the refs of before")
	}

	// A clock that jumps makes no list last longer.
	s.clock = s.clock.Add(-time.Hour)
	before = repo.lists
	glance()
	expect(before+1, "the list is from the future")
}

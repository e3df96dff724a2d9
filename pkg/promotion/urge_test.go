package promotion

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// reconcile runs the engine, which must succeed, and returns what it came to.
func reconcile(t *testing.T, e *Engine) Result {
	t.Helper()
	result, err := e.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// pokesAfter lets the engine look, and returns how often it has poked so far.
func (s *shop) pokesAfter(e *Engine) int {
	s.t.Helper()
	reconcile(s.t, e)
	s.argo.mu.Lock()
	defer s.argo.mu.Unlock()
	return s.argo.pokes
}

// askedBy lets the engine look, and returns what it asked Argo CD for in this
// look, beside pokes.
func (s *shop) askedBy(e *Engine) []string {
	s.t.Helper()
	s.argo.mu.Lock()
	s.argo.asked = nil
	s.argo.mu.Unlock()
	reconcile(s.t, e)
	s.argo.mu.Lock()
	defer s.argo.mu.Unlock()
	return s.argo.asked
}

// change changes an Application as Argo CD shows it.
func (a *argo) change(name string, change func(*Application)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	app := a.applications[name]
	change(&app)
	a.applications[name] = app
}

// TestPokedAgain: Applications that do not follow are asked for again, after a
// while that grows to a minute, and the engine says when it wants to be asked.
func TestPokedAgain(t *testing.T) {
	s := newShop(t)
	engine := s.engine(nil)
	s.argo.follow(t)
	if n := s.pokesAfter(engine); n != 1 {
		t.Fatalf("a capture poked %d times", n)
	}
	for i, pause := range []time.Duration{5, 10, 20, 40, 60, 60} {
		pause *= time.Second
		before := s.clock
		if again := reconcile(t, engine).Again; !again.Equal(before.Add(pause)) {
			t.Errorf("the engine wants to be asked again after %s, want %s", again.Sub(before), pause)
		}
		s.clock = before.Add(pause - time.Millisecond)
		if n := s.pokesAfter(engine); n != i+1 {
			t.Errorf("poked %d times within %s, want %d", n, pause, i+1)
		}
		s.clock = before.Add(pause)
		if n := s.pokesAfter(engine); n != i+2 {
			t.Errorf("poked %d times after %s, want %d", n, pause, i+2)
		}
	}
	pokes := s.argo.pokes
	// What a person does is told at once: they cannot do it themselves.
	person := s.engine(nil)
	s.commit(gitrepotest.Files{"README.md": "more"})
	state, err := person.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanCapture(state, state.SourceTip, version(t, "shop/v0.3.0"))
	if err != nil {
		t.Fatal(err)
	}
	person.Applications = nil
	if err := person.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	if n := s.pokesAfter(engine); n != pokes+1 {
		t.Errorf("poked %d times, want %d", n, pokes+1)
	}
	// Evidence changes nothing that the generator says.
	s.argo.follow(t)
	if result := reconcile(t, engine); len(result.Done) == 0 || result.Done[0].Kind != Record {
		t.Fatalf("done: %v", result.Done)
	}
	promoted := s.argo.pokes - pokes - 1 // Prod got what Stage has proven
	if promoted != 1 {
		t.Errorf("a record and a promotion poked %d times, want 1", promoted)
	}
}

// TestRefreshed: an Application that could not be compared is looked at again,
// without the cache where that has the error, and no other one is bothered.
func TestRefreshed(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	engine := s.engine(nil)
	if asked := s.askedBy(engine); len(asked) > 0 {
		t.Errorf("all is well, and Argo CD is asked for %v", asked)
	}
	for _, name := range []string{"stage-orders", "dev-orders"} { // Dev is not ours
		s.argo.change(name, func(a *Application) {
			a.CompareError, a.SyncStatus, a.Condition = true, "Unknown", "ComparisonError: refused"
		})
	}
	if asked := s.askedBy(engine); len(asked) > 0 {
		t.Errorf("at once: %v; it may be over in a moment", asked)
	}
	s.clock = s.clock.Add(leastUrgePause)
	if diff := cmp.Diff([]string{"refresh stage-orders"}, s.askedBy(engine)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.argo.change("stage-orders", func(a *Application) { a.ErrorCached = true })
	if asked := s.askedBy(engine); len(asked) > 0 {
		t.Errorf("asked twice: %v", asked)
	}
	s.clock = s.clock.Add(2 * leastUrgePause)
	if diff := cmp.Diff([]string{"hard refresh stage-orders"}, s.askedBy(engine)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Once it is well, the next trouble is a new one.
	s.argo.change("stage-orders", func(a *Application) { a.CompareError, a.ErrorCached, a.SyncStatus = false, false, "Synced" })
	if result := reconcile(t, engine); !result.Again.IsZero() {
		t.Errorf("nothing is wrong, and the engine wants to look again at %s", result.Again)
	}
	s.argo.change("stage-orders", func(a *Application) { a.CompareError = true })
	before := s.clock
	if again := reconcile(t, engine).Again; !again.Equal(before.Add(leastUrgePause)) {
		t.Errorf("the next one is seen to after %s", again.Sub(before))
	}
}

// TestTerminated: an operation that is tried again and again with a version that
// was replaced is given up, one with the version that is wanted is not.
func TestTerminated(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	engine := s.engine(nil)
	wanted := s.argo.applications["stage-orders"].SyncedRevision
	const older = gitrepo.Hash("1111111111111111111111111111111111111111")
	retry := func(revision gitrepo.Hash) {
		s.argo.change("stage-orders", func(a *Application) { a.Phase, a.RetryOf = "Running", revision })
	}
	retry(wanted)
	if asked := s.askedBy(engine); len(asked) > 0 {
		t.Errorf("what is wanted is tried again, and Argo CD is asked for %v", asked)
	}
	retry(older)
	want := []string{"terminate stage-orders at " + older.Short()}
	if diff := cmp.Diff(want, s.askedBy(engine)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// It may be said once more, if it was not heard.
	if diff := cmp.Diff([]string(nil), s.askedBy(engine), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("at once again: %s", diff)
	}
	s.clock = s.clock.Add(leastUrgePause)
	if diff := cmp.Diff(want, s.askedBy(engine)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Who points elsewhere is poked first.
	s.argo.change("stage-orders", func(a *Application) { a.TargetRevision = "refs/tags/shop/v0.0.9" })
	s.clock = s.clock.Add(time.Hour)
	pokes := s.argo.pokes
	if asked := s.askedBy(engine); len(asked) > 0 || s.argo.pokes != pokes+1 {
		t.Errorf("asked for %v, poked %d times", asked, s.argo.pokes-pokes)
	}
}

// TestDeafArgoCD: what Argo CD does not want to hear is no error (I6).
func TestDeafArgoCD(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	engine := s.engine(nil)
	s.argo.deaf = errors.New("applications.argoproj.io is forbidden")
	s.argo.change("stage-orders", func(a *Application) { a.CompareError, a.Phase, a.RetryOf = true, "Running", "2222" })
	reconcile(t, engine)
	s.clock = s.clock.Add(time.Minute)
	if asked := s.askedBy(engine); len(asked) != 2 {
		t.Errorf("asked for %v", asked)
	}
}

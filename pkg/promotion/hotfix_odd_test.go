package promotion

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// What can go wrong with hotfixes beside the usual.

// laneShop is a shop with v0.1.0 in Prod and v0.2.0 in Stage, which keeps it.
func laneShop(t *testing.T) *shop {
	t.Helper()
	s := newShop(t, peopleRelease)
	s.run()
	s.toProd("shop/v0.1.0")
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	s.runs("stage", "shop/v0.2.0")
	return s
}

// TestFurtherFixAfterForward: a hotfix has come to the release in test as well, and
// its author pushes more to the branch. That is for the line that Prod runs.
func TestFurtherFixAfterForward(t *testing.T) {
	s := laneShop(t)
	s.cut("memory", "prod")
	s.fix("memory", note("first"))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	s.toProd("shop/v0.1.1")
	s.runs("prod", "shop/v0.1.1")
	s.runs("stage", "shop/v0.2.1")
	s.fix("memory", note("second"))
	s.run()
	s.runs("stage", "shop/v0.1.2")
	s.toProd("shop/v0.1.2")
	s.runs("stage", "shop/v0.2.2")
	s.toProd("shop/v0.2.2")
	// Prod has left v0.1, so the next one is for v0.2.
	s.fix("memory", note("third"))
	s.run()
	s.runs("stage", "shop/v0.2.3")
}

// TestOldBranch: somebody pushes a hotfix after Prod has gone on to the next line.
// It cannot become a patch, and says so.
func TestOldBranch(t *testing.T) {
	s := newShop(t)
	s.run()
	prod := s.refs()["refs/heads/environments/prod"]
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	s.runs("prod", "shop/v0.2.0")
	s.branch("late", prod, note("late"))
	s.run()
	s.runs("prod", "shop/v0.2.0")
	s.isIn("late", StateUnusable)
	says := []string{"HOTFIX_BASE_OLD", "shop/v0.1.0", "no environment runs v0.1 any more", "git rebase --onto origin/environments/<environment> " + prod.Short() + " hotfix/late"}
	s.says(s.waitFor(HotfixUnusable), says...)
	mustContain(t, second(PlanCompose(s.state(), "late")), says...)
	// What it changes can still come to the source branch, and then it is done.
	if _, err := PlanMergeBack(s.state(), "late", false); err != nil {
		t.Error(err)
	}
	s.commit(note("late"))
	s.run()
	s.runs("prod", "shop/v0.3.0")
	s.isIn("late", StateContained)
}

// TestOddNameOfKnownHead: a second branch at a hotfix that was composed, with a name
// that cannot be recorded, takes nothing away from it.
func TestOddNameOfKnownHead(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("pay", "prod")
	head := s.fix("pay", note("pay"))
	s.server.Set("refs/heads/hotfix/für-später", head)
	s.run()
	s.runs("prod", "shop/v0.1.1")
	h, err := s.state().FindHotfix("pay")
	if err != nil {
		t.Error(err)
	}
	if h.Fault != "" || h.State() != StateDebt {
		t.Errorf("%s %s", h.Fault, h.State())
	}
}

// TestDroppedWithoutTagBelow: the snapshot below a dropped hotfix has lost its tag,
// which must not stop the pipeline.
func TestDroppedWithoutTagBelow(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("bad", "prod")
	s.fix("bad", note("bad"))
	s.run()
	s.runs("prod", "shop/v0.1.1")
	s.server.Set("refs/tags/shop/v0.1.0", "")
	e, state := s.looked()
	step, err := PlanClose(state, "bad", true, "worse")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	if got := s.state().hotfixOf(t, "bad").State(); got != StateDropped {
		t.Errorf("it is %s", got)
	}
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	s.runs("prod", "shop/v0.2.0")
}

func (s *State) hotfixOf(t *testing.T, name string) Hotfix {
	t.Helper()
	h, err := s.FindHotfix(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestBlankReasons: what cannot be seen is no reason, and would be recorded as none.
func TestBlankReasons(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	s.run()
	e, state := s.looked()
	for _, reason := range []string{"\x01", "\u202e", "\u2028", "\x1b"} {
		mustContain(t, second(PlanClose(state, "pay", false, reason)), "--reason")
		mustContain(t, second(PlanNote(state, "prod", Note{Event: snapshot.EventHold, Reason: reason})), "--reason")
		mustContain(t, second(PlanReopen(state, "prod", reason)), "--reason")
		for _, r := range []Request{{Rollback: true}, {Version: version(t, "shop/v0.1.0"), Overrides: []Reason{HotfixLost}}, {Version: version(t, "shop/v0.1.0"), Skip: []string{"stage"}}} {
			r.Environment, r.Reason = "prod", reason
			mustContain(t, second(e.PlanRequest(t.Context(), state, r)), "reason")
		}
	}
	// A ledger in which one without was recorded can be read.
	step, err := PlanClose(state, "pay", false, "x")
	if err != nil {
		t.Fatal(err)
	}
	step.Note.Closure.Reason = "\x1b"
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.isIn("pay", StateClosed)
}

// TestBackMergeBranchIsThere: the branch of an earlier hotfix of the name is there,
// and the refusal says what to do with it.
func TestBackMergeBranchIsThere(t *testing.T) {
	s := newShop(t, gitrepotest.Files{config.File: configuration + "hotfixes: {backMerge: branch}\n"})
	s.run()
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	s.run()
	if s.refs()["refs/heads/backmerge/pay"] == "" {
		t.Fatal("no branch")
	}
	s.fix("pay", gitrepotest.Files{"envs/prod/jobs/worker.yaml": deployment("worker", "dev.example/shop/worker:latest") + "# more\n"})
	s.run()
	s.runs("prod", "shop/v0.1.2")
	h := s.hotfix("pay@" + s.refs()["refs/heads/hotfix/pay"].Short())
	e, state := s.looked()
	step, err := PlanMergeBack(state, "pay@"+h.Head.Short(), true)
	if err != nil {
		t.Fatal(err)
	}
	mustContain(t, e.Execute(t.Context(), state, step), "ALREADY_THERE", "git push origin --delete backmerge/pay")
}

// TestLaneAfterEmergency: Prod got a newer patch past Stage, so that nobody waits any
// more for the one that Stage took the lane for.
func TestLaneAfterEmergency(t *testing.T) {
	s := newShop(t, gitrepotest.Files{config.File: strings.Replace(peopleConfiguration(), "registry: stage, promote: auto", "registry: stage, promote: manual", 1)})
	s.run()
	to := func(env, v string) {
		t.Helper()
		if err := s.byHand(Request{Environment: env, Version: version(t, v)}); err != nil {
			t.Fatalf("%s %s: %v", env, v, err)
		}
		s.run()
	}
	to("stage", "shop/v0.1.0")
	to("prod", "shop/v0.1.0")
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	to("stage", "shop/v0.2.0")
	s.cut("first", "prod")
	s.fix("first", note("first"))
	s.run()
	to("stage", "shop/v0.1.1")
	s.branch("second", s.refs()["refs/heads/hotfix/first"], note("second"))
	s.run()
	if err := s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.2"), Skip: []string{"stage"}, Reason: "now"}); err != nil {
		t.Fatal(err)
	}
	s.run()
	s.runs("prod", "shop/v0.1.2")
	to("stage", "shop/v0.2.2")
}

// TestStaleBranches: a repository may have had hotfix branches for years before
// Propagator. Each of them is searched once, and not at every look.
func TestStaleBranches(t *testing.T) {
	s := newShop(t)
	old := s.refs()["refs/heads/main"]
	s.commit(gitrepotest.Files{"README.md": "newer"})
	s.run()
	s.branch("stale", old, note("stale"))
	e, state := s.looked()
	if h := state.Hotfixes[0]; h.Fault != hotfix.BaseUnknown || len(e.memory.strangers.values) != 1 {
		t.Fatalf("it is %s, and %d are remembered", h.Fault, len(e.memory.strangers.values))
	}
	for key, b := range e.memory.strangers.values { // whoever searched again would find the old words
		b.Detail = "remembered"
		e.memory.strangers.values[key] = b
	}
	again, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Hotfixes[0].Detail; got != "remembered" {
		t.Errorf("it was searched again: %s", got)
	}
	// With something new to begin at it is searched again.
	s.ref("refs/tags/shop/v0.1.5", old)
	if again, err = e.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := again.Hotfixes[0]; got.Base != old {
		t.Errorf("it begins at %s, not %s: %s", got.Base, old, got.Detail)
	}
}

// TestCompositionsAreRemembered: what hotfixes come to is worked out once, and not at
// every look while a conflict waits for people.
func TestCompositionsAreRemembered(t *testing.T) {
	s := newShop(t, gitrepotest.Files{config.File: configuration + "hotfixes: {compose: manual}\n"})
	s.run()
	prod := s.refs()["refs/heads/environments/prod"]
	s.branch("a", prod, note("a"))
	s.branch("b", prod, note("b"))
	e, state := s.looked()
	if len(state.Compositions) != 1 || state.hotfixOf(t, "b").State() != StateConflict {
		t.Fatalf("%d compositions", len(state.Compositions))
	}
	for key, c := range e.memory.composed.values { // whoever merged again would find it
		c.Left = nil
		e.memory.composed.values[key] = c
	}
	look := func(want HotfixState) {
		t.Helper()
		state, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := state.hotfixOf(t, "b").State(); got != want {
			t.Errorf("it is %s, not %s", got, want)
		}
	}
	look(StateOpen)
	s.branch("c", prod, gitrepotest.Files{"README.md": "c"})
	look(StateConflict)
}

package promotion

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
)

// state observes with a fresh engine.
func (s *shop) state() *State {
	s.t.Helper()
	state, err := s.engine(nil).Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// hotfix returns what is known of a hotfix.
func (s *shop) hotfix(name string) Hotfix {
	s.t.Helper()
	h, err := s.state().FindHotfix(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

func (s *shop) isIn(name string, want HotfixState) {
	s.t.Helper()
	if h := s.hotfix(name); h.State() != want {
		s.t.Errorf("%s is %s, not %s: %+v", name, h.State(), want, h)
	}
}

// TestHotfixStates follows one hotfix through its life.
func TestHotfixStates(t *testing.T) {
	t.Parallel()
	s := newShop(t, gitrepotest.Files{config.File: strings.Replace(peopleConfiguration(), "metadata: {name: shop}", "metadata: {name: shop}\nhotfixes: {warnAfter: 48h, compose: manual}", 1)})
	s.run()
	s.toProd("shop/v0.1.0")
	s.cut("memory", "prod")
	s.isIn("memory", StateEmpty)
	for _, plan := range []func(*State) error{
		func(state *State) error { _, err := PlanCompose(state, "memory"); return err },
		func(state *State) error { _, err := PlanMergeBack(state, "memory", false); return err },
	} {
		mustContain(t, plan(s.state()), "HOTFIX_UNUSABLE", "HOTFIX_EMPTY", "there is no commit on top of shop/v0.1.0 yet")
	}
	s.fix("memory", everywhere("jobs/cache.yaml", deployment("cache", "redis:7.4")+"# less memory\n"))
	s.isIn("memory", StateOpen)
	if h := s.hotfix("memory"); h.From != version(t, "shop/v0.1.0") {
		t.Errorf("cut from %s", h.From)
	}
	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps, err := PlanCompose(state, "memory")
	if err != nil || len(steps) != 1 {
		t.Fatal(steps, err)
	}
	if captured, err := e.PrepareComposition(t.Context(), state, steps[0]); err != nil || captured.Snapshot.Lock.Version != version(t, "shop/v0.1.1") {
		t.Errorf("%+v, %v", captured, err)
	}
	if err := e.Execute(t.Context(), state, steps[0]); err != nil {
		t.Fatal(err)
	}
	s.isIn("memory", StateComposed)
	mustContain(t, second(PlanCompose(s.state(), "memory")), "ALREADY_THERE", "nothing is due")
	s.run()
	s.toProd("shop/v0.1.1")
	s.isIn("memory", StateDebt)
	if h := s.hotfix("memory"); h.When.IsZero() || h.Author == "" || h.Subject == "" {
		t.Errorf("nobody wrote it: %+v", h)
	}

	// The warning comes with age; a clock that is behind gives no negative one.
	h := s.hotfix("memory")
	if age := h.Age(h.When.Add(-time.Hour)); age != 0 {
		t.Errorf("it is %s old", age)
	}
	s.clock = h.When.Add(time.Hour)
	if w := s.state().hotfixWarnings(); len(w) != 0 {
		t.Errorf("warned too early: %v", w)
	}
	s.clock = h.When.Add(50 * time.Hour)
	result, err := s.engine(nil).Reconcile(t.Context())
	if err != nil || len(result.Warnings) != 1 {
		t.Fatal(result.Warnings, err)
	}
	if w := result.Warnings[0]; w.Environment != "hotfix/memory" || w.Reason != BackMergeOwed || w.Detail != "in stage and prod, and missing in main, after 2 days" {
		t.Errorf("warned with %s", w)
	}
	if c := result.Hotfixes; c.States[StateDebt] != 1 || c.OldestDebt != 50*time.Hour {
		t.Errorf("counted %+v", c)
	}
	if state, err = e.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	step, err := PlanMergeBack(state, "memory", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.isIn("memory", StateContained)
	if w := s.state().hotfixWarnings(); len(w) != 0 {
		t.Errorf("warned of what is done: %v", w)
	}
	mustContain(t, second(PlanMergeBack(s.state(), "memory", false)), "ALREADY_THERE", "merge is empty")
}

// TestHotfixStateClosed: what somebody has closed or dropped is no debt, and what
// cannot be used or merged says so.
func TestHotfixStateClosed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.push("orders", "v1-a")
	s.push("orders", "v1-b")
	s.run()
	for _, name := range []string{"a", "b", "lock"} {
		s.cut(name, "prod")
	}
	s.fix("a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-a")})
	s.fix("b", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-b")})
	s.fix("lock", gitrepotest.Files{".propagator/snapshot.yaml": "x"})
	s.run()
	s.isIn("a", StateDebt)
	s.isIn("b", StateConflict)
	s.isIn("lock", StateUnusable)
	mustContain(t, second(PlanCompose(s.state(), "b")), "HOTFIX_CONFLICT")
	for name, dropped := range map[string]bool{"a": false, "b": true} {
		e := s.engine(nil)
		state, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		step, err := PlanClose(state, name, dropped, "for a reason")
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Execute(t.Context(), state, step); err != nil {
			t.Fatal(err)
		}
	}
	s.isIn("a", StateClosed)
	s.isIn("b", StateDropped)
	if c := s.state().countHotfixes(); c.OldestDebt != 0 {
		t.Errorf("counted %+v", c)
	}
}

// TestHotfixFollowed: the source branch got the line of a later hotfix, which was
// made on top of an earlier one: it has gone on from that, and has not lost it.
// Where it lacks the rest of the earlier one, nobody knows.
func TestHotfixFollowed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, tag := range []string{"v1-a", "v1-b"} {
		s.push("orders", tag)
	}
	s.run()
	s.cut("first", "prod")
	first := gitrepotest.Files{
		"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-a"),
		"envs/prod/jobs/cache.yaml":        deployment("cache", "redis:7.4") + "# first\n",
	}
	s.fix("first", first)
	s.run()
	s.cut("second", "prod")
	s.fix("second", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-b")})
	s.run()
	s.runs("prod", "shop/v0.1.2")
	s.commit(gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-b")})
	if in := s.hotfix("first").In[0]; in.Answer != hotfix.Unknown {
		t.Errorf("main lacks half of it, and it is %s", in.Containment)
	}
	s.commit(gitrepotest.Files{"envs/prod/jobs/cache.yaml": first["envs/prod/jobs/cache.yaml"]})
	if in := s.hotfix("first").In[0]; in.Answer != hotfix.Contained || in.Evidence != hotfix.Followed || in.Commit != s.hotfix("second").Head {
		t.Errorf("main has it all, and it is %s", in.Containment)
	}
	s.run()
	s.runs("prod", "shop/v0.2.0")

	// A branch that repeats what is everywhere is done.
	s.cut("again", "prod")
	s.isIn("again", StateEmpty)
}

// TestPlanFromGit: what git answers is answered, what others would have to is not.
func TestPlanFromGit(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.run()
	s.cut("lost", "prod")
	s.fix("lost", everywhere("jobs/cache.yaml", deployment("cache", "redis:7.4")+"# lost\n"))
	s.run()
	s.commit(gitrepotest.Files{"README.md": "more"})
	s.run()
	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.PlanFromGit(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(d.Waits, func(w Wait) bool { return w.Environment == "stage" && w.Reason == HotfixLost }) {
		t.Errorf("it waits for %v", d.Waits)
	}
}

func second[T any](_ T, err error) error { return err }

func peopleConfiguration() string { return peopleRelease[config.File] }

// TestHotfixTakenBack: a hotfix that takes an earlier one back changes nothing
// together with it, which is in every place. That shows nothing about the earlier
// one: somebody has to say that it is not wanted.
func TestHotfixTakenBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, tag := range []string{"v1-a", "v2"} {
		s.push("orders", tag)
	}
	s.run()
	const file = "envs/prod/orders/deployment.yaml"
	before := s.show("refs/heads/main", file)
	s.cut("first", "prod")
	s.fix("first", gitrepotest.Files{file: deployment("orders", "dev.example/shop/orders:v1-a")})
	s.run()
	s.runs("prod", "shop/v0.1.1")
	s.cut("second", "prod")
	s.fix("second", gitrepotest.Files{file: before})
	s.commit(gitrepotest.Files{file: deployment("orders", "dev.example/shop/orders:v2")})
	if in := s.hotfix("first").In[0]; in.Answer != hotfix.Unknown {
		t.Errorf("main has gone on from what was before both, and it is %s", in.Containment)
	}
}

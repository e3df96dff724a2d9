package promotion

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// note lets a person say something, with a fresh engine.
func (s *shop) note(environment string, n Note) error {
	s.t.Helper()
	e := s.engine(nil)
	state, err := e.Observe(s.t.Context())
	if err != nil {
		return err
	}
	step, err := PlanNote(state, environment, n)
	if err != nil {
		return err
	}
	return e.Execute(s.t.Context(), state, step)
}

// events of an environment's ledger, oldest first: "promote v0.1.0".
func (s *shop) events(environment string) []string {
	s.t.Helper()
	state, err := s.engine(nil).Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	e, _ := state.Environment(environment)
	var all []string
	for _, entry := range slices.Backward(e.History) {
		text := string(entry.Event)
		for _, v := range []snapshot.Version{entry.Snapshot, entry.About} {
			if !v.IsZero() {
				text += " " + v.Number()
			}
		}
		all = append(all, text)
	}
	return all
}

func (s *shop) mustNote(environment string, n Note) {
	s.t.Helper()
	if err := s.note(environment, n); err != nil {
		s.t.Fatal(err)
	}
}

// next releases something, and lets everything follow.
func (s *shop) next(tag string) {
	s.t.Helper()
	s.clock = s.clock.Add(time.Hour)
	s.push("orders", tag)
	files := gitrepotest.Files{}
	for _, env := range []string{"dev", "stage", "prod"} {
		files["envs/"+env+"/orders/deployment.yaml"] = deployment("orders", "dev.example/shop/orders:"+tag)
	}
	s.commit(files)
	s.settle(func() *Engine { return s.engine(nil) })
}

// reasonOf is why a version is not in an environment.
func (s *shop) reasonOf(environment, v string) Reason {
	s.t.Helper()
	state, err := s.engine(nil).Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	e, _ := state.Environment(environment)
	for _, f := range Explain(state, e, version(s.t, "shop/"+v)) {
		if !f.passed() {
			return f.Reason
		}
	}
	return ""
}

// TestHoldAndResume: on hold an environment takes nothing by itself, whatever
// else is noted meanwhile; a person may, and resuming lets the newest in.
func TestHoldAndResume(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	s.mustNote("prod", Note{Event: snapshot.EventHold, Reason: "the quarter ends"})
	s.next("v2")
	if got := s.entry("prod"); got.Snapshot.Number() != "v0.1.0" || got.Hold != "the quarter ends" {
		t.Errorf("prod has %+v", got)
	}
	if got := s.reasonOf("prod", "v0.2.0"); got != EnvOnHold {
		t.Errorf("reason %s", got)
	}
	mustContain(t, s.note("prod", Note{Event: snapshot.EventHold, Reason: "again"}), "ENV_ON_HOLD", "the quarter ends")
	s.mustNote("prod", Note{Event: snapshot.EventValidate, Passed: true})
	if hold := s.entry("prod").Hold; hold == "" {
		t.Error("a validation ended the hold")
	}
	s.mustNote("prod", Note{Event: snapshot.EventResume, Reason: "it has ended"})
	s.settle(func() *Engine { return s.engine(nil) })
	want := []string{
		"open", "promote v0.1.0", "deployed v0.1.0", "hold v0.1.0", "validate v0.1.0 v0.1.0", "resume v0.1.0", "promote v0.2.0", "deployed v0.2.0",
	}
	if got := s.events("prod"); !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	mustContain(t, s.note("prod", Note{Event: snapshot.EventResume, Reason: "once more"}), "neither on hold nor frozen")
}

// TestHoldBeforeAnything: an environment that never had a snapshot can be held.
func TestHoldBeforeAnything(t *testing.T) {
	s := newShop(t)
	s.mustNote("stage", Note{Event: snapshot.EventHold, Reason: "not ready"})
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.events("stage"); !slices.Equal(got, []string{"open", "hold"}) {
		t.Errorf("events %q", got)
	}
	s.mustNote("stage", Note{Event: snapshot.EventResume, Reason: "ready"})
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.events("prod"); !slices.Equal(got, []string{"open", "promote v0.1.0", "deployed v0.1.0"}) {
		t.Errorf("events of prod %q", got)
	}
}

// TestFreeze: nobody promotes to a frozen environment, a person only by
// overriding it; it ends by itself.
func TestFreeze(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	end := s.clock.Add(3 * time.Hour)
	s.mustNote("stage", Note{Event: snapshot.EventFreeze, Until: end, Reason: "Black Friday"})
	mustContain(t, s.note("stage", Note{Event: snapshot.EventFreeze, Until: end.Add(-time.Hour), Reason: "lunch"}), "ENV_FROZEN", "later", "propagator resume stage")
	s.next("v2")
	if got := s.reasonOf("stage", "v0.2.0"); got != EnvFrozen {
		t.Errorf("reason %s", got)
	}
	request := Request{Environment: "stage", Version: version(t, "shop/v0.2.0")}
	mustContain(t, s.byHand(request), "ENV_FROZEN", "until")
	request.Overrides = []Reason{EnvFrozen}
	mustContain(t, s.byHand(request), "add --reason")
	request.Reason = "orders are lost"
	if err := s.byHand(request); err != nil {
		t.Fatal(err)
	}
	entry := s.entry("stage")
	if entry.Override != "orders are lost" || len(entry.Gates) != 1 || entry.Gates[0].Result != "skip" || !strings.Contains(entry.Gates[0].Detail, "ENV_FROZEN") {
		t.Errorf("the override is not recorded: %+v", entry)
	}
	if !entry.Frozen.Equal(end) {
		t.Errorf("frozen until %s", entry.Frozen)
	}
	s.next("v3")
	if got := s.entry("stage").Snapshot.Number(); got != "v0.2.0" {
		t.Errorf("stage has %s in the freeze", got)
	}
	s.clock = end
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("stage").Snapshot.Number(); got != "v0.3.0" {
		t.Errorf("stage has %s after the freeze", got)
	}
	mustContain(t, s.note("stage", Note{Event: snapshot.EventFreeze, Until: s.clock, Reason: "x"}), "which is past")
}

// TestReject: what is rejected in stage goes nowhere, what failed its tests
// neither, until somebody says that it passed.
func TestReject(t *testing.T) {
	for _, test := range []struct {
		name string
		note Note
	}{
		{"reject", Note{Event: snapshot.EventReject, Reason: "wrong prices"}},
		{"validate --fail", Note{Event: snapshot.EventValidate, Reason: "wrong prices"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShop(t)
			s.settle(func() *Engine { return s.engine(nil) })
			s.mustNote("prod", Note{Event: snapshot.EventHold, Reason: "tests run"})
			s.next("v2")
			s.mustNote("stage", test.note)
			s.mustNote("prod", Note{Event: snapshot.EventResume, Reason: "tests have run"})
			s.settle(func() *Engine { return s.engine(nil) })
			if got := s.entry("prod").Snapshot.Number(); got != "v0.1.0" {
				t.Errorf("prod has %s, which stage rejected", got)
			}
			if got := s.reasonOf("prod", "v0.2.0"); got != Rejected {
				t.Errorf("reason %s", got)
			}
			mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.2.0")}), "REJECTED", "wrong prices")
			// Something else goes on.
			s.next("v3")
			if got := s.entry("prod").Snapshot.Number(); got != "v0.3.0" {
				t.Errorf("prod has %s", got)
			}
		})
	}
	t.Run("and taken back", func(t *testing.T) {
		s := newShop(t)
		s.settle(func() *Engine { return s.engine(nil) })
		s.mustNote("prod", Note{Event: snapshot.EventHold, Reason: "tests run"})
		s.next("v2")
		s.mustNote("stage", Note{Event: snapshot.EventValidate, Reason: "flaky"})
		s.mustNote("prod", Note{Event: snapshot.EventResume, Reason: "tests have run"})
		s.mustNote("stage", Note{Event: snapshot.EventValidate, Passed: true, Reason: "second run"})
		s.settle(func() *Engine { return s.engine(nil) })
		if got := s.entry("prod").Snapshot.Number(); got != "v0.2.0" {
			t.Errorf("prod has %s", got)
		}
	})
}

// TestRejectedBeforeItEnters: a snapshot that waits can be rejected, and never
// enters by itself.
func TestRejectedBeforeItEnters(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	s.mustNote("stage", Note{Event: snapshot.EventHold, Reason: "busy"})
	s.next("v2")
	s.mustNote("stage", Note{Event: snapshot.EventReject, Version: version(t, "shop/v0.2.0"), Reason: "a mistake"})
	s.mustNote("stage", Note{Event: snapshot.EventResume, Reason: "idle"})
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("stage").Snapshot.Number(); got != "v0.1.0" {
		t.Errorf("stage has %s", got)
	}
	request := Request{Environment: "stage", Version: version(t, "shop/v0.2.0")}
	mustContain(t, s.byHand(request), "REJECTED", "a mistake")
	request.Overrides, request.Reason = []Reason{Rejected}, "it was none"
	if err := s.byHand(request); err != nil {
		t.Fatal(err)
	}
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("prod").Snapshot.Number(); got != "v0.2.0" {
		t.Errorf("prod has %s; what was promoted by name is not rejected any more", got)
	}
}

// TestNoteFaults: what cannot be noted says why, and writes nothing.
func TestNoteFaults(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	before := s.refs()
	for _, test := range []struct {
		environment string
		note        Note
		says        []string
	}{
		{"stage", Note{Event: snapshot.EventHold}, []string{"add --reason"}},
		{"stage", Note{Event: snapshot.EventValidate, Reason: " "}, []string{"add --reason"}},
		{"dev", Note{Event: snapshot.EventHold, Reason: "x"}, []string{"dev follows the branch main by itself"}},
		{"qa", Note{Event: snapshot.EventHold, Reason: "x"}, []string{`unknown environment "qa"`, "stage, prod"}},
		{"stage", Note{Event: snapshot.EventReject, Version: version(t, "shop/v9.0.0"), Reason: "x"}, []string{"UNKNOWN_SNAPSHOT"}},
		{"stage", Note{Event: snapshot.EventPromote, Reason: "x"}, []string{`unknown note "promote"`}},
	} {
		mustContain(t, s.note(test.environment, test.note), test.says...)
	}
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.next("v2")
	mustContain(t, s.note("stage", Note{Event: snapshot.EventValidate, Passed: true}), "NOT_VALIDATED", "nobody can have tested it")
	var no *RefusedError
	if err := s.note("stage", Note{Event: snapshot.EventValidate, Passed: true}); !errors.As(err, &no) {
		t.Errorf("%T", err)
	}
	for name, id := range before {
		if strings.HasPrefix(name, "refs/heads/environments/prod") && s.refs()[name] != id {
			t.Errorf("%s has moved", name)
		}
	}
}

// approve sets the tag of a person, ada.
func (s *shop) approve(environment, v string) {
	s.t.Helper()
	const who = "ada"
	full := version(s.t, "shop/"+v)
	repo := s.server.Client()
	name := "approve/" + environment + "/" + full.String() + "/" + who
	tag := gitrepo.NewTag(gitrepo.Tag{
		Object: s.refs()[full.Ref()], Type: gitrepo.TypeCommit, Name: name, Message: "tested\n",
		Tagger: gitrepo.Signature{Name: who, Email: who + "@shop.example", When: s.clock},
	})
	err := repo.Push(s.t.Context(), gitrepo.Push{Objects: []gitrepo.Object{tag}, Updates: []gitrepo.Update{{Ref: gitrepo.Tags + name, New: tag.ID()}}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestOverrideOfARejectionNeedsEvidence: who goes against a rejection goes against
// an opinion. That the snapshot was healthy in the environment before is no
// opinion, in each of several environments, and in the tree that was tested.
func TestOverrideOfARejectionNeedsEvidence(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.next("v2")
	s.mustNote("stage", Note{Event: snapshot.EventReject, Reason: "does not start"})
	request := Request{Environment: "prod", Version: version(t, "shop/v0.2.0"), Overrides: []Reason{Rejected}, Reason: "I know better"}
	mustContain(t, s.byHand(request), "NOT_VALIDATED", "stage has no evidence")
	if got := s.entry("prod").Snapshot.Number(); got != "v0.1.0" {
		t.Fatalf("prod has %s, which was never healthy in stage", got)
	}
	// Once it is proven, only the opinion is left.
	s.argo.broken = nil
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("prod").Snapshot.Number(); got != "v0.1.0" {
		t.Fatalf("prod has %s, which stage rejected", got)
	}
	if err := s.byHand(request); err != nil {
		t.Fatal(err)
	}
	if got := s.entry("prod").Snapshot.Number(); got != "v0.2.0" {
		t.Errorf("prod has %s", got)
	}
}

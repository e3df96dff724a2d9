package promotion

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// TestTestsTakeNoRejectionBack: who rejects has decided. Tests that pass later, of
// a CI that was slow, do not let the snapshot into Prod.
func TestTestsTakeNoRejectionBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.run()
	s.mustNote("prod", Note{Event: snapshot.EventHold, Reason: "tests run"})
	s.next("v2")
	s.mustNote("stage", Note{Event: snapshot.EventReject, Reason: "wrong prices"})
	mustContain(t, s.note("stage", Note{Event: snapshot.EventValidate, Passed: true, Reason: "run 812"}),
		"REJECTED", "wrong prices", "a test does not take that back", "--override REJECTED")
	s.mustNote("stage", Note{Event: snapshot.EventValidate, Reason: "run 813: it is broken as well"})
	s.mustNote("prod", Note{Event: snapshot.EventResume, Reason: "tests have run"})
	s.run()
	s.runs("prod", "shop/v0.1.0")
	second := version(t, "shop/v0.2.0")
	mustContain(t, s.byHand(Request{Environment: "prod", Version: second}), "REJECTED", "wrong prices")
	if err := s.byHand(Request{Environment: "prod", Version: second, Overrides: []Reason{Rejected}, Reason: "the prices are right"}); err != nil {
		t.Fatal(err)
	}
	s.runs("prod", "shop/v0.2.0")
}

// TestRejectedIn: what a ledger says about a snapshot, newest entry first.
func TestRejectedIn(t *testing.T) {
	t.Parallel()
	v := version(t, "shop/v0.2.0")
	reject := snapshot.Entry{Event: snapshot.EventReject, About: v, Override: "prices"}
	verdict := func(result string) snapshot.Entry {
		return snapshot.Entry{Event: snapshot.EventValidate, About: v, Gates: []snapshot.Verdict{{Gate: "validation", Result: result, Detail: "run"}}}
	}
	pass, fail := verdict("pass"), verdict("refuse")
	promote := snapshot.Entry{Event: snapshot.EventPromote, Snapshot: v}
	for _, test := range []struct {
		name    string
		history []snapshot.Entry
		why     string
	}{
		{"nothing", nil, ""},
		{"rejected", []snapshot.Entry{reject, promote}, "prices"},
		{"rejected, then passed", []snapshot.Entry{pass, reject, promote}, "prices"},
		{"rejected, failed, then passed", []snapshot.Entry{pass, fail, reject, promote}, "prices"},
		{"rejected, then promoted by name", []snapshot.Entry{promote, reject}, ""},
		{"rejected, promoted, then failed", []snapshot.Entry{fail, promote, reject}, "failed its tests: run"},
		{"failed", []snapshot.Entry{fail, promote}, "failed its tests: run"},
		{"failed, then passed", []snapshot.Entry{pass, fail, promote}, ""},
		{"passed, then failed", []snapshot.Entry{fail, pass, promote}, "failed its tests: run"},
		{"passed, then rejected", []snapshot.Entry{reject, pass, promote}, "prices"},
	} {
		_, why, rejected := Environment{History: test.history}.rejectedIn(v)
		if why != test.why || rejected != (test.why != "") {
			t.Errorf("%s: %t, %q, want %q", test.name, rejected, why, test.why)
		}
	}
}

// farProd is the shop with an environment between Stage and a Prod that people
// promote to.
func farProd(t *testing.T) *shop {
	t.Helper()
	text := strings.Replace(configuration, "- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: auto}",
		`- {name: uat, after: [stage], path: envs/uat, registry: stage, promote: auto}
- {name: prod, after: [uat], path: envs/prod, registry: prod, promote: manual}`, 1)
	s := newShop(t, gitrepotest.Files{config.File: text, "envs/uat/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1")})
	for range 20 {
		s.followTargets()
		if result, err := s.engine(nil).Reconcile(t.Context()); err == nil && len(result.Done) == 0 {
			s.runs("uat", "shop/v0.1.0")
			return s
		}
	}
	t.Fatal("no end in sight")
	return nil
}

// TestRefusedFarBefore: what Stage has refused does not get to Prod by way of an
// environment in between, which had it before.
func TestRefusedFarBefore(t *testing.T) {
	t.Parallel()
	first := version(t, "shop/v0.1.0")
	request := Request{Environment: "prod", Version: first}
	for _, test := range []struct {
		name string
		note Note
		says string
	}{
		{"rejected", Note{Event: snapshot.EventReject, Reason: "wrong prices"}, "stage rejected it"},
		{"failed its tests", Note{Event: snapshot.EventValidate, Reason: "wrong prices"}, "stage rejected it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := farProd(t)
			s.mustNote("stage", test.note)
			mustContain(t, s.byHand(request), "REJECTED", test.says, "wrong prices")
			override := request
			override.Overrides, override.Reason = []Reason{Rejected}, "they are right"
			if err := s.byHand(override); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("rolled back from", func(t *testing.T) {
		t.Parallel()
		s := farProd(t)
		state := s.observe()
		for i, e := range state.Environments {
			if e.Name == "stage" {
				entry := snapshot.Entry{Event: snapshot.EventRollback, From: first, When: s.clock}
				state.Environments[i].History = slices.Insert(slices.Clone(e.History), 0, entry)
			}
		}
		_, err := PlanRequest(state, request)
		mustContain(t, err, "REJECTED", "stage was rolled back from it")
		// It will not come to prod, so uat does not keep it for that.
		uat, _ := state.Environment("uat")
		if phase, _ := state.phase(uat, first); phase != PhaseRejected {
			t.Errorf("in uat the release is %s", phase)
		}
	})
}

// TestSkipHidesNoRejection: an emergency goes past the evidence of Stage, and not
// past what a person has said there, unless that is named as well.
func TestSkipHidesNoRejection(t *testing.T) {
	t.Parallel()
	s := newShop(t, gitrepotest.Files{config.File: manualProd})
	s.run()
	s.mustNote("stage", Note{Event: snapshot.EventReject, Reason: "wrong prices"})
	request := Request{Environment: "prod", Version: version(t, "shop/v0.1.0"), Skip: []string{"stage"}, Reason: "nobody can pay"}
	mustContain(t, s.byHand(request), "REJECTED", "stage rejected it", "wrong prices")
	request.Overrides = []Reason{Rejected}
	if err := s.byHand(request); err != nil {
		t.Fatal(err)
	}
	s.runs("prod", "shop/v0.1.0")
}

// TestRollbackPassesOverTheUnwanted: without a version nobody goes back to what was
// rejected or rolled back from, neither a person nor automation.
func TestRollbackPassesOverTheUnwanted(t *testing.T) {
	t.Parallel()
	t.Run("by a person", func(t *testing.T) {
		t.Parallel()
		s := newShop(t)
		s.run()
		s.next("v2")
		s.next("v3")
		s.mustNote("prod", Note{Event: snapshot.EventReject, Version: version(t, "shop/v0.2.0"), Reason: "it leaks"})
		if err := s.byHand(Request{Environment: "prod", Rollback: true, Reason: "worse"}); err != nil {
			t.Fatal(err)
		}
		s.runs("prod", "shop/v0.1.0")
	})
	t.Run("by automation", func(t *testing.T) {
		t.Parallel()
		s := failing(t, "rollback")
		s.run()
		s.next("v2")
		s.mustNote("stage", Note{Event: snapshot.EventReject, Reason: "it leaks"})
		s.argo.broken = map[string]bool{"stage-orders": true}
		s.next("v3")
		s.clock = s.clock.Add(time.Hour)
		s.run()
		s.runs("stage", "shop/v0.1.0")
	})
	t.Run("what there is to go back to", func(t *testing.T) {
		t.Parallel()
		a, b, c := version(t, "shop/v0.1.0"), version(t, "shop/v0.2.0"), version(t, "shop/v0.3.0")
		entry := func(event snapshot.Event, v, from snapshot.Version) snapshot.Entry {
			return snapshot.Entry{Event: event, Snapshot: v, From: from}
		}
		// Nobody waited until Argo CD was healthy with what was gone back to.
		hasty := []snapshot.Entry{
			entry(snapshot.EventPromote, c, a), entry(snapshot.EventRollback, a, b),
			entry(snapshot.EventDeployed, b, a), entry(snapshot.EventPromote, b, a), entry(snapshot.EventDeployed, a, snapshot.Version{}),
		}
		for _, test := range []struct {
			name         string
			history      []snapshot.Entry
			to, unwanted snapshot.Version
		}{
			{"rolled back from", hasty, a, snapshot.Version{}},
			{"nothing else", hasty[:4], snapshot.Version{}, b},
			{"nothing", hasty[:2], snapshot.Version{}, snapshot.Version{}},
		} {
			e := Environment{Environment: config.Environment{Name: "prod"}, History: test.history}
			s := &State{Environments: []Environment{e}, Tags: map[snapshot.Version]gitrepo.Hash{a: "1", b: "2", c: "3"}}
			if to, unwanted := s.BackTo(e); to != test.to || unwanted != test.unwanted {
				t.Errorf("%s: to %s, unwanted %s", test.name, to, unwanted)
			}
			if test.unwanted.IsZero() {
				continue
			}
			request := Request{Environment: "prod", Rollback: true, Reason: "worse"}
			_, err := PlanRequest(s, request)
			mustContain(t, err, "NOT_VALIDATED", "name it to go back all the same: shop/v0.2.0")
			request.Version = test.unwanted
			if step, err := PlanRequest(s, request); err != nil || step.Version != test.unwanted {
				t.Errorf("by name: %v, %v", step, err)
			}
		}
	})
}

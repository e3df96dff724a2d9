package promotion

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// state is a pipeline dev → stage → prod where Stage has deployed v0.1.0 and
// v0.2.0, and Prod runs v0.1.0.
func state(t *testing.T) *State {
	t.Helper()
	pipeline, err := config.Parse([]byte(configuration), config.File)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	v1, v2 := version(t, "shop/v0.1.0"), version(t, "shop/v0.2.0")
	deployed := func(v snapshot.Version, ago time.Duration) snapshot.Entry {
		return snapshot.Entry{Event: snapshot.EventDeployed, When: now.Add(-ago), Snapshot: v, Since: now.Add(-ago), Deployed: now.Add(-ago)}
	}
	stage, _ := pipeline.Environment("stage")
	prod, _ := pipeline.Environment("prod")
	return &State{
		Now: now, Pipeline: pipeline,
		Tags: map[snapshot.Version]gitrepo.Hash{v1: "1", v2: "2"},
		Environments: []Environment{
			{Environment: stage, Tip: "s", History: []snapshot.Entry{deployed(v2, time.Hour), deployed(v1, 48*time.Hour)}},
			{Environment: prod, Tip: "p", History: []snapshot.Entry{deployed(v1, 24*time.Hour)}},
		},
	}
}

// TestPlan changes one thing at a time and looks at what happens to Prod.
func TestPlan(t *testing.T) {
	approval := config.Gate{Approval: &config.ApprovalGate{Count: 2}}
	soakGate := config.Gate{Soak: &config.SoakGate{For: 2 * time.Hour}}
	v2 := "shop/v0.2.0"
	approve := func(environment, v, who string, commit gitrepo.Hash) Approval {
		return Approval{Environment: environment, Version: version(t, v), Who: who, Tagger: who + "@example", When: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Commit: commit}
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, s *State, stage, prod *Environment)
		step   string
		reason Reason
	}{
		{"validated", func(*testing.T, *State, *Environment, *Environment) {}, "promote shop/v0.2.0 to prod", ""},
		{"not validated", func(_ *testing.T, _ *State, stage, _ *Environment) { stage.History = stage.History[1:] }, "", NotValidated},
		{"manual", func(_ *testing.T, _ *State, _, prod *Environment) { prod.Promote = config.Manual }, "", ManualPromotion},
		{"on hold", func(_ *testing.T, _ *State, _, prod *Environment) { prod.History[0].Hold = "rolled back" }, "", EnvOnHold},
		{"soaking", func(_ *testing.T, _ *State, _, prod *Environment) { prod.Gates = []config.Gate{soakGate} }, "", SoakNotReached},
		{"soaked", func(_ *testing.T, s *State, _, prod *Environment) {
			prod.Gates, s.Now = []config.Gate{soakGate}, s.Now.Add(time.Hour)
		}, "promote shop/v0.2.0 to prod", ""},
		{"soaked, but ill now", func(_ *testing.T, s *State, stage, prod *Environment) {
			prod.Gates, s.Now = []config.Gate{soakGate}, s.Now.Add(time.Hour)
			stage.ApplicationsKnown, stage.Snapshot = true, &snapshot.Snapshot{Lock: &snapshot.Lock{}}
			stage.Targets = []snapshot.Target{{Environment: "stage", Application: "orders"}}
		}, "", SoakNotReached},
		{"replaced before it had soaked", func(t *testing.T, s *State, stage, prod *Environment) {
			prod.Gates, s.Now = []config.Gate{soakGate}, s.Now.Add(100*time.Hour)
			v3 := version(t, "shop/v0.3.0")
			stage.History = append([]snapshot.Entry{{Event: snapshot.EventPromote, Snapshot: v3, From: version(t, v2), When: stage.History[0].Deployed.Add(time.Minute)}}, stage.History...)
		}, "", SoakNotReached},
		{"rolled back from it, hold lifted", func(t *testing.T, s *State, _, prod *Environment) {
			v1 := version(t, "shop/v0.1.0")
			prod.History = append([]snapshot.Entry{
				{Event: snapshot.EventPromote, Snapshot: v1},
				{Event: snapshot.EventRollback, From: version(t, v2), Snapshot: v1},
			}, prod.History...)
		}, "", Rejected},
		{"stage's tag is gone", func(_ *testing.T, s *State, stage, prod *Environment) {
			prod.Gates, s.Now = []config.Gate{soakGate}, s.Now.Add(time.Hour)
			stage.Unreadable, stage.ApplicationsKnown = "it names shop/v0.2.0, but the tag is gone", true
		}, "", NotValidated},
		{"not approved", func(_ *testing.T, _ *State, _, prod *Environment) { prod.Gates = []config.Gate{approval} }, "", ApprovalMissing},
		{"one approval, twice", func(t *testing.T, s *State, _, prod *Environment) {
			prod.Gates = []config.Gate{approval}
			s.Approvals = []Approval{approve("prod", v2, "ann", "2"), approve("prod", v2, "ann", "2")}
		}, "", ApprovalMissing},
		{"one tagger under two names", func(t *testing.T, s *State, _, prod *Environment) {
			prod.Gates = []config.Gate{approval}
			second := approve("prod", v2, "bob", "2")
			second.Tagger = "Ann@example"
			s.Approvals = []Approval{approve("prod", v2, "ann", "2"), second}
		}, "", ApprovalMissing},
		{"approved before a rollback", func(t *testing.T, s *State, _, prod *Environment) {
			prod.Gates = []config.Gate{{Approval: &config.ApprovalGate{Count: 1}}}
			prod.History = append([]snapshot.Entry{{Event: snapshot.EventRollback, When: s.Now, From: version(t, v2), Snapshot: version(t, "shop/v0.1.0")}}, prod.History...)
			s.Approvals = []Approval{approve("prod", v2, "ann", "2")}
		}, "", Rejected},
		{"approvals of another commit", func(t *testing.T, s *State, _, prod *Environment) {
			prod.Gates = []config.Gate{approval}
			s.Approvals = []Approval{approve("prod", v2, "ann", "2"), approve("prod", v2, "bob", "9")}
		}, "", ApprovalMissing},
		{"approvals for another environment", func(t *testing.T, s *State, _, prod *Environment) {
			prod.Gates = []config.Gate{approval}
			s.Approvals = []Approval{approve("prod", v2, "ann", "2"), approve("stage", v2, "bob", "2")}
		}, "", ApprovalMissing},
		{"approved", func(t *testing.T, s *State, _, prod *Environment) {
			prod.Gates = []config.Gate{approval}
			s.Approvals = []Approval{approve("prod", v2, "ann", "2"), approve("prod", v2, "bob", "2")}
		}, "promote shop/v0.2.0 to prod", ""},
		{"a gate this version does not know", func(_ *testing.T, _ *State, _, prod *Environment) { prod.Gates = []config.Gate{{}} }, "", GateUnknown},
		{"unreadable ledger", func(_ *testing.T, _ *State, _, prod *Environment) { prod.Unreadable = "a stranger" }, "", LedgerUnavailable},
		{"stage was rolled back", func(t *testing.T, _ *State, stage, _ *Environment) {
			stage.History = append([]snapshot.Entry{{Event: snapshot.EventRollback, From: version(t, v2), Snapshot: version(t, "shop/v0.1.0")}}, stage.History...)
		}, "", NotValidated},
		{"an older one passes while the newest waits", func(t *testing.T, s *State, _, prod *Environment) {
			prod.History = nil
			prod.Gates = []config.Gate{{Approval: &config.ApprovalGate{Count: 1}}}
			s.Approvals = []Approval{approve("prod", "shop/v0.1.0", "ann", "1")}
		}, "promote shop/v0.1.0 to prod", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := state(t)
			test.change(t, s, &s.Environments[0], &s.Environments[1])
			d := Plan(s)
			got := ""
			for _, step := range d.Steps {
				if step.Environment == "prod" {
					got = step.String()
				}
			}
			if got != test.step {
				t.Errorf("step %q, want %q", got, test.step)
			}
			if test.reason != "" && !hasWait(d.Waits, "prod", test.reason) {
				t.Errorf("waits %v, want %s", d.Waits, test.reason)
			}
			if test.reason != "" && test.reason.Help() == "" {
				t.Errorf("%s has no help", test.reason)
			}
		})
	}
}

// TestReasonsHaveHelp: no reason is without a line for the person who reads it.
func TestReasonsHaveHelp(t *testing.T) {
	source, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`Reason = "([A-Z_]+)"`).FindAllSubmatch(source, -1)
	if len(declared) < 20 {
		t.Fatalf("%d reasons are declared", len(declared))
	}
	for _, r := range declared {
		if Reason(r[1]).Help() == "" {
			t.Errorf("%s has no help", r[1])
		}
	}
	if len(reasonHelp) != len(declared) {
		t.Errorf("%d reasons have help, and %d are declared", len(reasonHelp), len(declared))
	}
}

func TestSameRepository(t *testing.T) {
	for _, same := range [][2]string{
		{"https://git.example/shop.git", "https://git.example/shop"},
		{"https://user:secret@git.example/shop.git", "http://git.example/shop.git/"},
		{"git@git.example:team/shop.git", "ssh://git@git.example/team/shop"},
	} {
		if !SameRepository(same[0], same[1]) {
			t.Errorf("%s and %s differ", same[0], same[1])
		}
	}
	if SameRepository("https://git.example/shop", "https://git.example/shop2") {
		t.Error("different repositories are the same")
	}
}

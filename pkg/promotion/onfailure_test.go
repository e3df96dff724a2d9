package promotion

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// failing is the shop in which stage does something about failed deployments.
func failing(t *testing.T, do string) *shop {
	t.Helper()
	text := strings.Replace(configuration, "registry: stage, promote: auto}", "registry: stage, promote: auto, onFailure: {after: 15m, do: "+do+"}}", 1)
	if text == configuration {
		t.Fatal("the configuration has changed")
	}
	return newShop(t, gitrepotest.Files{config.File: text})
}

// TestOnFailure: a deployment that has definitely failed is taken back, or the
// environment held, once it had its time, and nothing else is done about it.
func TestOnFailure(t *testing.T) {
	for _, test := range []struct {
		do   string
		want []string
	}{
		{"rollback", []string{"promote v0.2.0", "rollback v0.1.0", "deployed v0.1.0"}},
		{"hold", []string{"promote v0.2.0", "hold v0.2.0"}},
	} {
		t.Run(test.do, func(t *testing.T) {
			s := failing(t, test.do)
			settle := func() { s.settle(func() *Engine { return s.engine(nil) }) }
			settle()
			s.argo.broken = map[string]bool{"stage-orders": true}
			s.next("v2")
			state, err := s.engine(nil).Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			due := s.clock.Add(15 * time.Minute)
			if d := Plan(state); !slices.ContainsFunc(d.Waits, func(w Wait) bool { return w.Environment == "stage" && w.Until.Equal(due) }) {
				t.Errorf("nobody says when something is done about it: %v", d.Waits)
			}
			s.clock = due.Add(-time.Second)
			settle()
			if got := s.entry("stage").Snapshot.Number(); got != "v0.2.0" {
				t.Fatalf("stage has %s before it is due", got)
			}
			s.clock = due
			if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if test.do == "rollback" {
				s.argo.broken = nil // it was v0.2.0
			}
			settle()
			events := s.events("stage")
			if got := events[len(events)-len(test.want):]; !slices.Equal(got, test.want) {
				t.Errorf("events %q", events)
			}
			if hold := s.entry("stage").Hold; !strings.Contains(hold, "not deployed after 15m0s: Application stage-orders is Degraded") {
				t.Errorf("hold %q", hold)
			}
			if got := s.entry("prod").Snapshot.Number(); got != "v0.1.0" {
				t.Errorf("prod has %s", got)
			}
		})
	}
}

// TestOnFailureWithNothingToGoBackTo: the first snapshot fails, so that only the
// hold is left.
func TestOnFailureWithNothingToGoBackTo(t *testing.T) {
	s := failing(t, "rollback")
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.settle(func() *Engine { return s.engine(nil) })
	s.clock = s.clock.Add(time.Hour)
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.events("stage"); !slices.Equal(got, []string{"open", "promote v0.1.0", "hold v0.1.0"}) {
		t.Errorf("events %q", got)
	}
}

// TestNotYetIsNoFailure: what only takes long, or cannot be seen, is left alone.
func TestNotYetIsNoFailure(t *testing.T) {
	for name, change := range map[string]func(*argo){
		"progressing": func(a *argo) {
			for name, app := range a.applications {
				if app.Environment == "stage" {
					app.Health = "Progressing"
					a.applications[name] = app
				}
			}
		},
		"argo cd is away": func(a *argo) { a.err = errDown },
		"gone":            func(a *argo) { clear(a.applications) },
	} {
		t.Run(name, func(t *testing.T) {
			s := failing(t, "rollback")
			s.settle(func() *Engine { return s.engine(nil) })
			s.argo.broken = map[string]bool{"stage-orders": true}
			s.next("v2")
			s.clock = s.clock.Add(time.Hour)
			change(s.argo)
			_, err := s.engine(nil).Reconcile(t.Context())
			if err != nil && !errors.Is(err, errDown) {
				t.Fatal(err)
			}
			s.argo.err = nil
			if got := s.events("stage"); got[len(got)-1] != "promote v0.2.0" {
				t.Errorf("events %q", got)
			}
		})
	}
}

// TestCorrectionGoesBeforeRollback: something newer that may enter is what is
// done about a failure.
func TestCorrectionGoesBeforeRollback(t *testing.T) {
	s := failing(t, "rollback")
	s.settle(func() *Engine { return s.engine(nil) })
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.next("v2")
	s.next("v3") // an hour later
	if got := s.events("stage"); !slices.Equal(got[len(got)-2:], []string{"promote v0.2.0", "promote v0.3.0"}) {
		t.Errorf("events %q", got)
	}
}

// TestFanOutAndFanIn: two productions take what stage has proven, each at its own
// pace, and the environment after both waits for the slower one. The failure of
// one does not hold up the other, and when it is corrected the rest follows (S89,
// S103).
func TestFanOutAndFanIn(t *testing.T) {
	text := strings.Replace(configuration, "- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: auto}", `- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: auto,
   destinations: [{cluster: eu-1, namespace: shop}, {cluster: eu-2, namespace: shop}]}
- {name: us, after: [stage], path: envs/us, registry: prod, promote: auto}
- {name: archive, after: [prod, us], path: envs/archive, registry: prod, promote: auto}`, 1)
	files := gitrepotest.Files{config.File: text}
	for _, env := range []string{"us", "archive"} {
		files["envs/"+env+"/orders/deployment.yaml"] = deployment("orders", "dev.example/shop/orders:v1")
	}
	s := newShop(t, files)
	s.argo.broken = map[string]bool{"prod-orders-eu-2": true}
	settle := func() {
		t.Helper()
		for range 20 {
			s.followTargets()
			if result, err := s.engine(nil).Reconcile(t.Context()); err == nil && len(result.Done) == 0 {
				return
			}
		}
		t.Fatal("no end in sight")
	}
	settle()
	for env, want := range map[string][]string{
		"stage": {"open", "promote v0.1.0", "deployed v0.1.0"}, "us": {"open", "promote v0.1.0", "deployed v0.1.0"},
		"prod": {"open", "promote v0.1.0"}, "archive": nil,
	} {
		if got := s.events(env); !slices.Equal(got, want) {
			t.Errorf("%s: events %q, want %q", env, got, want)
		}
	}
	if got := s.reasonOf("archive", "v0.1.0"); got != NotValidated {
		t.Errorf("archive waits for %s", got)
	}
	result, err := s.engine(nil).Reconcile(t.Context())
	if err != nil || !slices.ContainsFunc(result.Waits, func(w Wait) bool { return w.Environment == "prod" && strings.Contains(w.Detail, "prod-orders-eu-2") }) {
		t.Errorf("nobody says which part of prod has failed: %v %v", result.Waits, err)
	}
	s.argo.broken = nil
	settle()
	for _, env := range []string{"prod", "archive"} {
		if got := s.events(env); !slices.Equal(got, []string{"open", "promote v0.1.0", "deployed v0.1.0"}) {
			t.Errorf("%s: events %q", env, got)
		}
	}
}

// followTargets is an Argo CD that deploys everything to where the snapshots say,
// in whatever environments there are.
func (s *shop) followTargets() {
	s.t.Helper()
	s.argo.follow(s.t) // Dev
	state, err := s.engine(nil).Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.argo.mu.Lock()
	defer s.argo.mu.Unlock()
	for name, app := range s.argo.applications {
		if app.Environment != "" {
			delete(s.argo.applications, name)
		}
	}
	for _, e := range state.Environments {
		for _, target := range e.Targets {
			name := e.Name + "-" + target.Application + "-" + target.Destination.Cluster
			s.argo.set(name, Application{
				Environment: e.Name, Application: target.Application, Path: target.Path, Cluster: target.Destination.Cluster, DestNamespace: target.Destination.Namespace,
				TargetRevision: e.Current().Snapshot.Ref(), SyncedTarget: e.Current().Snapshot.Ref(),
			}, e.Snapshot.ID)
		}
	}
}

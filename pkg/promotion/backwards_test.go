package promotion

import (
	"errors"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestOvertakenPromotionDoesNotGoBack: a replica that plans a promotion and is
// slow to carry it out must not undo what another one did meanwhile.
// pkg/promotion/simulation found it: the rules were applied again before the
// push, and none of them said that an environment does not go back.
func TestOvertakenPromotionDoesNotGoBack(t *testing.T) {
	s := newShop(t)
	slow := s.engine(nil)
	var state *State
	var step Step
	for range 10 {
		s.argo.follow(t)
		var err error
		if state, err = slow.Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := Plan(state)
		if len(d.Steps) == 0 {
			continue
		}
		if step = d.Steps[0]; step.Kind == Promote && step.Environment == "prod" {
			break
		}
		if err := slow.Execute(t.Context(), state, step); err != nil {
			t.Fatal(err)
		}
	}
	if step.Environment != "prod" || step.Version.Number() != "v0.1.0" {
		t.Fatalf("unexpected step %s", step)
	}
	s.push("orders", "v2")
	s.commit(gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v2")})
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("prod").Snapshot.Number(); got != "v0.2.0" {
		t.Fatalf("prod has %s", got)
	}
	err := slow.Execute(t.Context(), state, step)
	var no *RefusedError
	if !errors.As(err, &no) || no.Wait.Reason != OlderThanCurrent {
		t.Errorf("got %v, want %s", err, OlderThanCurrent)
	}
	if got := s.entry("prod").Snapshot.Number(); got != "v0.2.0" {
		t.Errorf("prod went back to %s", got)
	}
}

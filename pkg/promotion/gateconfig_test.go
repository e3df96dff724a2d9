package promotion

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// approvedProd is manualProd with a gate before Prod.
var approvedProd = strings.Replace(manualProd, "promote: manual}", "promote: manual, gates: [{approval: {count: 1}}]}", 1)

// TestGatesOfTheSourceBranch: which gates a promotion needs is what the tip of
// the source branch says, not what the snapshot has inside.
func TestGatesOfTheSourceBranch(t *testing.T) {
	engine := func(s *shop) func() *Engine { return func() *Engine { return s.engine(nil) } }
	first := version(t, "shop/v0.1.0")

	t.Run("a gate that came later counts for older snapshots", func(t *testing.T) {
		s := newShop(t, gitrepotest.Files{config.File: manualProd})
		s.settle(engine(s))
		s.commit(gitrepotest.Files{config.File: approvedProd})
		mustContain(t, s.byHand(Request{Environment: "prod", Version: first}), "APPROVAL_MISSING")
		if got := s.entry("prod"); got.Event != "" {
			t.Fatalf("prod: %s", got.Subject())
		}
		s.approve("prod", "v0.1.0")
		if err := s.byHand(Request{Environment: "prod", Version: first}); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a gate that is gone is not asked for", func(t *testing.T) {
		s := newShop(t, gitrepotest.Files{config.File: approvedProd})
		s.settle(engine(s))
		mustContain(t, s.byHand(Request{Environment: "prod", Version: first}), "APPROVAL_MISSING")
		s.commit(gitrepotest.Files{config.File: manualProd})
		if err := s.byHand(Request{Environment: "prod", Version: first}); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("no other branch counts", func(t *testing.T) {
		s := newShop(t, gitrepotest.Files{config.File: approvedProd})
		s.settle(engine(s))
		main := s.refs()["refs/heads/main"]
		gitrepotest.MustFetch(t, s.people, gitrepo.FetchOptions{Depth: 1}, main)
		side, objects := gitrepotest.Commit(t, s.people, gitrepotest.Files{config.File: manualProd}, "without the gate", main)
		gitrepotest.MustPush(t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/side", New: side}}, Objects: objects})
		mustContain(t, s.byHand(Request{Environment: "prod", Version: first}), "APPROVAL_MISSING")

		// Not even for a snapshot that was taken of it.
		e := s.engine(nil)
		state, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		step, err := PlanCapture(state, side, version(t, "shop/v0.2.0"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Execute(t.Context(), state, step); err != nil {
			t.Fatal(err)
		}
		s.argo.follow(t)
		if _, err := e.Reconcile(t.Context()); err != nil { // evidence of Stage
			t.Fatal(err)
		}
		mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.2.0")}), "APPROVAL_MISSING")

		// And who starts with that branch is told which one counts.
		e = s.engine(nil)
		e.Branch = "side"
		_, err = e.Observe(t.Context())
		mustContain(t, err, "names main as its source branch")
	})

	t.Run("as long as the tip cannot be used the newest snapshot's count", func(t *testing.T) {
		s := newShop(t, gitrepotest.Files{config.File: approvedProd})
		s.settle(engine(s))
		s.commit(gitrepotest.Files{config.File: "gates: none\n"})
		mustContain(t, s.byHand(Request{Environment: "prod", Version: first}), "APPROVAL_MISSING")
	})
}

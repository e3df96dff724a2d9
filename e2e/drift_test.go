//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// TestDriftIsHealedWhileAGateIsClosed: while Prod waits for approval, somebody
// changes Stage's Deployment by hand. Argo CD puts it back (S50, S59). For
// Propagator nothing has happened: no evidence is written a second time,
// nothing is captured or promoted, and the approval still opens Prod.
func TestDriftIsHealedWhileAGateIsClosed(t *testing.T) {
	c := open(t, kiosk{name: "drift", gated: true})
	c.awaitEvent("stage", "deployed v0.1.0")
	c.awaitReason("prod", "v0.1.0", promotion.ApprovalMissing)
	refs := c.refs()
	wanted := c.live("stage")
	seen := len(world.apps.History("drift-stage-web-1"))

	begin := time.Now()
	const foreign = "dev.registry.example/drift/web-1:by-hand"
	if _, err := world.cluster.Kubectl(t.Context(), "-n", "drift-stage", "set", "image", "deployment/web-1", "web-1="+foreign); err != nil {
		t.Fatal(err)
	}
	if _, err := world.cluster.Kubectl(t.Context(), "-n", "drift-stage", "scale", "deployment/web-1", "--replicas=3"); err != nil {
		t.Fatal(err)
	}
	c.await("Argo CD sees the drift", func() bool {
		return slices.ContainsFunc(world.apps.History("drift-stage-web-1")[seen:], func(m applications.Moment) bool { return m.Sync == "OutOfSync" })
	})
	c.await("Argo CD has healed stage", func() bool {
		a, _ := world.apps.Get("drift-stage-web-1")
		return a.Done(c.tag("v0.1.0")) && !a.FinishedAt.Before(begin.Truncate(time.Second))
	})
	if diff := cmp.Diff(wanted, c.live("stage")); diff != "" {
		t.Errorf("stage's live images after the healing (-want +got):\n%s", diff)
	}
	replicas, err := world.cluster.Kubectl(t.Context(), "-n", "drift-stage", "get", "deployment", "web-1", "-o", "jsonpath={.spec.replicas}")
	if err != nil || replicas != "1" {
		t.Errorf("stage has %s replicas after the healing (%v)", replicas, err)
	}

	// The healing was a sync like any other; Argo CD has announced its success.
	run := c.lookAgain()
	if len(run.Done) > 0 || run.Error != "" {
		t.Errorf("the healing leads to %v, %s", run.Done, run.Error)
	}
	if _, ok := waitsFor(run.Waits, "prod", "drift/v0.1.0", promotion.ApprovalMissing); !ok {
		t.Errorf("prod does not wait for approval any more: %v", run.Waits)
	}
	if diff := cmp.Diff(refs, c.refs()); diff != "" {
		t.Errorf("refs after the healing (-before +after):\n%s", diff)
	}
	if list := c.of("prod"); len(list) > 0 {
		t.Errorf("nobody has agreed, and prod has %v", list)
	}

	c.approve("v0.1.0")
	c.awaitDeployed("prod", "v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")
	c.checkRuns("stage", "v0.1.0")
	c.checkRuns("prod", "v0.1.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0")
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0")
}

// refs is everything that the repository's refs name, a line each.
func (c *company) refs() string {
	c.t.Helper()
	output, err := world.git.Git(c.t.Context(), c.Repo(), "for-each-ref", "--format=%(refname) %(objectname)")
	if err != nil {
		c.t.Fatal(err)
	}
	return output
}

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

var driftKiosk = planBeside("TestDriftIsHealedWhileAGateIsClosed", kiosk{name: "drift", applications: 2, gated: true, pods: true})

// TestDriftIsHealedWhileAGateIsClosed: while Prod waits for approval, somebody
// changes a Deployment of Stage by hand. Argo CD puts it back (S50, S59). For
// Propagator nothing has happened: no evidence is written a second time,
// nothing is captured or promoted, and the approval still opens Prod. Nor is it
// in the way later: Argo CD heals only what has drifted, and the next snapshot,
// which does not touch that application, counts as deployed all the same.
func TestDriftIsHealedWhileAGateIsClosed(t *testing.T) {
	beside(t)
	c := driftKiosk.open(t)
	c.awaitEvent("stage", "deployed v0.1.0")
	c.awaitReason("prod", "v0.1.0", promotion.ApprovalMissing)
	refs := c.refs()

	c.drift("stage")
	c.drift("dev")
	// Health counts once it has lasted for a second.
	healed := time.Now()
	c.eventually("the healing has settled", func() bool { return time.Since(healed) > 1500*time.Millisecond })
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

	c.release("web-2", "has nothing to do with web-1")
	c.awaitEvent("stage", "deployed v0.2.0")
	c.checkRuns("stage", "v0.2.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0")
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0")
}

// drift lets somebody change web-1's Deployment by hand, as one edit, and waits
// until Argo CD has seen it and put it back.
func (c *company) drift(environment string) {
	c.t.Helper()
	name, namespace := c.Name()+"-"+environment+"-web-1", c.Name()+"-"+environment
	wanted := c.live(environment)
	seen := len(world.apps.History(name))
	const edit = `{"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "web-1", "image": "dev.registry.example/by-hand:1"}]}}}}`
	if _, err := world.cluster.Kubectl(c.t.Context(), "-n", namespace, "patch", "deployment", "web-1", "--type", "strategic", "--patch", edit); err != nil {
		c.t.Fatal(err)
	}
	c.await("Argo CD sees the drift of "+name, func() bool {
		return slices.ContainsFunc(world.apps.History(name)[seen:], func(m applications.Moment) bool { return m.Sync == "OutOfSync" })
	})
	c.await("Argo CD has healed "+name, func() bool {
		a, _ := world.apps.Get(name)
		return a.Done(a.TargetRevision)
	})
	if diff := cmp.Diff(wanted, c.live(environment)); diff != "" {
		c.t.Errorf("%s's live images after the healing (-want +got):\n%s", environment, diff)
	}
	replicas, err := world.cluster.Kubectl(c.t.Context(), "-n", namespace, "get", "deployment", "web-1", "-o", "jsonpath={.spec.replicas}")
	if err != nil || replicas != "1" {
		c.t.Errorf("%s has %s replicas after the healing (%v)", environment, replicas, err)
	}
}

//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var secondKiosk = planBeside("TestSecondVersionWhileTheFirstIsInStage", kiosk{name: "second", gated: true})

// TestSecondVersionWhileTheFirstIsInStage: v0.2.0 arrives while v0.1.0 is in
// Stage and nobody has agreed to it for Prod (S2, S10). Stage takes each new
// snapshot. What Stage has proven stays proven after something else took its
// place (S19), so an approval of v0.1.0 lets exactly v0.1.0 into Prod, the tree
// that Stage has tested (I3), from images that are still there (I2, S14), while
// v0.2.0 goes on waiting for its own. Neither is lost, and nothing goes back.
func TestSecondVersionWhileTheFirstIsInStage(t *testing.T) {
	beside(t)
	c := secondKiosk.open(t)
	c.awaitEvent("stage", "deployed v0.1.0")
	c.awaitReason("prod", "v0.1.0", promotion.ApprovalMissing)

	release := c.release("web-1", "while the first one is being tested")
	c.awaitDeployed("stage", "v0.2.0")
	c.awaitEvent("stage", "deployed v0.2.0")
	c.awaitReason("prod", "v0.2.0", promotion.ApprovalMissing)
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0")
	c.checkLedger("prod")

	c.approve("v0.1.0")
	c.awaitDeployed("prod", "v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")
	c.checkRuns("prod", "v0.1.0")
	c.checkRuns("stage", "v0.2.0")
	if tested, runs := c.testedTree("stage", "v0.1.0"), c.tree("refs/heads/environments/prod"); tested != runs {
		t.Errorf("prod's tree is %s, and stage has tested %s", runs, tested)
	}
	for image := range c.live("prod") {
		if strings.HasSuffix(image, release.Digest) {
			t.Errorf("prod runs %s, which belongs to v0.2.0", image)
		}
	}
	c.awaitReason("prod", "v0.2.0", promotion.ApprovalMissing)
	c.checkStatus("prod", "deployed", "v0.2.0", promotion.ApprovalMissing)

	c.approve("v0.2.0")
	c.awaitDeployed("prod", "v0.2.0")
	c.awaitEvent("prod", "deployed v0.2.0")
	c.checkRuns("prod", "v0.2.0")

	// Somebody agrees to v0.1.0 when everything has gone on.
	if err := c.Approve(t.Context(), "prod", "v0.1.0", gitserver.Developer); err != nil {
		t.Fatal(err)
	}
	if run := c.lookAgain(); len(run.Done) > 0 || run.Error != "" {
		t.Errorf("a late approval of an old version leads to %v, %s", run.Done, run.Error)
	}
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0")
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0")
	c.checkSnapshots("v0.1.0", "v0.2.0")
	for _, version := range c.snapshots() {
		c.propagator("snapshot", "verify", version, "--environment", "prod")
		c.propagator("snapshot", "verify", version, "--environment", "stage")
	}
	if history := c.propagator("history", "prod"); strings.Count(history, "approval pass: "+gitserver.Lead) != 2 {
		t.Errorf("prod's history does not say who agreed to both versions:\n%s", history)
	}
}

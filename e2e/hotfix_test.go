//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var fixedKiosk = plan("TestHotfixWhileStageHasTheNextRelease", kiosk{name: "fixed", applications: 2, gated: true})

// TestHotfixWhileStageHasTheNextRelease: Prod runs v0.1.0 and Stage has v0.2.0
// already when Prod needs a fix. A developer pushes a branch that was cut from what
// Prod runs, and nothing else. It becomes v0.1.1, which Stage tests before it goes
// on with its release; Prod takes it; and Stage returns to its release with the fix
// in it. What Dev leads to afterwards is not let in before it has the fix as well.
func TestHotfixWhileStageHasTheNextRelease(t *testing.T) {
	claim(t)
	c := fixedKiosk.open(t)
	c.awaitEvent("stage", "deployed v0.1.0")
	c.approve("v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")
	next := c.release("web-1", "the next release")
	c.awaitEvent("stage", "deployed v0.2.0")

	fix, err := c.Fix(t.Context(), "pay-timeout", "prod", "web-2", "wait longer for payments")
	if err != nil {
		t.Fatal(err)
	}
	c.awaitDeployed("stage", "v0.1.1")
	c.awaitEvent("stage", "deployed v0.1.1")
	c.checkRuns("stage", "v0.1.1")
	if !c.runs("stage", fix.Digest) || c.runs("stage", next.Digest) {
		t.Errorf("stage runs %v; the fix is %s, and the release it left has %s", c.live("stage"), fix.Digest, next.Digest)
	}
	wait := c.awaitReason("stage", "v0.2.1", promotion.ReleaseInProgress)
	if !strings.Contains(wait.Detail, "v0.1.1 is not in prod yet") {
		t.Errorf("nobody learns what stage waits for: %s", wait.Detail)
	}
	c.awaitReason("prod", "v0.1.1", promotion.ApprovalMissing)
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0")

	c.approve("v0.1.1")
	c.awaitDeployed("prod", "v0.1.1")
	c.awaitEvent("prod", "deployed v0.1.1")
	c.checkRuns("prod", "v0.1.1")
	if !c.runs("prod", fix.Digest) {
		t.Errorf("prod runs %v, and the fix is %s", c.live("prod"), fix.Digest)
	}
	c.awaitDeployed("stage", "v0.2.1")
	c.awaitEvent("stage", "deployed v0.2.1")
	c.checkRuns("stage", "v0.2.1")
	if !c.runs("stage", fix.Digest) || !c.runs("stage", next.Digest) {
		t.Errorf("stage runs %v; the fix is %s, and its release has %s", c.live("stage"), fix.Digest, next.Digest)
	}

	// Nobody has merged it back.
	c.release("web-1", "lacks the fix")
	lost := c.awaitReason("stage", "v0.3.0", promotion.HotfixLost)
	for _, named := range []string{"pay-timeout", "v0.1.1", "base/web-2/kustomization.yaml"} {
		if !strings.Contains(lost.Detail, named) {
			t.Errorf("the refusal does not name %s: %s", named, lost.Detail)
		}
	}
	if list := c.propagator("hotfix", "list"); !strings.Contains(list, "pay-timeout") || !strings.Contains(list, "debt") {
		t.Errorf("propagator hotfix list does not show the debt:\n%s", list)
	}
	c.lookAgain()
	c.checkNeverPointedAt("stage", "v0.3.0")

	if _, err := c.MergeBack(t.Context(), fix); err != nil {
		t.Fatal(err)
	}
	c.refresh("dev")
	c.awaitDeployed("stage", "v0.4.0")
	c.awaitEvent("stage", "deployed v0.4.0")
	c.checkRuns("stage", "v0.4.0")
	if !c.runs("stage", fix.Digest) {
		t.Errorf("stage runs %v, and the fix is %s", c.live("stage"), fix.Digest)
	}
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0",
		"promote v0.1.1", "deployed v0.1.1", "promote v0.2.1", "deployed v0.2.1", "promote v0.4.0", "deployed v0.4.0")
	c.checkSnapshots("v0.1.0", "v0.1.1", "v0.2.0", "v0.2.1", "v0.3.0", "v0.4.0")
	if show := c.propagator("hotfix", "show", "pay-timeout"); !strings.Contains(show, "merge is empty") {
		t.Errorf("propagator hotfix show does not say why it is contained:\n%s", show)
	}
}

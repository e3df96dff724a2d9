//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var fixedKiosk = planBeside("TestHotfixWhileStageHasTheNextRelease", kiosk{name: "fixed", applications: 2, gated: true})

// TestHotfixWhileStageHasTheNextRelease: Prod runs v0.1.0 and Stage has v0.2.0
// already when Prod needs a fix. A developer pushes a branch that was cut from what
// Prod runs, and nothing else. It becomes v0.1.1, which Stage tests before it goes
// on with its release; Prod takes it; and Stage returns to its release with the fix
// in it. What Dev leads to afterwards is not let in before it has the fix as well.
func TestHotfixWhileStageHasTheNextRelease(t *testing.T) {
	beside(t)
	c := fixedKiosk.open(t)
	c.awaitEvent("stage", "deployed v0.1.0")
	c.approve("v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")
	next := c.release("web-1", "the next release")
	c.awaitEvent("stage", "deployed v0.2.0")

	fix := c.fix("pay-timeout", "web-2", "wait longer for payments")
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

var weekKiosk = planBeside("TestHotfixesOfSeveralDays", kiosk{name: "week", applications: 4, byHand: true})

// TestHotfixesOfSeveralDays: three people fix what Prod runs, each on a branch of
// their own, and two of them change the same line. A release manager makes a patch
// of what goes together; the third follows in the next, once its author has merged
// the other. Then Stage is on hold, and a fourth fix goes past it. In the end the
// branches are merged into the source branch with the git host's button, which
// takes along all that was in them.
func TestHotfixesOfSeveralDays(t *testing.T) {
	beside(t)
	c := weekKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")

	timeout := c.fix("pay-timeout", "web-1", "wait longer for payments")
	memory := c.fix("less-memory", "web-2", "less memory")
	c.fix("slow-orders", "web-1", "more orders at a time")
	list := c.propagator("hotfix", "list")
	for _, line := range []string{"less-memory", "pay-timeout", "conflict with hotfix/pay-timeout in base/web-1/kustomization.yaml"} {
		if !strings.Contains(list, line) {
			t.Errorf("propagator hotfix list does not say %q:\n%s", line, list)
		}
	}
	c.propagator("hotfix", "compose")
	c.awaitEvent("prod", "deployed v0.1.1")
	c.checkRuns("prod", "v0.1.1")
	if !c.runs("prod", timeout.Digest) || !c.runs("prod", memory.Digest) {
		t.Errorf("prod runs %v, and the fixes are %s and %s", c.live("prod"), timeout.Digest, memory.Digest)
	}

	both, err := c.FixOnTop(t.Context(), "slow-orders", "pay-timeout", "web-1", "more orders at a time, and wait longer")
	if err != nil {
		t.Fatal(err)
	}
	c.propagator("hotfix", "compose", "slow-orders")
	c.awaitEvent("prod", "deployed v0.1.2")
	c.checkRuns("prod", "v0.1.2")
	if !c.runs("prod", both.Digest) || !c.runs("prod", memory.Digest) {
		t.Errorf("prod runs %v, and the fixes are %s and %s", c.live("prod"), both.Digest, memory.Digest)
	}

	c.propagator("hold", "stage", "--reason", "the test data are being restored")
	urgent := c.fix("nobody-can-pay", "web-3", "take money")
	c.propagator("hotfix", "promote", "nobody-can-pay", "--to", "prod", "--skip", "stage", "--reason", "nobody can pay")
	c.awaitEvent("prod", "deployed v0.1.3")
	c.checkRuns("prod", "v0.1.3")
	if !c.runs("prod", urgent.Digest) {
		t.Errorf("prod runs %v, and the fix is %s", c.live("prod"), urgent.Digest)
	}
	c.checkNeverPointedAt("stage", "v0.1.3")
	c.propagator("resume", "stage", "--reason", "the test data are back")
	c.awaitEvent("stage", "deployed v0.1.3")

	next := c.release("web-4", "the next release, without any of it")
	lost := c.awaitReason("stage", "v0.2.0", promotion.HotfixLost)
	if !strings.Contains(lost.Detail, "v0.1.") {
		t.Errorf("the refusal does not say where the fix went: %s", lost.Detail)
	}
	if err := c.MergeFixes(t.Context(), "slow-orders", "less-memory", "nobody-can-pay"); err != nil {
		t.Fatal(err)
	}
	c.refresh("dev")
	c.awaitEvent("prod", "deployed v0.3.0")
	c.checkRuns("prod", "v0.3.0")
	for _, digest := range []string{both.Digest, memory.Digest, urgent.Digest, next.Digest} {
		if !c.runs("prod", digest) {
			t.Errorf("prod runs %v, and not %s", c.live("prod"), digest)
		}
	}
	if list := c.propagator("hotfix", "list"); strings.Contains(list, "debt") {
		t.Errorf("something is still owed:\n%s", list)
	}
}

// fix lets a developer fix what prod runs.
func (c *company) fix(name, service, note string) shop.Release {
	c.t.Helper()
	fix, err := c.Fix(c.t.Context(), name, "prod", service, note)
	if err != nil {
		c.t.Fatal(err)
	}
	return fix
}

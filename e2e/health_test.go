//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var sickKiosk = planBeside("TestFailedStageSyncDoesNotPromote", kiosk{name: "sick", pods: true, deadline: 4})

// TestFailedStageSyncDoesNotPromote: v0.2.0 is synced in Stage, but its Pods
// never become ready. Synced is not healthy (I7): there is no evidence, so Prod,
// which asks for nobody's approval, does not get it (S19), and whoever asks is
// told where to look. The correction is a commit like any other, and goes all
// the way.
func TestFailedStageSyncDoesNotPromote(t *testing.T) {
	beside(t)
	c := sickKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")

	if _, err := c.SetNeverReady(t.Context(), "stage", "web-1", true); err != nil {
		t.Fatal(err)
	}
	c.refresh("dev")
	c.await("stage is degraded by v0.2.0", func() bool {
		list := c.of("stage")
		return len(list) == 1 && list[0].TargetRevision == c.tag("v0.2.0") && list[0].Sync == "Synced" && list[0].Phase == "Succeeded" && list[0].Health == "Degraded"
	})

	// The hook looks at exactly that state, and does nothing but name it.
	run := c.lookAgain()
	unwell, ok := waitsFor(run.Waits, "stage", "sick/v0.2.0", promotion.HealthUnknown)
	if !ok || !strings.Contains(unwell.Detail, "sick-stage-web-1") || !strings.Contains(unwell.Detail, "Degraded") {
		t.Errorf("the hook does not say that sick-stage-web-1 is Degraded: %v", run.Waits)
	}
	if _, ok := waitsFor(run.Waits, "prod", "sick/v0.2.0", promotion.NotValidated); !ok {
		t.Errorf("the hook does not say why prod has to do without v0.2.0: %v", run.Waits)
	}
	if len(run.Done) > 0 {
		t.Errorf("the hook did %v", run.Done)
	}
	c.checkStatus("stage", "waitingForArgoCD", "v0.2.0", promotion.HealthUnknown)
	c.checkStatus("prod", "deployed", "v0.2.0", promotion.NotValidated)
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0")
	c.checkRuns("prod", "v0.1.0")
	if output, err := c.cli(t.Context(), "promote", "prod", "v0.2.0"); err == nil || !strings.Contains(output, string(promotion.NotValidated)) {
		t.Errorf("a person who asks for v0.2.0 in prod is not refused: %v\n%s", err, output)
	}

	if _, err := c.SetNeverReady(t.Context(), "stage", "web-1", false); err != nil {
		t.Fatal(err)
	}
	c.refresh("dev")
	c.awaitDeployed("prod", "v0.3.0")
	c.awaitEvent("prod", "deployed v0.3.0")
	c.checkRuns("stage", "v0.3.0")
	c.checkRuns("prod", "v0.3.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "promote v0.3.0", "deployed v0.3.0")
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.3.0", "deployed v0.3.0")
	c.checkNeverPointedAt("prod", "v0.2.0")
}

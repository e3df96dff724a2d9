//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

var midhopKiosk = plan("TestArgoCDRestartedInMidHop", kiosk{name: "midhop", pods: true})

// TestArgoCDRestartedInMidHop: all of Argo CD that takes part in a deployment is
// killed while Stage is on its way to a version: once as soon as its
// Applications point there, once in the middle of the sync. It arrives all the
// same, and nobody is told twice (I6, I7).
func TestArgoCDRestartedInMidHop(t *testing.T) {
	claim(t)
	c := midhopKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	ledger := []string{"open", "promote v0.1.0", "deployed v0.1.0"}
	for i, moment := range []struct {
		name string
		come func(a applications.State, tag string) bool
	}{
		{"stage points at it", func(a applications.State, tag string) bool { return a.TargetRevision == tag }},
		{"stage is being synced", func(a applications.State, tag string) bool { return a.TargetRevision == tag && a.Phase == "Running" }},
	} {
		version := fmt.Sprintf("v0.%d.0", i+2)
		c.release("web-1", "killed when "+moment.name)
		c.await(moment.name, func() bool {
			for _, a := range c.of("stage") {
				if moment.come(a, c.tag(version)) {
					return true
				}
			}
			return false
		})
		parts := []*workload.Workload{world.argocd.Controller, world.argocd.RepoServer, world.argocd.ApplicationSets}
		for _, part := range parts {
			part.Kill()
		}
		if c.deployed("stage", version) {
			t.Errorf("%s: it was deployed already, and killing Argo CD was no test of anything", moment.name)
		}
		c.awaitReady(parts...)
		c.awaitEvent("prod", "deployed "+version)
		ledger = append(ledger, "promote "+version, "deployed "+version)
		c.checkLedger("stage", ledger...)
		c.checkRuns("stage", version)
		c.checkRuns("prod", version)
	}
}

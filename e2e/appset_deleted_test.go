//go:build e2e

package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

var unsetKiosk = plan("TestDeletedApplicationSetKeepsItsApplications", kiosk{name: "unset"})

// TestDeletedApplicationSetKeepsItsApplications: somebody deletes the
// ApplicationSet as one deletes anything, without a thought of owner references.
// Its finalizer lets the controller take these off first, so every Application
// and what it runs stays (I8), and the set takes them over again when it is back.
func TestDeletedApplicationSetKeepsItsApplications(t *testing.T) {
	claim(t)
	c := unsetKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	before, live := everyApplication(), c.live("prod")

	c.kubectl("delete", "applicationset", c.applicationSet())
	for _, a := range append(c.of("stage"), c.of("prod")...) {
		if owners := c.get("Application", a.Name).GetOwnerReferences(); len(owners) > 0 {
			t.Errorf("%s still belongs to %v, and goes with it", a.Name, owners)
		}
	}
	c.release("web-1", "while nobody exposes it")
	c.awaitEvent("stage", "promote v0.2.0")
	checkNobodyLeft(t, before)
	if diff := cmp.Diff(live, c.live("prod")); diff != "" {
		t.Errorf("what runs has changed (-before +after):\n%s", diff)
	}

	c.must(world.applyPipeline(t.Context(), c.Pipeline))
	c.awaitEvent("prod", "deployed v0.2.0")
	checkNobodyLeft(t, before)
}

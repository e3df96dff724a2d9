//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var ephemeralKiosk = plan("TestDevRegistryMayBeGone", kiosk{name: "ephemeral", applications: 2, gated: true})

// TestDevRegistryMayBeGone: once a snapshot is in Stage, Dev's registry is not
// needed any more (S13, I5): the nightly job has emptied it and it does not even
// answer. Prod's images come from Stage's registry, by digest.
func TestDevRegistryMayBeGone(t *testing.T) {
	claim(t)
	c := ephemeralKiosk.open(t)
	c.awaitEvent("stage", "deployed v0.1.0")
	c.awaitReason("prod", "v0.1.0", promotion.ApprovalMissing)

	deleted, err := c.DeleteDevImages(t.Context())
	if err != nil || deleted == 0 {
		t.Fatalf("deleted %d images of Dev: %v", deleted, err)
	}
	dev := world.registries.Dev
	if err := dev.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := dev.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	before := c.blobsFrom(world.registries.Stage)

	c.approve("v0.1.0")
	c.awaitDeployed("prod", "v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")
	c.checkRuns("prod", "v0.1.0")
	c.checkRuns("stage", "v0.1.0")
	if c.blobsFrom(world.registries.Stage) == before {
		t.Error("nothing was read from stage's registry; where are prod's images from?")
	}
	for _, environment := range []string{"stage", "prod"} {
		c.propagator("snapshot", "verify", "v0.1.0", "--environment", environment)
	}
	if run := c.lookAgain(); run.Error != "" {
		t.Errorf("the hook has trouble without Dev's registry: %s", run.Error)
	}
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0")
}

// blobsFrom counts the blobs of the company that a registry has handed out.
func (c *company) blobsFrom(registry *registries.Registry) int {
	c.t.Helper()
	n, err := registry.Count(func(r registries.Request) bool {
		return r.Method == http.MethodGet && r.Status == http.StatusOK && strings.Contains(r.Path, "/"+c.Name()+"/") && strings.Contains(r.Path, "/blobs/")
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

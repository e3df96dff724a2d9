//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// TestFullTrain: in examples/shop, a change of one service goes from Dev to
// Stage by itself, and to Prod once somebody has agreed. What runs in the end
// is what the lock says, from the environment's own registry (I2), and Prod's
// tree is the one that Stage has tested (I3). The operator has installed it by
// docs/install.md.
func TestFullTrain(t *testing.T) {
	beside(t)
	c := theShop(t)
	before := len(c.snapshots())
	release := c.release("orders", "ships faster")
	c.awaitDeployed("dev", release.Commit)
	c.eventually("a new snapshot", func() bool { return len(c.snapshots()) > before })
	version := c.newest()
	c.awaitDeployed("stage", version)
	c.eventually("stage's evidence", func() bool { return slices.Contains(c.ledger("stage"), "deployed "+version) })
	c.eventually("the gate", func() bool { return c.hookStatus().waits("prod", promotion.ApprovalMissing) })
	if list := c.of("prod"); len(list) > 0 {
		t.Errorf("nobody has agreed, and prod has %v", list)
	}

	c.approve(version)
	c.awaitDeployed("prod", version)
	c.eventually("prod's evidence", func() bool { return slices.Contains(c.ledger("prod"), "deployed "+version) })
	if diff := cmp.Diff([]string{"open", "promote " + version, "deployed " + version}, c.ledger("prod")); diff != "" {
		t.Errorf("prod's ledger (-want +got):\n%s", diff)
	}
	c.checkRuns("stage", version)
	c.checkRuns("prod", version)
	built := func(i lockImage) bool {
		return strings.HasSuffix(i.Requested, ":"+release.Tag) && i.Digest == release.Digest
	}
	if !slices.ContainsFunc(c.lock(version).Images, built) {
		t.Errorf("the lock has not what CI has built: %+v", release)
	}
}

// theShop is the company of examples/shop, installed as far as docs/install.md
// goes: TestInstall has done that unless a scenario runs alone.
func theShop(t *testing.T) *company {
	t.Helper()
	c := &company{Pipeline: world.shop, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			c.diagnose(context.WithoutCancel(t.Context()))
		}
	})
	if len(c.of("stage")) == 0 {
		if err := world.follow(t.Context(), "The pipeline", "The first promotion"); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// newest is the highest version that was captured: v0.3.0.
func (c *company) newest() string {
	c.t.Helper()
	list := c.snapshots()
	return strings.TrimPrefix(list[len(list)-1], c.Name()+"/")
}

//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFullTrain: a change of one service goes from Dev to Stage by itself, and
// to Prod once somebody has agreed. What runs in the end is what the lock says,
// from the environment's own registry (I2), and Prod's tree is the one that
// Stage has tested (I3).
func TestFullTrain(t *testing.T) {
	c := open(t, kiosk{name: "train", applications: 2, gated: true})
	c.awaitDeployed("stage", "v0.1.0")

	release := c.release("web-1", "a new page")
	c.awaitDeployed("dev", release.Commit)
	c.awaitDeployed("stage", "v0.2.0")
	c.eventually("stage's evidence", func() bool { return slices.Contains(c.ledger("stage"), "deployed v0.2.0") })
	if list := c.of("prod"); len(list) > 0 {
		t.Errorf("nobody has agreed, and prod has %v", list)
	}

	c.approve("v0.2.0")
	c.awaitDeployed("prod", "v0.2.0")
	c.eventually("prod's evidence", func() bool { return slices.Contains(c.ledger("prod"), "deployed v0.2.0") })
	if diff := cmp.Diff([]string{"open", "promote v0.2.0", "deployed v0.2.0"}, c.ledger("prod")); diff != "" {
		t.Errorf("prod's ledger (-want +got):\n%s", diff)
	}
	c.checkRuns("stage", "v0.2.0")
	c.checkRuns("prod", "v0.2.0")
	if i := slices.IndexFunc(c.lock("v0.2.0").Images, func(i lockImage) bool {
		return strings.Contains(i.Requested, release.Tag) && i.Digest == release.Digest
	}); i < 0 {
		t.Errorf("the lock has not what CI has built: %+v", release)
	}
}

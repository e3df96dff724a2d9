//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var backKiosk = planBeside("TestRollback", kiosk{name: "back", pods: true})

// TestRollback: Stage and then Prod go back to v0.1.0 by one command each: no
// pipeline runs, nobody commits anything, nothing is built or copied (S45,
// S108). The cluster really runs the old digests again. From then on the
// environment is left alone, whatever Dev captures, until a person promotes
// there by hand.
func TestRollback(t *testing.T) {
	beside(t)
	c := backKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	c.release("web-1", "loses money")
	c.awaitEvent("prod", "deployed v0.2.0")
	main := c.head("main")
	written := c.writes()

	c.byHand("rollback", "stage", "v0.1.0", "--reason", "orders lose money")
	c.awaitDeployed("stage", "v0.1.0")
	c.awaitEvent("stage", "rollback v0.1.0")
	c.awaitReason("stage", "v0.2.0", promotion.EnvOnHold)
	c.checkRuns("stage", "v0.1.0")
	c.checkRuns("prod", "v0.2.0") // which is another decision

	c.byHand("promote", "prod", "--rollback", "--reason", "orders lose money")
	c.awaitDeployed("prod", "v0.1.0")
	c.eventually("prod has proven v0.1.0 again", func() bool {
		ledger := c.ledger("prod")
		return slices.Equal(ledger[max(0, len(ledger)-2):], []string{"rollback v0.1.0", "deployed v0.1.0"})
	})
	c.checkRuns("prod", "v0.1.0")
	c.lookAgain() // nothing of it is undone
	rolledBack := []string{"open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0", "rollback v0.1.0", "deployed v0.1.0"}
	c.checkLedger("stage", rolledBack...)
	c.checkLedger("prod", rolledBack...)
	c.checkSnapshots("v0.1.0", "v0.2.0")
	if now := c.head("main"); now != main {
		t.Errorf("the source branch went from %s to %s", main, now)
	}
	if now := c.writes(); now != written {
		t.Errorf("a rollback wrote %d times to registries", now-written)
	}

	// Dev goes on, and is captured; the hold is still there.
	c.release("web-1", "as good as new")
	c.eventually("v0.3.0 is captured", func() bool { return slices.Contains(c.snapshots(), "v0.3.0") })
	c.awaitReason("stage", "v0.3.0", promotion.EnvOnHold)
	c.lookAgain()
	c.checkLedger("stage", rolledBack...)
	c.checkNeverPointedAt("stage", "v0.3.0")
	c.checkStatus("stage", "onHold", "v0.3.0", promotion.EnvOnHold)
	if hold := c.status("stage").Hold; !strings.Contains(hold, "orders lose money") {
		t.Errorf("the hold does not say why: %q", hold)
	}
	if why := c.propagator("explain", "stage", "v0.3.0"); !strings.Contains(why, "ENV_ON_HOLD") || !strings.Contains(why, "orders lose money") {
		t.Errorf("nobody learns why stage has not got v0.3.0:\n%s", why)
	}

	// It was a false alarm. Promoted by its name, v0.2.0 may come back; that
	// ends the hold, and so v0.3.0 follows by itself.
	c.byHand("promote", "stage", "v0.2.0")
	c.awaitDeployed("stage", "v0.3.0")
	c.awaitEvent("stage", "deployed v0.3.0")
	c.checkRuns("stage", "v0.3.0")
	moves := slices.DeleteFunc(c.ledger("stage")[len(rolledBack):], func(event string) bool { return !strings.HasPrefix(event, "promote ") })
	if !slices.Equal(moves, []string{"promote v0.2.0", "promote v0.3.0"}) {
		t.Errorf("after the hold stage had %v", moves)
	}

	// Prod has a hold of its own, though Stage has proven v0.3.0. Once it is
	// resumed, v0.3.0 enters by itself.
	c.awaitReason("prod", "v0.3.0", promotion.EnvOnHold)
	c.checkLedger("prod", rolledBack...)
	c.byHand("resume", "prod", "--reason", "orders earn money again")
	c.propagator("wait", "--env", "prod", "--snapshot", "v0.3.0", "--timeout", patience.String())
	c.awaitDeployed("prod", "v0.3.0")
	c.checkLedger("prod", append(rolledBack, "resume v0.1.0", "promote v0.3.0", "deployed v0.3.0")...)
	c.checkRuns("prod", "v0.3.0")
	if got := c.status("prod"); got.State != "deployed" || got.Hold != "" {
		t.Errorf("prod is still on hold: %+v", got)
	}
}

// byHand lets a person promote. Their pushes go by Propagator's own account,
// which the suite's webhook is silent about; a git host tells of every push.
func (c *company) byHand(args ...string) {
	c.t.Helper()
	c.propagator(args...)
	c.wake()
}

// writes counts what was pushed to the registries of Stage and Prod.
func (c *company) writes() int {
	c.t.Helper()
	sum := 0
	for _, registry := range []*registries.Registry{world.registries.Stage, world.registries.Prod} {
		n, err := registry.Count(func(r registries.Request) bool {
			return r.Method != http.MethodGet && r.Method != http.MethodHead && strings.Contains(r.Path, "/"+c.Name()+"/")
		})
		if err != nil {
			c.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

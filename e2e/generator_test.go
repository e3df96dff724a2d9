//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

var silentKiosk = plan("TestGeneratorDown", kiosk{name: "silent", applications: 2})

// TestGeneratorDown: while the generator does not answer, or something else
// answers in its place, every Application stays as it is, and the ApplicationSet
// says what is wrong. Promotions go on in git meanwhile; Stage gets the newest
// as soon as the generator is back (I8).
func TestGeneratorDown(t *testing.T) {
	claim(t)
	c := silentKiosk.open(t)
	afterwards(t, "what is generated", world.generateAll) // not for this company alone
	c.awaitEvent("prod", "deployed v0.1.0")
	unchanged := c.unchanged()

	c.halt(world.generator)
	c.release("web-1", "promoted while the generator is down")
	c.awaitEvent("stage", "promote v0.2.0")
	c.generateAgain()
	c.awaitGenerationFault("error listing params", generatorName)
	unchanged()
	c.must(world.generator.Start(t.Context()))
	c.awaitDeployed("prod", "v0.2.0") // the hook looks within a minute, and pokes
	c.awaitNoGenerationFault()

	// A proxy between the two, with an error page of its own.
	unchanged = c.unchanged()
	lift := c.instead(servicenet.Fault{Action: servicenet.Answer, Status: http.StatusInternalServerError, Body: "<h1>out of order</h1>"})
	c.release("web-2", "promoted while a proxy is out of order")
	c.awaitEvent("stage", "promote v0.3.0")
	c.generateAgain()
	c.awaitGenerationFault("error listing params", "500")
	unchanged()
	lift()
	c.generateAgain() // it would come by itself, as before
	c.awaitEvent("prod", "deployed v0.3.0")

	// Worse: one that says that there is nothing. Argo CD takes that for the
	// truth, so that it is up to the ApplicationSet to delete nothing.
	for _, nothing := range []string{`{}`, ``, `{"output":{"parameters":[]}}`} {
		unchanged = c.unchanged()
		lift = c.instead(servicenet.Fault{Action: servicenet.Answer, Status: http.StatusOK, Body: nothing})
		c.generateAgain()
		c.awaitNoGenerationFault() // if it were one, it would be no test of anything
		unchanged()
		lift()
	}

	c.release("web-1", "after all that")
	c.awaitDeployed("prod", "v0.4.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0",
		"promote v0.3.0", "deployed v0.3.0", "promote v0.4.0", "deployed v0.4.0")
	c.checkRuns("stage", "v0.4.0")
}

// instead lets something else answer in the generator's place.
func (c *company) instead(fault servicenet.Fault) (lift func()) {
	c.t.Helper()
	fault.Match = generatorQuestions
	lift, err := world.net.Inject(fault)
	c.must(err)
	c.t.Cleanup(lift)
	return lift
}

// awaitNoGenerationFault waits until the ApplicationSet has no error. An error
// about the generator's answer comes back with every answer. That the controller's
// update met somebody else's is an error too, until it has generated again.
func (c *company) awaitNoGenerationFault() {
	c.t.Helper()
	failed, message := true, ""
	defer func() {
		if failed {
			c.t.Logf("the ApplicationSet's error: %s", message)
		}
	}()
	c.eventually("the ApplicationSet has no error", func() bool {
		failed, message = c.generation()
		return !failed
	})
}

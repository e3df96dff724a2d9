//go:build e2e

package e2e

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

var tokenKiosk = plan("TestWrongToken", kiosk{name: "token"})

// TestWrongToken: with a wrong token Argo CD's notifications are refused, which
// the hook's log explains, and the trains go on without them. The generator
// refuses the ApplicationSet controller in the same way; then nothing moves,
// nothing is deleted, and the ApplicationSet says why. No token is shown
// anywhere (I9).
func TestWrongToken(t *testing.T) {
	claim(t)
	c := tokenKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	const notifications, wrong = "argocd-notifications-secret", "not-the-token-that-was-agreed-on"
	right := c.secretValue("propagator-token", "token")
	hookSays, generatorSays := said(world.hook), said(world.generator)

	putBack := c.patch("secret", notifications, secretData("propagator-token", wrong), secretData("propagator-token", right))
	events := len(notified())
	c.release("web-1", "nobody is believed")
	c.awaitDeployed("prod", "v0.2.0")
	c.awaitNotified("are refused", http.StatusUnauthorized, events)
	c.eventually("the hook says why, and what to do", func() bool {
		return len(linesWith(strings.Join(hookSays(), ""), `"WARN"`, "the bearer token is wrong", notifications)) > 0
	})
	putBack()
	events = len(notified())
	c.release("web-1", "believed again")
	c.awaitDeployed("prod", "v0.3.0")
	c.awaitNotified("are accepted again", http.StatusAccepted, events)

	// The ApplicationSet controller reads its token by way of a ConfigMap.
	c.patch("secret", "propagator-token", secretData("other", wrong), map[string]any{"data": map[string]any{"other": nil}})
	for _, fault := range []struct{ refers, says, version string }{
		{"$propagator-token:other", "the bearer token is wrong", "v0.4.0"},
		{"$propagator-token:missing", "lacks the key", "v0.5.0"},
	} {
		unchanged := c.unchanged()
		putBack := c.patch("configmap", "propagator", map[string]any{"data": map[string]any{"token": fault.refers}},
			map[string]any{"data": map[string]any{"token": "$propagator-token:token"}})
		c.release("web-1", "the token is "+fault.refers)
		c.awaitEvent("stage", "promote "+fault.version)
		c.awaitGenerationFault("error listing params", "401", fault.says)
		c.eventually("the generator says why, and what to do", func() bool {
			return len(linesWith(strings.Join(generatorSays(), ""), `"WARN"`, fault.says, "propagator-token")) > 0
		})
		_, message := c.generation()
		checkNoToken(t, "the ApplicationSet's condition", message, right, wrong)
		c.generateAgain()
		unchanged()
		putBack()
		c.generateAgain() // the hook would poke within a minute
		c.awaitEvent("prod", "deployed "+fault.version)
	}
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0",
		"promote v0.3.0", "deployed v0.3.0", "promote v0.4.0", "deployed v0.4.0", "promote v0.5.0", "deployed v0.5.0")
	checkNoToken(t, "the hook's log", strings.Join(hookSays(), ""), right, wrong)
	checkNoToken(t, "the generator's log", strings.Join(generatorSays(), ""), right, wrong)
}

// secretData is a patch of a Secret.
func secretData(key, value string) any {
	return map[string]any{"data": map[string]any{key: base64.StdEncoding.EncodeToString([]byte(value))}}
}

// notified are the notifications so far, of all companies.
func notified() []servicenet.Request { return world.net.Requests(hookEvents[0]) }

// awaitNotified waits until a notification, other than the first ones, was
// answered with a status.
func (c *company) awaitNotified(what string, status, first int) {
	c.t.Helper()
	c.eventually("notifications "+what, func() bool {
		for _, request := range notified()[first:] {
			if request.Status == status {
				return true
			}
		}
		return false
	})
}

// checkNoToken looks for tokens where people read.
func checkNoToken(t *testing.T, where, text string, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		if strings.Contains(text, token) {
			t.Errorf("a token is in %s", where)
		}
	}
}

//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

// withoutEvents is how long a hop may take when no event arrives: the hook's
// interval of a minute, and what it needs to do its work.
const withoutEvents = 75 * time.Second

// hookEvents are what others tell the hook: Argo CD's notifications and the git
// host's webhook.
var hookEvents = []servicenet.Match{
	{Host: hookName + ".argocd.svc.cluster.local", Path: "/api/v1/argocd"},
	{Host: hookName + ".argocd.svc.cluster.local", Path: "/api/v1/wake"},
}

func countEvents() int {
	n := 0
	for _, match := range hookEvents {
		n += len(world.net.Requests(match))
	}
	return n
}

var deafKiosk = plan("TestWithoutNotifications", kiosk{name: "deaf"})

// TestWithoutNotifications: events only save time (I6). With Argo CD's
// notifications controller switched off, the hook sees by its watch that Dev
// has synced. With the git host silent and without the right to watch, it looks
// by itself in time.
func TestWithoutNotifications(t *testing.T) {
	claim(t)
	c := deafKiosk.open(t)
	c.awaitDeployed("prod", "v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")

	c.halt(world.argocd.Notifications)
	notifications := len(world.net.Requests(hookEvents[0]))
	release := c.release("web-1", "nobody tells")
	c.awaitDeployed("dev", release.Commit)
	c.awaitDeployed("prod", "v0.2.0")
	c.awaitEvent("prod", "deployed v0.2.0")
	if after := len(world.net.Requests(hookEvents[0])); after != notifications {
		t.Errorf("%d notifications came from a controller that is switched off", after-notifications)
	}

	world.noWebhook.Store(true)
	t.Cleanup(func() { world.noWebhook.Store(false) })
	c.blindHook()
	events := countEvents()
	release = c.release("web-1", "nobody tells, and nobody may look")
	c.awaitDeployed("dev", release.Commit)
	finished := c.of("dev")[0].FinishedAt
	c.await("stage points at v0.3.0", func() bool { return c.of("stage")[0].TargetRevision == c.tag("v0.3.0") })
	if took := time.Since(finished); took > withoutEvents {
		t.Errorf("from Dev's sync to stage's new target: %s; at most %s", took.Round(time.Second), withoutEvents)
	} else {
		t.Logf("without any event: %s", took.Round(time.Second))
	}
	if after := countEvents(); after != events {
		t.Errorf("%d events came to a hook to which nobody speaks", after-events)
	}
	c.awaitDeployed("stage", "v0.3.0")
	c.checkRuns("stage", "v0.3.0")
}

// blindHook takes the right to watch away from the hook, which then can only
// list, and restarts it.
func (c *company) blindHook() {
	c.t.Helper()
	role := c.get("Role", hookName)
	// The hook has to notice both, so its restart comes first here and last at
	// the end of the test.
	afterwards(c.t, "the hook's sight", world.hook.Restart)
	c.patch("role", hookName, map[string]any{"rules": []any{
		map[string]any{"apiGroups": []string{"argoproj.io"}, "resources": []string{"applications"}, "verbs": []string{"get", "list"}},
		map[string]any{"apiGroups": []string{"argoproj.io"}, "resources": []string{"applicationsets"}, "verbs": []string{"list", "patch"}},
	}}, map[string]any{"rules": role.Object["rules"]})
	heard := said(world.hook)
	c.must(world.hook.Restart(c.t.Context()))
	c.eventually("the hook says that it cannot watch, and which right it lacks", func() bool {
		for _, log := range heard() {
			if len(linesWith(log, `"WARN"`, "allow verb watch on applications.argoproj.io")) == 1 {
				return true
			}
		}
		return false
	})
}

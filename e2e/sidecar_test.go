//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
)

// TestSidecarRestartedUnderLoad: the sidecar is killed again and again while
// people ask for fresh renders of everything and a version is on its way. When
// the load ends, in the middle of an outage, Applications show errors; Argo CD
// compares them again in its own time, and all arrives without anybody's help.
//
// Only an outage in which an Application is rendered three times needs a
// person: Argo CD then serves the error from its cache for an hour. What
// docs/install.md says about it under troubleshooting is true.
func TestSidecarRestartedUnderLoad(t *testing.T) {
	c := open(t, kiosk{name: "render", applications: 4})
	c.awaitEvent("prod", "deployed v0.1.0")
	c.compareOften()

	stop := c.load("stage", "prod")
	defer stop()
	says := said(world.sidecar)
	renders := func() int {
		return len(linesWith(strings.Join(says(), ""), `"msg":"render"`, `"result":"ok"`, c.Name()+"-"))
	}
	c.release("web-1", "rendered by a sidecar that dies again and again")
	for killed := range 4 {
		enough := renders() + len(c.of("stage")) + len(c.of("prod"))
		c.eventually(fmt.Sprintf("the sidecar renders everything once more, after it was killed %d times", killed), func() bool {
			return renders() >= enough
		})
		world.sidecar.Kill()
	}
	stop()
	c.await("an Application shows that nobody renders", func() bool {
		return slices.ContainsFunc(c.of("stage"), func(a applications.State) bool {
			return a.Sync == "Unknown" && strings.Contains(a.Conditions["ComparisonError"], `"propagator"`)
		})
	})
	c.awaitDeployed("stage", "v0.2.0")
	c.awaitDeployed("prod", "v0.2.0")
	c.checkRuns("stage", "v0.2.0")
	c.checkRuns("prod", "v0.2.0")
	c.awaitEvent("prod", "deployed v0.2.0")

	c.halt(world.sidecar)
	c.release("web-2", "rendered by nobody")
	c.awaitEvent("stage", "promote v0.3.0")
	c.await("stage points at v0.3.0", func() bool {
		return !slices.ContainsFunc(c.of("stage"), func(a applications.State) bool { return a.TargetRevision != c.tag("v0.3.0") })
	})
	const cached = "Manifest generation error (cached)"
	stuck := func(a applications.State) bool { return strings.Contains(a.Conditions["ComparisonError"], cached) }
	c.eventually("Argo CD has asked the sidecar three times, and asks no more", func() bool {
		c.refresh("stage")
		return !slices.ContainsFunc(c.of("stage"), func(a applications.State) bool { return !stuck(a) })
	})
	c.must(world.sidecar.Start(t.Context()))
	before := c.of("stage")
	c.refresh("stage")
	c.await("Argo CD has compared again", func() bool {
		return slices.EqualFunc(before, c.of("stage"), func(b, a applications.State) bool { return a.ReconciledAt.After(b.ReconciledAt) })
	})
	for _, a := range c.of("stage") {
		if !stuck(a) {
			t.Errorf("nothing is wrong with %s; is docs/install.md still right about the cache? %v", a.Name, a.Conditions)
		}
	}
	for _, a := range c.of("stage") {
		_, err := world.cluster.Kubectl(t.Context(), "annotate", "applications.argoproj.io", a.Name, "argocd.argoproj.io/refresh=hard")
		c.must(err)
	}
	c.awaitDeployed("stage", "v0.3.0")
	c.awaitDeployed("prod", "v0.3.0")
}

// compareOften lets Argo CD compare each Application every few seconds, and not
// every few minutes.
func (c *company) compareOften() {
	c.t.Helper()
	afterwards(c.t, "Argo CD's interval", world.argocd.Controller.Restart)
	c.patch("configmap", "argocd-cm",
		map[string]any{"data": map[string]any{"timeout.reconciliation": "5s", "timeout.reconciliation.jitter": "0s"}},
		map[string]any{"data": map[string]any{"timeout.reconciliation": nil, "timeout.reconciliation.jitter": nil}})
	c.must(world.argocd.Controller.Restart(c.t.Context()))
}

// load lets people ask for fresh renders of all Applications of some
// environments, as fast as Argo CD takes it, until it is stopped.
func (c *company) load(environments ...string) (stop func()) {
	c.t.Helper()
	var names []string
	for _, environment := range environments {
		for _, a := range c.of(environment) {
			names = append(names, a.Name)
		}
	}
	kube := world.cluster.Dynamic().Resource(applications.Resource).Namespace(cluster.Namespace)
	refresh := []byte(`{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"hard"}}}`)
	ctx, cancel := context.WithCancel(c.t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, name := range names {
				// One that is lost makes the load smaller by one.
				_, _ = kube.Patch(ctx, name, types.MergePatchType, refresh, metav1.PatchOptions{})
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}

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

var renderKiosk = plan("TestSidecarRestartedUnderLoad", kiosk{name: "render", applications: 4})

// TestSidecarRestartedUnderLoad: the sidecar is killed again and again while
// people ask for fresh renders of everything and a version is on its way, and in
// the end it does not come back for a while. Applications show errors; once there
// is a sidecar again all arrives without anybody's help, also where Argo CD would
// have repeated the error from its cache for an hour.
func TestSidecarRestartedUnderLoad(t *testing.T) {
	claim(t)
	c := renderKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")

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
	c.halt(world.sidecar)
	c.await("Applications show that nobody renders", func() bool {
		return !slices.ContainsFunc(c.of("stage"), func(a applications.State) bool { return !unrendered(a) })
	})
	stop()
	c.must(world.sidecar.Start(t.Context()))
	c.awaitDeployed("stage", "v0.2.0")
	c.awaitDeployed("prod", "v0.2.0")
	c.checkRuns("stage", "v0.2.0")
	c.checkRuns("prod", "v0.2.0")
	c.awaitEvent("prod", "deployed v0.2.0")

	c.must(world.sidecar.Stop(t.Context()))
	c.release("web-2", "rendered by nobody")
	c.awaitEvent("stage", "promote v0.3.0")
	c.await("stage points at v0.3.0", func() bool {
		return !slices.ContainsFunc(c.of("stage"), func(a applications.State) bool { return a.TargetRevision != c.tag("v0.3.0") })
	})
	c.eventually("nobody renders, and of one Argo CD has asked three times, and asks no more", func() bool {
		c.refresh("stage")
		cached := func(a applications.State) bool {
			return strings.Contains(a.Conditions["ComparisonError"], "Manifest generation error (cached)")
		}
		return slices.ContainsFunc(c.of("stage"), cached) && !slices.ContainsFunc(c.of("stage"), func(a applications.State) bool { return !unrendered(a) })
	})
	c.must(world.sidecar.Start(t.Context()))
	back := time.Now()
	c.awaitDeployed("stage", "v0.3.0")
	t.Logf("stage runs v0.3.0 %s after the sidecar came back", time.Since(back).Round(100*time.Millisecond))
	c.awaitDeployed("prod", "v0.3.0")
}

// unrendered reports whether an Application shows that the plugin did not render
// it.
func unrendered(a applications.State) bool {
	return a.Sync == "Unknown" && strings.Contains(a.Conditions["ComparisonError"], `"propagator"`)
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

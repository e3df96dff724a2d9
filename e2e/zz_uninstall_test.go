//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// shared are the objects of Argo CD's own that the installation adds to.
var shared = []string{
	"deployment/argocd-repo-server", "deployment/argocd-applicationset-controller",
	"configmap/argocd-cmd-params-cm", "configmap/argocd-notifications-cm", "secret/argocd-notifications-secret",
}

// sharedObjects reads them, without what the API server writes and without the
// marks of restarts.
func (s *suite) sharedObjects(ctx context.Context) (map[string]any, error) {
	objects := map[string]any{}
	for _, name := range shared {
		text, err := s.cluster.Kubectl(ctx, "get", name, "-o", "json")
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		delete(object, "status")
		for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
			unstructured.RemoveNestedField(object, "metadata", field)
		}
		for _, path := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
			for _, annotation := range []string{"deployment.kubernetes.io/revision", "kubectl.kubernetes.io/restartedAt"} {
				unstructured.RemoveNestedField(object, append(slices.Clone(path), "annotations", annotation)...)
			}
			annotations := append(slices.Clone(path), "annotations")
			if left, _, _ := unstructured.NestedMap(object, annotations...); len(left) == 0 {
				unstructured.RemoveNestedField(object, annotations...)
			}
		}
		// An empty map and none are the same to everybody.
		if data, ok := object["data"].(map[string]any); ok && len(data) == 0 {
			delete(object, "data")
		}
		objects[name] = object
	}
	return objects, nil
}

// TestUpgradeAndUninstall is the last story, after those that are played side by
// side as well, because nothing is left after it: the operator upgrades, the train
// goes on, the operator uninstalls, and Argo CD's own objects are as they were. No
// workload and no Application of Dev is touched.
func TestUpgradeAndUninstall(t *testing.T) {
	t.Parallel()
	waitForBeside.Wait()
	claim(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := theShop(t)

	if err := world.follow(ctx, "Upgrade"); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*workload.Workload{world.sidecar, world.generator, world.hook} {
		if err := w.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	before := c.snapshots()
	c.release("orders", "after the upgrade")
	c.eventually("a snapshot after the upgrade", func() bool { return len(c.snapshots()) > len(before) })
	c.awaitDeployed("stage", c.newest())

	dev, stage := len(c.of("dev")), c.of("stage")
	for _, a := range slices.Concat(stage, c.of("prod")) {
		world.apps.AllowDelete(a.Name)
	}
	running := c.live("stage")
	if err := world.follow(ctx, "Uninstall"); err != nil {
		t.Fatal(err)
	}
	if now := len(c.of("dev")); now != dev {
		t.Errorf("dev has %d Applications, had %d", now, dev)
	}
	if diff := cmp.Diff(running, c.live("stage")); diff != "" {
		t.Errorf("stage's workloads (-before +after):\n%s", diff)
	}
	after, err := world.sharedObjects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(world.stock, after); diff != "" {
		t.Errorf("Argo CD's own objects (-before the installation +after it was undone):\n%s", diff)
	}
	for _, w := range []*workload.Workload{world.hook, world.generator} {
		c.eventually(w.Ref().Name+" is gone", func() bool {
			return !slices.ContainsFunc(w.Status(), func(s workload.Status) bool { return s.PID != 0 })
		})
	}
}

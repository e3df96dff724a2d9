//go:build e2e

package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var unsafeKiosk = plan("TestUnsafeSettingsAreNamed", kiosk{name: "unsafe"})

// TestUnsafeSettingsAreNamed: an ApplicationSet has lost what protects
// Applications, and Argo CD's administrator has set a policy that would have
// overridden it anyway. Doctor names each of the four, and what it says to type
// puts all of it right. No Application is lost meanwhile (I8).
func TestUnsafeSettingsAreNamed(t *testing.T) {
	claim(t)
	c := unsafeKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	before := everyApplication()

	const params = "argocd-cmd-params-cm"
	afterwards(t, "Argo CD's part", func(ctx context.Context) error {
		_, err := world.cluster.Kubectl(ctx, "patch", "configmap", params, "--type", "merge", "-p",
			`{"data": {"applicationsetcontroller.policy": null, "applicationsetcontroller.enable.policy.override": null}}`)
		return errors.Join(err, world.follow(ctx, "Argo CD's part"), world.argocd.ApplicationSets.Restart(ctx))
	})
	c.kubectl("patch", "configmap", params, "--type", "merge", "-p",
		`{"data": {"applicationsetcontroller.policy": "sync", "applicationsetcontroller.enable.policy.override": null}}`)
	c.must(world.argocd.ApplicationSets.Restart(t.Context()))
	c.kubectl("patch", "applicationset", c.applicationSet(), "--type", "json", "-p", `[
		{"op": "replace", "path": "/spec/syncPolicy/applicationsSync", "value": "sync"},
		{"op": "remove", "path": "/spec/syncPolicy/preserveResourcesOnDeletion"},
		{"op": "replace", "path": "/spec/goTemplateOptions", "value": []}]`)
	c.eventually("Argo CD obeys: deleting an Application now deletes its workload", func() bool { return c.finalizers("unsafe-stage-web-1") != "" })

	findings := examine(t)
	subject := "ApplicationSet " + c.applicationSet()
	for _, finding := range []struct{ subject, says string }{
		{subject, "applicationsSync is sync"},
		{subject, "preserveResourcesOnDeletion is not true"},
		{subject, "lacks missingkey=error"},
		{"Deployment argocd-applicationset-controller", "it ignores applicationsSync of the ApplicationSets and deletes (policy sync)"},
	} {
		obey(t, failed(t, findings, "applicationset", finding.subject, finding.says))
	}
	c.awaitReady(world.argocd.ApplicationSets)
	c.checkInOrder()
	c.eventually("Argo CD obeys: workloads outlive their Applications again", func() bool { return c.finalizers("unsafe-stage-web-1") == "" })
	checkNobodyLeft(t, before)
	c.release("web-1", "as if nothing had been")
	c.awaitEvent("prod", "deployed v0.2.0")
}

var misnamedKiosk = plan("TestMisnamedPluginIsNamed", kiosk{name: "misnamed"})

// TestMisnamedPluginIsNamed: whoever writes an ApplicationSet believes that the
// plugin has its version in its name, as some have. Argo CD says which name it
// does not find, what runs goes on running, and nothing counts as deployed (I7).
// Doctor says where to write which name. Later it is an Application that has the
// wrong name; it is nobody's who would correct it.
func TestMisnamedPluginIsNamed(t *testing.T) {
	claim(t)
	c := misnamedKiosk.open(t)
	// In both: Argo CD repeats a sync that failed as it was, with the wrong name.
	c.awaitEvent("prod", "deployed v0.1.0")
	before, live := everyApplication(), c.live("stage")
	const name, application = "propagator-v1.0", "misnamed-stage-web-1"
	unreadable := func(target string) func() bool {
		return func() bool {
			a, _ := world.apps.Get(application)
			return a.TargetRevision == c.tag(target) && strings.Contains(a.Conditions["ComparisonError"], name)
		}
	}

	c.kubectl("patch", "applicationset", c.applicationSet(), "--type", "json", "-p", `[{"op": "replace", "path": "/spec/template/spec/source/plugin/name", "value": "`+name+`"}]`)
	c.await("Argo CD says that it does not find the plugin", unreadable("v0.1.0"))
	c.release("web-1", "cannot be rendered")
	c.await("the same of v0.2.0", unreadable("v0.2.0"))
	c.eventually("the hook says what is wrong with "+application, func() bool {
		wait := c.awaitReason("stage", "v0.2.0", promotion.HealthUnknown)
		return strings.Contains(wait.Detail, application) && strings.Contains(wait.Detail, name)
	})
	if diff := cmp.Diff(live, c.live("stage")); diff != "" {
		t.Errorf("what runs has changed (-before +after):\n%s", diff)
	}
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0")
	obey(t, failed(t, examine(t), "plugin-name", "ApplicationSet "+c.applicationSet(), name, `the sidecar's is "propagator"`))
	c.awaitEvent("stage", "deployed v0.2.0")
	c.checkRuns("stage", "v0.2.0")

	c.awaitEvent("prod", "deployed v0.2.0")
	c.kubectl("delete", "applicationset", c.applicationSet()) // which lets go of its Applications
	c.kubectl("patch", "application", application, "--type", "merge", "-p", `{"spec": {"source": {"plugin": {"name": "`+name+`"}}}}`)
	c.await("Argo CD says that it does not find the plugin", unreadable("v0.2.0"))
	obey(t, failed(t, examine(t), "plugin-name", "Application "+application, name, `the sidecar's is "propagator"`))
	c.awaitDeployed("stage", "v0.2.0")
	c.must(world.applyPipeline(t.Context(), c.Pipeline))
	c.checkInOrder()
	checkNobodyLeft(t, before)
}

var droppedKiosk = plan("TestDroppedRestartPolicyIsNamed", kiosk{name: "dropped"})

// TestDroppedRestartPolicyIsNamed: a tool that does not know native sidecars has
// written repo-server's Deployment, and with restartPolicy: Always the sidecar
// became an init container like any other, for whose end repo-server would wait
// for ever. Doctor says so and how to get the field back; Applications stay, and
// what they run as well.
func TestDroppedRestartPolicyIsNamed(t *testing.T) {
	claim(t)
	c := droppedKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	before, live := everyApplication(), c.live("stage")
	afterwards(t, "Argo CD's part", func(ctx context.Context) error {
		return errors.Join(world.follow(ctx, "Argo CD's part"), world.sidecar.Ready(ctx), world.argocd.RepoServer.Ready(ctx), world.argocd.ApplicationSets.Ready(ctx))
	})

	// Kubernetes would refuse probes without the policy, so the tool dropped them.
	const deployment, sidecar = "argocd-repo-server", "cmp-sidecar"
	found, err := world.cluster.Clientset().AppsV1().Deployments(cluster.Namespace).Get(t.Context(), deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	containers := found.Spec.Template.Spec.InitContainers
	i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == sidecar })
	if i < 0 {
		t.Fatalf("%s has no init container %s", deployment, sidecar)
	}
	dropped := &containers[i]
	dropped.RestartPolicy, dropped.StartupProbe, dropped.LivenessProbe, dropped.ReadinessProbe = nil, nil, nil, nil
	if _, err := world.cluster.Clientset().AppsV1().Deployments(cluster.Namespace).Update(t.Context(), found, metav1.UpdateOptions{FieldManager: "an-old-tool"}); err != nil {
		t.Fatal(err)
	}
	finding := failed(t, examine(t), "sidecar", "Deployment "+deployment, "init container "+sidecar+" lacks restartPolicy: Always")
	if !strings.Contains(finding.Fix, "the tool that applies the Deployment drops it") {
		t.Errorf("doctor does not say where the field went: %s", finding.Fix)
	}
	checkNobodyLeft(t, before)

	obey(t, finding)
	c.awaitReady(world.sidecar, world.argocd.RepoServer)
	c.checkInOrder()
	if diff := cmp.Diff(live, c.live("stage")); diff != "" {
		t.Errorf("what runs has changed (-before +after):\n%s", diff)
	}
	c.release("web-1", "is rendered again")
	c.awaitEvent("prod", "deployed v0.2.0")
	checkNobodyLeft(t, before)
}

// everyApplication are the names of all Applications of Argo CD.
func everyApplication() []string {
	var names []string
	for _, a := range world.apps.Select(nil) {
		names = append(names, a.Name)
	}
	return names
}

// checkNobodyLeft checks that every Application of an earlier moment is there.
func checkNobodyLeft(t *testing.T, before []string) {
	t.Helper()
	now := everyApplication()
	for _, name := range before {
		if !slices.Contains(now, name) {
			t.Errorf("Application %s is gone", name)
		}
	}
	if deleted := world.apps.Deleted(); len(deleted) > 0 {
		t.Errorf("Applications were deleted: %v", deleted)
	}
}

// kubectl is what an operator types; it must succeed.
func (c *company) kubectl(args ...string) string {
	c.t.Helper()
	output, err := world.cluster.Kubectl(c.t.Context(), args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return output
}

// finalizers are an Application's.
func (c *company) finalizers(application string) string {
	c.t.Helper()
	return c.kubectl("get", "application", application, "-o", "jsonpath={.metadata.finalizers[*]}")
}

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
)

var retryKiosk = plan("TestNewerVersionReplacesOneThatIsRetried", kiosk{name: "retry", pods: true})

// TestNewerVersionReplacesOneThatIsRetried: the cluster refuses v0.2.0 in Stage,
// and Argo CD tries it again and again, with pauses that add up to minutes. The
// correction v0.3.0 does not wait for the end of that: the hook lets Argo CD give
// v0.2.0 up between two tries. It may do no more than that, which Kubernetes sees
// to (manifests/components/hook-fence).
func TestNewerVersionReplacesOneThatIsRetried(t *testing.T) {
	claim(t)
	c := retryKiosk.open(t)
	addComponent(t, "hook-fence", "validatingadmissionpolicybinding/propagator-hook-fence", "validatingadmissionpolicy/propagator-hook-fence")
	c.awaitEvent("prod", "deployed v0.1.0")
	c.checkFence()

	lift := c.refuseDeployments("stage")
	c.release("web-1", "refused by the cluster")
	c.await("Argo CD has failed to sync v0.2.0 and will try again", func() bool {
		return slices.ContainsFunc(c.of("stage"), func(a applications.State) bool {
			return a.TargetRevision == c.tag("v0.2.0") && a.Phase == "Running" && !a.FinishedAt.IsZero()
		})
	})
	c.release("web-1", "the correction")
	c.awaitEvent("stage", "promote v0.3.0")
	newer := c.head(c.tag("v0.3.0"))
	c.await("Argo CD tries v0.3.0", func() bool {
		return slices.ContainsFunc(c.of("stage"), func(a applications.State) bool { return a.SyncedRevision == newer })
	})
	lift()
	c.awaitEvent("prod", "deployed v0.3.0")
	c.checkRuns("stage", "v0.3.0")
	c.checkRuns("prod", "v0.3.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "promote v0.3.0", "deployed v0.3.0")
	c.checkNeverPointedAt("prod", "v0.2.0")

	// Five retries of v0.2.0 would have taken 155 seconds of pauses alone.
	var pointed, tried time.Time
	for _, m := range world.apps.History("retry-stage-web-1") {
		if m.TargetRevision == c.tag("v0.3.0") && pointed.IsZero() {
			pointed = m.At
		}
		if m.SyncedRevision == newer && tried.IsZero() {
			tried = m.At
		}
	}
	if took := tried.Sub(pointed); pointed.IsZero() || took > time.Minute {
		t.Errorf("stage pointed at v0.3.0 at %s, and Argo CD tried it %s later", pointed, took)
	} else {
		t.Logf("v0.2.0 was given up %s after stage pointed at v0.3.0", took.Round(100*time.Millisecond))
	}
}

// refuseDeployments lets the cluster refuse every change of a Deployment in an
// environment, until it is lifted.
func (c *company) refuseDeployments(environment string) (lift func()) {
	c.t.Helper()
	name, namespace := c.Name()+"-refused", c.Name()+"-"+environment
	policy := fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[2]s}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - {expression: "false", message: the cluster is closed}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`, name, namespace)
	remove := func(ctx context.Context) error {
		_, err := world.cluster.Kubectl(ctx, "delete", "validatingadmissionpolicybinding/"+name, "validatingadmissionpolicy/"+name, "--ignore-not-found")
		return err
	}
	afterwards(c.t, "the policy "+name, remove)
	_, err := world.cluster.KubectlInput(c.t.Context(), policy, "apply", "-f", "-")
	c.must(err)
	c.eventually("the cluster refuses Deployments of "+environment, func() bool {
		_, err := world.cluster.Kubectl(c.t.Context(), "-n", namespace, "annotate", "deployment", "web-1", "--overwrite", "--dry-run=server", "tried=yes")
		return err != nil && strings.Contains(err.Error(), "the cluster is closed")
	})
	return func() {
		c.t.Helper()
		c.must(remove(c.t.Context()))
	}
}

// checkFence checks what Kubernetes lets the hook's account patch.
func (c *company) checkFence() {
	c.t.Helper()
	config := world.cluster.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: account(hookName), Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	hook, err := dynamic.NewForConfig(config)
	c.must(err)
	application := c.Name() + "-stage-web-1"
	try := func(set bool, patch string) error {
		resource, name := applications.Resource, application
		if set {
			resource, name = kinds["ApplicationSet"], c.applicationSet()
		}
		_, err := hook.Resource(resource).Namespace(cluster.Namespace).Patch(c.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	const anotherTarget = `{"spec":{"source":{"targetRevision":"main"}}}`
	c.eventually("the fence is in force", func() bool { return try(false, anotherTarget) != nil })
	for _, ask := range []struct {
		set   bool
		patch string
		says  string // why it is refused; empty if it is not
	}{
		{false, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"hard"}}}`, ""},
		{true, `{"metadata":{"annotations":{"argocd.argoproj.io/application-set-refresh":"x"}}}`, ""},
		{false, anotherTarget, "no spec"},
		{true, `{"spec":{"template":{"spec":{"project":"default"}}}}`, "no spec"},
		{true, `{"spec":{"syncPolicy":{"applicationsSync":"sync"}}}`, "no spec"},
		{false, `{"operation":{"sync":{"revision":"main"}}}`, "no operation"},
		{false, `{"metadata":{"annotations":{"argocd.argoproj.io/skip-reconcile":"true"}}}`, "of annotations"},
		{false, `{"metadata":{"labels":{"propagator.dev/environment":"prod"}}}`, "no labels"},
		{false, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`, "no labels, finalizers"},
		{true, `{"metadata":{"finalizers":null}}`, "no labels, finalizers"},
		{false, `{"status":{"health":{"status":"Missing"}}}`, "of a status"},
		{false, `{"status":{"operationState":{"phase":"Failed"}}}`, "of a status"},
	} {
		err := try(ask.set, ask.patch)
		if (err == nil) != (ask.says == "") || err != nil && !strings.Contains(err.Error(), ask.says) {
			c.t.Errorf("the hook patches with %s: %v; want %q", ask.patch, err, ask.says)
		}
	}
}

// addComponent lists a component in the operator's installation, as
// docs/install.md says under Variants, until the end of the test. What it adds
// outside of namespaces is deleted then.
func addComponent(t *testing.T, name string, clusterScoped ...string) {
	t.Helper()
	file := filepath.Join(world.dir, "install", "suite", "kustomization.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := append(slices.Clone(before), "components: [../manifests/components/"+name+"]\n"...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	afterwards(t, "the component "+name, func(ctx context.Context) error {
		_, err := world.cluster.Kubectl(ctx, append([]string{"delete"}, clusterScoped...)...)
		return errors.Join(os.WriteFile(file, before, 0o600), err)
	})
	if err := world.set(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

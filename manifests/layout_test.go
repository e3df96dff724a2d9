package manifests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// guard is the annotation of components/guard.
const guard = "kubectl.kubernetes.io/last-applied-configuration"

// TestBaseIsOurs: the base may be deleted as a whole.
func TestBaseIsOurs(t *testing.T) {
	for _, folder := range []string{"base", "overlays/ha"} {
		for _, o := range build(t, folder) {
			if o.Metadata.Name != "propagator" && !strings.HasPrefix(o.Metadata.Name, "propagator-") {
				t.Errorf("%s: %s has not our name", folder, o)
			}
			if o.Kind == "Secret" {
				t.Errorf("%s: %s; secrets are the operator's", folder, o)
			}
			if o.Metadata.Name == "propagator-settings" {
				t.Errorf("%s: %s would overwrite the operator's on an upgrade", folder, o)
			}
		}
	}
	added := []string{"Role/propagator-notifications-hook-share", "RoleBinding/propagator-notifications-hook-share"}
	want := append(names(build(t, "base")), added...)
	slices.Sort(want)
	if diff := cmp.Diff(want, names(build(t, "overlays/ha"))); diff != "" {
		t.Errorf("ha is not the base and the right to share (-want +got):\n%s", diff)
	}
}

// TestOverlaysTouchOnlyWhatIsAdded: nothing of Argo CD's own is in them, or a
// server-side apply would claim it.
func TestOverlaysTouchOnlyWhatIsAdded(t *testing.T) {
	for _, folder := range []string{"overlays/argocd-v2", "overlays/argocd-v3"} {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			want := []string{"ConfigMap/argocd-cmd-params-cm", "ConfigMap/argocd-notifications-cm", "Deployment/argocd-repo-server"}
			if diff := cmp.Diff(want, names(objects)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var repoServer appsv1.Deployment
			find(t, objects, "Deployment", "argocd-repo-server", &repoServer)
			sidecars := repoServer.Spec.Template.Spec.InitContainers
			if len(sidecars) != 1 || sidecars[0].Name != "cmp-sidecar" {
				t.Fatalf("init containers %v", sidecars)
			}
			// What remains without the sidecar must be empty.
			repoServer.Spec.Template.Spec.InitContainers = nil
			if diff := cmp.Diff(appsv1.DeploymentSpec{}, repoServer.Spec); diff != "" {
				t.Errorf("more than the sidecar:\n%s", diff)
			}
			for _, name := range []string{"argocd-cmd-params-cm", "argocd-notifications-cm"} {
				var config corev1.ConfigMap
				find(t, objects, "ConfigMap", name, &config)
				if len(config.Labels) > 0 || len(config.BinaryData) > 0 {
					t.Errorf("%s has more than data", name)
				}
			}
		})
	}
}

// TestUninstallCoversTheOverlays: the same objects, without a field.
func TestUninstallCoversTheOverlays(t *testing.T) {
	objects := build(t, "uninstall")
	for _, folder := range []string{"overlays/argocd-v2", "overlays/argocd-v3"} {
		if diff := cmp.Diff(names(build(t, folder)), names(objects)); diff != "" {
			t.Errorf("-%s +uninstall:\n%s", folder, diff)
		}
	}
	for _, o := range objects {
		var bare map[string]any
		decode(t, o.raw, &bare)
		for key := range bare {
			if key != "apiVersion" && key != "kind" && key != "metadata" {
				t.Errorf("%s has %s", o, key)
			}
		}
	}
}

// TestPartialObjectsAreGuarded: see components/guard.
func TestPartialObjectsAreGuarded(t *testing.T) {
	for _, folder := range []string{"overlays/argocd-v2", "overlays/argocd-v3", "uninstall"} {
		for _, o := range build(t, folder) {
			if diff := cmp.Diff(map[string]string{guard: "{}"}, o.Metadata.Annotations); diff != "" {
				t.Errorf("%s: annotations of %s:\n%s", folder, o, diff)
			}
		}
	}
}

// TestHookRightsAreTheLeast: a right that is added shall be thought about twice.
func TestHookRightsAreTheLeast(t *testing.T) {
	objects := build(t, "base")
	var role rbacv1.Role
	find(t, objects, "Role", "propagator-notifications-hook", &role)
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"applications"}, Verbs: []string{"get", "list", "patch", "watch"}},
		{APIGroups: []string{"argoproj.io"}, Resources: []string{"applicationsets"}, Verbs: []string{"list"}},
	}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var binding rbacv1.RoleBinding
	find(t, objects, "RoleBinding", "propagator-notifications-hook", &binding)
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "propagator-notifications-hook", Namespace: "argocd"}}
	if diff := cmp.Diff(subject, binding.Subjects); diff != "" || binding.RoleRef.Name != role.Name {
		t.Errorf("bound to %s, %v:\n%s", binding.RoleRef.Name, binding.Subjects, diff)
	}
	for _, o := range objects {
		if strings.HasPrefix(o.Kind, "ClusterRole") {
			t.Errorf("%s", o)
		}
	}
}

// TestReplicasShare: the overlay says so, tells each replica its name, and gives
// the right on Leases that it needs, and no other.
func TestReplicasShare(t *testing.T) {
	objects := build(t, "overlays/ha")
	var deployment, alone appsv1.Deployment
	find(t, objects, "Deployment", "propagator-notifications-hook", &deployment)
	find(t, build(t, "base"), "Deployment", "propagator-notifications-hook", &alone)
	env := func(d appsv1.Deployment) map[string]string {
		all := map[string]string{}
		for _, variable := range d.Spec.Template.Spec.Containers[0].Env {
			all[variable.Name] = variable.Value
			if from := variable.ValueFrom; from != nil && from.FieldRef != nil {
				all[variable.Name] = from.FieldRef.FieldPath
			}
		}
		return all
	}
	want := env(alone)
	if want["PROPAGATOR_SHARE"] != "" {
		t.Error("one replica alone need not share, and has no right to")
	}
	want["PROPAGATOR_SHARE"], want["POD_NAME"], want["POD_NAMESPACE"] = "true", "metadata.name", "metadata.namespace"
	if diff := cmp.Diff(want, env(deployment)); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if help := programs(t)["notifications-hook"].help; !strings.Contains(help, "[$PROPAGATOR_SHARE]") || !strings.Contains(help, "POD_NAME") {
		t.Error("the program does not know the variables")
	}
	var role rbacv1.Role
	find(t, objects, "Role", "propagator-notifications-hook-share", &role)
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "list", "create", "update", "delete"}}}
	if diff := cmp.Diff(rules, role.Rules); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var binding rbacv1.RoleBinding
	find(t, objects, "RoleBinding", "propagator-notifications-hook-share", &binding)
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Name: deployment.Spec.Template.Spec.ServiceAccountName, Namespace: "argocd"}}
	if diff := cmp.Diff(subject, binding.Subjects); diff != "" || binding.RoleRef.Name != role.Name {
		t.Errorf("bound to %s, %v:\n%s", binding.RoleRef.Name, binding.Subjects, diff)
	}
}

package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// installation makes a folder as docs/install.md does: a copy of the manifests
// and a kustomization of the operator's own.
func installation(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "manifests"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// stock are the objects of Argo CD that the component patches, with something
// of their own each.
const stock = `apiVersion: apps/v1
kind: Deployment
metadata: {name: argocd-repo-server}
spec:
  template:
    spec:
      initContainers: [{name: copyutil, image: argocd}]
      containers: [{name: argocd-repo-server, image: argocd}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cmd-params-cm}
data: {server.insecure: "true"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-notifications-cm}
`

// TestPatchesEqualOverlay: whoever manages Argo CD in a kustomization gets what
// the overlay applies, and no guard.
func TestPatchesEqualOverlay(t *testing.T) {
	patched := build(t, installation(t, map[string]string{
		"kustomization.yaml": "resources: [argocd.yaml]\ncomponents: [manifests/components/argocd]\n",
		"argocd.yaml":        stock,
	}))
	overlay := build(t, "overlays/argocd-v3")
	var got, want appsv1.Deployment
	find(t, patched, "Deployment", "argocd-repo-server", &got)
	find(t, overlay, "Deployment", "argocd-repo-server", &want)
	sidecar := map[string]corev1.Container{}
	for _, container := range got.Spec.Template.Spec.InitContainers {
		sidecar[container.Name] = container
	}
	if len(sidecar) != 2 || len(got.Spec.Template.Spec.Containers) != 1 || len(got.Annotations) > 0 {
		t.Errorf("patched: %+v", got)
	}
	if diff := cmp.Diff(want.Spec.Template.Spec.InitContainers[0], sidecar["cmp-sidecar"]); diff != "" {
		t.Errorf("-overlay +patched:\n%s", diff)
	}
	var params, notifications, wantNotifications corev1.ConfigMap
	find(t, patched, "ConfigMap", "argocd-cmd-params-cm", &params)
	if len(params.Data) != 2 || params.Data["server.insecure"] != "true" {
		t.Errorf("parameters: %v", params.Data)
	}
	find(t, patched, "ConfigMap", "argocd-notifications-cm", &notifications)
	find(t, overlay, "ConfigMap", "argocd-notifications-cm", &wantNotifications)
	if diff := cmp.Diff(wantNotifications.Data, notifications.Data); diff != "" {
		t.Errorf("-overlay +patched:\n%s", diff)
	}
}

// TestGitOverSSH: the programs are given a key and no password.
func TestGitOverSSH(t *testing.T) {
	objects := build(t, installation(t, map[string]string{
		"kustomization.yaml": "resources: [manifests/base]\ncomponents: [manifests/components/git-ssh]\n",
	}))
	for name, p := range programs(t) {
		if name == "cmp-sidecar" {
			continue
		}
		var deployment appsv1.Deployment
		find(t, objects, "Deployment", "propagator-"+name, &deployment)
		paths := map[string]string{}
		for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
			if strings.HasPrefix(variable.Name, "PROPAGATOR_GIT_") {
				paths[variable.Name] = variable.Value
				if !strings.Contains(p.help, "[$"+variable.Name+"]") {
					t.Errorf("%s has no %s", name, variable.Name)
				}
			}
		}
		want := map[string]string{
			"PROPAGATOR_GIT_SSH_KEY": "/etc/propagator/git/ssh-privatekey", "PROPAGATOR_GIT_KNOWN_HOSTS": "/etc/propagator/git/known_hosts",
		}
		if diff := cmp.Diff(want, paths); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}

// TestHookFiles: what the components webhook, gate-tokens and host-tokens mount is where the
// hook is told to look, and the hook knows the variable.
func TestHookFiles(t *testing.T) {
	for component, want := range map[string]struct{ variable, path, secret string }{
		"webhook":     {"PROPAGATOR_WEBHOOK_SECRET_FILE", "/etc/propagator/webhook/secret", "propagator-webhook"},
		"host-tokens": {"PROPAGATOR_HOST_TOKENS", "/etc/propagator/host-tokens", "propagator-host-tokens"},
		"gate-tokens": {"PROPAGATOR_GATE_TOKENS", "/etc/propagator/gate-tokens", "propagator-gate-tokens"},
	} {
		objects := build(t, installation(t, map[string]string{
			"kustomization.yaml": "resources: [manifests/base]\ncomponents: [manifests/components/" + component + "]\n",
		}))
		var deployment appsv1.Deployment
		find(t, objects, "Deployment", "propagator-notifications-hook", &deployment)
		container := deployment.Spec.Template.Spec.Containers[0]
		if !slices.ContainsFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == want.variable && v.Value == want.path }) {
			t.Errorf("%s: the hook has not %s=%s", component, want.variable, want.path)
		}
		if help := programs(t)["notifications-hook"].help; !strings.Contains(help, "[$"+want.variable+"]") {
			t.Errorf("%s: the hook knows no %s", component, want.variable)
		}
		volume := slices.IndexFunc(deployment.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == want.secret })
		if volume < 0 || !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == deployment.Spec.Template.Spec.Volumes[volume].Name && m.ReadOnly && strings.HasPrefix(want.path, m.MountPath)
		}) {
			t.Errorf("%s: Secret %s is not mounted where %s is", component, want.secret, want.path)
		}
	}
}

// TestGatePlugins: the hook looks for programs where the volume is, and has a
// place for checked copies, with its root file system read-only as before.
func TestGatePlugins(t *testing.T) {
	objects := build(t, installation(t, map[string]string{
		"kustomization.yaml": "resources: [manifests/base]\ncomponents: [manifests/components/gate-plugins]\n",
	}))
	var deployment appsv1.Deployment
	find(t, objects, "Deployment", "propagator-notifications-hook", &deployment)
	container := deployment.Spec.Template.Spec.Containers[0]
	mounted := map[string]bool{}
	for _, m := range container.VolumeMounts {
		mounted[m.MountPath] = !m.ReadOnly
	}
	if writable, ok := mounted["/etc/propagator/gate-plugins"]; !ok || writable || !mounted["/tmp"] {
		t.Errorf("mounts: %+v", container.VolumeMounts)
	}
	if c := container.SecurityContext; c == nil || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
		t.Error("the root file system is not read-only any more")
	}
	const variable = "PROPAGATOR_GATE_PLUGINS"
	if !slices.ContainsFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == variable && v.Value == "/etc/propagator/gate-plugins" }) ||
		!strings.Contains(programs(t)["notifications-hook"].help, "[$"+variable+"]") {
		t.Errorf("the hook is not told where programs are: %+v", container.Env)
	}
}

// TestHookFence: it concerns the hook's account and nobody else, has every
// resource that the hook may patch, and is in force.
func TestHookFence(t *testing.T) {
	objects := build(t, installation(t, map[string]string{
		"kustomization.yaml": "resources: [manifests/base]\ncomponents: [manifests/components/hook-fence]\n",
	}))
	var policy admissionv1.ValidatingAdmissionPolicy
	find(t, objects, "ValidatingAdmissionPolicy", "propagator-hook-fence", &policy)
	if c := policy.Spec.MatchConditions; len(c) != 1 || c[0].Expression != "request.userInfo.username == 'system:serviceaccount:argocd:propagator-notifications-hook'" {
		t.Errorf("conditions: %+v", c)
	}
	rules := policy.Spec.MatchConstraints.ResourceRules
	if len(rules) != 1 || !slices.Equal(rules[0].Resources, []string{"applications", "applicationsets"}) || !slices.Equal(rules[0].APIGroups, []string{"argoproj.io"}) {
		t.Errorf("rules: %+v", rules)
	}
	if fail := policy.Spec.FailurePolicy; fail == nil || *fail != admissionv1.Fail {
		t.Errorf("failure policy: %v", fail)
	}
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	find(t, objects, "ValidatingAdmissionPolicyBinding", "propagator-hook-fence", &binding)
	if binding.Spec.PolicyName != policy.Name || !slices.Equal(binding.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
		t.Errorf("binding: %+v", binding.Spec)
	}
}

// TestOperatorsImagesWin: registry and tag of a kustomization on top replace
// those of components/version.
func TestOperatorsImagesWin(t *testing.T) {
	objects := build(t, installation(t, map[string]string{"kustomization.yaml": `
resources: [manifests/base]
images:
- {name: ghcr.io/fleeting-taas/propagator/notifications-hook, newName: registry.example/hook, newTag: v9.9.9}
`}))
	var deployment appsv1.Deployment
	find(t, objects, "Deployment", "propagator-notifications-hook", &deployment)
	if image := deployment.Spec.Template.Spec.Containers[0].Image; image != "registry.example/hook:v9.9.9" {
		t.Errorf("runs %s", image)
	}
}

// TestComponentsAreExplained: each one is in the table of README.md, and each
// can be built on what it is for.
func TestComponentsAreExplained(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("components/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !strings.Contains(string(readme), "]("+filepath.ToSlash(folder)+")") {
			t.Errorf("README.md does not say what %s is for", folder)
		}
		if name := filepath.Base(folder); slices.Contains([]string{"argocd", "pipeline", "create-namespaces", "guard"}, name) {
			continue // on other objects than the base
		}
		objects := build(t, installation(t, map[string]string{
			"kustomization.yaml": "resources: [manifests/base]\ncomponents: [manifests/" + filepath.ToSlash(folder) + "]\n",
		}))
		for _, o := range objects {
			if !strings.HasPrefix(o.Metadata.Name, "propagator") {
				t.Errorf("%s adds %s, which has not our name", folder, o)
			}
		}
	}
}

// TestGateJobs: the component allows nothing by itself, and no more than to read
// Jobs where it is bound.
func TestGateJobs(t *testing.T) {
	objects := build(t, installation(t, map[string]string{
		"kustomization.yaml": "resources: [manifests/base]\ncomponents: [manifests/components/gate-jobs]\n",
	}))
	var role rbacv1.ClusterRole
	find(t, objects, "ClusterRole", "propagator-gate-jobs", &role)
	want := []rbacv1.PolicyRule{{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get", "list"}}}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Errorf("rules, -want +got:\n%s", diff)
	}
	for _, o := range objects {
		if o.Kind != "ClusterRole" && strings.Contains(string(o.raw), "propagator-gate-jobs") {
			t.Errorf("%s %s gives the right away", o.Kind, o.Metadata.Name)
		}
	}
}

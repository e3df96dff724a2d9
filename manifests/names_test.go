package manifests

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// named builds a pipeline of a name, with the components behind the usual one.
func named(t *testing.T, pipeline string, components ...string) []object {
	t.Helper()
	list := ""
	for _, component := range append([]string{"pipeline"}, components...) {
		list += "- manifests/components/" + component + "\n"
	}
	return build(t, installation(t, map[string]string{
		"kustomization.yaml": "resources: [settings.yaml]\ncomponents:\n" + list,
		"settings.yaml": fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap,
metadata: {name: propagator-pipeline, annotations: {config.kubernetes.io/local-config: "true"}},
data: {pipeline: %[1]s, repository: "https://git.example/%[1]s.git", namespaces: "%[1]s-*"}}`, pipeline),
	}))
}

// TestPipelinesHaveNamesOfTheirOwn: an AppProject or ApplicationSet that is
// called like the pipeline may be somebody else's, and default is Argo CD's.
func TestPipelinesHaveNamesOfTheirOwn(t *testing.T) {
	for _, pipeline := range []string{"shop", "default", "shop-eu-west", "pipeline", "a", "notifications-hook"} {
		t.Run(pipeline, func(t *testing.T) {
			objects := named(t, pipeline)
			want := []string{
				"AppProject/propagator-" + pipeline, "ApplicationSet/propagator-" + pipeline,
				"Role/propagator-poke-" + pipeline, "RoleBinding/propagator-poke-" + pipeline,
			}
			if diff := cmp.Diff(want, names(objects)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, base := range names(build(t, "base")) {
				for _, name := range want {
					if base == name {
						t.Errorf("%s is also one of the base's", name)
					}
				}
			}
			for _, o := range objects {
				// What uninstalling deletes by.
				labels := map[string]string{"app.kubernetes.io/part-of": "propagator", "propagator.dev/pipeline": pipeline}
				if diff := cmp.Diff(labels, o.Metadata.Labels); diff != "" {
					t.Errorf("labels of %s, -want +got:\n%s", o, diff)
				}
			}
		})
	}
}

// TestHookMayPokeItsPipelineOnly: no right on the ApplicationSets of others.
func TestHookMayPokeItsPipelineOnly(t *testing.T) {
	objects := named(t, "shop-eu")
	var role rbacv1.Role
	find(t, objects, "Role", "propagator-poke-shop-eu", &role)
	want := []rbacv1.PolicyRule{{
		APIGroups: []string{"argoproj.io"}, Resources: []string{"applicationsets"}, ResourceNames: []string{"propagator-shop-eu"}, Verbs: []string{"patch"},
	}}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var binding rbacv1.RoleBinding
	find(t, objects, "RoleBinding", "propagator-poke-shop-eu", &binding)
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "propagator-notifications-hook", Namespace: "argocd"}}
	if diff := cmp.Diff(subject, binding.Subjects); diff != "" || binding.RoleRef.Name != role.Name {
		t.Errorf("bound to %s, %v:\n%s", binding.RoleRef.Name, binding.Subjects, diff)
	}
}

// TestCreateNamespaces: the component gives what Argo CD asks for, and without
// it there is neither the option nor the right.
func TestCreateNamespaces(t *testing.T) {
	for name, components := range map[string][]string{"without": nil, "with": {"create-namespaces"}} {
		t.Run(name, func(t *testing.T) {
			var set applicationSet
			var project appProject
			objects := named(t, "shop", components...)
			find(t, objects, "ApplicationSet", "propagator-shop", &set)
			find(t, objects, "AppProject", "propagator-shop", &project)
			var template generated
			decode(t, set.Spec.Template, &template)
			if got := len(template.Spec.SyncPolicy.SyncOptions) + len(project.Spec.ClusterResourceWhitelist); got != 2*len(components) {
				t.Errorf("options %v, objects of the cluster %v", template.Spec.SyncPolicy.SyncOptions, project.Spec.ClusterResourceWhitelist)
			}
		})
	}
}

package manifests

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// object is one document of a kustomization: what all have, and the whole as JSON.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	raw []byte
}

func (o object) String() string { return o.Kind + "/" + o.Metadata.Name }

// build renders a kustomization as kubectl would.
func build(t *testing.T, folder string) []object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	var objects []object
	for _, resource := range resources.Resources() {
		raw, err := resource.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		o.raw = raw
		objects = append(objects, o)
	}
	return objects
}

// decode is strict: a misspelt field of a manifest is an error here and not
// something that a cluster silently leaves out.
func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
}

// find decodes the object of a kind and name.
func find(t *testing.T, objects []object, kind, name string, into any) {
	t.Helper()
	for _, o := range objects {
		if o.Kind == kind && o.Metadata.Name == name {
			decode(t, o.raw, into)
			return
		}
	}
	t.Fatalf("no %s/%s", kind, name)
}

// names of the objects, sorted.
func names(objects []object) []string {
	var all []string
	for _, o := range objects {
		all = append(all, o.String())
	}
	slices.Sort(all)
	return all
}

// buildable are the folders that are applied as they are.
func buildable(t *testing.T) []string {
	t.Helper()
	var folders []string
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		raw, err := os.ReadFile(path) //nolint:gosec // a file of this folder
		if err == nil && strings.Contains(string(raw), "\nkind: Kustomization\n") {
			folders = append(folders, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return folders
}

// TestObjectsAreWhatKubernetesKnows decodes every object of every kustomization
// into Kubernetes' own type.
func TestObjectsAreWhatKubernetesKnows(t *testing.T) {
	types := map[string]func() any{
		"v1/ConfigMap":                             func() any { return new(corev1.ConfigMap) },
		"v1/Service":                               func() any { return new(corev1.Service) },
		"v1/ServiceAccount":                        func() any { return new(corev1.ServiceAccount) },
		"apps/v1/Deployment":                       func() any { return new(appsv1.Deployment) },
		"policy/v1/PodDisruptionBudget":            func() any { return new(policyv1.PodDisruptionBudget) },
		"networking.k8s.io/v1/NetworkPolicy":       func() any { return new(networkingv1.NetworkPolicy) },
		"rbac.authorization.k8s.io/v1/Role":        func() any { return new(rbacv1.Role) },
		"rbac.authorization.k8s.io/v1/RoleBinding": func() any { return new(rbacv1.RoleBinding) },
		"argoproj.io/v1alpha1/AppProject":          func() any { return new(appProject) },
		"argoproj.io/v1alpha1/ApplicationSet":      func() any { return new(applicationSet) },
	}
	folders := buildable(t)
	for _, wanted := range []string{"base", "overlays/argocd-v2", "overlays/argocd-v3", "overlays/ha", "pipeline", "uninstall"} {
		if !slices.Contains(folders, wanted) {
			t.Errorf("%s is gone", wanted)
		}
	}
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) {
			for _, o := range build(t, folder) {
				make, ok := types[o.APIVersion+"/"+o.Kind]
				if !ok {
					t.Errorf("%s of %s is of a kind that is not expected here", o, o.APIVersion)
					continue
				}
				decode(t, o.raw, make())
				if o.Metadata.Namespace != "argocd" {
					t.Errorf("%s is in namespace %q", o, o.Metadata.Namespace)
				}
			}
		})
	}
}

package workload

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// The suite's own manifests run without a word of theirs being unknown to the
// table, and with what docs/install.md adds to them.
func TestTheSuitesManifestsCanBeRun(t *testing.T) {
	for _, tt := range []struct {
		name, folder string
		ref          Ref
		ports        []int
		token        bool
	}{
		{"hook", "base", Ref{Deployment, "propagator-notifications-hook", Hook}, []int{8080, 8087}, true},
		{"generator", "base", Ref{Deployment, "propagator-applicationset-generator", Generator}, []int{8080, 8087}, false},
		{"hook, twice", "overlays/ha", Ref{Deployment, "propagator-notifications-hook", Hook}, []int{8080, 8087}, true},
		{"sidecar in v2", "overlays/argocd-v2", Ref{Deployment, "argocd-repo-server", Sidecar}, []int{8087}, false},
		{"sidecar in v3", "overlays/argocd-v3", Ref{Deployment, "argocd-repo-server", Sidecar}, []int{8087}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t,
				"{apiVersion: v1, kind: ConfigMap, metadata: {name: propagator-settings}, data: {PROPAGATOR_REPOSITORY: 'https://git.example/shop.git'}}",
				"{apiVersion: v1, kind: Secret, metadata: {name: propagator-token}, data: {token: eA==}}",
				"{apiVersion: v1, kind: Secret, metadata: {name: propagator-git}, data: {username: eA==, password: eA==}}",
				"{apiVersion: v1, kind: Secret, metadata: {name: propagator-git-read}, data: {username: eA==, password: eA==}}",
				"{apiVersion: v1, kind: Secret, metadata: {name: propagator-registries}, data: {.dockerconfigjson: e30=}}",
				account,
			)
			rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", "..", "..", "manifests", filepath.FromSlash(tt.folder)))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rendered.Resources() {
				if _, ok := resources[r.GetKind()]; !ok {
					continue
				}
				text, err := r.AsYAML()
				if err != nil {
					t.Fatal(err)
				}
				object := decode(t, string(text))
				if object.GetName() == "argocd-repo-server" {
					addStock(t, object)
				}
				c.create(t, object)
			}
			container, err := Resolve(t.Context(), c, tt.ref.Kind, namespace, tt.ref.Name, tt.ref.Container)
			if err != nil {
				t.Fatal(err)
			}
			images := map[string]Image{}
			for _, image := range Images("/bin") {
				images[image.Name] = image
			}
			name, err := imageName(container.Image)
			if err != nil {
				t.Fatal(err)
			}
			image, ok := images[name]
			if !ok {
				t.Fatalf("image %s is none of the suite's", container.Image)
			}
			cmd, err := translate(container, &image, pretend())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.ports, slices.Sorted(maps.Keys(cmd.ports))); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			if container.Token != tt.token || container.Readiness == nil && container.Startup == nil || !container.ReadOnlyRoot {
				t.Errorf("token %t, probe %v, read-only %t", container.Token, container.Readiness, container.ReadOnlyRoot)
			}
		})
	}
}

// addStock adds what a stock repo-server has and the overlay builds on.
func addStock(t *testing.T, deployment *unstructured.Unstructured) {
	t.Helper()
	err := errors.Join(
		unstructured.SetNestedSlice(deployment.Object, []any{map[string]any{"name": "plugins", "emptyDir": map[string]any{}}}, "spec", "template", "spec", "volumes"),
		unstructured.SetNestedField(deployment.Object, false, "spec", "template", "spec", "automountServiceAccountToken"),
	)
	if err != nil {
		t.Fatal(err)
	}
}

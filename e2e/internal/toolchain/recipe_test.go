package toolchain

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKubernetesReportsTheVersionOfItsGoMod(t *testing.T) {
	r, _ := recipeOf(Kubernetes)
	flags := r.ldflags("v1.33.13")
	for _, want := range []string{"gitVersion=v1.33.13 ", "gitMajor=1 ", "gitMinor=33 ", "gitTreeState=clean"} {
		if !strings.Contains(flags+" ", want) {
			t.Errorf("%q lacks %q", flags, want)
		}
	}
}

// The recipes fit the modules of the repository: the version can be read, and
// what is renamed or linked is built.
func TestRecipesFitTheirModules(t *testing.T) {
	source, err := findSource()
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(source, "*", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, dir := range dirs {
		modules = append(modules, filepath.Base(filepath.Dir(dir)))
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(Modules())), modules); diff != "" {
		t.Errorf("modules known and there (-known +there):\n%s", diff)
	}
	for _, module := range modules {
		t.Run(module, func(t *testing.T) {
			r, ok := recipeOf(module)
			if !ok || !r.builds {
				t.Fatal("no recipe")
			}
			mod, err := readGoMod(t.Context(), filepath.Join(source, module))
			if err != nil {
				t.Fatal(err)
			}
			if r.tool != "" {
				if _, err := mod.version(r.tool); err != nil {
					t.Error(err)
				}
			}
			built := mod.programNames()
			if len(built) == 0 {
				t.Error("go.mod names no tools")
			}
			for from := range r.rename {
				if !slices.Contains(built, from) {
					t.Errorf("%s is renamed, but only %v are built", from, built)
				}
			}
		})
	}
}

func TestProgramNames(t *testing.T) {
	var mod goMod
	for _, path := range []string{"k8s.io/kubernetes/cmd/kubectl", "sigs.k8s.io/kustomize/kustomize/v5", "example.test/vault", "example.test/v2x"} {
		mod.Tool = append(mod.Tool, struct{ Path string }{path})
	}
	if diff := cmp.Diff([]string{"kubectl", "kustomize", "v2x", "vault"}, mod.programNames()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

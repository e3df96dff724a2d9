package examples_test

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
)

// The golden files are what the command line tools print. To write them anew:
//
//	go install helm.sh/helm/v4/cmd/helm@v4.2.1
//	go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
//	go test ./examples -run TestProdIsWhatTheToolsPrint -helm PATH -kustomize PATH
var (
	helm      = flag.String("helm", "", "helm binary; with -kustomize, write the golden files anew")
	kustomize = flag.String("kustomize", "", "kustomize binary")
)

// imageField is a line that holds an image reference, in the style of the
// example's manifests.
var imageField = regexp.MustCompile(`(?m)^(\s*(?:- )?image: ).*$`)

// pinnedField is such a line once it is pinned.
var pinnedField = regexp.MustCompile(`^\s*(?:- )?image: "?prod\.registry\.example/shop/[a-z0-9./-]+@sha256:[0-9a-f]{64}"?$`)

// TestProdIsWhatTheToolsPrint compares what Argo CD is given for Prod with the
// output of kustomize build and helm template: they differ in image references
// and nowhere else, and every image reference is in Prod's registry, by digest.
func TestProdIsWhatTheToolsPrint(t *testing.T) {
	p := pipeline(t)
	prod, ok := p.Environment("prod")
	if !ok {
		t.Fatal("no prod")
	}
	applications, err := render.Discover(examples.Shop(), prod)
	if err != nil {
		t.Fatal(err)
	}
	for _, application := range applications {
		t.Run(application.Name, func(t *testing.T) {
			golden := filepath.Join("testdata", "prod-"+application.Name+".yaml")
			if *helm != "" && *kustomize != "" {
				write(t, golden, application.Renderer, application.Path, application.Values)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			result, err := pinned.Render(t.Context(), pinned.Input{
				FS: examples.Shop(), Pipeline: p, Environment: "prod", Application: application,
				Lookup: func(string) (string, bool) { return "sha256:" + strings.Repeat("0123456789abcdef", 4), true },
			})
			if err != nil {
				t.Fatal(err)
			}
			without := func(text []byte) string { return string(imageField.ReplaceAll(text, []byte("${1}X"))) }
			if diff := cmp.Diff(without(want), without(result.YAML)); diff != "" {
				t.Errorf("apart from images (-tool +ours):\n%s", diff)
			}
			images := imageField.FindAll(result.YAML, -1)
			if len(images) == 0 {
				t.Error("no image")
			}
			for _, line := range images {
				if !pinnedField.Match(line) {
					t.Errorf("not pinned: %s", line)
				}
			}
		})
	}
}

// write runs the tool that an operator would run.
func write(t *testing.T, golden, renderer, path string, values []string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, examples.Shop()); err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	switch renderer {
	case "kustomize":
		cmd = exec.CommandContext(t.Context(), *kustomize, "build", "--enable-helm", "--helm-command", *helm, path) //nolint:gosec // the tool that the developer names
	case "helm":
		args := []string{"template", filepath.Base(path), path, "--namespace", "shop-prod", "--include-crds", "--kube-version", "1.33.1"}
		for _, file := range values {
			args = append(args, "--values", file)
		}
		cmd = exec.CommandContext(t.Context(), *helm, args...) //nolint:gosec // the same
	default:
		// Plain manifests: Argo CD takes the files in lexical order.
		writePlain(t, golden, path)
		return
	}
	cmd.Dir = dir
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writePlain(t *testing.T, golden, path string) {
	t.Helper()
	files, err := fs.Glob(examples.Shop(), path+"/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, file := range files {
		text, err := fs.ReadFile(examples.Shop(), file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if err := os.WriteFile(golden, []byte(strings.Join(texts, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

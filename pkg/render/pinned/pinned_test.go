package pinned_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
)

const pipelineText = `apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: prod, after: [dev], path: envs/prod, registry: prod, destinations: [{namespace: first}, {namespace: second}]}
- {name: fixed, after: [dev], path: envs/fixed, registry: prod, capabilities: {kubeVersion: 1.31.0, apiVersions: [fixed.example/v1]}}
`

var (
	webDigest   = "sha256:" + strings.Repeat("1", 64)
	redisDigest = "sha256:" + strings.Repeat("2", 64)
)

func lookup(reference string) (string, bool) {
	digest, ok := map[string]string{"dev.example/shop/web:1.2": webDigest, "redis:7": redisDigest}[reference]
	return digest, ok
}

func pipeline(t *testing.T) *config.Pipeline {
	t.Helper()
	p, err := config.Parse([]byte(pipelineText), "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tree(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func pod(images ...string) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n"
	for _, image := range images {
		text += "  - {name: c, image: \"" + image + "\"} # stays\n"
	}
	return text
}

func yamlApp(path string) config.Application {
	return config.Application{Name: "web", Path: path, Renderer: config.RendererYAML}
}

func TestRenderPins(t *testing.T) {
	in := pinned.Input{
		FS:          tree("envs/prod/web.yaml", pod("dev.example/shop/web:1.2", "redis:7")),
		Pipeline:    pipeline(t),
		Environment: "prod",
		Application: yamlApp("envs/prod"),
		Lookup:      lookup,
	}
	got, err := pinned.Render(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := pod("prod.example/shop/web@"+webDigest, "prod.example/shop/docker.io/library/redis@"+redisDigest)
	if diff := cmp.Diff(want, string(got.YAML)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	sum := sha256.Sum256([]byte(want))
	if got.SHA256 != "sha256:"+hex.EncodeToString(sum[:]) || got.ClusterDependent || got.Empty {
		t.Errorf("got %+v", got)
	}
	again, err := pinned.Render(t.Context(), in)
	if diff := cmp.Diff(got, again); diff != "" || err != nil {
		t.Errorf("rendering again gives something else: %v\n%s", err, diff)
	}
	images, err := pinned.Images(t.Context(), in)
	if err != nil || len(images) != 2 || images[0].Reference != "dev.example/shop/web:1.2" {
		t.Errorf("images: %v %v", images, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		environment string
		files       fstest.MapFS
		lookup      func(string) (string, bool)
		want        error
		says        []string
	}{
		"not in the lock": {"prod", tree("envs/prod/web.yaml", pod("other:1")), lookup, pinned.ErrImageNotInLock, []string{"application web", "Pod/web", "other:1", "prod"}},
		"no reference":    {"prod", tree("envs/prod/web.yaml", pod("${IMAGE}")), lookup, nil, []string{"Pod/web", "placeholder"}},
		"no digest":       {"prod", tree("envs/prod/web.yaml", pod("redis:7")), func(string) (string, bool) { return "7.2", true }, nil, []string{"7.2"}},
		"other digest": {
			"prod", tree("envs/prod/web.yaml", pod("redis@"+webDigest)), func(string) (string, bool) { return redisDigest, true }, nil,
			[]string{"manifests ask for"},
		},
		"no objects":          {"prod", tree("envs/prod/web.yaml", "# nothing\n"), lookup, render.ErrNoObjects, nil},
		"unknown environment": {"test", tree("envs/prod/web.yaml", pod("redis:7")), lookup, nil, []string{`no environment "test"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pinned.Render(t.Context(), pinned.Input{
				FS: test.files, Pipeline: pipeline(t), Environment: test.environment, Application: yamlApp("envs/prod"), Lookup: test.lookup,
			})
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v lacks %q", err, text)
				}
			}
		})
	}
}

func TestEmptyThatIsMeant(t *testing.T) {
	app := yamlApp("envs/prod")
	app.Empty = true
	got, err := pinned.Render(t.Context(), pinned.Input{
		FS: tree("envs/prod/web.yaml", "# nothing\n"), Pipeline: pipeline(t), Environment: "prod", Application: app, Lookup: lookup,
	})
	if err != nil || !got.Empty {
		t.Errorf("got %+v %v", got, err)
	}
}

func chart(template string) fstest.MapFS {
	return tree("envs/prod/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n", "envs/prod/templates/cm.yaml", template)
}

func TestHelmNamespaceAndCapabilities(t *testing.T) {
	const template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  namespace: {{ .Release.Namespace }}\n"
	const asking = "  kube: {{ .Capabilities.KubeVersion.Version }}\n  has: \"{{ .Capabilities.APIVersions.Has \"fixed.example/v1\" }}\"\n"
	helm := config.Application{Name: "web", Path: "envs/prod", Renderer: config.RendererHelm, ReleaseName: "web"}
	own := helm
	own.Namespace = "own"
	cluster := &config.Capabilities{KubeVersion: "1.29.0"}
	for name, test := range map[string]struct {
		environment string
		application config.Application
		template    string
		dependent   bool
		want        []string
	}{
		"first destination": {"prod", helm, template, false, []string{"namespace: first"}},
		"own namespace":     {"prod", own, template, false, []string{"namespace: own"}},
		"asking cluster":    {"prod", helm, template + asking, true, []string{"kube: v1.29.0", `has: "false"`}},
		"fixed":             {"fixed", helm, template + asking, false, []string{"kube: v1.31.0", `has: "true"`}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pinned.Render(t.Context(), pinned.Input{
				FS: chart(test.template), Pipeline: pipeline(t), Environment: test.environment,
				Application: test.application, Capabilities: cluster, Lookup: lookup,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.ClusterDependent != test.dependent {
				t.Errorf("cluster dependent: %v", got.ClusterDependent)
			}
			for _, text := range test.want {
				if !strings.Contains(string(got.YAML), text) {
					t.Errorf("lacks %s:\n%s", text, got.YAML)
				}
			}
		})
	}
}

// Capture renders the source commit, the sidecar the snapshot made of it; the
// lock inside must not change the output.
func TestSnapshotRendersLikeItsSource(t *testing.T) {
	source := tree(
		"Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"templates/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n{{ (.Files.Glob \"**\").AsConfig | indent 2 }}\n",
		"extra.txt", "hello",
	)
	in := pinned.Input{
		FS: source, Pipeline: pipeline(t), Environment: "prod", Lookup: lookup,
		Application: config.Application{Name: "web", Path: ".", Renderer: config.RendererHelm, ReleaseName: "web"},
	}
	before, err := pinned.Render(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	source[".propagator/snapshot.yaml"] = &fstest.MapFile{Data: []byte("version: x\n")}
	after, err := pinned.Render(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before.YAML), string(after.YAML)); diff != "" || !strings.Contains(string(after.YAML), "hello") {
		t.Errorf("(-source +snapshot):\n%s", diff)
	}
}

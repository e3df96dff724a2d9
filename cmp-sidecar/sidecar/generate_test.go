package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const pipelineText = `apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- name: prod
  after: [dev]
  path: envs/prod
  registry: prod
  applications:
  - {path: envs/prod/web}
  - {path: envs/prod/chart}
  - {path: envs/prod/nothing, renderer: yaml, empty: true}
`

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        image: dev.example/shop/web:1.2 # by CI
---
apiVersion: v1
kind: Service
metadata:
  name: web
`

var webDigest = "sha256:" + strings.Repeat("1", 64)

// sourceTree is a GitOps repository at one commit.
func sourceTree() fstest.MapFS {
	return files(
		"propagator.yaml", pipelineText,
		"envs/dev/web/web.yaml", deployment,
		"envs/prod/web/web.yaml", deployment,
		"envs/prod/chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
		"envs/prod/chart/templates/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {kube: {{ .Capabilities.KubeVersion.Version }}}\n",
		"envs/prod/nothing/readme.yaml", "# nothing yet\n",
	)
}

func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

// lockOf captures prod as the engine does.
func lockOf(t testing.TB, tree fstest.MapFS) *snapshot.Lock {
	t.Helper()
	pipeline, err := config.Parse(tree[config.File].Data, "")
	if err != nil {
		t.Fatal(err)
	}
	lock := &snapshot.Lock{
		Version: snapshot.Version{Pipeline: "shop", Major: 1, Minor: 4},
		Source:  snapshot.Source{Repository: "https://git.example/shop.git", Branch: "main", Commit: strings.Repeat("c", 40)},
		Images: []snapshot.Image{{
			Requested: "dev.example/shop/web:1.2", Digest: webDigest, MediaType: "application/vnd.oci.image.index.v1+json", Size: 500,
			UsedBy: []string{"dev/web", "prod/web"},
		}},
	}
	lock.Tools.Kustomize, lock.Tools.Helm = render.Versions()
	environment, _ := pipeline.Environment("prod")
	applications, err := render.Discover(tree, environment)
	if err != nil {
		t.Fatal(err)
	}
	for _, application := range applications {
		result, err := pinned.Render(context.Background(), pinned.Input{
			FS: tree, Pipeline: pipeline, Environment: "prod", Application: application, Lookup: lock.Lookup,
		})
		if err != nil {
			t.Fatal(err)
		}
		lock.Renders = append(lock.Renders, snapshot.Render{
			Environment: "prod", Application: application.Name, Path: application.Path,
			SHA256: result.SHA256, ClusterDependent: result.ClusterDependent, Empty: result.Empty,
		})
	}
	return lock
}

// snapshotTree is sourceTree with its lock.
func snapshotTree(t testing.TB) fstest.MapFS {
	t.Helper()
	tree := sourceTree()
	putLock(t, tree, lockOf(t, tree))
	return tree
}

func putLock(t testing.TB, tree fstest.MapFS, lock *snapshot.Lock) {
	t.Helper()
	text, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	tree[snapshot.LockFile] = &fstest.MapFile{Data: text}
}

// parameters as Argo CD passes them.
func parameters(t testing.TB, pairs ...string) map[string]string {
	t.Helper()
	var list []map[string]string
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, map[string]string{"name": pairs[i], "string": pairs[i+1]})
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{variableParameters: string(text), variableKubeVersion: "1.30.0", variableAPIVersions: "v1,apps/v1"}
}

func web(t testing.TB) map[string]string {
	return parameters(t, "environment", "prod", "application", "web", "snapshot", "shop/v1.4.0", "renderer", "v1.2.3")
}

func TestGenerate(t *testing.T) {
	tree := snapshotTree(t)
	got, err := Generate(t.Context(), Request{Tree: tree, AppPath: "envs/prod/web", Env: web(t)})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Replace(deployment, "dev.example/shop/web:1.2", "prod.example/shop/web@"+webDigest, 1)
	if diff := cmp.Diff(strings.Split(all, "---\n"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	byEnv := map[string]string{
		variableParameters: "null", "ARGOCD_ENV_ENVIRONMENT": "prod", "ARGOCD_ENV_APPLICATION": "web",
		"ARGOCD_ENV_SNAPSHOT": "", "ARGOCD_ENV_OTHER": "ignored",
	}
	again, err := Generate(t.Context(), Request{Tree: tree, AppPath: "./envs/prod/web", Env: byEnv})
	if diff := cmp.Diff(got, again); diff != "" || err != nil {
		t.Errorf("by plugin.env: %v\n%s", err, diff)
	}
	nothing, err := Generate(t.Context(), Request{Tree: tree, AppPath: "envs/prod/nothing", Env: parameters(t, "environment", "prod", "application", "nothing")})
	if err != nil || len(nothing) != 0 {
		t.Errorf("an application that is meant to be empty: %q %v", nothing, err)
	}
}

func TestClusterDependentRenders(t *testing.T) {
	tree := snapshotTree(t)
	env := parameters(t, "environment", "prod", "application", "chart")
	env[variableKubeVersion] = "1.29.7"
	got, err := Generate(t.Context(), Request{Tree: tree, AppPath: "envs/prod/chart", Env: env})
	if err != nil || len(got) != 1 || !strings.Contains(got[0], "v1.29.7") {
		t.Errorf("got %q %v", got, err)
	}
	// With capabilities fixed, the asking cluster has no say and the hash holds.
	fixed := sourceTree()
	fixed[config.File].Data = []byte(strings.Replace(pipelineText, "  registry: prod\n", "  registry: prod\n  capabilities: {kubeVersion: 1.31.2}\n", 1))
	putLock(t, fixed, lockOf(t, fixed))
	got, err = Generate(t.Context(), Request{Tree: fixed, AppPath: "envs/prod/chart", Env: env})
	if err != nil || len(got) != 1 || !strings.Contains(got[0], "v1.31.2") {
		t.Errorf("fixed: got %q %v", got, err)
	}
	fixed["envs/prod/chart/templates/cm.yaml"].Data = append(fixed["envs/prod/chart/templates/cm.yaml"].Data, "# changed\n"...)
	if _, err = Generate(t.Context(), Request{Tree: fixed, AppPath: "envs/prod/chart", Env: env}); !errors.Is(err, ErrRenderDiffers) {
		t.Errorf("fixed and changed: %v", err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	edit := func(change func(*snapshot.Lock)) func(*testing.T, fstest.MapFS) {
		return func(t *testing.T, tree fstest.MapFS) {
			lock := lockOf(t, tree)
			change(lock)
			putLock(t, tree, lock)
		}
	}
	remove := func(name string) func(*testing.T, fstest.MapFS) {
		return func(_ *testing.T, tree fstest.MapFS) { delete(tree, name) }
	}
	for name, test := range map[string]struct {
		change func(*testing.T, fstest.MapFS)
		path   string
		env    []string // parameters; web by default
		raw    map[string]string
		want   error
		says   []string
	}{
		"no configuration":     {change: remove(config.File), want: ErrNoSnapshot, says: []string{"manifest-generate-paths"}},
		"no lock":              {change: remove(snapshot.LockFile), want: ErrNoSnapshot, says: []string{"refs/tags/shop/", "not a branch"}},
		"broken configuration": {change: func(_ *testing.T, tree fstest.MapFS) { tree[config.File].Data = []byte("kind: X\n") }, says: []string{"propagator.yaml:1"}},
		"broken lock":          {change: func(_ *testing.T, tree fstest.MapFS) { tree[snapshot.LockFile].Data = []byte("kind: X\n") }, says: []string{"snapshot.yaml:1"}},
		"lock of another pipeline": {
			change: edit(func(l *snapshot.Lock) { l.Version.Pipeline = "other" }), want: ErrNoSnapshot,
			says: []string{"other/v1.4.0", "shop"},
		},
		"another snapshot":    {env: []string{"environment", "prod", "application", "web", "snapshot", "shop/v1.3.0"}, want: ErrParameters, says: []string{"shop/v1.3.0", "shop/v1.4.0"}},
		"unknown environment": {env: []string{"environment", "test", "application", "web"}, want: ErrParameters, says: []string{`"test"`}},
		"first environment":   {env: []string{"environment", "dev", "application", "web"}, want: ErrParameters, says: []string{"dev", "main", "without this plugin"}},
		"unknown application": {env: []string{"environment", "prod", "application", "../web"}, want: ErrParameters, says: []string{`"../web"`}},
		"another path":        {path: "envs/dev/web", want: ErrParameters, says: []string{"envs/dev/web", "envs/prod/web"}},
		"outside":             {path: "../web", want: ErrParameters},
		"no environment":      {env: []string{"application", "web"}, want: ErrParameters, says: []string{"environment is missing"}},
		"no application":      {env: []string{"environment", "prod"}, want: ErrParameters, says: []string{"application is missing"}},
		"unknown parameter":   {env: []string{"environment", "prod", "application", "web", "enviroment", "x"}, want: ErrParameters, says: []string{"enviroment"}},
		"parameter twice":     {env: []string{"environment", "prod", "environment", "dev"}, want: ErrParameters, says: []string{"twice"}},
		"long parameter":      {env: []string{"environment", strings.Repeat("x", 300), "application", "web"}, want: ErrParameters, says: []string{"longer than"}},
		"no JSON":             {raw: map[string]string{variableParameters: "{"}, want: ErrParameters, says: []string{variableParameters}},
		"array": {
			raw: map[string]string{variableParameters: `[{"name":"environment","array":["prod"]}]`}, want: ErrParameters,
			says: []string{"must be a string"},
		},
		"not in the lock": {
			change: edit(func(l *snapshot.Lock) { l.Images = nil }), want: pinned.ErrImageNotInLock,
			says: []string{"IMAGE_NOT_IN_LOCK", "shop/v1.4.0", "prod/web", "dev.example/shop/web:1.2", "Deployment/web"},
		},
		"in the lock for others only": {change: edit(func(l *snapshot.Lock) { l.Images[0].UsedBy = []string{"dev/web"} }), want: pinned.ErrImageNotInLock},
		"another digest": {
			change: edit(func(l *snapshot.Lock) { l.Images[0].Digest = "sha256:" + strings.Repeat("2", 64) }), want: ErrRenderDiffers,
			says: []string{"RENDER_DIFFERS", "rendered sha256:", "the lock has sha256:", "files are not those"},
		},
		"other files": {change: func(_ *testing.T, tree fstest.MapFS) {
			tree["envs/prod/web/web.yaml"].Data = append(tree["envs/prod/web/web.yaml"].Data, "# x\n"...)
		}, want: ErrRenderDiffers},
		"other tools": {
			change: edit(func(l *snapshot.Lock) { l.Tools.Helm = "v3.0.0"; l.Renders[2].SHA256 = webDigest }), want: ErrRenderDiffers,
			says: []string{"v3.0.0", "captured with"},
		},
		"not captured":           {change: edit(func(l *snapshot.Lock) { l.Renders = l.Renders[:2] }), want: ErrParameters, says: []string{"does not list"}},
		"captured elsewhere":     {change: edit(func(l *snapshot.Lock) { l.Renders[2].Path = "envs/x" }), want: ErrParameters, says: []string{"envs/x"}},
		"empty, not by the lock": {path: "envs/prod/nothing", env: []string{"environment", "prod", "application", "nothing"}, change: edit(func(l *snapshot.Lock) { l.Renders[1].Empty = false }), want: render.ErrNoObjects},
		"bad cluster version": {
			path: "envs/prod/chart", raw: map[string]string{"ARGOCD_ENV_ENVIRONMENT": "prod", "ARGOCD_ENV_APPLICATION": "chart", variableKubeVersion: "new"},
			says: []string{"kubeVersion"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := snapshotTree(t)
			if test.change != nil {
				test.change(t, tree)
			}
			env := web(t)
			if test.env != nil {
				env = parameters(t, test.env...)
			}
			if test.raw != nil {
				env = test.raw
			}
			path := test.path
			if path == "" {
				path = "envs/prod/web"
			}
			manifests, err := Generate(t.Context(), Request{Tree: tree, AppPath: path, Env: env})
			if err == nil || manifests != nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Fatalf("got %q, %v; want %v", manifests, err, test.want)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v\nlacks %q", err, text)
				}
			}
			if result(err) == "ok" || result(err) == "error" {
				t.Errorf("%v has no name of its own in the metrics", err)
			}
		})
	}
}

// The answer depends on nothing but the request.
func TestGenerateIsPure(t *testing.T) {
	tree := snapshotTree(t)
	t.Setenv(variableKubeVersion, "1.2.3")
	t.Setenv("ARGOCD_ENV_ENVIRONMENT", "dev")
	before, err := Generate(t.Context(), Request{Tree: tree, AppPath: "envs/prod/web", Env: web(t)})
	if err != nil {
		t.Fatal(err)
	}
	env := maps.Clone(web(t))
	env["ARGOCD_APP_NAME"] = "other"
	env[variableKubeVersion] = "1.40.0"
	after, err := Generate(t.Context(), Request{Tree: tree, AppPath: "envs/prod/web", Env: env})
	if diff := cmp.Diff(before, after); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func FuzzParameters(f *testing.F) {
	f.Add(`[{"name":"environment","string":"prod"},{"name":"application","string":"web"}]`)
	f.Add("null")
	f.Add(`[{"name":"a","map":{"b":"c"}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseParameters(map[string]string{variableParameters: text})
		if err == nil && (p.Environment == "" || p.Application == "") {
			t.Errorf("accepted %q as %+v", text, p)
		}
	})
}

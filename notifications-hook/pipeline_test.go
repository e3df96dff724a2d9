package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// fleetEnvironments and fleetApplications are what every pipeline has.
var (
	fleetEnvironments = []string{"dev", "stage", "prod"}
	fleetApplications = []string{"orders", "web"}
)

// pipeline is one of a fleet.
type pipeline struct {
	name, url string
	// repo is how the test sees it; what it does there is not counted.
	repo gitrepo.Repo
	// was is what Prod runs before a release.
	was snapshot.Version
}

// builder makes pipelines whose newest snapshot is deployed to Prod. The
// repositories are written as files, without git: a thousand take seconds.
type builder struct {
	fleet      *fleet
	registries *registryremote.Set
	digest     string
}

func (f *fleet) newBuilder() *builder {
	f.t.Helper()
	f.t.Setenv("DOCKER_CONFIG", f.folder) // nobody's own credentials
	b := &builder{fleet: f, registries: &registryremote.Set{}}
	dev, err := registryremote.New(registryremote.Config{Name: f.registry.Host + "/dev", Writable: true})
	if err != nil {
		f.t.Fatal(err)
	}
	image := registrytest.MustIndex(f.t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": "1"}})
	b.digest = image.Manifest.Descriptor().Digest
	f.cluster.image, f.cluster.digest = f.registry.Host+"/dev/app:v1", b.digest
	registrytest.MustPush(f.t, dev, "app", image, "v1")
	return b
}

func (b *builder) files(name string) gitrepotest.Files {
	files := gitrepotest.Files{}
	var text strings.Builder
	fmt.Fprintf(&text, "apiVersion: propagator/v1alpha1\nkind: Pipeline\nmetadata: {name: %s}\nregistries:\n", name)
	for _, environment := range fleetEnvironments {
		retention := "keep"
		if environment == "dev" {
			retention = "ephemeral"
		}
		fmt.Fprintf(&text, "  %[1]s: {url: %[2]s/%[1]s, endpoint: \"http://%[2]s/%[1]s\", retention: %[3]s}\n", environment, b.fleet.registry.Host, retention)
		for _, application := range fleetApplications {
			files["envs/"+environment+"/"+application+"/deployment.yaml"] = fmt.Sprintf(
				"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec: {template: {spec: {containers: [{name: main, image: %q}]}}}\n",
				application, b.fleet.cluster.image)
		}
	}
	text.WriteString("environments:\n- {name: dev, path: envs/dev, registry: dev}\n" +
		"- {name: stage, after: [dev], path: envs/stage, registry: stage, promote: auto}\n" +
		"- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: auto}\n")
	files[config.File] = text.String()
	return files
}

// recorder keeps what was pushed.
type recorder struct {
	gitrepo.Repo
	objects []gitrepo.Object
}

// Push implements gitrepo.Writer.
func (r *recorder) Push(ctx context.Context, push gitrepo.Push) error {
	r.objects = append(r.objects, push.Objects...)
	return r.Repo.Push(ctx, push)
}

func (b *builder) build(name string) *pipeline {
	t := b.fleet.t
	t.Helper()
	url := b.fleet.git.URL + "/" + name + ".git"
	repo := &recorder{Repo: gitrepo.NewMemory(url)}
	gitrepotest.Grow(t, repo, "refs/heads/main", b.files(name))
	now := time.Now().Add(-time.Hour).Truncate(time.Second)
	e := &promotion.Engine{Repo: repo, Registries: b.registries, Actor: "propagator", Now: func() time.Time { return now }}
	state := observe(t, e)
	capture, err := promotion.PlanCapture(state, state.SourceTip, snapshot.Version{})
	execute(t, e, state, capture, err)
	b.deployed(e, "stage")
	state = observe(t, e)
	promote, err := promotion.PlanRequest(state, promotion.Request{Environment: "prod"})
	execute(t, e, state, promote, err)
	b.deployed(e, "prod")
	writeRepository(t, filepath.Join(b.fleet.git.Root, "template.git"), filepath.Join(b.fleet.git.Root, name+".git"), repo.objects, gitrepotest.MustRefs(t, repo))
	return &pipeline{name: name, url: url, repo: repo}
}

func (b *builder) deployed(e *promotion.Engine, environment string) {
	t := b.fleet.t
	t.Helper()
	state := observe(t, e)
	at, _ := state.Environment(environment)
	step := promotion.Step{Kind: promotion.Record, Environment: environment, Version: at.Current().Snapshot}
	for _, target := range at.Targets {
		step.Evidence = append(step.Evidence, snapshot.Evidence{
			Application: target.Application, Destination: "in-cluster/" + environment, Revision: at.Snapshot.ID, Health: "Healthy", FinishedAt: state.Now,
		})
	}
	execute(t, e, state, step, nil)
}

func observe(t testing.TB, e *promotion.Engine) *promotion.State {
	t.Helper()
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func execute(t testing.TB, e *promotion.Engine, state *promotion.State, step promotion.Step, err error) {
	t.Helper()
	if err == nil {
		err = e.Execute(t.Context(), state, step)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeRepository writes a bare repository with the settings of another one.
func writeRepository(t testing.TB, template, dir string, objects []gitrepo.Object, refs gitrepo.Refs) {
	t.Helper()
	write := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"HEAD", "config"} {
		content, err := os.ReadFile(filepath.Join(template, name))
		if err != nil {
			t.Fatal(err)
		}
		write(name, content)
	}
	for _, object := range objects {
		var loose bytes.Buffer
		z := zlib.NewWriter(&loose)
		_, _ = fmt.Fprintf(z, "%s %d\x00%s", object.Type, len(object.Data), object.Data) // a bytes.Buffer does not fail
		_ = z.Close()
		id := string(object.ID())
		write(filepath.Join("objects", id[:2], id[2:]), loose.Bytes())
	}
	packed := "# pack-refs with: peeled fully-peeled sorted \n"
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		packed += string(refs[name]) + " " + name + "\n"
	}
	write("packed-refs", []byte(packed))
	if err := os.MkdirAll(filepath.Join(dir, "refs"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// follow makes the test see a pipeline as it is on the server.
func (f *fleet) follow(p *pipeline) {
	f.t.Helper()
	repo, err := gitremote.Open(f.aside+"/"+p.name+".git", gitremote.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	p.repo = repo
	p.was = p.entry(f.t, "prod").Snapshot
}

// entry is the newest of an environment's ledger.
func (p *pipeline) entry(t testing.TB, environment string) snapshot.Entry {
	t.Helper()
	ref := "refs/heads/environments/" + environment
	tip := gitrepotest.MustRefs(t, p.repo, ref)[ref]
	gitrepotest.MustFetch(t, p.repo, gitrepo.FetchOptions{Depth: 1}, tip)
	entry, err := snapshot.ReadEntry(p.repo, tip)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// done: what Prod runs is another snapshot than before, and proven.
func (p *pipeline) done(t testing.TB) bool {
	t.Helper()
	entry := p.entry(t, "prod")
	return entry.Event == snapshot.EventDeployed && entry.Snapshot != p.was
}

package promotion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const repoURL = "https://git.example/shop.git"

// configuration of the tests' pipeline; gates are added by some.
const configuration = `
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  stage: {url: stage.example/shop}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: stage, after: [dev], path: envs/stage, registry: stage, promote: auto}
- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: auto}
`

func deployment(name, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  template:
    spec:
      containers:
      - name: main
        image: %s
`, name, image)
}

// shop is a small pipeline with everything in memory.
type shop struct {
	t          *testing.T
	server     *gitrepo.Memory
	people     gitrepo.Repo
	registries map[string]*registrytest.Faults
	upstream   registry.Registry
	argo       *argo
	clock      time.Time
	built      map[string]imagebuild.Built
	// services, when set, opens the repositories in which images are built.
	services func(*config.Pipeline, string) (gitrepo.Reader, error)
}

func newShop(t *testing.T, files ...gitrepotest.Files) *shop {
	t.Helper()
	server := gitrepo.NewMemory(repoURL)
	s := &shop{
		t: t, server: server, people: server.Client(), clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		registries: map[string]*registrytest.Faults{}, upstream: registry.NewMemory("docker.io"), built: map[string]imagebuild.Built{},
	}
	for _, name := range []string{"dev", "stage", "prod"} {
		s.registries[name] = registrytest.Faulty(registry.NewMemory(name + ".example/shop"))
	}
	s.argo = &argo{shop: s, applications: map[string]Application{}, synced: map[string]operation{}}
	s.push("orders", "v1")
	s.push("worker", "latest")
	redis := registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"redis": "7.4"}})
	registrytest.MustPush(t, s.upstream, "library/redis", redis, "7.4")
	content := gitrepotest.Files{config.File: configuration}
	for _, env := range []string{"dev", "stage", "prod"} {
		content["envs/"+env+"/orders/deployment.yaml"] = deployment("orders", "dev.example/shop/orders:v1")
		content["envs/"+env+"/jobs/worker.yaml"] = deployment("worker", "dev.example/shop/worker:latest")
		content["envs/"+env+"/jobs/cache.yaml"] = deployment("cache", "redis:7.4")
	}
	for _, more := range files {
		maps.Copy(content, more)
	}
	s.commit(content)
	return s
}

// push builds an image and pushes it to dev, with a signature.
func (s *shop) push(name, tag string) {
	s.t.Helper()
	s.pushFrom(name, tag, fmt.Sprintf("%s-%d", tag, len(s.built)))
}

// pushFrom pushes an image that was built from a revision.
func (s *shop) pushFrom(name, tag, revision string) {
	s.t.Helper()
	image := registrytest.MustIndex(s.t, imagebuild.Spec{
		Platforms: registrytest.TwoPlatforms(),
		Layers:    []imagebuild.Files{{"base": "shared"}},
		Files:     imagebuild.Files{"app": name + revision},
		Labels:    map[string]string{imagebuild.LabelRevision: revision},
	})
	image = image.Refer(imagebuild.Signature(image.Manifest.Descriptor(), "ci"))
	registrytest.MustPush(s.t, s.registries["dev"].Registry, name, image, tag)
	s.built[name+":"+tag] = image
}

func (s *shop) commit(files gitrepotest.Files) {
	s.t.Helper()
	gitrepotest.Grow(s.t, s.people, "refs/heads/main", files)
}

// engine is a fresh worker, as after a restart.
func (s *shop) engine(repo gitrepo.Repo) *Engine {
	if repo == nil {
		repo = s.server.Client()
	}
	return &Engine{
		Repo: repo, Registries: s, Applications: s.argo, Actor: "test", Services: s.services,
		Now: func() time.Time { return s.clock }, Concurrency: 1,
	}
}

// Open implements Registries.
func (s *shop) Open(r config.Registry) (registry.Registry, error) { return s.registries[r.Name], nil }

// Upstream implements Registries.
func (s *shop) Upstream(host, _ string) (registry.Reader, error) {
	if host != "docker.io" {
		return nil, fmt.Errorf("no upstream %s", host)
	}
	return s.upstream, nil
}

// settle reconciles with fresh workers until nothing is left to do, letting
// Argo CD follow in between. Errors are ignored: the next run has to cope.
func (s *shop) settle(engine func() *Engine) {
	s.t.Helper()
	for range 20 {
		s.argo.follow(s.t)
		result, err := engine().Reconcile(s.t.Context())
		if err == nil && len(result.Done) == 0 {
			return
		}
	}
	s.t.Fatal("no end in sight")
}

// byHand does what a person asks for, with a fresh engine.
func (s *shop) byHand(r Request) error {
	s.t.Helper()
	e := s.engine(nil)
	state, err := e.Observe(s.t.Context())
	if err != nil {
		return err
	}
	step, err := e.PlanRequest(s.t.Context(), state, r)
	if err != nil {
		return err
	}
	return e.Execute(s.t.Context(), state, step)
}

// refs lists branches and tags by short name.
func (s *shop) refs() map[string]gitrepo.Hash {
	s.t.Helper()
	return gitrepotest.MustRefs(s.t, s.server.Client())
}

// entry is the newest ledger entry of an environment; zero when there is none
// that can be read.
func (s *shop) entry(environment string) snapshot.Entry {
	s.t.Helper()
	repo := s.server.Client()
	tip := s.refs()["refs/heads/environments/"+environment]
	if tip == "" {
		return snapshot.Entry{}
	}
	gitrepotest.MustFetch(s.t, repo, gitrepo.FetchOptions{Depth: 1}, tip)
	entry, err := snapshot.ReadEntry(repo, tip)
	if err != nil {
		return snapshot.Entry{}
	}
	return entry
}

// contents lists what the registries of stage and prod hold: every manifest
// that a tag or referrer leads to, readable to the last byte.
func (s *shop) contents() []string {
	s.t.Helper()
	var all []string
	ctx := context.WithoutCancel(s.t.Context())
	for _, name := range []string{"stage", "prod"} {
		r := s.registries[name].Registry
		for _, repo := range []string{"orders", "worker", "docker.io/library/redis"} {
			tags, err := r.Tags(ctx, repo)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, tag := range tags {
				d, err := r.Resolve(ctx, repo, tag)
				if err != nil {
					s.t.Fatal(err)
				}
				referrers, err := r.Referrers(ctx, repo, d.Digest)
				if err != nil {
					s.t.Fatal(err)
				}
				all = append(all, fmt.Sprintf("%s %s %s %s %d", name, repo, tag, d.Digest, len(referrers)))
			}
		}
	}
	slices.Sort(all)
	return all
}

// argo behaves like Argo CD with the generator in front: Dev follows main, the
// others what their ledger names, as soon as follow is called.
type argo struct {
	shop *shop

	mu           sync.Mutex // guards the fields below
	applications map[string]Application
	synced       map[string]operation
	pokes        int
	// asked is what Argo CD was asked for beside pokes; deaf is what it answers.
	asked []string
	deaf  error
	// broken Applications never become healthy.
	broken map[string]bool
	// workloads, when set, says what of an Application may have Pods.
	workloads func(Application) []Workload
	// silent: what is there already is compared, and not synced again.
	silent bool
	err    error
}

func (a *argo) List(context.Context, string) ([]Application, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.applications)), a.err
}

func (a *argo) Poke(context.Context, string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pokes++
	return nil
}

func (a *argo) Refresh(_ context.Context, app Application, hard bool) error {
	kind := "refresh "
	if hard {
		kind = "hard refresh "
	}
	return a.ask(kind + app.Name)
}

func (a *argo) Terminate(_ context.Context, app Application, revision gitrepo.Hash) error {
	return a.ask("terminate " + app.Name + " at " + revision.Short())
}

func (a *argo) ask(what string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, what)
	return a.deaf
}

// follow syncs everything to where it belongs now.
func (a *argo) follow(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	refs := a.shop.refs()
	for _, app := range []string{"orders", "jobs"} {
		a.set("dev-"+app, Application{Path: "envs/dev/" + app, TargetRevision: "main", SyncedTarget: "main"}, refs["refs/heads/main"])
		for _, env := range []string{"stage", "prod"} {
			entry := a.shop.entry(env)
			if entry.Snapshot.IsZero() {
				continue
			}
			a.set(env+"-"+app, Application{
				Environment: env, Application: app, Path: "envs/" + env + "/" + app, Cluster: "in-cluster", DestNamespace: "shop-" + env,
				TargetRevision: entry.Snapshot.Ref(), SyncedTarget: entry.Snapshot.Ref(),
			}, refs[entry.Snapshot.Ref()])
			a.skipSync(t, env, app, entry.Snapshot)
		}
	}
}

// skipSync takes the operation back if the Application renders to the same as
// before: Argo CD then sees that it is Synced and does nothing.
func (a *argo) skipSync(t *testing.T, env, app string, version snapshot.Version) {
	t.Helper()
	name := env + "-" + app
	repo, id := a.shop.server.Client(), a.shop.refs()[version.Ref()]
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{Depth: 1}, id)
	snap, err := snapshot.Read(repo, id, version)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range snap.Lock.RendersOf(env) {
		if r.Application != app {
			continue
		}
		now := a.applications[name]
		if before, ok := a.synced[name]; ok && before.sha256 == r.SHA256 {
			now.SyncedRevision, now.SyncedTarget, now.FinishedAt = before.revision, before.target, before.finished
			a.applications[name] = now
			return
		}
		a.synced[name] = operation{r.SHA256, now.SyncedRevision, now.SyncedTarget, now.FinishedAt}
	}
}

// operation is what an Application last synced.
type operation struct {
	sha256   string
	revision gitrepo.Hash
	target   string
	finished time.Time
}

func (a *argo) set(name string, app Application, revision gitrepo.Hash) {
	app.Name, app.Namespace, app.RepoURL = name, "argocd", repoURL
	app.Phase, app.SyncStatus, app.Health = "Succeeded", "Synced", "Healthy"
	if a.broken[name] {
		app.Health = "Degraded"
	}
	if a.workloads != nil {
		if app.Cluster == "" {
			app.Cluster = "in-cluster"
		}
		app.Workloads = a.workloads(app)
	}
	before := a.applications[name]
	app.SyncedRevision, app.ComparedRevision = revision, revision
	app.FinishedAt, app.ReconciledAt, app.HealthSince = a.shop.clock, a.shop.clock, a.shop.clock
	if a.silent && before.Name != "" {
		app.SyncedRevision, app.FinishedAt = before.SyncedRevision, before.FinishedAt
	}
	a.applications[name] = app
}

func version(t *testing.T, s string) snapshot.Version {
	t.Helper()
	v, err := snapshot.ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustContain(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q: %v", part, err)
		}
	}
}

var errDown = errors.New("the API server is down")

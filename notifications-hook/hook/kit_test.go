package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const (
	repoURL = "https://git.example/shop.git"
	token   = "0123456789abcdef"
)

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

// soaking is the same with a gate before Prod.
var soaking = strings.Replace(configuration, "registry: prod, ", "registry: prod, gates: [{soak: 30m}], ", 1)

// shop is a pipeline with everything in memory: git, registries, and an Argo CD
// that follows at once. It is safe for concurrent use.
type shop struct {
	t          testing.TB
	server     *gitrepo.Memory
	registries map[string]registry.Registry

	mu sync.Mutex // guards the fields below
	// lists are the times at which Argo CD was asked.
	lists []time.Time
	// gate, when set, holds up Argo CD's answers until it is closed.
	gate chan struct{}
	err  error
	sick bool
	// slow is how long an answer of Argo CD takes.
	slow time.Duration
	// unrendered: nothing of Stage can be compared.
	unrendered bool
	// pokes and refreshes are the times at which Argo CD was asked for them.
	pokes, refreshes []time.Time
	// since is when an Application got its revision.
	since map[string]time.Time
}

var (
	_ promotion.Applications = (*shop)(nil)
	_ promotion.Registries   = (*shop)(nil)
)

func newShop(t testing.TB, configuration string) *shop {
	t.Helper()
	s := &shop{t: t, server: gitrepo.NewMemory(repoURL), registries: map[string]registry.Registry{}, since: map[string]time.Time{}}
	for _, name := range []string{"dev", "stage", "prod"} {
		s.registries[name] = registry.NewMemory(name + ".example/shop")
	}
	image := registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": "orders"}})
	registrytest.MustPush(t, s.registries["dev"], "orders", image, "v1")
	files := gitrepotest.Files{config.File: configuration}
	for _, environment := range []string{"dev", "stage", "prod"} {
		files["envs/"+environment+"/orders/deployment.yaml"] = `apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec: {template: {spec: {containers: [{name: main, image: "dev.example/shop/orders:v1"}]}}}
`
	}
	gitrepotest.Grow(t, s.server, "refs/heads/main", files)
	return s
}

// Open implements promotion.Registries.
func (s *shop) Open(r config.Registry) (registry.Registry, error) { return s.registries[r.Name], nil }

// Upstream implements promotion.Registries.
func (s *shop) Upstream(host, _ string) (registry.Reader, error) {
	return nil, fmt.Errorf("no upstream %s", host)
}

// List implements promotion.Applications: Dev runs main, the others what their
// ledger names.
func (s *shop) List(ctx context.Context, _ string) ([]promotion.Application, error) {
	s.mu.Lock()
	s.lists = append(s.lists, time.Now())
	gate, err, slow := s.gate, s.err, s.slow
	s.mu.Unlock()
	if slow > 0 {
		answer := time.NewTimer(slow)
		defer answer.Stop()
		select {
		case <-answer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	repo := s.server.Client()
	refs, err := repo.Refs(ctx)
	if err != nil {
		return nil, err
	}
	all := []promotion.Application{s.application("dev", "main", refs["refs/heads/main"])}
	for _, environment := range []string{"stage", "prod"} {
		tip := refs["refs/heads/environments/"+environment]
		if tip == "" {
			continue
		}
		if err := repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1}); err != nil {
			return nil, err
		}
		entry, err := snapshot.ReadEntry(repo, tip)
		if err != nil {
			return nil, err
		}
		all = append(all, s.application(environment, entry.Snapshot.Ref(), refs[entry.Snapshot.Ref()]))
	}
	return all, nil
}

func (s *shop) application(environment, target string, revision gitrepo.Hash) promotion.Application {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := environment + " " + string(revision)
	if s.since[key].IsZero() {
		s.since[key] = time.Now().Truncate(time.Second) // as Kubernetes writes it
	}
	a := promotion.Application{
		Namespace: "argocd", Name: environment + "-orders", RepoURL: repoURL, Path: "envs/" + environment + "/orders",
		TargetRevision: target, SyncedTarget: target, Cluster: "in-cluster", DestNamespace: "shop-" + environment,
		Phase: "Succeeded", SyncStatus: "Synced", Health: "Healthy", SyncedRevision: revision, ComparedRevision: revision,
		FinishedAt: s.since[key], ReconciledAt: s.since[key], HealthSince: s.since[key],
	}
	if environment != "dev" {
		a.Environment, a.Application = environment, "orders"
	}
	if s.sick {
		a.Health = "Degraded"
	}
	if s.unrendered && environment == "stage" {
		a.SyncStatus, a.CompareError, a.Condition = "Unknown", true, "ComparisonError: connection refused"
	}
	return a
}

// Poke implements promotion.Applications.
func (s *shop) Poke(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pokes = append(s.pokes, time.Now())
	return nil
}

// Refresh implements promotion.Applications.
func (s *shop) Refresh(context.Context, promotion.Application, bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshes = append(s.refreshes, time.Now())
	return nil
}

// Terminate implements promotion.Applications.
func (s *shop) Terminate(context.Context, promotion.Application, gitrepo.Hash) error { return nil }

func (s *shop) set(change func(*shop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// asked returns the times at which Argo CD was asked; a run that finds nothing
// to do asks once.
func (s *shop) asked() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.lists...)
}

// entry is the newest ledger entry of an environment; zero when there is none.
func (s *shop) entry(environment string) snapshot.Entry {
	s.t.Helper()
	repo := s.server.Client()
	tip := gitrepotest.MustRefs(s.t, repo)["refs/heads/environments/"+environment]
	if tip == "" {
		return snapshot.Entry{}
	}
	gitrepotest.MustFetch(s.t, repo, gitrepo.FetchOptions{Depth: 1}, tip)
	entry, err := snapshot.ReadEntry(repo, tip)
	if err != nil {
		s.t.Fatal(err)
	}
	return entry
}

// deployed checks what an environment is proven to run.
func (s *shop) deployed(environment, version string) {
	s.t.Helper()
	if entry := s.entry(environment); entry.Event != snapshot.EventDeployed || entry.Snapshot.String() != version {
		s.t.Errorf("%s: %q, want %s deployed", environment, entry.Subject(), version)
	}
}

func (s *shop) pipeline() Pipeline {
	return Pipeline{Engine: &promotion.Engine{
		Repo: s.server.Client(), Registries: s, Applications: s, Actor: "propagator", Concurrency: 1, Log: testLog(s.t),
	}}
}

// newServer makes a server for shops.
func newServer(t testing.TB, change func(*Config), shops ...*shop) *Server {
	t.Helper()
	tokens, err := service.NewTokens(token)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Tokens: tokens, Interval: time.Hour, Service: service.DefaultOptions("127.0.0.1:0", ""), Log: testLog(t)}
	for _, s := range shops {
		c.Pipelines = append(c.Pipelines, s.pipeline())
	}
	if change != nil {
		change(&c)
	}
	server, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// testLog sends log lines to the test's own output; logging after the end of
// the test, by something that was left running, makes the test panic.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

var errDown = errors.New("the API server is down")

package generator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const (
	repoURL = "https://git.example/shop.git"
	token   = "0123456789abcdef"
)

// configuration has an environment with one destination and one with two, one
// of them by its address.
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
- {name: stage, after: [dev], path: envs/stage, registry: stage}
- name: prod
  after: [stage]
  path: envs/prod
  registry: prod
  destinations: [{cluster: Prod EU, namespace: shop}, {server: "https://us.example:6443", namespace: shop}]
`

// shop is a repository that people push to and the engine promotes in.
type shop struct {
	t      testing.TB
	people gitrepo.Repo
	clock  time.Time
}

func newShop(t testing.TB, people gitrepo.Repo, files ...gitrepotest.Files) *shop {
	t.Helper()
	s := &shop{t: t, people: people, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.commit(gitrepotest.Files{config.File: configuration})
	for _, more := range files {
		s.commit(more)
	}
	return s
}

func (s *shop) commit(files gitrepotest.Files) {
	s.t.Helper()
	gitrepotest.Grow(s.t, s.people, gitrepo.Heads+"main", files)
}

// capture makes a snapshot of the tip of main. Applications are given as
// environment/application.
func (s *shop) capture(version string, applications ...string) {
	s.t.Helper()
	v := mustVersion(s.t, version)
	tip := gitrepotest.MustRefs(s.t, s.people)[gitrepo.Heads+"main"]
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, tip)
	lock := &snapshot.Lock{Version: v, Source: snapshot.Source{Repository: repoURL, Branch: "main", Commit: string(tip)}}
	for _, name := range applications {
		environment, application, _ := strings.Cut(name, "/")
		lock.Renders = append(lock.Renders, snapshot.Render{
			Environment: environment, Application: application, Path: "envs/" + name, SHA256: "sha256:" + strings.Repeat("0", 64),
		})
	}
	built, objects, err := snapshot.Build(s.people, lock, snapshot.Identity{Name: "propagator", Email: "p@example.com"})
	if err != nil {
		s.t.Fatal(err)
	}
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: v.Ref(), New: built.ID}}})
}

// promote lets an environment point at a snapshot; ledger, when it differs, is
// the environment that the entry names.
func (s *shop) promote(environment, version string, ledger ...string) {
	s.t.Helper()
	entry := snapshot.Entry{Event: snapshot.EventPromote, Environment: environment, Snapshot: mustVersion(s.t, version)}
	if len(ledger) > 0 {
		entry.Environment = ledger[0]
	}
	s.record(environment, entry)
}

// record appends an entry to an environment's branch, with the tree of
// whatever the tag of its snapshot names.
func (s *shop) record(environment string, entry snapshot.Entry) {
	s.t.Helper()
	refs := gitrepotest.MustRefs(s.t, s.people)
	id, branch := refs[entry.Snapshot.Ref()], gitrepo.Heads+"environments/"+environment
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, id)
	target, err := snapshot.Read(s.people, id, snapshot.Version{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.clock = s.clock.Add(time.Minute)
	entry.When, entry.Since, entry.SourceCommit, entry.Actor = s.clock, s.clock, target.Source, "test"
	tip, objects, err := snapshot.Append(refs[branch], entry, target, snapshot.Identity{Name: "propagator", Email: "p@example.com"})
	if err != nil {
		s.t.Fatal(err)
	}
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: branch, Old: refs[branch], New: tip}}})
}

// retag puts a second tag on a snapshot.
func (s *shop) retag(version, as string) {
	s.t.Helper()
	id := gitrepotest.MustRefs(s.t, s.people)[mustVersion(s.t, as).Ref()]
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: mustVersion(s.t, version).Ref(), New: id}}})
}

func mustVersion(t testing.TB, s string) snapshot.Version {
	t.Helper()
	v, err := snapshot.ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// promoted is a shop whose environments have got shop/v0.1.0.
func promoted(t testing.TB, people gitrepo.Repo) *shop {
	t.Helper()
	s := newShop(t, people)
	s.capture("shop/v0.1.0", "stage/orders", "stage/jobs", "prod/orders", "prod/jobs")
	s.promote("stage", "shop/v0.1.0")
	s.promote("prod", "shop/v0.1.0")
	return s
}

// git is a repository whose server can be unreachable, slow, or lack refs.
type git struct {
	gitrepo.Repo

	mu     sync.Mutex // guards the fields below
	lists  int
	down   error
	gate   <-chan struct{}
	hidden map[string]bool
}

func (g *git) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	g.mu.Lock()
	g.lists++
	down, gate := g.down, g.gate
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if down != nil {
		return nil, fmt.Errorf("git repository %s: %w", g.URL(), down)
	}
	refs, err := g.Repo.Refs(ctx, prefixes...)
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.hidden {
		delete(refs, name)
	}
	return refs, err
}

func (g *git) set(change func(*git)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

func (g *git) listed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lists
}

var errDown = fmt.Errorf("%w: connection refused", gitrepo.ErrUnreachable)

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

func mustTokens(t testing.TB) *service.Tokens {
	t.Helper()
	tokens, err := service.NewTokens(token)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func newServer(t testing.TB, change func(*Config), repos ...gitrepo.Repo) *Server {
	t.Helper()
	c := Config{Tokens: mustTokens(t), Interval: time.Hour, Service: service.DefaultOptions("127.0.0.1:0", ""), Log: testLog(t)}
	for _, repo := range repos {
		c.Repositories = append(c.Repositories, gitrepo.Fixed(repo))
	}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running is a server on a loopback port.
type running struct {
	t    testing.TB
	url  string
	stop func() error
}

// serve starts a server for the repositories and stops it with the test.
func serve(t testing.TB, repos ...gitrepo.Repo) *running {
	t.Helper()
	s := newServer(t, nil, repos...)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	r := &running{t: t, url: "http://" + s.Addr().String(), stop: func() error {
		cancel()
		select {
		case err := <-done:
			done <- err // a second stop sees the same
			return err
		case <-time.After(10 * time.Second):
			return errors.New("the server does not stop")
		}
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request as it is, without following redirects.
func (r *running) send(method, path, body, authorization string) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

const path = "/api/v1/getparams.execute"

// ask posts what an ApplicationSet asks for.
func (r *running) ask(parameters string) answer {
	r.t.Helper()
	return r.send(http.MethodPost, path, question(parameters), "Bearer "+token)
}

// question is the body that the ApplicationSet controller posts.
func question(parameters string) string {
	return `{"applicationSetName":"shop","input":{"parameters":` + parameters + `}}`
}

// names lists what an answer consists of, as name@version.
func (a answer) names(t testing.TB) []string {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var decoded struct {
		Output struct {
			Parameters []Set `json:"parameters"`
		} `json:"output"`
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(a.body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&decoded); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if decoded.Output.Parameters == nil {
		t.Fatalf("no parameters in %s", a.body)
	}
	names := []string{}
	for _, set := range decoded.Output.Parameters {
		names = append(names, set.Name+"@"+set.Version)
	}
	return names
}

// loaded waits until the server is ready.
func (r *running) loaded() *running {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for r.send(http.MethodGet, "/readyz", "", "").status != http.StatusOK {
		if time.Now().After(deadline) {
			r.t.Fatal("the server does not become ready")
		}
	}
	return r
}

package generator

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const all = `{"pipeline":"shop"}`

// TestUnreachable: 503 whenever the repository cannot be read. An error leaves
// every Application as it is; a state from before would take them back to it,
// and another replica forward again (I8).
func TestUnreachable(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	s := promoted(t, server)
	repo := &git{Repo: server.Client(), down: errDown}
	r := serve(t, repo)
	mustRefuse(t, r.ask(all), 503, "repository "+repoURL+" is not loaded yet: git repository "+repoURL+": unreachable: connection refused")
	if ready := r.send(http.MethodGet, "/readyz", "", ""); ready.status != 503 || !strings.Contains(ready.body, "unreachable") {
		t.Errorf("readyz: %d %s", ready.status, ready.body)
	}

	repo.set(func(g *git) { g.down = nil })
	if diff := cmp.Diff(everything, r.ask(all).names(t)); diff != "" {
		t.Errorf("after it came back:\n%s", diff)
	}
	r.loaded()

	repo.set(func(g *git) { g.down = errDown })
	s.capture("shop/v0.2.0", "stage/orders")
	s.promote("stage", "shop/v0.2.0")
	mustRefuse(t, r.ask(all), 503, "unreachable: connection refused")
	if ready := r.send(http.MethodGet, "/readyz", "", ""); ready.status != 200 {
		t.Errorf("readyz: %d %s", ready.status, ready.body)
	}
	if metrics := r.send(http.MethodGet, "/metrics", "", ""); !strings.Contains(metrics.body, "propagator_generator_state_age_seconds ") ||
		!strings.Contains(metrics.body, `propagator_generator_requests_total{status="503"} 2`) {
		t.Errorf("metrics:\n%s", metrics.body)
	}

	repo.set(func(g *git) { g.down = nil })
	if got := r.ask(all).names(t); got[0] != "shop-stage-orders@v0.2.0" {
		t.Errorf("in the first answer after it came back: %v", got)
	}
}

// TestVanished: nothing in git says that these Applications are meant to go.
func TestVanished(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	promoted(t, server)
	repo := &git{Repo: server.Client()}
	r := serve(t, repo).loaded()
	repo.set(func(g *git) { g.hidden = map[string]bool{"refs/heads/environments/prod": true} })
	for range 2 { // it is not forgotten after the first answer
		mustRefuse(t, r.ask(all), 409, "would remove Applications without a record of it: the branch of environment prod vanished")
		mustRefuse(t, r.ask(`{"pipeline":"shop","environments":["stage"]}`), 409, "environment prod")
	}
	repo.set(func(g *git) { g.down = errDown })
	mustRefuse(t, r.ask(all), 503, "unreachable")
	repo.set(func(g *git) { g.down, g.hidden = nil, nil })
	if diff := cmp.Diff(everything, r.ask(all).names(t)); diff != "" {
		t.Errorf("restored:\n%s", diff)
	}
}

// TestBegunAnew: a branch that was deleted and opened again, without a
// promotion, is not a record of a removal either.
func TestBegunAnew(t *testing.T) {
	one := mustVersion(t, "shop/v0.1.0")
	before := &exposure{pipeline: "shop", environments: []exposed{{name: "stage", tip: "a", snapshot: one}, {name: "prod", tip: "b", snapshot: one}, {name: "test"}}}
	for _, test := range []struct {
		name  string
		after []exposed
		fails bool
	}{
		{"same", before.environments, false},
		{"vanished", []exposed{{name: "stage", tip: "a", snapshot: one}, {name: "prod"}}, true},
		{"opened again", []exposed{{name: "stage", tip: "a", snapshot: one}, {name: "prod", tip: "c"}}, true},
		{"no longer configured", []exposed{{name: "stage", tip: "a", snapshot: one}}, false},
		{"another snapshot", []exposed{{name: "stage", tip: "d", snapshot: one.NextPatch()}, {name: "prod", tip: "b", snapshot: one}}, false},
		{"first promotion", []exposed{{name: "test", tip: "e", snapshot: one}, {name: "stage", tip: "a", snapshot: one}, {name: "prod", tip: "b", snapshot: one}}, false},
	} {
		if err := checkShrink(before, &exposure{pipeline: "shop", environments: test.after}); (err != nil) != test.fails {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := checkShrink(nil, before); err != nil {
		t.Error(err)
	}
	// An older configuration, read because the newest is broken, removes nothing.
	older := &exposure{pipeline: "shop", fault: errors.New("line 3"), environments: []exposed{{name: "stage", tip: "a", snapshot: one}}}
	if err := checkShrink(before, older); !errors.Is(err, errShrunk) || !errors.Is(err, older.fault) {
		t.Errorf("an older configuration: %v", err)
	}
}

// TestUnreadable: whatever is wrong with one environment, the answer is an
// error, never a shorter list.
func TestUnreadable(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*shop, *git)
		says   string
	}{
		{
			"tag missing", func(_ *shop, g *git) { g.hidden = map[string]bool{"refs/tags/shop/v0.1.0": true} },
			"environment stage: its branch names snapshot shop/v0.1.0, but that tag does not exist",
		},
		{"tag on another commit", func(s *shop, _ *git) {
			s.capture("shop/v0.2.0", "prod/orders")
			s.retag("shop/v0.3.0", "shop/v0.2.0")
			s.promote("prod", "shop/v0.3.0")
		}, "environment prod: not a snapshot commit: tag shop/v0.3.0 names the snapshot shop/v0.2.0"},
		{"somebody else wrote", func(s *shop, _ *git) {
			gitrepotest.Grow(t, s.people, "refs/heads/environments/prod", gitrepotest.Files{"x": "y"})
		}, "was not written by Propagator"},
		{
			"ledger of another environment", func(s *shop, _ *git) { s.promote("prod", "shop/v0.1.0", "stage") },
			`environment prod: its branch environments/prod holds the ledger of environment "stage"`,
		},
		{"broken configuration, snapshots of two pipelines", func(s *shop, _ *git) {
			s.retag("web/v0.1.0", "shop/v0.1.0")
			s.commit(gitrepotest.Files{config.File: "kind: Pipeline\n"})
		}, config.File},
		{"source branch gone", func(_ *shop, g *git) { g.hidden = map[string]bool{"refs/heads/main": true} }, "has no branch main"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := gitrepo.NewMemory(repoURL)
			s := promoted(t, server)
			repo := &git{Repo: server.Client()}
			known := serve(t, repo).loaded()
			if diff := cmp.Diff(everything, known.ask(all).names(t)); diff != "" {
				t.Fatal(diff)
			}
			repo.set(func(g *git) { test.change(s, g) })
			mustRefuse(t, known.ask(all), 503, test.says)
			mustRefuse(t, serve(t, repo).ask(all), 503, test.says)
			// The environments that can be read are none the worse for it.
			if _, broken, ok := strings.Cut(test.says, "environment prod"); ok {
				if got := known.ask(`{"pipeline":"shop","environments":["stage"]}`).names(t); len(got) == 0 {
					t.Errorf("stage is not exposed because of%s", broken)
				}
			}
		})
	}
}

// TestBrokenConfiguration: a mistake on the source branch does not stand in the
// way of a rollback, here or in a process that knows nothing else.
func TestBrokenConfiguration(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	s := promoted(t, server)
	s.capture("shop/v0.2.0", "stage/orders", "prod/orders")
	s.promote("prod", "shop/v0.2.0")
	r := serve(t, server.Client()).loaded()
	if got := r.ask(all).names(t); got[2] != "shop-prod-orders-prod-eu-shop@v0.2.0" {
		t.Fatal(got)
	}
	s.commit(gitrepotest.Files{config.File: "kind: Pipeline\n"})
	s.record("prod", snapshot.Entry{Event: snapshot.EventRollback, Environment: "prod", Snapshot: mustVersion(t, "shop/v0.1.0")})
	for _, r := range []*running{r, serve(t, server.Client())} {
		if diff := cmp.Diff(everything, r.ask(all).names(t)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}

	// Without a snapshot there is nothing to go by.
	empty := gitrepo.NewMemory(repoURL)
	newShop(t, empty, gitrepotest.Files{config.File: "kind: Pipeline\n"})
	mustRefuse(t, serve(t, empty.Client()).ask(all), 503, config.File)
}

// TestSameName: which of two repositories answers for a pipeline must not
// depend on which could be read first.
func TestSameName(t *testing.T) {
	first, second := gitrepo.NewMemory("https://git.example/a.git"), gitrepo.NewMemory("https://git.example/b.git")
	promoted(t, first)
	promoted(t, second)
	web := gitrepo.NewMemory("https://git.example/web.git")
	newShop(t, web, gitrepotest.Files{config.File: strings.Replace(configuration, "{name: shop}", "{name: web}", 1)})
	r := serve(t, first.Client(), second.Client(), web.Client()).loaded()
	mustRefuse(t, r.ask(all), 409, `https://git.example/a.git and https://git.example/b.git both call themselves pipeline "shop"`)
	if answer := r.ask(`{"pipeline":"web"}`); answer.status != 200 {
		t.Errorf("the third is not concerned: %d %s", answer.status, answer.body)
	}
}

// TestTwoPipelines: a repository that cannot be read stops its own pipeline
// only, once the others are known.
func TestTwoPipelines(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	promoted(t, server)
	web := gitrepo.NewMemory("https://git.example/web.git")
	newShop(t, web, gitrepotest.Files{config.File: strings.Replace(configuration, "{name: shop}", "{name: web}", 1)})
	repo := &git{Repo: web.Client(), down: errDown}
	r := serve(t, repo, server.Client())
	if diff := cmp.Diff(everything, r.ask(all).names(t)); diff != "" {
		t.Error(diff)
	}
	// It may be the one that is asked for, so this is not 404.
	mustRefuse(t, r.ask(`{"pipeline":"web"}`), 503, "https://git.example/web.git is not loaded yet")
	mustRefuse(t, r.ask(`{"pipeline":"other"}`), 503, "https://git.example/web.git is not loaded yet")
	repo.set(func(g *git) { g.down = nil })
	if got := r.ask(`{"pipeline":"web"}`).names(t); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	mustRefuse(t, r.ask(`{"pipeline":"other"}`), 404, "unknown pipeline")
}

// TestVisibleAtOnce: what was pushed before a request is in its answer.
func TestVisibleAtOnce(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	s := promoted(t, server)
	r := serve(t, server.Client()).loaded()
	for i := 2; i < 12; i++ {
		version := fmt.Sprintf("shop/v0.%d.0", i)
		s.capture(version, "stage/orders")
		s.promote("stage", version)
		want := []string{"shop-stage-orders@" + strings.TrimPrefix(version, "shop/")}
		if diff := cmp.Diff(want, r.ask(`{"pipeline":"shop","environments":["stage"]}`).names(t)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// ask calls the handler itself: inside a bubble of virtual time there is no
// network.
func ask(t *testing.T, s *Server, parameters string) answer {
	t.Helper()
	w := httptest.NewRecorder()
	s.getParams(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(question(parameters))))
	return answer{w.Code, w.Header(), w.Body.String()}
}

// TestCoalesced: requests that arrive while the repository is being read wait
// together for one more look, which begins after the last of them.
func TestCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := gitrepo.NewMemory(repoURL)
		s := promoted(t, server)
		repo := &git{Repo: server.Client()}
		generator := newServer(t, nil, repo)
		defer generator.stop()
		if diff := cmp.Diff(everything, ask(t, generator, all).names(t)); diff != "" {
			t.Fatal(diff)
		}
		if repo.listed() != 1 {
			t.Fatalf("one request listed the refs %d times", repo.listed())
		}
		gate := make(chan struct{})
		repo.set(func(g *git) { g.gate = gate })
		early := make(chan answer, 1)
		go func() { early <- ask(t, generator, all) }()
		synctest.Wait() // the second look is under way, and held up

		s.capture("shop/v0.2.0", "stage/orders")
		s.promote("stage", "shop/v0.2.0")
		var waiting sync.WaitGroup
		answers := make([]answer, 50)
		for i := range answers {
			waiting.Go(func() { answers[i] = ask(t, generator, `{"pipeline":"shop","environments":["stage"]}`) })
		}
		synctest.Wait() // all of them wait for the third
		close(gate)
		waiting.Wait()
		for _, a := range answers {
			if got := a.names(t); len(got) != 1 || got[0] != "shop-stage-orders@v0.2.0" {
				t.Fatalf("an answer without the push before it: %v", got)
			}
		}
		if a := <-early; a.status != 200 {
			t.Errorf("early: %d", a.status)
		}
		if repo.listed() != 3 {
			t.Errorf("52 requests listed the refs %d times, want 3", repo.listed())
		}
	})
}

// TestSlow: a git server that hangs costs a request the time that is set for
// it and no more.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := gitrepo.NewMemory(repoURL)
		promoted(t, server)
		repo := &git{Repo: server.Client()}
		generator := newServer(t, nil, repo)
		defer generator.stop()
		ask(t, generator, all)
		repo.set(func(g *git) { g.gate = make(chan struct{}) })
		for range 3 {
			start := time.Now()
			mustRefuse(t, ask(t, generator, all), 503, "could not be read within 10s")
			if took := time.Since(start); took != patience {
				t.Errorf("took %s, want %s", took, patience)
			}
		}
		fresh := newServer(t, nil, &git{Repo: server.Client(), gate: make(chan struct{})})
		defer fresh.stop()
		mustRefuse(t, ask(t, fresh, all), 503, "could not be read within 10s")
	})
}

// TestTick: the state is kept recent without a request.
func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := gitrepo.NewMemory(repoURL)
		s := promoted(t, server)
		repo := &git{Repo: server.Client()}
		generator := newServer(t, func(c *Config) { c.Interval = time.Minute }, repo)
		defer generator.stop()
		go generator.tick(t.Context())
		synctest.Wait()
		s.capture("shop/v0.2.0", "stage/orders")
		s.promote("stage", "shop/v0.2.0")
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		x, err := generator.find("shop")
		if err != nil {
			t.Fatal(err)
		}
		if stage, _ := x.environment("stage"); stage.snapshot.String() != "shop/v0.2.0" {
			t.Errorf("the tick did not see the promotion: %s", stage.snapshot)
		}
	})
}

// TestReopen: what was fetched is forgotten now and then, and a repository
// that cannot be opened anew does no harm.
func TestReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := gitrepo.NewMemory(repoURL)
		promoted(t, server)
		first, second := &git{Repo: server.Client()}, &git{Repo: server.Client()}
		next := []gitrepo.Repo{first}
		open := func() (gitrepo.Repo, error) {
			if len(next) == 0 {
				return nil, errDown
			}
			repo := next[0]
			next = next[1:]
			return repo, nil
		}
		generator := newServer(t, func(c *Config) { c.Repositories = []gitrepo.Opener{open} })
		defer generator.stop()
		source := generator.sources[0]
		for _, step := range []struct {
			next          []gitrepo.Repo
			first, second int
		}{{nil, 1, 0}, {nil, 2, 0}, {[]gitrepo.Repo{second}, 2, 1}, {nil, 2, 2}} {
			next = step.next
			<-source.refresh(t.Context())
			synctest.Wait()
			if first.listed() != step.first || second.listed() != step.second {
				t.Errorf("listed %d and %d times, want %+v", first.listed(), second.listed(), step)
			}
			if now := source.state(); now.err != nil || now.last == nil {
				t.Errorf("state: %v", now.err)
			}
			// The next load is one that opens anew.
			source.loads = reopenAfter - 1
		}
	})
}

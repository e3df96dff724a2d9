package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestNudge: a change of an Application makes the worker run at once, but a
// burst of them makes few runs, and the last change of it is seen.
func TestNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w := start(t, s, nil)
		time.Sleep(time.Minute)
		before := len(s.asked())
		w.nudge()
		synctest.Wait()
		if n := len(s.asked()) - before; n != 1 {
			t.Fatalf("a change led to %d runs", n)
		}
		begin := time.Now()
		for range 100 {
			w.nudge()
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := len(s.asked()) - before; n < 4 || n > 6 {
			t.Errorf("100 changes in a second led to %d runs", n-1)
		}
		s.set(func(s *shop) { s.lists = nil })
		gitrepotest.Grow(t, s.server, "refs/heads/main", gitrepotest.Files{"README.md": "more"})
		w.nudge()
		time.Sleep(2 * time.Second) // nobody has told of the push
		synctest.Wait()
		s.deployed("prod", "shop/v0.2.0")
		if at := s.asked()[0].Sub(begin); at > 2*time.Second {
			t.Errorf("seen after %s", at)
		}
	})
}

// lister counts how often the refs were listed.
type lister struct {
	gitrepo.Repo
	lists atomic.Int64
}

func (l *lister) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	l.lists.Add(1)
	return l.Repo.Refs(ctx, prefixes...)
}

// TestGlances: what Argo CD tells makes nobody list refs again that were listed a
// moment ago; what a git host tells does, and so does the end of that moment.
func TestGlances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		var repo *lister
		w := start(t, s, func(c *Config) {
			repo = &lister{Repo: c.Pipelines[0].Engine.Repo}
			c.Pipelines[0].Engine.Repo = repo
		})
		time.Sleep(time.Minute)
		for _, step := range []struct {
			what  string
			do    func()
			wait  time.Duration
			lists int64
			looks int
		}{
			{"Argo CD is at work after a minute", w.nudge, quiet, 1, 1},
			{"and still is", w.nudge, quiet, 0, 1},
			{"it tells so", w.notified, quiet, 0, 1},
			{"the git host tells something", w.poke, quiet, 1, 1},
			{"Argo CD begins again", w.nudge, quiet, 1, 1},
			{"and goes on", w.nudge, quiet, 0, 1},
			{"both at once", func() { w.nudge(); w.poke() }, quiet, 1, 1},
			{"Argo CD has the news", w.nudge, quiet, 1, 1},
			{"and is done", w.nudge, quiet, 0, 1},
			{"a moment later", func() {}, 2 * time.Second, 1, 1},
			{"nothing happens", func() {}, time.Minute, 0, 0},
		} {
			lists, looks := repo.lists.Load(), len(s.asked())
			step.do()
			time.Sleep(step.wait)
			synctest.Wait()
			if lists, looks = repo.lists.Load()-lists, len(s.asked())-looks; lists != step.lists || looks != step.looks {
				t.Errorf("%s: %d lists of refs in %d looks, want %d in %d", step.what, lists, looks, step.lists, step.looks)
			}
		}
	})
}

// TestNudgeDoesNotDelay what is due at a known time, nor an event.
func TestNudgeDoesNotDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w := start(t, s, nil)
		w.nudge() // right after a run
		synctest.Wait()
		before := len(s.asked())
		w.poke()
		synctest.Wait()
		if n := len(s.asked()) - before; n != 1 {
			t.Errorf("%d runs at an event beside a change", n)
		}

		if source, ok := w.rest(t.Context(), 10*time.Millisecond, quiet, false); !ok || source != "time" {
			t.Errorf("woken by %q", source)
		}
		w.nudge()
		begin := time.Now()
		if source, ok := w.rest(t.Context(), 10*time.Millisecond, quiet, false); !ok || source != "time" || time.Since(begin) != 10*time.Millisecond {
			t.Errorf("woken by %q after %s", source, time.Since(begin))
		}
	})
}

// TestOverdue: a wait whose time came while the run went on is looked at again
// at once, and not at the next tick.
func TestOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		s.slow = 3 * time.Second // more than it takes to settle
		start(t, s, func(c *Config) { c.Pipelines[0].Engine.Settle = time.Second })
		time.Sleep(time.Minute)
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
	})
}

// TestWatch joins a watch to the workers, and ends it with the server.
func TestWatch(t *testing.T) {
	a, b := newShop(t, configuration), newShop(t, configuration)
	changes := make(chan string)
	ended := make(chan struct{})
	s := newServer(t, func(c *Config) {
		c.Watch = func(ctx context.Context, changed func(string)) {
			defer close(ended)
			for {
				select {
				case pipeline := <-changes:
					changed(pipeline)
				case <-ctx.Done():
					return
				}
			}
		}
	}, a, b)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	until(t, "first runs", func() bool {
		_, first := s.workers[0].status()
		_, second := s.workers[1].status()
		return first && second
	})
	before := len(a.asked())
	changes <- "shop"
	until(t, "a run", func() bool { return len(a.asked()) > before })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-ended
}

// TestNudgesKeepPauses: an Application that changes all the time, and a
// notification of each of its changes, do not make a run that fails repeat any sooner:
// a git host that has too much to do is not asked more often while Argo CD works.
func TestNudgesKeepPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		s.err = errDown
		w := start(t, s, func(c *Config) { c.Interval = time.Minute })
		runs := func(tell func()) int {
			before := len(s.asked())
			for range 6000 {
				tell()
				time.Sleep(100 * time.Millisecond)
			}
			return len(s.asked()) - before
		}
		// One more or less, as each pause is up to a tenth less than a minute.
		alone, nudged, notified := runs(func() {}), runs(w.nudge), runs(w.notified)
		if alone == 0 || nudged > alone+1 || notified > alone+1 {
			t.Errorf("runs in 10 minutes while failing: %d alone, %d with an Application that flaps, %d with notifications of it", alone, nudged, notified)
		}
		s.set(func(s *shop) { s.err = nil })
		w.poke() // an event does not wait
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
	})
}

// TestSlowLooks take at most half the time.
func TestSlowLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w := start(t, s, nil)
		s.set(func(s *shop) { s.slow = 10 * time.Second })
		w.poke()
		synctest.Wait()
		before := len(s.asked())
		for range 6000 {
			w.nudge()
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(s.asked()) - before; n < 25 || n > 30 {
			t.Errorf("%d looks of 10s in 10 minutes", n)
		}
	})
}

// TestConcerns: a worker that knows its pipeline leaves the others alone.
func TestConcerns(t *testing.T) {
	w := newServer(t, nil, newShop(t, configuration)).workers[0]
	if !w.concerns("bakery") {
		t.Error("it does not know its own name yet")
	}
	if !w.once(t.Context()) {
		t.Fatal("a run failed")
	}
	for pipeline, want := range map[string]bool{"shop": true, "": true, "bakery": false} {
		if w.concerns(pipeline) != want {
			t.Errorf("%q: %v", pipeline, !want)
		}
	}
}

// TestHopsShown: the status, the log and the metrics tell where the time went.
func TestHopsShown(t *testing.T) {
	var log bytes.Buffer
	s := newShop(t, configuration)
	server := newServer(t, func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) }, s)
	w := server.workers[0]
	if !w.once(t.Context()) {
		t.Fatal("a run failed")
	}
	status, _ := w.status()
	if len(status.Hops) != 2 || status.Hops[0].To != "stage" || status.Hops[1].To != "prod" || status.Hops[1].Recorded.IsZero() {
		t.Errorf("hops: %+v", status.Hops)
	}
	var lines []map[string]any
	for line := range strings.Lines(log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] == "hop complete" {
			lines = append(lines, entry)
		}
	}
	if len(lines) != 2 || lines[0]["from"] != "dev" || lines[0]["to"] != "stage" || lines[0]["version"] != "shop/v0.1.0" || lines[0]["repository"] != repoURL {
		t.Fatalf("log: %v", lines)
	}
	seconds, _ := lines[0]["seconds"].(map[string]any)
	for _, segment := range []string{"observed", "captured", "mirrored", "pushed", "poked", "updated", "synced", "healthy", "recorded", "handover", "total"} {
		if _, ok := seconds[segment].(float64); !ok {
			t.Errorf("log lacks %s: %v", segment, seconds)
		}
	}
}

// TestHopsServed: the endpoints, with what an event adds.
func TestHopsServed(t *testing.T) {
	s := newShop(t, configuration)
	s.sick = true
	r := serve(t, s)
	until(t, "first run", func() bool { return len(r.status()) == 1 })
	s.set(func(s *shop) { s.sick = false })
	r.send(http.MethodPost, eventPath, event, good)
	until(t, "two hops", func() bool { return len(r.status()[0].Hops) == 2 })
	status := r.status()[0]
	hop := status.Hops[0]
	if hop.Notified.IsZero() || hop.Notified.After(hop.Observed.Time) || !status.Hops[1].Notified.IsZero() {
		t.Errorf("%+v", status.Hops)
	}
	if body := r.send(http.MethodGet, statusPath, "", good).body; !strings.Contains(body, `"warnings":[]`) || !strings.Contains(body, `"pushed":"2`) {
		t.Errorf("status: %s", body)
	}
	for _, line := range []string{
		`propagator_hook_hop_seconds_count{segment="total"} 2`, `propagator_hook_hop_seconds_count{segment="notified"} 1`,
		`propagator_hook_hop_seconds_count{segment="handover"} 2`, `propagator_hook_wakes_total{source="request"} 1`,
	} {
		until(t, line, func() bool { return strings.Contains(r.send(http.MethodGet, "/metrics", "", "").body, line) })
	}
}

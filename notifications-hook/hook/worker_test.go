package hook

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// start runs a shop's worker in virtual time until the test ends, and returns
// it once its first run is over.
func start(t *testing.T, s *shop, change func(*Config)) *worker {
	t.Helper()
	w := newServer(t, change, s).workers[0]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return w
}

// TestFirstRun: what is due at start is done at start, the whole train.
func TestFirstRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w := start(t, s, nil)
		s.deployed("stage", "shop/v0.1.0")
		s.deployed("prod", "shop/v0.1.0")
		status, ok := w.status()
		if !ok || status.Error != "" || len(status.Done) != 4 || status.Repository != repoURL {
			t.Errorf("status: %+v", status)
		}
	})
}

// TestTick: without any event, the next tick finds what has changed.
func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		s.sick = true
		start(t, s, func(c *Config) { c.Interval = time.Minute })
		if entry := s.entry("stage"); entry.Event != "" {
			t.Fatalf("promoted from a sick Dev: %s", entry.Subject())
		}
		s.set(func(s *shop) { s.sick = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		s.deployed("stage", "shop/v0.1.0")
		s.deployed("prod", "shop/v0.1.0")

		// A new commit in Dev goes the same way.
		gitrepotest.Grow(t, s.server, "refs/heads/main", gitrepotest.Files{"README.md": "more"})
		time.Sleep(time.Minute)
		synctest.Wait()
		s.deployed("prod", "shop/v0.2.0")
		// A look for each of eight steps and two ticks, one exactly and one at the end.
		if n := len(s.asked()); n > 22 {
			t.Errorf("Argo CD was asked %d times in two minutes", n)
		}
	})
}

// TestSingleFlight: events that arrive during a run wait for its end and lead
// to exactly one more.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w := start(t, s, nil)
		before := len(s.asked())
		gate := make(chan struct{})
		s.set(func(s *shop) { s.gate = gate })
		w.poke()
		synctest.Wait()
		for range 100 {
			w.poke()
			synctest.Wait()
		}
		if n := len(s.asked()) - before; n != 1 {
			t.Fatalf("%d runs at a time", n)
		}
		close(gate)
		synctest.Wait()
		if n := len(s.asked()) - before; n != 2 {
			t.Errorf("100 events during a run led to %d more, want 1", n-1)
		}
		w.poke()
		synctest.Wait()
		if n := len(s.asked()) - before; n != 3 {
			t.Errorf("an event while it rests led to %d runs", n-2)
		}
	})
}

// TestBackoff: a failing run is tried again soon, then less and less often up
// to the interval; an event is heard all the same, and a good run ends it.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		s.err = errDown
		begin := time.Now()
		w := start(t, s, func(c *Config) { c.Interval = 10 * time.Second })
		time.Sleep(40 * time.Second)
		synctest.Wait()
		asked := s.asked()
		for i, nominal := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second} {
			if i+1 >= len(asked) {
				t.Fatalf("only %d runs in 40 seconds", len(asked))
			}
			if gap := asked[i+1].Sub(asked[i]); gap > nominal || gap < nominal*9/10 {
				t.Errorf("pause %d is %s, want %s or up to a tenth less", i+1, gap, nominal)
			}
		}
		if status, ok := w.status(); !ok || !strings.Contains(status.Error, "observe: argo cd: the API server is down") || !status.At.After(begin) {
			t.Errorf("status: %+v", status)
		}
		w.poke()
		synctest.Wait()
		if n := len(s.asked()); n != len(asked)+1 {
			t.Errorf("an event during the pause led to %d runs", n-len(asked))
		}

		s.set(func(s *shop) { s.err = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
		if status, _ := w.status(); status.Error != "" {
			t.Errorf("status: %+v", status)
		}
		// The next failure begins with a short pause again.
		s.set(func(s *shop) { s.err, s.lists = errDown, nil })
		w.poke()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if asked := s.asked(); len(asked) < 3 {
			t.Errorf("%d runs in three seconds after the first failure", len(asked))
		}
	})
}

// TestKnownTime: where time alone decides, the worker looks exactly then.
func TestKnownTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, soaking)
		begin := time.Now()
		start(t, s, func(c *Config) { c.Interval = 24 * time.Hour })
		s.deployed("stage", "shop/v0.1.0")
		before := len(s.asked())
		time.Sleep(30*time.Minute - time.Millisecond)
		synctest.Wait()
		if n := len(s.asked()) - before; n != 0 {
			t.Errorf("looked %d times before the time had come", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
		if since := s.entry("prod").Since.Sub(begin); since != 30*time.Minute {
			t.Errorf("promoted after %s", since)
		}
	})
}

// TestArgoCDIsUrged: an Application that cannot be compared is looked after at
// growing intervals, whatever the hook's own.
func TestArgoCDIsUrged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w := start(t, s, func(c *Config) { c.Interval = 24 * time.Hour })
		s.deployed("prod", "shop/v0.1.0")
		s.set(func(s *shop) { s.unrendered = true })
		begin := time.Now()
		w.poke()
		time.Sleep(76 * time.Second)
		synctest.Wait()
		var after []time.Duration
		s.set(func(s *shop) {
			for _, at := range s.refreshes {
				after = append(after, at.Sub(begin).Round(time.Second))
			}
		})
		if diff := cmp.Diff([]time.Duration{5 * time.Second, 15 * time.Second, 35 * time.Second, 75 * time.Second}, after); diff != "" {
			t.Errorf("refreshed after (-want +got):\n%s", diff)
		}
	})
}

// TestSettleTime: the same for the time that an Application must have been
// healthy.
func TestSettleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		start(t, s, func(c *Config) { c.Pipelines[0].Engine.Settle = 5 * time.Second })
		if entry := s.entry("stage"); entry.Event != "" {
			t.Fatalf("promoted before Dev has settled: %s", entry.Subject())
		}
		// Dev settles, then Stage, then Prod.
		time.Sleep(3 * (time.Second + 5*time.Second))
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
	})
}

// TestSecondIsWaitedFor: without --settle, too, nothing happens in the second in
// which Dev became healthy, and not much later than that.
func TestSecondIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond) // into a second
		s := newShop(t, configuration)
		start(t, s, func(c *Config) { c.Pipelines[0].Engine.Settle = (&settings{}).settled() })
		time.Sleep(700*time.Millisecond + leastSettle - time.Millisecond)
		synctest.Wait()
		if entry := s.entry("stage"); entry.Event != "" {
			t.Fatalf("promoted before the second was over: %s", entry.Subject())
		}
		time.Sleep(leastPause)
		synctest.Wait()
		if entry := s.entry("stage"); entry.Event == "" {
			t.Error("not promoted when the second was over")
		}
	})
	if got := (&settings{settle: time.Minute}).settled(); got != time.Minute {
		t.Errorf("--settle 1m: %s", got)
	}
}

// stuck is a registry whose writes hang until they are given up.
type stuck struct {
	registry.Registry
	free chan struct{}
}

func (r *stuck) PutManifest(ctx context.Context, repo string, manifest registry.Manifest, tags ...string) error {
	select {
	case <-r.free:
		return r.Registry.PutManifest(ctx, repo, manifest, tags...)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestKilled: a run that is cancelled in the middle of a mirror leaves no ref
// behind; the next process does it all (I2, I6).
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		slow := &stuck{Registry: s.registries["stage"], free: make(chan struct{})}
		s.registries["stage"] = slow
		before := gitrepotest.MustRefs(t, s.server.Client())
		w := newServer(t, nil, s).workers[0]
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.run(ctx)
		}()
		synctest.Wait() // the mirror hangs
		cancel()
		<-done
		if diff := cmp.Diff(before, gitrepotest.MustRefs(t, s.server.Client())); diff != "" {
			t.Errorf("refs moved:\n%s", diff)
		}
		if tags, err := slow.Tags(context.WithoutCancel(t.Context()), "orders"); err == nil && len(tags) > 0 {
			t.Errorf("tags in the registry: %v", tags)
		}
		if status, ran := w.status(); ran {
			t.Errorf("the run counts as one: %+v", status)
		}

		close(slow.free)
		start(t, s, nil)
		s.deployed("prod", "shop/v0.1.0")
	})
}

// TestTimeout: a run that hangs is ended, reported, and tried again.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		slow := &stuck{Registry: s.registries["stage"], free: make(chan struct{})}
		s.registries["stage"] = slow
		w := start(t, s, func(c *Config) { c.Timeout = 5 * time.Minute })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		status, ok := w.status()
		if !ok || !strings.Contains(status.Error, context.DeadlineExceeded.Error()) || status.Seconds != 300 {
			t.Errorf("status: %+v", status)
		}
		close(slow.free)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
	})
}

// TestReopen: what was fetched is forgotten now and then, and a repository
// that cannot be opened anew does no harm.
func TestReopen(t *testing.T) {
	s := newShop(t, configuration)
	var next gitrepo.Repo
	w := newServer(t, func(c *Config) {
		c.Pipelines[0].Open = func() (gitrepo.Repo, error) {
			if next == nil {
				return nil, errors.New("no such key file")
			}
			return next, nil
		}
	}, s).workers[0]
	first := w.engine.Repo
	for range reopenAfter {
		if !w.once(t.Context()) {
			t.Fatal("a run failed")
		}
	}
	if w.engine.Repo != first {
		t.Error("replaced by nothing")
	}
	next = s.server.Client()
	for range reopenAfter {
		if w.engine.Repo != first {
			t.Fatal("replaced too early")
		}
		if !w.once(t.Context()) {
			t.Fatal("a run failed")
		}
	}
	if w.engine.Repo != next {
		t.Error("not replaced")
	}
	s.deployed("prod", "shop/v0.1.0")

	fixed := newServer(t, nil, s).workers[0]
	fixed.runs = reopenAfter - 1
	if !fixed.once(t.Context()) {
		t.Error("a pipeline that cannot be opened anew")
	}
}

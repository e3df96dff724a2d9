package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// crew are two replicas, me and other, of which the test says who owns what.
type crew struct {
	mu      sync.Mutex // guards the fields below
	mine    bool
	changed func()
	ended   bool
}

var _ Members = (*crew)(nil)

const me, other = "hook-me", "hook-other"

// Run implements Members.
func (c *crew) Run(ctx context.Context, changed func()) {
	c.mu.Lock()
	c.changed = changed
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// Owner implements Members.
func (c *crew) Owner(string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mine {
		return me, true
	}
	return other, false
}

// give changes the owner, and tells about it.
func (c *crew) give(mine bool, tell func()) {
	c.mu.Lock()
	c.mine = mine
	c.mu.Unlock()
	tell()
}

// spare starts a worker of a pipeline that is the other replica's, and returns
// how often it has looked since the last call.
func spare(t *testing.T, s *shop, change func(*Config)) (w *worker, c *crew, looks func() int) {
	t.Helper()
	c = &crew{}
	w = start(t, s, func(config *Config) {
		config.Members, config.Interval = c, time.Minute
		if change != nil {
			change(config)
		}
	})
	last := len(s.asked())
	return w, c, func() int {
		t.Helper()
		synctest.Wait()
		n := len(s.asked()) - last
		last += n
		return n
	}
}

// TestAnothersPipeline: what it starts with and what others tell it is all that
// a replica does for a pipeline that it does not own.
func TestAnothersPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w, _, looks := spare(t, s, nil)
		s.deployed("prod", "shop/v0.1.0") // due at its start, whoever owns it
		gitrepotest.Grow(t, s.server, "refs/heads/main", gitrepotest.Files{"README.md": "more"})
		for range 85 {
			time.Sleep(6 * time.Second)
			w.nudge()
		}
		if n := looks(); n != 0 {
			t.Errorf("%d looks at ticks and changes in 8 minutes and a half", n)
		}
		begin := time.Now()
		w.poke()
		if n := looks(); n == 0 {
			t.Error("an event was not heard")
		}
		s.deployed("prod", "shop/v0.2.0")
		if took := time.Since(begin); took > 0 {
			t.Errorf("it waited %s", took)
		}
		time.Sleep(8 * time.Minute)
		if n := looks(); n != 0 {
			t.Errorf("%d looks after the event", n)
		}
		status, _ := w.status()
		if status.Owner != other {
			t.Errorf("owner %q", status.Owner)
		}
	})
}

// TestSpareLooks: an owner that does not get through is not left alone for ever.
func TestSpareLooks(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{
		time.Second: 10 * time.Second, time.Minute: 10 * time.Minute, 5 * time.Minute: 15 * time.Minute, time.Hour: time.Hour,
	} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _, looks := spare(t, newShop(t, configuration), func(c *Config) { c.Interval = interval })
				time.Sleep(want * 8 / 10)
				if n := looks(); n != 0 {
					t.Errorf("%d looks in eight tenths of %s", n, want)
				}
				time.Sleep(want * 2 / 10)
				if n := looks(); n != 1 {
					t.Errorf("%d looks in %s", n, want)
				}
			})
		})
	}
}

// TestEventIsFollowed: nobody else has heard it, so a failure is tried again and
// a known time waited for, until the owner has looked by itself.
func TestEventIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w, _, looks := spare(t, s, func(c *Config) { c.Pipelines[0].Engine.Settle = 5 * time.Second })
		if n := looks(); n != 0 || s.entry("stage").Event != "" {
			t.Fatalf("%d looks, %q: promoted before Dev has settled", n, s.entry("stage").Subject())
		}
		time.Sleep(10 * time.Second)
		if looks() != 0 {
			t.Error("a known time of another's pipeline was waited for")
		}
		s.set(func(s *shop) { s.err = errDown })
		w.poke()
		if n := looks(); n != 1 {
			t.Fatalf("%d looks at an event", n)
		}
		time.Sleep(2 * time.Second)
		if n := looks(); n < 1 || n > 2 {
			t.Errorf("%d tries in the two seconds after a failure", n)
		}
		s.set(func(s *shop) { s.err = nil })
		time.Sleep(35 * time.Second) // Dev has settled; Stage and Prod do
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.0")
		looks()

		s.set(func(s *shop) { s.err = errDown })
		w.poke()
		time.Sleep(time.Minute)
		if n := looks(); n < 5 || n > 8 {
			t.Errorf("%d tries in a minute that fails", n)
		}
		time.Sleep(8 * time.Minute)
		if n := looks(); n != 0 {
			t.Errorf("%d tries later; that is the owner's to do", n)
		}
	})
}

// TestLongWaitsAreTheOwners: a soak gate's end is no event.
func TestLongWaitsAreTheOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, soaking)
		w, _, looks := spare(t, s, nil)
		s.deployed("stage", "shop/v0.1.0")
		w.poke()
		looks()
		time.Sleep(8 * time.Minute)
		if n := looks(); n != 0 {
			t.Errorf("%d looks while Stage soaks", n)
		}
	})
}

// TestTakeover: who becomes the owner looks at once, does all that an owner does,
// and stops when it is not any more.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w, c, looks := spare(t, s, nil)
		gitrepotest.Grow(t, s.server, "refs/heads/main", gitrepotest.Files{"README.md": "more"})
		time.Sleep(time.Second)
		c.give(true, w.shift)
		if looks() == 0 {
			t.Error("a new owner waits")
		}
		s.deployed("prod", "shop/v0.2.0")
		c.give(true, w.shift) // told, and nothing changed
		if n := looks(); n != 0 {
			t.Errorf("%d looks without a reason", n)
		}
		time.Sleep(5 * time.Minute)
		if n := looks(); n < 5 || n > 6 {
			t.Errorf("%d ticks of an owner in 5 minutes", n)
		}
		w.nudge()
		if n := looks(); n != 1 {
			t.Errorf("%d looks at a change", n)
		}
		w.nudge() // which waits for its distance, and is overtaken
		synctest.Wait()
		c.give(false, w.shift)
		time.Sleep(8 * time.Minute)
		if n := looks(); n != 0 {
			t.Errorf("%d looks after it was given away", n)
		}
		status, _ := w.status()
		if status.Owner != other {
			t.Errorf("owner %q", status.Owner)
		}
	})
}

// TestTakeoverDuringARun is not missed.
func TestTakeoverDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration)
		w, c, looks := spare(t, s, nil)
		gate := make(chan struct{})
		s.set(func(s *shop) { s.gate = gate })
		w.poke()
		if n := looks(); n != 1 {
			t.Fatalf("%d looks", n)
		}
		c.give(true, w.shift)
		if n := looks(); n != 0 {
			t.Errorf("%d runs at a time", n+1)
		}
		s.set(func(s *shop) { s.gate = nil })
		close(gate)
		if n := looks(); n != 1 {
			t.Errorf("%d looks of the new owner", n)
		}
	})
}

// TestShared joins members to a server: its workers follow them, the status and
// the metrics tell, and they end with it.
func TestShared(t *testing.T) {
	a := newShop(t, configuration)
	b := newShop(t, configuration)
	b.server = gitrepo.NewMemory("https://git.example/web.git")
	c := &crew{}
	s := newServer(t, func(config *Config) { config.Members = c }, a, b)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	r := &running{t: t, url: "http://" + s.Addr().String()}
	until(t, "first runs", func() bool { return len(r.status()) == 2 })
	owners := func() []string {
		var all []string
		for _, status := range r.status() {
			all = append(all, status.Owner)
		}
		return all
	}
	metric := func(value string) {
		for _, repository := range []string{repoURL, "https://git.example/web.git"} {
			line := `propagator_hook_owned{repository="` + repository + `"} ` + value
			until(t, line, func() bool { return strings.Contains(r.send("GET", "/metrics", "", "").body, line) })
		}
	}
	if diff := cmp.Diff([]string{other, other}, owners()); diff != "" {
		t.Errorf("owners:\n%s", diff)
	}
	metric("0")
	var changed func()
	until(t, "taking part", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		changed = c.changed
		return changed != nil
	})
	before := len(a.asked())
	c.give(true, changed)
	until(t, "a look of the new owner", func() bool { return len(a.asked()) > before })
	if diff := cmp.Diff([]string{me, me}, owners()); diff != "" {
		t.Errorf("owners:\n%s", diff)
	}
	metric("1")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		t.Error("they did not end with the server")
	}
}

// TestNotShared: nothing is said about owners.
func TestNotShared(t *testing.T) {
	w := newServer(t, nil, newShop(t, configuration)).workers[0]
	if !w.once(t.Context()) {
		t.Fatal("a run failed")
	}
	status, _ := w.status()
	raw, err := json.Marshal(status)
	if err != nil || strings.Contains(string(raw), `"owner"`) {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestShareSettings(t *testing.T) {
	name := "POD_NAME=hook-1"
	for _, test := range []struct {
		name string
		env  []string
		args []string
		want Member
		says string
	}{
		{"a Pod", []string{name, "POD_NAMESPACE=gitops", "HOSTNAME=node"}, nil, Member{Name: "hook-1", Namespace: "gitops"}, ""},
		{"Argo CD's namespace", []string{name}, []string{"--argocd-namespace", "cd"}, Member{Name: "hook-1", Namespace: "cd"}, ""},
		{"the host's name", []string{"HOSTNAME=hook-2", "POD_NAME="}, nil, Member{Name: "hook-2", Namespace: "argocd"}, ""},
		{"the last one counts", []string{"POD_NAME=x", name}, nil, Member{Name: "hook-1", Namespace: "argocd"}, ""},
		{"no name", []string{"POD_NAMESPACE=gitops"}, nil, Member{}, "--share: this replica has no name; set the variable POD_NAME"},
		{"no namespace", []string{name}, []string{"--argocd-namespace", ""}, Member{}, "--share: no namespace for the Leases; set the variable POD_NAMESPACE"},
		{"no cluster", []string{name}, nil, Member{}, "--share: there is no cluster to share in"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var joined Member
			cluster := Cluster{Applications: newShop(t, configuration), Share: func(m Member) (Members, error) {
				joined = m
				return nil, errDown // ends the program
			}}
			if test.name == "no cluster" {
				cluster.Share = nil
			}
			says := test.says
			if says == "" {
				says = "--share: " + errDown.Error()
			}
			var stderr bytes.Buffer
			args := append([]string{"--share", "--repository", t.TempDir()}, test.args...)
			code := Main(t.Context(), args, append(test.env, "PROPAGATOR_TOKEN="+token), io.Discard, &stderr,
				func(string, string, *slog.Logger) (Cluster, error) { return cluster, nil })
			if code != service.ExitUsage || !strings.Contains(stderr.String(), says) {
				t.Errorf("exit %d, stderr %q, want %q", code, stderr.String(), says)
			}
			joined.Group = ""
			if diff := cmp.Diff(test.want, joined); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestGroup: replicas share if none of them can be left with what it does not do.
func TestGroup(t *testing.T) {
	pipelines := func(urls ...string) []Pipeline {
		var all []Pipeline
		for _, url := range urls {
			all = append(all, Pipeline{Engine: &promotion.Engine{Repo: gitrepo.NewMemory(url).Client()}})
		}
		return all
	}
	group := func(s *settings, pipelines []Pipeline) string {
		t.Helper()
		name, err := s.group(pipelines)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	shop, web := "https://git.example/shop.git", "https://git.example/web.git"
	base := group(&settings{namespace: "argocd", environments: []string{"dev", "stage"}}, pipelines(shop, web))
	if same := group(&settings{namespace: "argocd", environments: []string{"stage", "dev"}, settle: time.Minute}, pipelines(web, shop)); same != base || len(base) != 16 {
		t.Errorf("%s and %s", base, same)
	}
	for name, differs := range map[string]string{
		"repositories": group(&settings{namespace: "argocd", environments: []string{"dev", "stage"}}, pipelines(shop)),
		"environments": group(&settings{namespace: "argocd", environments: []string{"dev"}}, pipelines(shop, web)),
		"namespace":    group(&settings{namespace: "", environments: []string{"dev", "stage"}}, pipelines(shop, web)),
	} {
		if differs == base {
			t.Errorf("the same group with other %s", name)
		}
	}
}

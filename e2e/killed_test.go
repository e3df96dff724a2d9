//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/registries"
)

var killedKiosk = plan("TestHookKilledAtEachStep", kiosk{name: "killed", gated: true})

// TestHookKilledAtEachStep: the hook is killed once at every step of a hop, in
// the very moment, and started again as a kubelet does. Each time the train
// arrives as if nothing had been: one snapshot for each commit, every event once
// in the ledgers, all images complete (I1, I2, I6).
func TestHookKilledAtEachStep(t *testing.T) {
	claim(t)
	c := killedKiosk.open(t) // so that a hop is all there is
	dev, stage := c.tapRegistries()
	c.awaitEvent("stage", "deployed v0.1.0")
	newest, snapshots := "v0.1.0", []string{"v0.1.0"}
	ledger := []string{"open", "promote v0.1.0", "deployed v0.1.0"}

	push := gitserver.Fault{Repo: c.Repo(), User: gitserver.Propagator, Kind: gitserver.Push, Times: 1}
	for i, step := range []struct {
		name string
		// on arranges that kill is called once, when the next hop is there.
		on func(c *company, kill func())
	}{
		{"reading Dev's registry", func(_ *company, kill func()) { dev.on(reads, false, kill) }},
		{"a blob is on its way", func(_ *company, kill func()) { stage.on(blobs, false, kill) }},
		{"a manifest has arrived", func(_ *company, kill func()) { stage.on(manifests, true, kill) }},
		{"the push is on its way", func(_ *company, kill func()) {
			fault := push
			fault.Status, fault.Call = http.StatusServiceUnavailable, kill
			world.git.Inject(fault)
		}},
		{"the push is done and not answered", func(_ *company, kill func()) {
			fault := push
			fault.Lose, fault.Call = true, kill
			world.git.Inject(fault)
		}},
		{"the ApplicationSet is poked", func(c *company, kill func()) { c.onPoke(kill) }},
		{"the evidence is pushed and not answered", func(_ *company, kill func()) {
			first, second := push, push
			second.Lose, second.Call = true, kill
			first.Call = func() { world.git.Inject(second) }
			world.git.Inject(first)
		}},
	} {
		newest = fmt.Sprintf("v0.%d.0", i+2)
		snapshots = append(snapshots, newest)
		ledger = append(ledger, "promote "+newest, "deployed "+newest)
		ok := t.Run(step.name, func(t *testing.T) {
			c := &company{Pipeline: c.Pipeline, t: t}
			restarts := world.hook.Status()[0].Restarts
			step.on(c, world.hook.Kill)
			release := c.release("web-1", "killed while "+step.name)
			c.awaitDeployed("stage", newest)
			c.awaitEvent("stage", "deployed "+newest)
			if after := world.hook.Status()[0].Restarts; after != restarts+1 {
				t.Errorf("the hook was killed once, and restarted %d times", after-restarts)
			}
			if lock := c.lock(newest); lock.Source.Commit != release.Commit {
				t.Errorf("%s is of %s, and released was %s", newest, lock.Source.Commit, release.Commit)
			}
			c.checkSnapshots(snapshots...)
			c.checkLedger("stage", ledger...)
			c.checkRuns("stage", newest)
			c.propagator("mirror", "verify", "stage", newest)
		})
		if !ok {
			return // what follows counts on it
		}
	}
	c.approve(newest)
	c.awaitEvent("prod", "deployed "+newest)
	c.checkLedger("prod", "open", "promote "+newest, "deployed "+newest)
	c.checkRuns("prod", newest)
}

// What the hook asks of registries.
var (
	reads     = regexp.MustCompile(`^(GET|HEAD) /v2/.+/manifests/`)
	blobs     = regexp.MustCompile(`^(PATCH|PUT) /v2/.+/blobs/uploads/|^POST /v2/.+/blobs/uploads/.*digest=`)
	manifests = regexp.MustCompile(`^PUT /v2/.+/manifests/`)
)

// tap is a registry as the hook sees it: everything passes through here.
type tap struct {
	url string

	mu   sync.Mutex // guards trap
	trap *trap
}

// trap waits for one request.
type trap struct {
	which *regexp.Regexp // of "METHOD /path?query"
	after bool
	call  func()
}

// on calls a function once: when the next such request has come, and nobody has
// done anything about it, or after the registry has done it, and before anybody
// hears of it. The request gets no answer.
func (p *tap) on(which *regexp.Regexp, after bool, call func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap = &trap{which, after, call}
}

// take returns the trap that the request is caught in.
func (p *tap) take(r *http.Request) *trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trap == nil || !p.trap.which.MatchString(r.Method+" "+r.URL.RequestURI()) {
		return nil
	}
	caught := p.trap
	p.trap = nil
	return caught
}

func newTap(t *testing.T, registry *registries.Registry) *tap {
	t.Helper()
	target, err := url.Parse(registry.URL())
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caught := p.take(r)
		if caught != nil && !caught.after {
			caught.call()
			panic(http.ErrAbortHandler)
		}
		proxy := &httputil.ReverseProxy{
			Rewrite: func(out *httputil.ProxyRequest) {
				out.SetURL(target)
				out.Out.Host = out.In.Host // it is in the addresses that the registry returns
			},
			ModifyResponse: func(*http.Response) error {
				if caught != nil {
					caught.call()
					return http.ErrAbortHandler
				}
				return nil
			},
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
			ErrorLog:     log.New(io.Discard, "", 0), // a client that is killed is nothing to report
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// tapRegistries leads the hook to Dev's and stage's registry through taps.
func (c *company) tapRegistries() (dev, stage *tap) {
	c.t.Helper()
	dev, stage = newTap(c.t, world.registries.Dev), newTap(c.t, world.registries.Stage)
	endpoints := world.registries.Endpoints()
	tapped := strings.NewReplacer(
		registries.DevName+"="+world.registries.Dev.URL(), registries.DevName+"="+dev.url,
		registries.StageName+"="+world.registries.Stage.URL(), registries.StageName+"="+stage.url,
	).Replace(endpoints)
	const setting = "PROPAGATOR_REGISTRY_ENDPOINT"
	afterwards(c.t, "the registries' endpoints", func(ctx context.Context) error {
		return world.set(ctx, map[string]string{setting: endpoints})
	})
	c.must(world.set(c.t.Context(), map[string]string{setting: tapped}))
	return dev, stage
}

// onPoke calls a function once, when the hook has poked the ApplicationSet.
func (c *company) onPoke(call func()) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	sets := world.cluster.Dynamic().Resource(schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applicationsets"}).Namespace(cluster.Namespace)
	watch, err := sets.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + c.applicationSet()})
	if err != nil {
		cancel()
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer watch.Stop()
		var before *string // the annotation as it was at the beginning
		for event := range watch.ResultChan() {
			set, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				return // the watch has failed, and the test will say that nobody was killed
			}
			value := set.GetAnnotations()["argocd.argoproj.io/application-set-refresh"]
			if before != nil && value != *before && strings.HasPrefix(value, "propagator-") {
				call()
				return
			}
			before = &value
		}
	}()
	c.t.Cleanup(func() { cancel(); <-done })
}

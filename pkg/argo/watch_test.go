package argo

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	kubetesting "k8s.io/client-go/testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestWatchWire: the request that an API server sees, and events as it sends
// them.
func TestWatchWire(t *testing.T) {
	ended := make(chan struct{})
	client := kubeAt(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications" || q.Get("watch") != "true" || q.Get("labelSelector") != LabelPipeline || q.Get("timeoutSeconds") != "300" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": named(t, "a")})
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Watch(ctx, slog.New(slog.DiscardHandler), func(pipeline string) { heard <- pipeline })
	}()
	if got := <-heard; got != "shop" {
		t.Errorf("heard of %q", got)
	}
	cancel()
	<-done
	close(ended)
}

// watched is a client in virtual time whose watches the test feeds.
type watched struct {
	t      *testing.T
	events chan *watch.FakeWatcher

	mu    sync.Mutex // guards the fields below
	heard int
	fail  error
	asked []time.Time
	log   strings.Builder
}

func watching(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, events: make(chan *watch.FakeWatcher, 10)}
	kube := fakeKube()
	kube.PrependWatchReactor("applications", func(kubetesting.Action) (bool, watch.Interface, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, time.Now())
		if w.fail != nil {
			return true, nil, w.fail
		}
		fake := watch.NewFake()
		w.events <- fake
		return true, fake, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		New(kube, nil, "argocd").Watch(ctx, slog.New(slog.NewTextHandler(w, nil)), func(string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.heard++
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return w
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// wakes is how often somebody was woken since the last question.
func (w *watched) wakes() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.heard
	w.heard = 0
	return n
}

// TestWatchWakes: what a promotion could depend on wakes, and nothing else.
func TestWatchWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t)
		fake := <-w.events
		app := named(t, "a")
		fake.Add(&unstructured.Unstructured{Object: app})
		if n := w.wakes(); n != 1 {
			t.Fatalf("a new Application woke %d times", n)
		}
		for _, test := range []struct {
			name   string
			change func(app, spec, status, operation map[string]any)
			wakes  int
		}{
			{"nothing", func(_, _, _, _ map[string]any) {}, 0},
			{"a heartbeat", func(_, _, status, _ map[string]any) { status["reconciledAt"] = "2026-03-01T12:03:07Z" }, 0},
			{"resources", func(_, _, status, _ map[string]any) { status["resources"] = []any{} }, 0},
			{"an operation begins", func(_, _, _, operation map[string]any) { operation["phase"] = "Running" }, 1},
			{"it ends", func(_, _, _, operation map[string]any) {
				operation["phase"], operation["finishedAt"] = "Succeeded", "2026-03-01T12:04:00Z"
			}, 1},
			{"compared after it", func(_, _, status, _ map[string]any) { status["reconciledAt"] = "2026-03-01T12:04:00Z" }, 1},
			{"unwell", func(_, _, status, _ map[string]any) { object(status, "health")["status"] = "Degraded" }, 1},
			{"pointed elsewhere", func(_, spec, _, _ map[string]any) { object(spec, "source")["targetRevision"] = "refs/tags/shop/v1.5.0" }, 1},
			{"not readable", func(_, _, status, _ map[string]any) { status["reconciledAt"] = "yesterday" }, 1},
			{"readable again, as before", func(_, _, status, _ map[string]any) { status["reconciledAt"] = "2026-03-01T12:04:00Z" }, 0},
			{"being deleted", func(app, _, _, _ map[string]any) {
				object(app, "metadata")["deletionTimestamp"] = "2026-03-01T12:05:00Z"
			}, 1},
		} {
			test.change(app, object(app, "spec"), object(app, "status"), object(app, "status", "operationState"))
			fake.Modify((&unstructured.Unstructured{Object: app}).DeepCopy())
			if n := w.wakes(); n != test.wakes {
				t.Errorf("%s: woke %d times, want %d", test.name, n, test.wakes)
			}
		}
		fake.Delete(&unstructured.Unstructured{Object: app})
		if n := w.wakes(); n != 1 {
			t.Errorf("a deletion woke %d times", n)
		}

		// After a break the world is told anew: only what changed wakes.
		b, c := named(t, "b"), named(t, "c")
		fake.Add((&unstructured.Unstructured{Object: b}).DeepCopy())
		fake.Add((&unstructured.Unstructured{Object: c}).DeepCopy())
		if n := w.wakes(); n != 2 {
			t.Errorf("woke %d times", n)
		}
		fake.Stop()
		time.Sleep(2 * time.Second)
		fake = <-w.events
		object(c, "status", "health")["status"] = "Degraded"
		fake.Add(&unstructured.Unstructured{Object: b})
		fake.Add(&unstructured.Unstructured{Object: c})
		if n := w.wakes(); n != 1 {
			t.Errorf("after the break: woke %d times, want 1", n)
		}
		// A watch that the API server gives up is opened again.
		fake.Error(&metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired, Message: "too old"})
		time.Sleep(2 * time.Second)
		fake = <-w.events
		fake.Action(watch.Bookmark, &unstructured.Unstructured{Object: named(t, "")})
		if n := w.wakes(); n != 0 {
			t.Errorf("a bookmark woke %d times", n)
		}
		if log := w.log.String(); log != "" {
			t.Errorf("log: %s", log)
		}
	})
}

// TestWatchForbidden: said once, tried again seldom, and used when allowed.
func TestWatchForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t)
		fake := <-w.events
		w.mu.Lock()
		w.fail = apierrors.NewForbidden(schema.GroupResource{Group: "argoproj.io", Resource: "applications"}, "", nil)
		w.asked = nil
		w.mu.Unlock()
		fake.Stop()
		time.Sleep(21 * time.Minute)
		synctest.Wait()
		w.mu.Lock()
		if n := len(w.asked); n < 4 || n > 6 {
			t.Errorf("asked %d times in 21 minutes", n)
		}
		if log := w.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "allow verb watch on applications.argoproj.io") {
			t.Errorf("log: %s", log)
		}
		w.fail = nil
		w.mu.Unlock()
		time.Sleep(6 * time.Minute)
		(<-w.events).Add(&unstructured.Unstructured{Object: named(t, "a")})
		if n := w.wakes(); n != 1 {
			t.Errorf("allowed at last: woke %d times", n)
		}
	})
}

// TestWatchBacksOff while the API server is away.
func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t)
		fake := <-w.events
		w.mu.Lock()
		w.fail, w.asked = runtime.NewMissingKindErr("the API server is down"), nil
		w.mu.Unlock()
		begin := time.Now()
		fake.Stop()
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		var gaps []time.Duration
		for _, at := range w.asked {
			gaps = append(gaps, at.Sub(begin).Truncate(time.Second))
			begin = at
		}
		for i, nominal := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			if nominal *= time.Second; i >= len(gaps) || gaps[i] < nominal || gaps[i] > nominal*11/10 {
				t.Fatalf("pauses: %v", gaps)
			}
		}
		if log := w.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "no watch of Applications lasts") {
			t.Errorf("log: %s", log)
		}
	})
}

// TestWatchClosedAtOnce is a fault, too, although nobody calls it one.
func TestWatchClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case fake := <-w.events:
					fake.Stop()
				case <-stop:
					return
				}
			}
		}()
		time.Sleep(10 * time.Minute)
		close(stop)
		<-stopped
		synctest.Wait()
		w.mu.Lock()
		if n := len(w.asked); n < 10 || n > 20 {
			t.Errorf("opened %d watches in 10 minutes", n)
		}
		if log := w.log.String(); strings.Count(log, "level=WARN") != 1 {
			t.Errorf("log: %s", log)
		}
		w.asked = nil
		w.mu.Unlock()
		// One that serves its time is the end of the trouble.
		time.Sleep(2 * maxPause)
		fake := <-w.events
		time.Sleep(watchFor)
		fake.Stop()
		time.Sleep(2 * minPause)
		<-w.events
	})
}

// TestWatchForgets Applications that went between two watches, once a watch has
// shown all there are.
func TestWatchForgets(t *testing.T) {
	seen := marks{}
	var woken []string
	changed := func(pipeline string) { woken = append(woken, pipeline) }
	show := func(event watch.EventType, name, pipeline string) {
		app := &unstructured.Unstructured{Object: named(t, name)}
		app.SetLabels(map[string]string{LabelPipeline: pipeline})
		seen.hear(event, app, changed)
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, woken); diff != "" {
			t.Errorf("%s (-want +woken):\n%s", when, diff)
		}
		woken = nil
	}
	show(watch.Added, "a", "shop")
	show(watch.Added, "b", "bakery")
	expect("new", "shop", "bakery")
	show(watch.Modified, "a", "bakery")
	expect("moved to another pipeline", "shop", "bakery")
	show(watch.Modified, "a", "bakery")
	expect("as before")
	show(watch.Deleted, "a", "bakery")
	expect("gone", "bakery")
	show(watch.Added, "c", "shop")
	woken = nil
	seen.keep(map[string]bool{"argocd/c": true}, changed)
	expect("gone in between", "bakery")
	if _, known := seen["argocd/c"]; !known || len(seen) != 1 {
		t.Errorf("remembered: %v", seen)
	}
}

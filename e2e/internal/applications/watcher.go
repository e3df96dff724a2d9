package applications

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// Resource is what is watched.
var Resource = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}

// Moment is what an Application looked like from a time on.
type Moment struct {
	At time.Time
	State
}

// State is the part of an Application that the scenarios speak of.
type State struct {
	Name           string
	Labels         map[string]string
	TargetRevision string
	Sync           string
	Revision       string // of status.sync
	Health         string
	Phase          string
	SyncedRevision string
	StartedAt      time.Time
	FinishedAt     time.Time
	ReconciledAt   time.Time
	Message        string
	// Conditions by type.
	Conditions map[string]string
	// Resources as kind/namespace/name to health.
	Resources map[string]string
}

// Done reports whether the Application is in sync with a target and healthy. It
// need not have been synced to it: where nothing of the Application has changed,
// Argo CD compares and does nothing.
func (s State) Done(targetRevision string) bool {
	return s.TargetRevision == targetRevision && s.Sync == "Synced" && s.Health == "Healthy" && s.Phase == "Succeeded"
}

func (s State) String() string {
	text := fmt.Sprintf("%s: target %s, %s at %.7s, %s, operation %s at %.7s", s.Name, s.TargetRevision, or(s.Sync), s.Revision, or(s.Health), or(s.Phase), s.SyncedRevision)
	if s.Message != "" && s.Phase != "Succeeded" {
		text += " (" + s.Message + ")"
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Conditions)) {
		text += fmt.Sprintf("\n    %s: %s", kind, s.Conditions[kind])
	}
	return text
}

func or(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Watcher is safe for concurrent use.
type Watcher struct {
	mu      sync.Mutex // guards everything below
	changed chan struct{}
	now     map[string]State
	history map[string][]Moment
	deleted []string
	allowed map[string]bool
}

// Watch begins to watch the Applications of a namespace, until ctx ends. It
// returns when the present ones are known.
func Watch(ctx context.Context, kube dynamic.Interface, namespace string) (*Watcher, error) {
	w := &Watcher{changed: make(chan struct{}), now: map[string]State{}, history: map[string][]Moment{}, allowed: map[string]bool{}}
	resource := kube.Resource(Resource).Namespace(namespace)
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, options)
		},
	}, &unstructured.Unstructured{}, 0)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { w.set(object) },
		UpdateFunc: func(_, object any) { w.set(object) },
		DeleteFunc: func(object any) { w.remove(object) },
	})
	if err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("watch Applications: %w", context.Cause(ctx))
	}
	return w, nil
}

func (w *Watcher) set(object any) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	state := decode(u)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now[state.Name] = state
	w.history[state.Name] = append(w.history[state.Name], Moment{At: time.Now(), State: state})
	w.signal()
}

func (w *Watcher) remove(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.now, u.GetName())
	if !w.allowed[u.GetName()] {
		w.deleted = append(w.deleted, u.GetName())
	}
	w.signal()
}

// signal wakes everybody who waits. The caller holds mu.
func (w *Watcher) signal() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Deleted are the Applications that vanished although nobody said they would.
func (w *Watcher) Deleted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.deleted)
}

// AllowDelete says that the suite itself is about to delete an Application.
func (w *Watcher) AllowDelete(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed[name] = true
}

// Get returns the newest state; false if there is no such Application.
func (w *Watcher) Get(name string) (State, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.now[name]
	return s, ok
}

// Select returns the Applications that carry all of the labels, by name.
func (w *Watcher) Select(labels map[string]string) []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []State
	for _, name := range slices.Sorted(maps.Keys(w.now)) {
		s := w.now[name]
		if subset(labels, s.Labels) {
			found = append(found, s)
		}
	}
	return found
}

func subset(want, have map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// History is everything that was seen of an Application, in order.
func (w *Watcher) History(name string) []Moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.history[name])
}

// Until waits for a condition over all Applications, and checks it whenever
// one of them changes. The error carries what is there instead.
func (w *Watcher) Until(ctx context.Context, what string, condition func() bool) error {
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; Applications:\n%s", what, context.Cause(ctx), w.dump())
		}
	}
}

func (w *Watcher) dump() string {
	var lines []string
	for _, s := range w.Select(nil) {
		lines = append(lines, "  "+s.String())
	}
	if len(lines) == 0 {
		return "  none"
	}
	return strings.Join(lines, "\n")
}

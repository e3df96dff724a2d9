package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// retryAfter is how soon what could not be done is tried again, when nothing
// else gives a reason to.
const retryAfter = time.Second

// Workload is a container that a [Kubelet] runs in every replica of its
// workload. Its methods may be called from several goroutines at once.
type Workload struct {
	kubelet *Kubelet
	ref     Ref
	stop    context.CancelFunc
	wake    chan struct{} // Wakes scale.
	scaled  chan struct{} // Closed when scale has ended.
	rollout chan struct{} // Holds a token while a replica is replaced.

	mu       sync.Mutex
	up       bool // False after Stop.
	count    int  // What Replicas asked for; -1 follows the workload.
	replicas []*replica
	news     chan struct{} // Closed and replaced when something above or a status changes.
}

func newWorkload(k *Kubelet, ref Ref) *Workload {
	ctx, stop := context.WithCancel(k.running)
	w := &Workload{
		kubelet: k, ref: ref, stop: stop, up: true, count: -1,
		wake:    make(chan struct{}, 1),
		scaled:  make(chan struct{}),
		rollout: make(chan struct{}, 1),
		news:    make(chan struct{}),
	}
	go w.scale(ctx)
	return w
}

// scale keeps as many replicas as there should be.
func (w *Workload) scale(ctx context.Context) {
	defer close(w.scaled)
	defer func() {
		for _, r := range w.all() {
			r.end()
		}
	}()
	for {
		again := time.Duration(0)
		if n, _, err := w.wanted(ctx); err == nil {
			w.resize(ctx, n)
		} else if ctx.Err() == nil {
			w.kubelet.config.Log.Warn("replicas unknown", "workload", w.ref.String(), "error", err)
			again = retryAfter
		}
		if !pause(ctx, w.wake, again) {
			return
		}
	}
}

// wanted is how many replicas there should be, and the workload's generation.
func (w *Workload) wanted(ctx context.Context) (int, int64, error) {
	w.mu.Lock()
	count := w.count
	w.mu.Unlock()
	found, err := w.kubelet.config.Cluster.Dynamic().Resource(resources[w.ref.Kind]).Namespace(w.kubelet.config.Namespace).Get(ctx, w.ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read %s %s: %w", w.ref.Kind, w.ref.Name, err)
	}
	if count < 0 {
		count = replicas(found)
	}
	return count, found.GetGeneration(), nil
}

// resize starts or ends replicas; only scale calls it. Those that are to go
// are there until they are gone.
func (w *Workload) resize(ctx context.Context, n int) {
	all := w.all()
	kept := min(n, len(all))
	for i := len(all) - 1; i >= kept; i-- {
		all[i].end()
	}
	all = all[:kept]
	for len(all) < n {
		all = append(all, startReplica(ctx, w, len(all)))
	}
	w.mu.Lock()
	w.replicas = all
	w.announce()
	w.mu.Unlock()
}

// announce wakes whoever waits for a status. The caller holds mu.
func (w *Workload) announce() {
	close(w.news)
	w.news = make(chan struct{})
}

// changed passes on that an object has changed.
func (w *Workload) changed(o object) {
	if o == (object{w.ref.Kind, w.ref.Name}) {
		poke(w.wake)
	}
	for _, r := range w.all() {
		r.changed(o)
	}
}

func (w *Workload) all() []*replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*replica(nil), w.replicas...)
}

// end ends the processes and the workload.
func (w *Workload) end() {
	w.stop()
	<-w.scaled
}

// Ref says which container it is.
func (w *Workload) Ref() Ref { return w.ref }

// Replicas runs n replicas whatever the manifest says; a negative n follows the
// manifest again. It does not wait.
func (w *Workload) Replicas(n int) {
	w.mu.Lock()
	w.count = n
	w.mu.Unlock()
	poke(w.wake)
}

// Ready waits until the newest version of the workload runs and is ready in all
// replicas. Its error says what keeps it.
func (w *Workload) Ready(ctx context.Context) error {
	for {
		n, generation, err := w.wanted(ctx)
		if err != nil {
			return fmt.Errorf("%s is not ready: %w", w.ref, err)
		}
		w.mu.Lock()
		news := w.news
		w.mu.Unlock()
		why := w.notReady(n, generation)
		if why == nil {
			return nil
		}
		// The generation may change as well.
		timer := time.NewTimer(retryAfter)
		select {
		case <-news:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s is not ready: %w: %w", w.ref, context.Cause(ctx), why)
		}
		timer.Stop()
	}
}

func (w *Workload) notReady(n int, generation int64) error {
	if generation == 0 {
		return fmt.Errorf("%s %s %w", w.ref.Kind, w.ref.Name, ErrGone)
	}
	statuses := w.Status()
	if len(statuses) != n {
		return fmt.Errorf("%d replicas of %d", len(statuses), n)
	}
	var errs []error
	for _, s := range statuses {
		if !s.Ready || s.Generation < generation {
			errs = append(errs, fmt.Errorf("%s: %s (restarts: %d, generation %d of %d)%s", s.Pod, s.Reason, s.Restarts, s.Generation, generation, tail(s.Log)))
		}
	}
	return errors.Join(errs...)
}

// poke wakes the owner of a channel of capacity 1.
func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// pause waits for a wake or, when d is not 0, that long. It reports false when
// ctx has ended.
func pause(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	var after <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-after:
	}
	return ctx.Err() == nil
}

// tail is the end of a log as an appendix to an error.
func tail(path string) string {
	const most = 2 << 10
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "\n" + string(text[max(0, len(text)-most):])
}

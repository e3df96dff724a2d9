package hook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// reopenAfter is how many runs use one view of a repository, which keeps all
// that it fetched in memory.
const reopenAfter = 200

// worker reconciles one pipeline: on every wake-up and at least once per
// interval, never twice at a time. Wake-ups that arrive during a run lead to
// exactly one more.
type worker struct {
	name     string
	engine   *promotion.Engine
	open     gitrepo.Opener
	runs     int
	interval time.Duration
	timeout  time.Duration
	log      *slog.Logger
	metrics  *metrics
	wake     chan struct{}

	mu   sync.Mutex // guards last and ran
	last Status
	ran  bool
}

// Status is what the newest run of a pipeline came to.
type Status struct {
	Repository string           `json:"repository"`
	At         time.Time        `json:"at"`
	Seconds    float64          `json:"seconds"`
	Error      string           `json:"error,omitempty"`
	Done       []promotion.Step `json:"done"`
	Waits      []promotion.Wait `json:"waits"`
}

func newWorker(p Pipeline, c Config, m *metrics) *worker {
	name := p.Engine.Repo.URL()
	return &worker{
		name: name, engine: p.Engine, open: p.Open, interval: c.Interval, timeout: c.Timeout, log: c.Log.With("repository", name), metrics: m,
		wake: make(chan struct{}, 1),
	}
}

// poke makes the worker run soon. It never blocks.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // a run that has not begun yet is already asked for
	}
}

// run works until the context ends.
func (w *worker) run(ctx context.Context) {
	failures := 0
	for {
		if w.once(ctx) {
			failures = 0
		} else {
			failures++
		}
		timer := time.NewTimer(w.pause(failures))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-w.wake:
			timer.Stop()
		}
	}
}

// pause is how long to wait without an event: after a failure a short time
// that doubles up to the interval, with jitter so that pipelines spread out. A
// wait that ends at a known time is looked at then, and not before.
func (w *worker) pause(failures int) time.Duration {
	pause := w.interval
	if failures > 0 {
		pause = min(w.interval, time.Second<<min(failures-1, 10))
	}
	pause -= rand.N(pause/10 + 1) //nolint:gosec // jitter, not a secret
	if last, ok := w.status(); ok {
		for _, wait := range last.Waits {
			if until := time.Until(wait.Until); until > 0 {
				// The engine counts in whole seconds.
				pause = min(pause, until+time.Second)
			}
		}
	}
	return pause
}

func (w *worker) once(ctx context.Context) bool {
	start := time.Now()
	w.reopen(ctx)
	bounded, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	result, err := w.engine.Reconcile(bounded)
	if err != nil && ctx.Err() != nil {
		return false // shutting down
	}
	status := Status{
		Repository: w.name, At: start.UTC(), Seconds: time.Since(start).Seconds(),
		// Lists, never null, for whoever reads the JSON.
		Done: append([]promotion.Step{}, result.Done...), Waits: append([]promotion.Wait{}, result.Waits...),
	}
	outcome := "ok"
	if err != nil {
		outcome, status.Error = "error", err.Error()
		w.log.ErrorContext(ctx, "reconcile", "error", err, "timed_out", errors.Is(bounded.Err(), context.DeadlineExceeded))
	}
	for _, step := range result.Done {
		w.metrics.steps.WithLabelValues(w.name, string(step.Kind)).Inc()
	}
	w.metrics.runs.WithLabelValues(w.name, outcome).Inc()
	w.metrics.seconds.WithLabelValues(w.name).Observe(status.Seconds)
	w.mu.Lock()
	w.last, w.ran = status, true
	w.mu.Unlock()
	return err == nil
}

// reopen forgets what was fetched, now and then.
func (w *worker) reopen(ctx context.Context) {
	w.runs++
	if w.runs%reopenAfter != 0 || w.open == nil {
		return
	}
	repo, err := w.open()
	if err != nil {
		w.log.WarnContext(ctx, "repository cannot be opened anew; going on with the old view", "error", err)
		return
	}
	w.engine.Repo = repo
}

// status returns the newest run; false before the first has ended.
func (w *worker) status() (Status, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.ran
}

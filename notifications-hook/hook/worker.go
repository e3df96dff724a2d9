package hook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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
	changed  chan struct{}
	// stale says that refs may have changed: what was listed before does not count.
	stale   atomic.Bool
	members Members // nil: every pipeline is this replica's
	shifted chan struct{}
	// These two belong to run: whether the pipeline is this replica's, and until
	// when an event is followed if it is not.
	own    bool
	follow time.Time

	mu    sync.Mutex // guards the fields below
	last  Status
	ran   bool
	again time.Time // when Argo CD has to be asked once more; zero for never
}

// Status is what the newest run of a pipeline came to.
type Status struct {
	Repository string `json:"repository"`
	// Owner is the replica that looks after the pipeline; empty when replicas do
	// not share the work.
	Owner   string    `json:"owner,omitempty"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
	// Hint is what to do about the error, where somebody has to do something.
	Hint  string           `json:"hint,omitempty"`
	Done  []promotion.Step `json:"done"`
	Waits []promotion.Wait `json:"waits"`
	// Warnings hold nothing up.
	Warnings []promotion.Wait `json:"warnings"`
	// Hops are the last promotions from environment to environment, oldest first
	// and those under way at the end, since this process started.
	Hops []promotion.Hop `json:"hops"`
}

func newWorker(p Pipeline, c Config, m *metrics) *worker {
	name := p.Engine.Repo.URL()
	w := &worker{
		name: name, engine: p.Engine, open: p.Open, interval: c.Interval, timeout: c.Timeout, log: c.Log.With("repository", name), metrics: m,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), members: c.Members, shifted: make(chan struct{}, 1),
	}
	w.claim()
	w.engine.Hops = promotion.NewHops(w.hopped)
	return w
}

// hopped reports a snapshot's way from one environment to the next.
func (w *worker) hopped(hop promotion.Hop) {
	var seconds []any
	for _, segment := range hop.Segments() {
		w.metrics.hops.WithLabelValues(segment.Name).Observe(segment.Duration.Seconds())
		seconds = append(seconds, slog.Float64(segment.Name, segment.Duration.Round(time.Millisecond).Seconds()))
	}
	w.log.Info("hop complete", "version", hop.Version, "from", hop.From, "to", hop.To, slog.Group("seconds", seconds...))
}

// poke makes the worker run soon, because something in git may have changed. It
// never blocks.
func (w *worker) poke() {
	w.stale.Store(true)
	w.notified()
}

// notified makes the worker run soon, because Argo CD says that it has done
// something. It never blocks.
func (w *worker) notified() {
	select {
	case w.wake <- struct{}{}:
	default: // a run that has not begun yet is already asked for
	}
}

// nudge makes the worker run soon because an Application changed. Unlike pokes,
// nudges come in bursts while Argo CD works, so they keep a distance to the last
// run. It never blocks.
func (w *worker) nudge() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// shift makes the worker see whose the pipeline is. It never blocks.
func (w *worker) shift() {
	select {
	case w.shifted <- struct{}{}:
	default:
	}
}

// owner names the replica that looks after the pipeline, and says whether it is
// this one.
func (w *worker) owner() (name string, own bool) {
	if w.members == nil {
		return "", true
	}
	return w.members.Owner(w.name)
}

// claim sees whose the pipeline is.
func (w *worker) claim() {
	owned := 0.0
	if _, w.own = w.owner(); w.own {
		owned = 1
	}
	w.metrics.owned.WithLabelValues(w.name).Set(owned)
}

// Another replica's pipeline is looked at once in a while all the same: its owner
// may be alive and yet not get through.
const (
	spareIntervals = 10
	maxSpare       = 15 * time.Minute
)

// spare is how often that is.
func (w *worker) spare() time.Duration {
	return max(w.interval, min(spareIntervals*w.interval, maxSpare))
}

// quiet is the least time between the end of a run and one that begins because
// an Application changed.
const quiet = 250 * time.Millisecond

// concerns reports whether a pipeline is the worker's, as far as it knows: its
// own name it learns from the first look. Others share the Argo CD.
func (w *worker) concerns(pipeline string) bool {
	own := w.engine.Pipeline()
	return pipeline == "" || own == "" || own == pipeline
}

// run works until the context ends.
func (w *worker) run(ctx context.Context) {
	failures := 0
	look := ctx
	for {
		begin := time.Now()
		if w.once(look) {
			failures = 0
		} else {
			failures++
		}
		pause := w.pause(failures)
		source, ok := w.rest(ctx, pause, w.distance(time.Since(begin), failures, pause), failures > 0)
		if !ok {
			return
		}
		w.metrics.wakes.WithLabelValues(source).Inc()
		look = ctx
		if !w.stale.Swap(false) && (source == "watch" || source == "request") {
			look = promotion.Glance(ctx) // it is about Applications
		}
	}
}

// distance is the time between the end of a run and one that begins because an
// Application changed. A look that takes long may take at most half the time,
// and a failure is no reason to hurry: one Application that changes all the time
// would make it repeat without a pause. After a run that did something, however
// long it took, Argo CD's answer is what everybody waits for.
func (w *worker) distance(took time.Duration, failures int, pause time.Duration) time.Duration {
	last, _ := w.status()
	switch {
	case failures > 0:
		return max(quiet, pause)
	case len(last.Done) > 0:
		return quiet
	}
	return max(quiet, took)
}

// rest waits until there is a reason to run, and names it; false when the
// context ends. A pipeline that is another replica's has two: an event, which
// nobody else has heard, and a long time. After a failure Argo CD's events wait for
// the distance as well, as it tells of each step of each Application; those of the git
// host, which answers again then, do not.
func (w *worker) rest(ctx context.Context, pause, distance time.Duration, failed bool) (source string, ok bool) {
	ended := time.Now()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	source, changed := "time", w.changed
	for {
		select {
		case <-ctx.Done():
			return "", false
		case <-timer.C:
			return source, true
		case <-w.wake:
			// The owner looks by itself within an interval; until then what the event
			// leads to is ours.
			w.follow = time.Now().Add(w.interval)
			if !failed || w.stale.Load() {
				return "request", true
			}
			if soon := min(distance, w.interval) - time.Since(ended); soon < pause-time.Since(ended) {
				timer.Reset(max(0, soon))
			}
			source = "request"
		case <-w.shifted:
			before := w.own
			w.claim()
			switch {
			case w.own && !before:
				return "owner", true
			case before && !w.own:
				pause = w.ours(pause, time.Since(ended))
				timer.Reset(max(0, pause-time.Since(ended)))
				source = "time"
			}
		case <-changed:
			if !w.own {
				continue // its owner has the same watch
			}
			if soon := distance - time.Since(ended); soon < pause-time.Since(ended) {
				timer.Reset(max(0, soon))
				source = "watch"
			}
			changed = nil // one is enough
		}
	}
}

// ours is a pause of a pipeline, of which some time has passed: as it is for its
// owner, and for an event that is followed; else that of a spare.
func (w *worker) ours(pause, passed time.Duration) time.Duration {
	if w.own || pause-passed <= time.Until(w.follow) {
		return pause
	}
	return jittered(w.spare())
}

// jittered is up to a tenth less, so that pipelines spread out.
func jittered(pause time.Duration) time.Duration {
	return pause - rand.N(pause/10+1) //nolint:gosec // jitter, not a secret
}

// pause is how long to wait without an event: after a failure a short time
// that doubles up to the interval, with jitter. A wait that ends at a known time
// is looked at then, and not before.
func (w *worker) pause(failures int) time.Duration {
	pause := w.interval
	switch {
	case failures > 0:
		pause = min(w.interval, time.Second<<min(failures-1, 10))
	case !w.own:
		pause = w.spare() // an event is followed by known times, not by ticks
	}
	pause = jittered(pause)
	for _, until := range w.times() {
		// A time that came while the run went on is no reason to wait, unless
		// the run failed.
		if left := time.Until(until); left > 0 || failures == 0 {
			pause = min(pause, max(left, leastPause))
		}
	}
	return w.ours(pause, 0)
}

// times are the known ones at which the newest run says that something changes.
func (w *worker) times() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var known []time.Time
	for _, wait := range w.last.Waits {
		if !wait.Until.IsZero() {
			known = append(known, wait.Until)
		}
	}
	if !w.again.IsZero() {
		known = append(known, w.again)
	}
	return known
}

// leastPause keeps a worker from spinning, whatever the clocks say.
const leastPause = 20 * time.Millisecond

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
		Warnings: append([]promotion.Wait{}, result.Warnings...),
	}
	outcome := "ok"
	if err != nil {
		outcome, status.Error, status.Hint = "error", err.Error(), hint(err)
		log := w.log
		if status.Hint != "" {
			log = log.With("hint", status.Hint)
		}
		log.ErrorContext(ctx, "reconcile", "error", err, "timed_out", errors.Is(bounded.Err(), context.DeadlineExceeded))
	}
	for _, step := range result.Done {
		w.metrics.steps.WithLabelValues(w.name, string(step.Kind)).Inc()
	}
	// A run that saw nothing leaves what the last one saw.
	if pipeline := w.engine.Pipeline(); pipeline != "" && result.Hotfixes.States != nil {
		w.metrics.countHotfixes(pipeline, result.Hotfixes)
	}
	w.metrics.runs.WithLabelValues(w.name, outcome).Inc()
	w.metrics.seconds.WithLabelValues(w.name).Observe(status.Seconds)
	w.mu.Lock()
	w.last, w.ran, w.again = status, true, result.Again
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
	status := w.last
	status.Owner, _ = w.owner()
	status.Hops = append([]promotion.Hop{}, w.engine.Hops.List()...)
	return status, w.ran
}

package workload

import (
	"context"
	"fmt"
)

// Start runs the container again after [Workload.Stop] and waits until it is
// ready.
func (w *Workload) Start(ctx context.Context) error {
	w.setUp(true)
	return w.Ready(ctx)
}

// Stop ends the processes in an orderly way and does not restart them. It
// returns when they are gone.
func (w *Workload) Stop(ctx context.Context) error {
	w.setUp(false)
	return w.await(ctx, "stop", func(s Status) bool { return s.PID == 0 })
}

// Halt is [Workload.Stop] without the order: the processes are killed.
func (w *Workload) Halt(ctx context.Context) error {
	w.mu.Lock()
	w.up = false
	w.mu.Unlock()
	w.Kill()
	w.setUp(false) // Tells those that were just about to start.
	return w.await(ctx, "halt", func(s Status) bool { return s.PID == 0 })
}

// Restart ends the processes in an orderly way, starts new ones and waits until
// these are ready: what `kubectl rollout restart` is for, as changes of a
// container's environment take effect only then.
func (w *Workload) Restart(ctx context.Context) error {
	if err := w.Stop(ctx); err != nil {
		return err
	}
	return w.Start(ctx)
}

// Kill ends the processes as a crash would. They are restarted like any that
// ends by itself.
func (w *Workload) Kill() {
	for _, r := range w.all() {
		r.kill()
	}
}

// KillReplica is [Workload.Kill] for one replica.
func (w *Workload) KillReplica(i int) error {
	all := w.all()
	if i < 0 || i >= len(all) {
		return fmt.Errorf("kill replica %d of %s: there are %d", i, w.ref, len(all))
	}
	all[i].kill()
	return nil
}

// Pause freezes the processes: connections are accepted by the system, and
// nobody answers. A frozen process is not restarted.
func (w *Workload) Pause() {
	for _, r := range w.all() {
		r.freeze(true)
	}
}

// Resume lets the processes go on after [Workload.Pause].
func (w *Workload) Resume() {
	for _, r := range w.all() {
		r.freeze(false)
	}
}

func (w *Workload) setUp(up bool) {
	w.mu.Lock()
	w.up = up
	w.announce()
	w.mu.Unlock()
	for _, r := range w.all() {
		poke(r.wake)
	}
}

func (w *Workload) isUp() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up
}

// await waits until all replicas are as they should be.
func (w *Workload) await(ctx context.Context, what string, as func(Status) bool) error {
	for {
		w.mu.Lock()
		news := w.news
		w.mu.Unlock()
		done := true
		for _, s := range w.Status() {
			done = done && as(s)
		}
		if done {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", what, w.ref, context.Cause(ctx))
		}
	}
}

package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
)

// answerReserve is kept of the caller's deadline so that an error still
// arrives instead of a bare "deadline exceeded".
const answerReserve = 100 * time.Millisecond

// maxDrainReserve is kept of the caller's deadline, at most, to read the rest
// of its repository when no worker becomes free: without that it would not
// hear why.
const maxDrainReserve = 5 * time.Second

// errBusy: no worker became free in time.
var errBusy = errors.New("all workers are busy")

// workers bounds how many renders run at once. Those that wait get their turn
// in the order of their arrival; what they wait with is not yet read from the
// network, so waiting costs hardly any memory.
type workers struct {
	slots *semaphore.Weighted
	count int
}

func newWorkers(count int) *workers {
	return &workers{slots: semaphore.NewWeighted(int64(count)), count: count}
}

// acquire waits for a worker as long as ctx leaves room for anything else. The
// caller calls release once when the error is nil.
func (w *workers) acquire(ctx context.Context) (release func(), waited time.Duration, err error) {
	start := time.Now()
	wait := ctx
	if deadline, ok := ctx.Deadline(); ok {
		reserve := min(time.Until(deadline)/4, maxDrainReserve)
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
		defer cancel()
	}
	err = w.slots.Acquire(wait, 1)
	waited = time.Since(start)
	switch {
	case err == nil:
		return func() { w.slots.Release(1) }, waited, nil
	case ctx.Err() != nil:
		return nil, waited, ctx.Err()
	}
	return nil, waited, fmt.Errorf("%w: none of %d became free within %s; raise --workers of cmp-sidecar, or Argo CD's repo server timeouts", errBusy, w.count, waited.Round(time.Millisecond))
}

// beforeDeadline ends a little earlier than ctx.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-answerReserve))
}

package sidecar

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
)

// metrics of the renders.
type metrics struct {
	renders   *prometheus.CounterVec
	duration  prometheus.Histogram
	queue     prometheus.Histogram
	remaining prometheus.Histogram
	archive   prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	seconds := []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	m := &metrics{
		renders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_cmp_renders_total",
			Help: "Renders asked for, by result.",
		}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "propagator_cmp_render_duration_seconds", Buckets: seconds,
			Help: "Time from the first free worker to the answer: receiving, rendering, checking.",
		}),
		queue: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "propagator_cmp_queue_wait_seconds", Buckets: seconds,
			Help: "Time that a render waited for a free worker.",
		}),
		remaining: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "propagator_cmp_remaining_deadline_seconds", Buckets: seconds,
			Help: "Time that Argo CD had left for a render when it arrived.",
		}),
		archive: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "propagator_cmp_archive_bytes", Buckets: prometheus.ExponentialBuckets(16<<10, 4, 9),
			Help: "Compressed size of the repositories received.",
		}),
	}
	registry.MustRegister(m.renders, m.duration, m.queue, m.remaining, m.archive)
	return m
}

// arrived notes how much time the caller left.
func (m *metrics) arrived(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		m.remaining.Observe(max(0, time.Until(deadline).Seconds()))
	}
}

// result names an outcome for the metric and the log.
func result(err error) string {
	var faults config.Faults
	var renderError *render.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errBusy):
		return "busy"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, errPanic):
		return "panic"
	case errors.Is(err, cmpwire.ErrTooLarge), errors.Is(err, cmpwire.ErrUnsafe), errors.Is(err, cmpwire.ErrMalformed), errors.Is(err, cmpwire.ErrChecksum):
		return "archive"
	case errors.Is(err, ErrParameters):
		return "parameters"
	case errors.Is(err, ErrNoSnapshot), errors.Is(err, fs.ErrNotExist), errors.As(err, &faults):
		return "snapshot"
	case errors.Is(err, pinned.ErrImageNotInLock):
		return "image_not_in_lock"
	case errors.Is(err, pinned.ErrForeignRegistry):
		return "foreign_registry"
	case errors.Is(err, ErrRenderDiffers):
		return "render_differs"
	case errors.Is(err, render.ErrNoObjects):
		return "no_objects"
	case errors.As(err, &renderError):
		return "render"
	}
	return "error"
}

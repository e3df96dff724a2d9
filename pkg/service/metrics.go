package service

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns a registry of its own (nothing is shared with other
// code in the process) with the Go runtime, the process and the build on it.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := Version()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "propagator_build_info",
		Help:        "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go": build.Go},
	})
	info.Set(1)
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info,
	)
	return registry
}

// requestMetrics count the requests of the program's own handler.
type requestMetrics struct {
	total    *prometheus.CounterVec
	duration prometheus.Histogram
}

func newRequestMetrics(registry prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_http_requests_total",
			Help: "Requests answered, by method and status code.",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "propagator_http_request_duration_seconds",
			Help:    "Time to answer a request.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30},
		}),
	}
	registry.MustRegister(m.total, m.duration)
	return m
}

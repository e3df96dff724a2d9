package hook

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// metrics of the hook; the names are documented in docs/operations.md.
type metrics struct {
	events   *prometheus.CounterVec
	webhooks *prometheus.CounterVec
	runs     *prometheus.CounterVec
	steps    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	wakes    *prometheus.CounterVec
	hops     *prometheus.HistogramVec
	owned    *prometheus.GaugeVec
	hotfixes *prometheus.GaugeVec
	debt     *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_hook_events_total", Help: "Events received from Argo CD, by whether they could be understood.",
		}, []string{"result"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_hook_webhooks_total", Help: "Requests of git hosts, by what came of them.",
		}, []string{"host", "result"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_hook_reconciles_total", Help: "Runs of the promotion engine.",
		}, []string{"repository", "result"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_hook_steps_total", Help: "Steps done: capture, promote, record.",
		}, []string{"repository", "kind"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "propagator_hook_reconcile_seconds", Help: "Duration of a run.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 9),
		}, []string{"repository"}),
		wakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "propagator_hook_wakes_total", Help: "Runs of the promotion engine, by what they were started by.",
		}, []string{"source"}),
		hops: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "propagator_hook_hop_seconds", Help: "Parts of the way of a snapshot from one environment to the next.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 15),
		}, []string{"segment"}),
		owned: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "propagator_hook_owned", Help: "Whether this replica looks after the pipeline (1) or leaves it to another one (0).",
		}, []string{"repository"}),
		hotfixes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "propagator_hotfixes", Help: "Hotfixes, by how far they have come.",
		}, []string{"pipeline", "state"}),
		debt: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "propagator_hotfix_oldest_debt_seconds", Help: "Age of the oldest hotfix that an environment has had and that some place lacks; 0 without any.",
		}, []string{"pipeline"}),
	}
	r.MustRegister(m.events, m.webhooks, m.runs, m.steps, m.seconds, m.wakes, m.hops, m.owned, m.hotfixes, m.debt)
	return m
}

// countHotfixes sets the gauges of a pipeline. Every state has its series, so that
// one that is left falls to 0.
func (m *metrics) countHotfixes(pipeline string, count promotion.HotfixCount) {
	for _, state := range promotion.HotfixStates() {
		m.hotfixes.WithLabelValues(pipeline, string(state)).Set(float64(count.States[state]))
	}
	m.debt.WithLabelValues(pipeline).Set(count.OldestDebt.Seconds())
}

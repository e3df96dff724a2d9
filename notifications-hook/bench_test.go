package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// variableProgram makes the test binary be the program itself.
const variableProgram = "PROPAGATOR_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(variableProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

var pipelines = flag.Int("pipelines", 1_000, "how many pipelines BenchmarkFleet has")

// interval is the default of --interval.
const interval = time.Minute

// TestIdle: with nothing to do, a look at a pipeline is one request for its refs
// and one for its Applications.
func TestIdle(t *testing.T) {
	f := newFleet(t, 3)
	f.start()
	if cost := f.tick(); cost.refs != 3 || cost.git != 0 || cost.registry != 0 || cost.lists != 3 {
		t.Errorf("a look at 3 idle pipelines: %+v", cost)
	}
	f.release(1)
	if cost := f.tick(); cost.refs != 3 || cost.git != 0 || cost.registry != 0 || cost.lists != 3 {
		t.Errorf("a look at 3 idle pipelines, after a release: %+v", cost)
	}
}

// BenchmarkFleet runs the program, as a process of its own, with a thousand
// pipelines of two applications in three environments, on real git servers over
// http, a real registry, and what Argo CD has in a Kubernetes API server. "idle" is
// one look at each pipeline: core-% is the processor time of the program alone,
// as a share of one core if that happens once in every interval. "notified" is how
// long a notification waits for its answer meanwhile. "promoted" brings
// a commit of twenty pipelines through Stage to Prod.
func BenchmarkFleet(b *testing.B) {
	f := newFleet(b, *pipelines)
	f.start()
	b.Run("idle", func(b *testing.B) {
		var sum cost
		n := 0
		for b.Loop() {
			sum = sum.plus(f.tick())
			n++
		}
		looks := float64(n * *pipelines)
		b.ReportMetric(float64(sum.refs)/looks, "git-requests/pipeline")
		b.ReportMetric(float64(sum.git), "git-others")
		b.ReportMetric(float64(sum.registry), "registry-requests")
		b.ReportMetric(float64(sum.lists+sum.kube)/looks, "argo-requests/pipeline")
		b.ReportMetric(sum.processor.Seconds()/float64(n), "cpu-s/tick")
		b.ReportMetric(100*sum.processor.Seconds()/float64(n)/interval.Seconds(), "core-%")
		f.reportMemory(b)
	})
	b.Run("notified", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			took = append(took, f.notifyDuringTick()...)
		}
		slices.Sort(took)
		for _, share := range []float64{0.5, 0.99, 1} {
			at := took[int(share*float64(len(took)-1))]
			b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("p%g-ms", 100*share))
		}
	})
	b.Run("promoted", func(b *testing.B) {
		for b.Loop() {
			f.release(min(20, *pipelines))
		}
		f.tick()
		f.reportMemory(b)
	})
}

func (f *fleet) reportMemory(b *testing.B) {
	b.Helper()
	b.ReportMetric(f.memory("VmRSS"), "MiB-rss")
	b.ReportMetric(f.memory("VmHWM"), "MiB-peak")
}

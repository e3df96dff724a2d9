//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
)

// hops is how many hops are measured at least, half of them out of Dev.
const hops = 20

// longest is what no hop may take, however slow the machine: a look without an
// event comes a minute after the one before, so that a hop which takes longer
// was not brought about by events.
const longest = 45 * time.Second

// segments are the parts of a hop in their order, named by the moment that
// each ends with. What the hook cannot see comes from the suite: when the
// Applications changed, and when the sidecar rendered.
var segments = []string{"notified", "observed", "captured", "mirrored", "pushed", "poked", "updated", "rendered", "synced", "healthy", "recorded"}

// handover is from operationState.finishedAt in one environment to the new
// targetRevision in the next: what the train adds.
const handover = "handover"

var latencyKiosk = plan("TestLatency", kiosk{name: "latency", applications: 2, pods: true})

// TestLatency sends releases through the train and records a timeline of every
// hop. It prints the table of docs/performance.md and keeps all timelines as
// JSON. It fails when a hop had no events to thank for it, or left no timeline.
func TestLatency(t *testing.T) {
	claim(t)
	c := latencyKiosk.open(t)
	c.awaitDeployed("prod", "v0.1.0")
	var measured []timeline
	for n := range hops / 2 {
		version := fmt.Sprintf("v0.%d.0", n+2)
		c.release(fmt.Sprintf("web-%d", n%2+1), "release "+version)
		c.awaitDeployed("prod", version)
		var found []hop
		c.eventually("both timelines of "+version, func() bool {
			found = slices.DeleteFunc(c.hookStatus().Hops, func(h hop) bool {
				return h.Version != c.Name()+"/"+version || h.Moments["recorded"].IsZero()
			})
			return len(found) == 2
		})
		for _, h := range found {
			measured = append(measured, c.timeline(h))
		}
	}
	for _, line := range measured {
		if took := line.Seconds[handover]; took <= 0 || took > longest.Seconds() {
			t.Errorf("%s to %s: %.1f s between the environments", line.Version, line.To, took)
		}
	}
	report := summarize(measured)
	t.Logf("%d hops, Argo CD %s, %d processors\n%s", len(measured), world.version, runtime.NumCPU(), report.table())
	if err := report.save(); err != nil {
		t.Error(err)
	}
}

// timeline is a hop with everything that is known of it.
type timeline struct {
	Version string               `json:"version"`
	From    string               `json:"from"`
	To      string               `json:"to"`
	Moments map[string]time.Time `json:"moments"`
	// Seconds of each segment, since the moment before it that is known.
	Seconds map[string]float64 `json:"seconds"`
}

// timeline completes what the hook tells by what the suite has seen, in
// milliseconds where Argo CD's own times are whole seconds.
func (c *company) timeline(h hop) timeline {
	c.t.Helper()
	line := timeline{Version: h.Version, From: h.From, To: h.To, Moments: h.Moments, Seconds: map[string]float64{}}
	_, version, _ := strings.Cut(h.Version, "/")
	target, commit := c.tag(version), c.head(c.tag(version))
	seen := func(of func(applications.State) bool) time.Time {
		var last time.Time
		for _, a := range c.of(h.To) {
			for _, moment := range world.apps.History(a.Name) {
				if moment.TargetRevision == target && of(moment.State) {
					if moment.At.After(last) {
						last = moment.At
					}
					break
				}
			}
		}
		return last
	}
	line.Moments["updated"] = seen(func(applications.State) bool { return true })
	line.Moments["synced"] = seen(func(a applications.State) bool { return a.Sync == "Synced" && a.Revision == commit })
	line.Moments["healthy"] = seen(func(a applications.State) bool {
		return a.Sync == "Synced" && a.Revision == commit && a.Health == "Healthy" && a.Phase == "Succeeded"
	})
	line.Moments["rendered"] = lastRender(world.sidecar.Logs(), commit, c.Name()+"-"+h.To+"-")
	begin := line.Moments["syncFinished"]
	if begin.IsZero() {
		c.t.Errorf("%s to %s: when the sync before ended is unknown", h.Version, h.To)
	}
	before := begin
	for _, name := range segments {
		at := line.Moments[name]
		if at.IsZero() {
			continue
		}
		// Two clocks, one of which counts whole seconds.
		line.Seconds[name] = max(0, at.Sub(before).Seconds())
		if at.After(before) {
			before = at
		}
	}
	line.Seconds[handover] = line.Moments["updated"].Sub(begin).Seconds()
	line.Seconds["total"] = line.Moments["recorded"].Sub(begin).Seconds()
	return line
}

// lastRender finds when the sidecar rendered a commit last for Applications
// whose names begin with a prefix.
func lastRender(logs, commit, prefix string) time.Time {
	var last time.Time
	for line := range strings.Lines(logs) {
		if !strings.Contains(line, commit) {
			continue
		}
		var entry struct {
			Time        time.Time `json:"time"`
			Message     string    `json:"msg"`
			Application string    `json:"argocdApplication"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "render" &&
			strings.HasPrefix(entry.Application, prefix) && (last.IsZero() || entry.Time.After(last)) {
			last = entry.Time
		}
	}
	return last
}

// latencyReport is what is kept of a run.
type latencyReport struct {
	ArgoCD     string             `json:"argoCD"`
	Go         string             `json:"go"`
	Processors int                `json:"processors"`
	At         time.Time          `json:"at"`
	Median     map[string]float64 `json:"median"`
	Worst      map[string]float64 `json:"worst"`
	// FromDev are the same figures of the hops out of Dev alone, which
	// capture as well.
	FromDev struct {
		Median float64 `json:"median"`
		Worst  float64 `json:"worst"`
	} `json:"fromDev"`
	Hops []timeline `json:"hops"`
}

func summarize(measured []timeline) latencyReport {
	report := latencyReport{
		ArgoCD: world.version, Go: runtime.Version(), Processors: runtime.NumCPU(), At: time.Now().UTC(),
		Median: map[string]float64{}, Worst: map[string]float64{}, Hops: measured,
	}
	values := map[string][]float64{}
	var fromDev []float64
	for _, line := range measured {
		for name, seconds := range line.Seconds {
			values[name] = append(values[name], seconds)
		}
		if line.From == "dev" {
			fromDev = append(fromDev, line.Seconds[handover])
		}
	}
	for name, list := range values {
		report.Median[name], report.Worst[name] = middle(list), slices.Max(list)
	}
	if len(fromDev) > 0 {
		report.FromDev.Median, report.FromDev.Worst = middle(fromDev), slices.Max(fromDev)
	}
	return report
}

// middle is the median; of an even number the mean of the two in the middle.
func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// table is the report as it stands in docs/performance.md.
func (r latencyReport) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| segment | median s | worst s |\n|---|---|---|\n")
	for _, name := range append(slices.Clone(segments), handover, "total") {
		if _, ok := r.Median[name]; ok {
			fmt.Fprintf(&b, "| %s | %.2f | %.2f |\n", name, r.Median[name], r.Worst[name])
		}
	}
	fmt.Fprintf(&b, "| %s from dev | %.2f | %.2f |\n", handover, r.FromDev.Median, r.FromDev.Worst)
	return b.String()
}

// save keeps the report beside the benchmarks' results.
func (r latencyReport) save() error {
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "bench", "out")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "latency-"+r.ArgoCD+".json"), append(text, '\n'), 0o600)
}

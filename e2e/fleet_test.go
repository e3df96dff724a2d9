//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

const (
	// fleetSize is how many Applications an environment of the fleet has.
	fleetSize = 60
	// fleetPatience bounds a step of a fleet, of which Argo CD with its usual
	// settings does not do many Applications at once.
	fleetPatience = 4 * time.Minute
)

// TestSixtyApplications: an environment of 60 Applications is captured as one
// snapshot, mirrored once, and 60 Applications of Stage follow it. Then one
// service is released: all 60 point at the new snapshot, as they belong
// together, and one Deployment changes. What it takes is measured; the bounds
// are those that matter: no work for each Application where one for all is
// enough, and memory far below the limits of manifests/.
func TestSixtyApplications(t *testing.T) {
	claim(t)
	content, err := shop.Fleet(fleetSize)
	if err != nil {
		t.Fatal(err)
	}
	c := openContent(t, content, nil)

	first := c.measure()
	c.within("dev is deployed", func() bool { return len(c.of("dev")) == fleetSize && c.deployed("dev", c.head("main")) })
	first.lap("Argo CD has deployed dev")
	c.within("v0.1.0 is captured", func() bool { return len(c.snapshots()) > 0 })
	first.lap("captured and mirrored")
	c.within("stage runs v0.1.0", func() bool { return c.deployed("stage", "v0.1.0") })
	first.lap("stage is deployed")
	c.within("stage's evidence", func() bool { return slices.Contains(c.ledger("stage"), "deployed v0.1.0") })
	first.lap("recorded")
	first.log("the first promotion of 60 applications")

	if list := c.of("stage"); len(list) != fleetSize {
		t.Errorf("stage has %d Applications", len(list))
	}
	c.checkRuns("stage", "v0.1.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0")
	c.checkSnapshots("v0.1.0")

	before := c.generations("stage")
	release := c.release("app-007", "one of sixty")
	second := c.measure() // 60 commands to Argo CD are the suite's own work
	c.within("stage points at v0.2.0", func() bool {
		list := c.of("stage")
		for _, a := range list {
			if a.TargetRevision != c.tag("v0.2.0") {
				return false
			}
		}
		return len(list) == fleetSize
	})
	second.lap("60 Applications point at v0.2.0")
	c.within("stage runs v0.2.0", func() bool { return c.deployed("stage", "v0.2.0") })
	second.lap("stage is deployed")
	c.within("stage's evidence", func() bool { return slices.Contains(c.ledger("stage"), "deployed v0.2.0") })
	second.lap("recorded")
	second.log("the release of one of 60 services")

	c.checkRuns("stage", "v0.2.0")
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0")
	after := c.generations("stage")
	if len(after) != fleetSize {
		t.Errorf("stage has %d Deployments", len(after))
	}
	var changed []string
	for name, generation := range after {
		if generation != before[name] {
			changed = append(changed, name)
		}
	}
	if !slices.Equal(changed, []string{"app-007"}) {
		t.Errorf("these Deployments have changed: %v", changed)
	}
	if !c.live("stage")["stage.registry.example/fleet/app-007@"+release.Digest] {
		t.Error("stage does not run what was released")
	}

	// A quarter of the limits in manifests/: room for real repositories.
	for _, program := range []struct {
		of    *workload.Workload
		limit int // MiB
	}{{world.hook, 1024}, {world.generator, 512}, {world.sidecar, 2048}} {
		peak := peakMemory(t, program.of)
		t.Logf("%s: at most %d MiB", program.of.Ref(), peak)
		if peak > program.limit/4 {
			t.Errorf("%s had %d MiB, a quarter of its limit is %d", program.of.Ref(), peak, program.limit/4)
		}
	}
}

// within is [company.eventually] with a fleet's patience.
func (c *company) within(what string, condition func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), fleetPatience)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: not within %s", what, fleetPatience)
		}
	}
}

// generations are those of an environment's Deployments: they change with each
// change of the spec.
func (c *company) generations(environment string) map[string]int64 {
	c.t.Helper()
	list, err := world.cluster.Clientset().AppsV1().Deployments(c.Name()+"-"+environment).List(c.t.Context(), metav1.ListOptions{})
	c.must(err)
	generations := map[string]int64{}
	for _, d := range list.Items {
		generations[d.Name] = d.Generation
	}
	return generations
}

// measurement is what a piece of work has cost so far.
type measurement struct {
	c       *company
	begin   time.Time
	laps    []string
	counts  map[string]int
	renders int
}

func (c *company) measure() *measurement {
	m := &measurement{c: c, begin: time.Now()}
	m.counts, m.renders = m.count(), strings.Count(world.sidecar.Logs(), `"msg":"render"`)
	return m
}

// lap notes that something is done.
func (m *measurement) lap(what string) {
	m.laps = append(m.laps, fmt.Sprintf("%5.1f s %s", time.Since(m.begin).Seconds(), what))
}

// count counts requests by whom they reached.
func (m *measurement) count() map[string]int {
	m.c.t.Helper()
	counts := map[string]int{"git": world.git.Count(func(r gitserver.Request) bool {
		return r.User == gitserver.Propagator && r.Repo == m.c.Repo()
	})}
	for name, registry := range map[string]*registries.Registry{"dev's registry": world.registries.Dev, "stage's registry": world.registries.Stage} {
		n, err := registry.Count(func(r registries.Request) bool { return strings.Contains(r.Path, "/"+m.c.Name()+"/") })
		m.c.must(err)
		counts[name] = n
	}
	return counts
}

func (m *measurement) log(what string) {
	m.c.t.Helper()
	now := m.count()
	m.c.t.Logf("%s:\n  %s\nrequests of hook and generator to git: %d, of the hook and CI to dev's registry: %d, to stage's: %d; renders: %d",
		what, strings.Join(m.laps, "\n  "), now["git"]-m.counts["git"], now["dev's registry"]-m.counts["dev's registry"],
		now["stage's registry"]-m.counts["stage's registry"], strings.Count(world.sidecar.Logs(), `"msg":"render"`)-m.renders)
}

// peakMemory is the most that a program's process ever had in memory, in MiB.
func peakMemory(t *testing.T, w *workload.Workload) int {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", w.Status()[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var kib int
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	t.Fatalf("the kernel does not say what %s had in memory", w.Ref())
	return 0
}

package simulation

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "play this one schedule")
	schedulesFlag = flag.Int("schedules", defaultSchedules, "how many schedules to play")
	firstFlag     = flag.Uint64("first", 1, "the seed of the first schedule")
	shrinkFlag    = flag.Bool("shrink", true, "look for the shortest schedule that fails in the same way")
	eventsFlag    = flag.Bool("events", false, "print every event; of use with -seed")
)

// defaultSchedules is what a plain test run plays, some 20 s of one core.
const defaultSchedules = 200

// maxFailures is how many schedules may fail before a run ends.
const maxFailures = 5

// outcome is what a schedule came to.
type outcome struct {
	// broken is the promise that was broken; empty when all were kept. step is
	// when.
	broken string
	step   int
	steps  int
	counts counts
}

// play plays one schedule in a bubble of its own.
func play(t *testing.T, seed uint64, o options) outcome {
	t.Helper()
	var result outcome
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), seed, o)
		w.play(seed)
		result = outcome{w.broken, w.brokenAt, w.steps, w.counts}
	})
	return result
}

// TestSchedules plays schedules of consecutive seeds, or the one of -seed.
func TestSchedules(t *testing.T) {
	if *seedFlag != 0 {
		var trace func(string)
		if *eventsFlag {
			trace = func(line string) { t.Log(line) }
		}
		result := play(t, *seedFlag, options{trace: trace})
		if result.broken != "" {
			t.Fatal(report(t, *seedFlag, options{}, result))
		}
		return
	}
	// Schedules know nothing of each other, so each processor plays its own.
	var (
		mu    sync.Mutex // guards total
		total = counts{}
	)
	workers := runtime.GOMAXPROCS(0)
	ok := t.Run("schedules", func(t *testing.T) {
		for worker := range workers {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				failed := 0
				for i := worker; i < *schedulesFlag; i += workers {
					seed := *firstFlag + uint64(i)
					result := play(t, seed, options{})
					mu.Lock()
					total.add(result.counts)
					mu.Unlock()
					if result.broken == "" {
						continue
					}
					t.Error(report(t, seed, options{}, result))
					if failed++; failed == maxFailures {
						t.Fatal("and no more schedules after so many that failed")
					}
				}
			})
		}
	})
	if ok && testing.Verbose() {
		t.Logf("%d schedules:\n%s", *schedulesFlag, strings.Join(total.lines(), "\n"))
	}
}

// TestReplay: the same seed is the same schedule, to the last event.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		var traces [2][]string
		for i := range traces {
			play(t, seed+1, options{trace: func(line string) { traces[i] = append(traces[i], line) }})
		}
		for i, line := range traces[0] {
			if i >= len(traces[1]) || traces[1][i] != line {
				t.Fatalf("seed %d, event %d: first\n%s\nthen\n%s", seed+1, i, line, slices.Concat(traces[1], []string{"nothing"})[min(i, len(traces[1]))])
			}
		}
	}
}

// TestMutations shows that the checks can fail: each known fault of a port has
// to be found.
func TestMutations(t *testing.T) {
	for _, test := range []struct {
		name     string
		mutation mutation
		// breaks is one of the promises that must be found broken.
		breaks string
	}{
		{"a registry pretends to store", pretendsToStore, "I2"},
		{"comparisons seem newer than operations", forgetsOrder, "I7"},
		{"everything is called healthy", callsAllHealthy, "I7"},
		{"partial syncs and dry runs count", callsAllFull, "I7"},
		{"a push ignores what it replaces", ignoresOld, "I1"},
		{"a push is not atomic", tornPush, "I2"},
		{"prod's images come from Dev", shortCut, "I5"},
		{"holds are not seen", blindToHolds, "I7"},
		{"a secret reaches the engine", leaks, "I9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			const most = 500
			for seed := range uint64(most) {
				result := play(t, seed+1, options{mutation: test.mutation})
				if result.broken == "" {
					continue
				}
				if !strings.HasPrefix(result.broken, test.breaks) {
					continue
				}
				t.Logf("seed %d, step %d: %s", seed+1, result.step, result.broken)
				return
			}
			t.Fatalf("not found in %d schedules", most)
		})
	}
}

// report says how to see a failure again, and the shortest schedule that has it.
func report(t *testing.T, seed uint64, o options, result outcome) string {
	t.Helper()
	if !*shrinkFlag {
		return fmt.Sprintf("seed %d, step %d: %s", seed, result.step, result.broken)
	}
	o, lines := shrink(t, seed, o, result)
	return fmt.Sprintf("seed %d, step %d: %s\nreplay: go test ./pkg/promotion/simulation -run TestSchedules -seed=%d -events\nthe shortest schedule found, %d of %d steps:\n%s",
		seed, result.step, result.broken, seed, o.limit-len(o.drop), result.steps, strings.Join(lines, "\n"))
}

// kindOf is the promise that was broken, and how: what comes before the names.
func kindOf(broken string) string {
	words := strings.Fields(broken)
	return strings.Join(words[:min(3, len(words))], " ")
}

// maxReplays bounds how often a schedule is played to make it shorter.
const maxReplays = 400

// shrink ends the schedule where it fails, and leaves out steps as long as it
// still fails in the same way.
func shrink(t *testing.T, seed uint64, o options, result outcome) (options, []string) {
	t.Helper()
	left := maxReplays
	fails := func(o options) bool {
		if left--; left < 0 {
			return false
		}
		again := play(t, seed, o)
		return again.broken != "" && kindOf(again.broken) == kindOf(result.broken)
	}
	o.limit, o.drop = result.steps, map[int]bool{}
	for size := o.limit / 2; size > 0; {
		smaller := o
		smaller.limit = o.limit - size
		if smaller.limit > 0 && fails(smaller) {
			o = smaller
		} else {
			size /= 2
		}
	}
	for size := o.limit / 2; size > 0; size /= 2 {
		for from := 0; from < o.limit; from += size {
			smaller := o
			smaller.drop = maps.Clone(o.drop)
			for step := from; step < min(from+size, o.limit); step++ {
				smaller.drop[step] = true
			}
			if len(smaller.drop) > len(o.drop) && fails(smaller) {
				o = smaller
			}
		}
	}
	var lines []string
	traced := o
	traced.trace = func(line string) { lines = append(lines, line) }
	play(t, seed, traced)
	return o, lines
}

package history

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "play this one history")
	historiesFlag = flag.Int("histories", defaultHistories, "how many histories to play")
	firstFlag     = flag.Uint64("first", 1, "the seed of the first history")
	shrinkFlag    = flag.Bool("shrink", true, "look for the shortest history that fails in the same way")
	eventsFlag    = flag.Bool("events", false, "print everything that happens; of use with -seed")
)

// defaultHistories is what a plain test run plays, some 30 s of one core with the
// race detector. CI plays more without it.
const defaultHistories = 50

// maxFailures is how many histories may fail before a run ends.
const maxFailures = 5

// TestMain lets more garbage lie: a history is some megabytes, and soon over.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// counts of what happened, by kind.
type counts map[string]int

func (c counts) add(other counts) {
	for kind, n := range other {
		c[kind] += n
	}
}

func (c counts) lines() []string {
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		lines = append(lines, fmt.Sprintf("%9d  %s", c[kind], kind))
	}
	return lines
}

// outcome is what a history came to.
type outcome struct {
	// broken is the promise that was broken; empty when all were kept.
	broken  string
	actions int
	counts  counts
}

func play(t *testing.T, seed uint64, o options) outcome {
	t.Helper()
	w := newWorld(t.Context(), seed, o)
	w.play(seed)
	return outcome{w.broken, min(w.actions, w.step+1), w.counts}
}

// TestHistories plays histories of consecutive seeds, or the one of -seed.
func TestHistories(t *testing.T) {
	if *seedFlag != 0 {
		var trace func(string)
		if *eventsFlag {
			trace = func(line string) { t.Log(line) }
		}
		if result := play(t, *seedFlag, options{trace: trace}); result.broken != "" {
			t.Fatal(report(t, *seedFlag, result))
		}
		return
	}
	// Histories know nothing of each other, so each processor plays its own.
	var (
		mu    sync.Mutex // guards total
		total = counts{}
	)
	workers := runtime.GOMAXPROCS(0)
	ok := t.Run("histories", func(t *testing.T) {
		for worker := range workers {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				failed := 0
				for i := worker; i < *historiesFlag; i += workers {
					seed := *firstFlag + uint64(i)
					result := play(t, seed, options{})
					mu.Lock()
					total.add(result.counts)
					mu.Unlock()
					if result.broken == "" {
						continue
					}
					t.Error(report(t, seed, result))
					if failed++; failed == maxFailures {
						t.Fatal("and no more histories after so many that failed")
					}
				}
			})
		}
	})
	if ok && testing.Verbose() {
		t.Logf("%d histories:\n%s", *historiesFlag, strings.Join(total.lines(), "\n"))
	}
}

// TestReplay: the same seed is the same history, to the last event.
func TestReplay(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 8; seed++ {
		var traces [2][]string
		for i := range traces {
			play(t, seed, options{trace: func(line string) { traces[i] = append(traces[i], line) }})
		}
		if first, then := strings.Join(traces[0], "\n"), strings.Join(traces[1], "\n"); first != then {
			t.Fatalf("seed %d: first\n%s\nthen\n%s", seed, first, then)
		}
	}
}

// report says how to see a failure again, and the shortest history that has it.
func report(t *testing.T, seed uint64, result outcome) string {
	t.Helper()
	text := fmt.Sprintf("seed %d: %s\nreplay: go test ./pkg/promotion/history -run TestHistories -seed=%d -events -v", seed, result.broken, seed)
	if !*shrinkFlag {
		return text
	}
	o := shrink(t, seed, result)
	var lines []string
	traced := o
	traced.trace = func(line string) { lines = append(lines, line) }
	play(t, seed, traced)
	return fmt.Sprintf("%s\nthe shortest history found, %d of %d actions:\n%s", text, o.limit-len(o.drop), result.actions, strings.Join(lines, "\n"))
}

// maxReplays bounds how often a history is played to make it shorter.
const maxReplays = 150

// kindOf is the promise that was broken: what comes before the names.
func kindOf(broken string) string {
	words := strings.Fields(broken)
	return strings.Join(words[:min(1, len(words))], " ")
}

// shrink ends the history where it fails, and leaves out one action after the
// other as long as it still fails in the same way.
func shrink(t *testing.T, seed uint64, result outcome) options {
	t.Helper()
	left := maxReplays
	fails := func(o options) bool {
		if left--; left < 0 {
			return false
		}
		again := play(t, seed, o)
		return again.broken != "" && kindOf(again.broken) == kindOf(result.broken)
	}
	o := options{limit: result.actions, drop: map[int]bool{}}
	for o.limit > 1 && fails(options{limit: o.limit - 1}) {
		o.limit--
	}
	for again := true; again; {
		again = false
		for step := range o.limit {
			if o.drop[step] {
				continue
			}
			smaller := o
			smaller.drop = maps.Clone(o.drop)
			smaller.drop[step] = true
			if fails(smaller) {
				o, again = smaller, true
			}
		}
	}
	return o
}

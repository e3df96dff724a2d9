package simulation

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
)

// fault is what happens to a call.
type fault int

const (
	none fault = iota
	// lost: not done, and an error says that nobody answered.
	lost
	// unanswered: done, and the same error.
	unanswered
	// refused: not done, for lack of rights or by a rule of the server.
	refused
	// late: the same error as lost, and done some time afterwards.
	late
	// cut: the connection breaks in the middle of the content.
	cut
	// corrupt: other bytes than were asked for.
	corrupt
	// stale: the answer of some time ago.
	stale
	// killedBefore and killedAfter: the process ends, before the call is done or
	// after.
	killedBefore
	killedAfter
	// cancelled: the process is told to stop and the call is done.
	cancelled
)

var faultNames = map[fault]string{
	lost: "lost", unanswered: "unanswered", refused: "refused", late: "late", cut: "cut", corrupt: "corrupt", stale: "stale",
	killedBefore: "killed before", killedAfter: "killed after", cancelled: "cancelled",
}

func (f fault) String() string { return faultNames[f] }

// The faults that fit the kinds of calls.
var (
	readFaults  = []fault{lost, lost, refused, killedBefore, cancelled}
	refsFaults  = []fault{lost, stale, stale, refused, killedBefore, cancelled}
	blobFaults  = []fault{lost, refused, cut, cut, corrupt, killedBefore}
	writeFaults = []fault{lost, unanswered, unanswered, refused, killedBefore, killedAfter, killedAfter}
	lateFaults  = append([]fault{late, late}, writeFaults...)
)

// call is one call of a run to the world outside, waiting to be let through.
type call struct {
	run    *run
	what   string
	faults []fault
	answer chan fault
}

// run is one piece of work of a replica or a person: a goroutine that moves
// from call to call.
type run struct {
	id     int
	node   *node
	cancel context.CancelFunc
	// dead: nothing that it does has an effect any more. It may make
	// several calls at once, and all of them see it.
	dead atomic.Bool
	// over: its goroutine has ended.
	over bool
	err  error
	did  string
}

// scheduler lets one goroutine move at a time.
type scheduler struct {
	mu      sync.Mutex // guards pending
	pending []*call

	runs []*run
	next int
}

// start begins a run and lets it go to its first call.
func (s *scheduler) start(ctx context.Context, n *node, work func(context.Context) (string, error)) *run {
	s.next++
	ctx, cancel := context.WithCancel(ctx)
	r := &run{id: s.next, node: n, cancel: cancel}
	n.run = r
	s.runs = append(s.runs, r)
	go func() {
		defer cancel()
		r.did, r.err = work(ctx)
		r.over = true
	}()
	synctest.Wait()
	return r
}

// ask waits until the schedule lets the call through and returns what is to
// become of it.
func (s *scheduler) ask(r *run, what string, faults []fault) fault {
	if r.dead.Load() {
		return killedBefore
	}
	c := &call{run: r, what: what, faults: faults, answer: make(chan fault, 1)}
	s.mu.Lock()
	s.pending = append(s.pending, c)
	s.mu.Unlock()
	return <-c.answer
}

// waiting lists the calls that wait, in an order that depends on nothing but
// what they are: a run may make several at once.
func (s *scheduler) waiting() []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.pending, func(a, b *call) int { return cmp.Or(cmp.Compare(a.run.id, b.run.id), cmp.Compare(a.what, b.what)) })
	return slices.Clone(s.pending)
}

// grant lets a call through and waits until its run makes the next one.
func (s *scheduler) grant(c *call, f fault) {
	s.mu.Lock()
	s.pending = slices.DeleteFunc(s.pending, func(p *call) bool { return p == c })
	s.mu.Unlock()
	c.answer <- f
	synctest.Wait()
	s.reap()
}

// kill ends a run: its context is cancelled, and what it still does comes to
// nothing.
func (s *scheduler) kill(r *run) {
	r.dead.Store(true)
	r.cancel()
	s.reap()
}

// reap lets dead runs end.
func (s *scheduler) reap() {
	for {
		var freed []*call
		s.mu.Lock()
		s.pending = slices.DeleteFunc(s.pending, func(p *call) bool {
			if p.run.dead.Load() {
				freed = append(freed, p)
			}
			return p.run.dead.Load()
		})
		s.mu.Unlock()
		if len(freed) == 0 {
			break
		}
		for _, c := range freed {
			c.answer <- killedBefore
		}
		synctest.Wait()
	}
	s.runs = slices.DeleteFunc(s.runs, func(r *run) bool { return r.over })
}

// dice decides one step. Each step has dice of its own, so that a step that is
// left out changes nothing about the decisions of the others.
type dice struct {
	*rand.Rand
	source *rand.PCG
}

func newDice() dice {
	source := rand.NewPCG(0, 0)
	return dice{rand.New(source), source} //nolint:gosec // a schedule has to be repeatable, not unpredictable
}

func (d dice) roll(seed uint64, step int) { d.source.Seed(seed, uint64(step)+1) }

// chance is true in so many of a thousand cases.
func (d dice) chance(perMille int) bool { return d.IntN(1000) < perMille }

func pick[T any](d dice, of []T) T { return of[d.IntN(len(of))] }

// counts of what was injected, by kind.
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

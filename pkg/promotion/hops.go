package promotion

import (
	"slices"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// maxHops is how many finished hops are kept.
const maxHops = 50

// Hops keeps the timelines of a pipeline's hops. They are for people and
// measurements: nothing is decided by them, and a restart loses those under way
// (I6). It is safe for concurrent use; a nil *Hops keeps nothing.
type Hops struct {
	finished func(Hop)

	mu sync.Mutex // guards the fields below
	// open are the hops under way, by the environment they lead to; due are those
	// whose push is still to come, and which may come to nothing.
	open map[string]*Hop
	due  map[string]*Hop
	done []Hop
	// notified is when Argo CD's newest event came in.
	notified time.Time
}

// NewHops returns an empty record. finished, when not nil, is called once for
// every hop that is complete.
func NewHops(finished func(Hop)) *Hops {
	return &Hops{finished: finished, open: map[string]*Hop{}, due: map[string]*Hop{}}
}

// Notified notes that an event came in.
func (h *Hops) Notified(at time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notified = at
}

// List returns the finished hops, oldest first, and then those under way.
func (h *Hops) List() []Hop {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.done)
	for _, hop := range h.open {
		all = append(all, *hop)
	}
	slices.SortStableFunc(all[len(h.done):], func(a, b Hop) int { return a.Pushed.Compare(b.Pushed.Time) })
	return all
}

// destinations are the environments that a step moves forward.
func (s Step) destinations() []string {
	switch {
	case s.Kind == Capture:
		return s.Into
	case s.Kind == Promote && !s.Rollback:
		return []string{s.Environment}
	}
	return nil
}

// begin notes the hops of a step that was found due.
func (h *Hops) begin(s *State, step Step, at time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range step.destinations() {
		environment, ok := s.Environment(name)
		if !ok || len(environment.After) == 0 {
			continue
		}
		hop := &Hop{Version: step.Version.String(), From: environment.After[0], To: name, Observed: Stamp{at}}
		if step.Kind == Promote {
			hop.SyncFinished = Stamp{s.syncFinished(hop.From, step.Version)}
		} else if s.Candidate != nil && s.Candidate.Commit == step.Commit {
			hop.SyncFinished = Stamp{s.Candidate.SyncFinished}
		}
		if !h.notified.IsZero() && !h.notified.Before(hop.SyncFinished.Time) && h.notified.Before(at) {
			hop.Notified = Stamp{h.notified}
		}
		h.due[name] = hop
	}
}

// syncFinished is when the last sync of an environment with a ledger ended that
// was for the version; zero when none was needed.
func (s *State) syncFinished(environment string, version snapshot.Version) time.Time {
	var last time.Time
	e, _ := s.Environment(environment)
	for _, entry := range e.History {
		if entry.Event != snapshot.EventDeployed || entry.Snapshot != version {
			continue
		}
		for _, a := range entry.Applications {
			if !a.FinishedAt.Before(entry.Since) {
				last = later(last, a.FinishedAt)
			}
		}
		break
	}
	return last
}

// moment is a stage that a step reaches.
type moment int

const (
	atCaptured moment = iota
	atMirrored
	atPushed
	atPoked
)

// reach notes how far a step is.
func (h *Hops) reach(step Step, m moment, at time.Time) {
	if h == nil {
		return
	}
	if step.Kind == Record {
		if m == atPushed {
			h.complete(step.Environment, func(hop *Hop) bool {
				hop.Recorded = Stamp{at}
				return hop.Version == step.Version.String()
			})
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range step.destinations() {
		hop := h.due[name]
		if m == atPoked {
			hop = h.open[name]
		}
		if hop == nil || hop.Version != step.Version.String() {
			continue
		}
		switch m {
		case atCaptured:
			hop.Captured = Stamp{at}
		case atMirrored:
			hop.Mirrored = Stamp{at}
		case atPushed:
			hop.Pushed = Stamp{at}
			h.open[name] = hop // in the place of one that it overtook
			delete(h.due, name)
			if hop.Notified.Equal(h.notified) {
				h.notified = time.Time{} // it led to this hop, and to no later one
			}
		case atPoked:
			hop.Poked = Stamp{at}
		}
	}
}

// drop forgets the hops of a step that failed before its push.
func (h *Hops) drop(step Step) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range step.destinations() {
		delete(h.due, name)
	}
}

// see takes from a look how far Argo CD is with the hops that git has.
func (h *Hops) see(s *State, at time.Time) {
	if h == nil {
		return
	}
	for _, e := range s.Environments {
		current := e.Current()
		h.complete(e.Name, func(hop *Hop) bool {
			switch {
			case e.Unreadable != "" || e.Snapshot == nil:
				return false
			case current.Snapshot.String() != hop.Version:
				*hop = Hop{} // something else took its place
				return false
			case !e.ApplicationsKnown:
				return true // the rest is seen by the hook of its own cluster
			}
			e.follow(s, hop, at)
			if !current.Deployed.IsZero() {
				hop.Recorded = Stamp{current.Deployed}
			}
			return !current.Deployed.IsZero()
		})
	}
}

// follow notes what the Applications of the environment show.
func (e Environment) follow(s *State, hop *Hop, at time.Time) {
	want := expectation(s, *e.Snapshot)
	var synced, healthy time.Time
	updated, compared, well := true, true, true
	for _, target := range e.Targets {
		i := slices.IndexFunc(e.Applications, func(a Application) bool { return matches(a, target) })
		if i < 0 {
			return
		}
		a := e.Applications[i]
		updated = updated && slices.Contains(want.Targets, a.TargetRevision)
		compared = compared && a.Phase == "Succeeded" && a.ComparedRevision == want.Revision && a.SyncStatus == "Synced"
		well = well && a.Health == "Healthy"
		if a.SyncedRevision == want.Revision {
			synced = later(synced, a.FinishedAt)
		}
		healthy = later(healthy, a.HealthSince)
	}
	if updated && hop.Updated.IsZero() {
		hop.Updated = Stamp{at}
	}
	if updated && compared {
		hop.Synced = Stamp{synced}
		if well {
			hop.Healthy = Stamp{later(healthy, synced)}
		}
	}
}

// complete changes an open hop, and closes it when change says so.
func (h *Hops) complete(environment string, change func(*Hop) bool) {
	h.mu.Lock()
	hop := h.open[environment]
	if hop == nil {
		h.mu.Unlock()
		return
	}
	over := change(hop)
	if over || *hop == (Hop{}) {
		delete(h.open, environment)
	}
	if over {
		h.done = append(h.done, *hop)
		h.done = slices.Delete(h.done, 0, max(0, len(h.done)-maxHops))
	}
	h.mu.Unlock()
	if over && h.finished != nil {
		h.finished(*hop)
	}
}

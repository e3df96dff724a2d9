package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
)

// HotfixState is how far a hotfix has come.
type HotfixState string

// The states of a hotfix.
const (
	// StateEmpty: there is a branch, and nothing on it yet.
	StateEmpty HotfixState = "empty"
	// StateOpen: it was pushed, and is in no snapshot.
	StateOpen HotfixState = "open"
	// StateComposed: it is in a snapshot, and no environment has had that.
	StateComposed HotfixState = "composed"
	// StateShipped: an environment has it, and another one still has to get it.
	StateShipped HotfixState = "shipped"
	// StateDebt: the environments have it, and the source branch is not known to.
	StateDebt HotfixState = "debt"
	// StateContained: it is everywhere it must be; or it was never composed because
	// every environment has it in another form.
	StateContained HotfixState = "contained"
	// StateConflict: it was left out of a composition.
	StateConflict HotfixState = "conflict"
	// StateUnusable: the branch cannot be composed as it is.
	StateUnusable HotfixState = "unusable"
	// StateClosed and StateDropped: somebody has said that it is no debt.
	StateClosed  HotfixState = "closed"
	StateDropped HotfixState = "dropped"
)

// HotfixStates lists all states, in the order in which a hotfix may pass them.
func HotfixStates() []HotfixState {
	return []HotfixState{
		StateEmpty, StateUnusable, StateConflict, StateOpen, StateComposed, StateShipped, StateDebt,
		StateContained, StateClosed, StateDropped,
	}
}

// Done reports whether nobody has to do anything about it any more.
func (s HotfixState) Done() bool {
	return s == StateContained || s == StateClosed || s == StateDropped
}

// State is how far the hotfix has come.
func (h Hotfix) State() HotfixState {
	switch {
	case h.Closed != nil && h.Closed.Dropped:
		return StateDropped
	case h.Closed != nil:
		return StateClosed
	case h.Fault == hotfix.Empty:
		return StateEmpty
	case h.Fault != "":
		return StateUnusable
	case len(h.Left) > 0:
		return StateConflict
	case h.Since.IsZero() && len(h.In) > 1 && !slices.ContainsFunc(h.Lacking(), Whereabouts.environment):
		return StateContained
	case h.Since.IsZero():
		return StateOpen
	case len(h.Owed) == 0:
		return StateComposed
	}
	lacking := h.Lacking()
	switch {
	case len(lacking) == 0:
		return StateContained
	case len(lacking) == 1 && lacking[0].branch():
		return StateDebt
	}
	return StateShipped
}

// branch reports whether the place is a branch, and not an environment.
func (w Whereabouts) branch() bool { return w.Version.IsZero() }

func (w Whereabouts) environment() bool { return !w.branch() }

// Lacking are the places that are not known to contain the hotfix and have to:
// the source branch, and the environments that run its line or a newer one.
func (h Hotfix) Lacking() []Whereabouts {
	var lacking []Whereabouts
	for _, w := range h.In {
		if w.Answer != hotfix.Contained && (w.branch() || w.Version.SameLine(h.Onto) || w.Version.Compare(h.Onto) > 0) {
			lacking = append(lacking, w)
		}
	}
	return lacking
}

// Age is the time since the head was made; never negative, whatever the clock of
// who made it said, and 0 when that is not known.
func (h Hotfix) Age(now time.Time) time.Duration {
	if h.When.IsZero() {
		return 0
	}
	return max(0, now.Sub(h.When))
}

// HotfixCount is what there is of hotfixes, for measurements.
type HotfixCount struct {
	// By state.
	States map[HotfixState]int
	// OldestDebt is the age of the oldest hotfix that an environment has had and
	// that some place lacks; 0 without any.
	OldestDebt time.Duration
}

func (s *State) countHotfixes() HotfixCount {
	c := HotfixCount{States: map[HotfixState]int{}}
	for _, h := range s.Hotfixes {
		c.States[h.State()]++
		if h.owed() {
			c.OldestDebt = max(c.OldestDebt, h.Age(s.Now))
		}
	}
	return c
}

// owed reports whether an environment has had the hotfix and some place lacks it.
func (h Hotfix) owed() bool {
	return len(h.Owed) > 0 && h.Closed == nil && len(h.Lacking()) > 0
}

// hotfixWarnings are about debts that are older than the configuration wants.
func (s *State) hotfixWarnings() []Wait {
	var warnings []Wait
	for _, h := range s.Hotfixes {
		age := h.Age(s.Now)
		if !h.owed() || age < s.Pipeline.Hotfixes.WarnAfter {
			continue
		}
		var places []string
		for _, w := range h.Lacking() {
			places = append(places, w.Place)
		}
		warnings = append(warnings, Wait{
			Environment: strings.TrimPrefix(h.Ref(), gitrepo.Heads), Version: h.Since.String(), Reason: BackMergeOwed,
			Detail: fmt.Sprintf("in %s, and missing in %s, after %s", strings.Join(h.Owed, " and "), strings.Join(places, " and "), roughly(age)),
		})
	}
	return warnings
}

// roughly is a duration in days, or in hours below two days.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// describeHotfixes adds who made the heads of those that were composed, and when.
// The commits are fetched once; one that is gone stays without.
func (e *Engine) describeHotfixes(ctx context.Context, s *State) error {
	var unknown []gitrepo.Hash
	for i := range s.Hotfixes {
		h := &s.Hotfixes[i]
		if !h.When.IsZero() {
			continue
		}
		if known, ok := e.memory.heads.get(h.Head); ok {
			h.When, h.Author, h.Subject = known.When, known.Author, known.Subject
		} else if err := h.Describe(e.Repo); errors.Is(err, gitrepo.ErrNotFound) {
			unknown = append(unknown, h.Head)
		}
	}
	if len(unknown) > 0 {
		err := e.Repo.Fetch(ctx, unknown, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true})
		if err != nil && transient(ctx, err) {
			return err
		}
	}
	for i := range s.Hotfixes {
		h := &s.Hotfixes[i]
		if !h.When.IsZero() || h.Describe(e.Repo) == nil {
			e.memory.heads.put(h.Head, h.Branch)
		}
	}
	return nil
}

package promotion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// begunAnew begins the reason of the hold with which a person opens a ledger
// again that is lost; see [PlanReopen].
const begunAnew = "begun anew: "

// observeRewritten finds ledgers that are readable, or not there, and still not
// what Propagator wrote: branches that somebody deleted or set back. A branch
// that is gone looks like one that was never opened, so other refs have to tell:
//
//   - The ledger of a later environment: it was promoted to a snapshot that this
//     environment must have proven.
//   - The newest snapshot: where the environment takes what is captured at once,
//     tag and branch were made in one push.
//   - What this process has seen before. It forgets that when it ends, and nobody
//     waits for it.
//
// An environment after which nothing comes leaves no other trace in git.
func (e *Engine) observeRewritten(s *State) {
	for i := range s.Environments {
		state := &s.Environments[i]
		if state.Unreadable != "" {
			continue
		}
		state.Unreadable = e.lostProof(s, *state)
		if state.Unreadable == "" && state.Tip == "" {
			state.Unreadable = e.lostOpening(s, *state)
		}
		if state.Unreadable == "" {
			state.Unreadable = e.memory.movedBack(*state)
		}
	}
}

// lostProof is what a later environment's ledger says this one must have proven,
// and its own ledger does not show. Empty when there is nothing of that kind.
func (e *Engine) lostProof(s *State, lost Environment) string {
	for _, later := range s.Environments {
		if later.Snapshot == nil || later.Unreadable != "" || !slices.Contains(later.After, lost.Name) {
			continue
		}
		version := later.Current().Snapshot
		promoted, ok := later.promotedByRule(version)
		own, err := snapshot.ReadConfig(e.Repo, later.Snapshot.Tree)
		if !ok || err != nil {
			continue
		}
		// The configuration may have got the environment later than the snapshot.
		if configured, known := own.Environment(later.Name); !known || !slices.Contains(configured.After, lost.Name) {
			continue
		}
		because := fmt.Sprintf("%s was promoted to %s because %s had proven it", later.Name, version, lost.Name)
		if lost.Tip == "" {
			return fmt.Sprintf("its branch %s is gone: %s", lost.Branch, because)
		}
		oldest := lost.History[len(lost.History)-1]
		_, proven := lost.deployed(version)
		if !proven && oldest.Event == snapshot.EventOpen && !oldest.When.After(promoted.When) {
			return fmt.Sprintf("its branch %s was set back to %s: %s, and the branch does not have that any more", lost.Branch, lost.Tip.Short(), because)
		}
	}
	return ""
}

// promotedByRule is the promotion by which the environment got the snapshot, if
// every rule held: where a person went against one, evidence may have been it.
func (e Environment) promotedByRule(version snapshot.Version) (snapshot.Entry, bool) {
	for _, entry := range e.History {
		if entry.Event == snapshot.EventPromote && entry.Snapshot == version {
			skipped := slices.ContainsFunc(entry.Gates, func(v snapshot.Verdict) bool { return v.Result == string(skip) })
			return entry, entry.Override == "" && !skipped
		}
	}
	return snapshot.Entry{}, false
}

// lostOpening says that the newest snapshot opened the ledger, or found it open,
// when it was made; empty when it did not.
func (e *Engine) lostOpening(s *State, lost Environment) string {
	if s.Newest == nil || s.Newest.Lock.Source.Tag != "" || !takesCaptures(s.Pipeline, lost.Environment) {
		return ""
	}
	own, err := snapshot.ReadConfig(e.Repo, s.Newest.Tree)
	if err != nil {
		return ""
	}
	configured, known := own.Environment(lost.Name)
	if !known || !takesCaptures(own, configured) {
		return ""
	}
	text := fmt.Sprintf("its branch %s is gone: %s entered it when it was made", configured.Branch, s.Newest.Lock.Version)
	if configured.Branch != lost.Branch {
		text += fmt.Sprintf("; %s names %s by now, so rename the branch", config.File, lost.Branch)
	}
	return text
}

// takesCaptures reports whether a capture enters the environment in the push
// that makes its tag.
func takesCaptures(p *config.Pipeline, e config.Environment) bool {
	return len(e.After) == 1 && directlyAfterFirst(p, e) && e.Promote == config.Auto && len(e.Gates) == 0
}

// movedBack compares a ledger with what this process has seen of it, and
// remembers it when it follows that. Empty when it does.
func (m *memory) movedBack(e Environment) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.tips[e.Name]
	switch {
	case last.branch != e.Branch || last.tip == "" || last.tip == e.Tip:
	case e.Tip == "":
		return fmt.Sprintf("its branch %s is gone; it was at %s", e.Branch, last.tip)
	case e.begunAnew() || len(e.History) == historyDepth || slices.ContainsFunc(e.History, func(entry snapshot.Entry) bool { return entry.Commit == last.tip }):
	default:
		return fmt.Sprintf("its branch %s was moved to %s, which does not follow %s, where it was", e.Branch, e.Tip.Short(), last.tip)
	}
	if m.tips == nil {
		m.tips = map[string]seenTip{}
	}
	m.tips[e.Name] = seenTip{e.Branch, e.Tip}
	return ""
}

// seenTip is where a branch was.
type seenTip struct {
	branch string
	tip    gitrepo.Hash
}

// begunAnew reports whether a person opened the ledger again, and said so.
func (e Environment) begunAnew() bool {
	n := len(e.History)
	return n > 1 && e.History[n-1].Event == snapshot.EventOpen && strings.HasPrefix(e.History[n-2].Hold, begunAnew)
}

// PlanReopen returns the step that begins the ledger of an environment anew
// whose branch is lost for good. It points at nothing then and is on hold, so
// that a person decides what it gets. It is pure. A refusal is a *RefusedError.
func PlanReopen(s *State, environment, reason string) (Step, error) {
	e, ok := s.Environment(environment)
	if !ok {
		return Step{}, unknownEnvironment(s, environment)
	}
	if reason = strings.TrimSpace(reason); snapshot.Blank(reason) {
		return Step{}, fmt.Errorf("a ledger that is begun anew is recorded with its reason; add --reason")
	}
	refuse := func(r Reason, format string, args ...any) (Step, error) {
		return Step{}, &RefusedError{Wait: Wait{Environment: e.Name, Reason: r, Detail: fmt.Sprintf(format, args...)}}
	}
	switch {
	case e.Tip != "" && e.Unreadable != "":
		return refuse(LedgerUnavailable, "its branch %s is there: restore it, or delete it first; %s", e.Branch, e.Unreadable)
	case e.Tip != "":
		return refuse(AlreadyThere, "its branch %s is as it should be", e.Branch)
	case e.Unreadable == "":
		return refuse(AlreadyThere, "nothing says that it was ever opened; the first promotion does that")
	}
	return Step{Kind: Annotate, Environment: e.Name, Reason: reason, Note: &Note{Event: snapshot.EventHold, Reason: begunAnew + reason}, by: personByName}, nil
}

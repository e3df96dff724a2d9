package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Note is what a person, or a program that tests, says about an environment or
// about a snapshot there. It becomes an entry of the environment's ledger, and
// moves nothing.
type Note struct {
	// Event is hold, freeze, resume, reject or validate; of the engine itself also
	// refuse.
	Event snapshot.Event `json:"event"`
	// Version that a reject or validate is about. Zero: what the environment
	// points at.
	Version snapshot.Version `json:"version,omitzero"`
	// Passed is what a validate says.
	Passed bool `json:"passed,omitempty"`
	// Closure is what a close says.
	Closure *snapshot.Closure `json:"closure,omitempty"`
	// Until is the end of a freeze.
	Until time.Time `json:"until,omitzero"`
	// Reason is required but for a validate that passed.
	Reason string `json:"reason,omitempty"`
}

// String says in a few words what the note does in an environment.
func (n Note) String(environment string) string {
	switch n.Event {
	case snapshot.EventClose:
		if n.Closure != nil && n.Closure.Dropped {
			return fmt.Sprintf("drop hotfix %s", n.Closure.Name)
		}
		return fmt.Sprintf("close hotfix %s", n.Closure.Name)
	case snapshot.EventReject:
		return fmt.Sprintf("reject %s in %s", n.Version, environment)
	case snapshot.EventValidate:
		result := "failed"
		if n.Passed {
			result = "passed"
		}
		return fmt.Sprintf("validate %s in %s: %s", n.Version, environment, result)
	case snapshot.EventRefuse:
		return fmt.Sprintf("refuse a request about %s: %s", environment, n.Reason)
	case snapshot.EventFreeze:
		return fmt.Sprintf("freeze %s until %s", environment, n.Until.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s %s", n.Event, environment)
}

// PlanNote checks a note against the state and returns the step that writes it.
// It is pure. A note that changes nothing is refused with a *RefusedError.
func PlanNote(s *State, environment string, n Note) (Step, error) {
	e, ok := s.Environment(environment)
	if !ok {
		return Step{}, unknownEnvironment(s, environment)
	}
	refuse := func(version snapshot.Version, reason Reason, format string, args ...any) (Step, error) {
		return Step{}, &RefusedError{Wait: Wait{Environment: e.Name, Version: version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}}
	}
	if e.Unreadable != "" {
		return refuse(snapshot.Version{}, LedgerUnavailable, "%s", e.Unreadable)
	}
	n.Reason = strings.TrimSpace(n.Reason)
	current := e.Current()
	if snapshot.Blank(n.Reason) && (n.Event != snapshot.EventValidate || !n.Passed) {
		return Step{}, fmt.Errorf("a %s is recorded with its reason; add --reason", n.Event)
	}
	switch n.Event {
	case snapshot.EventHold:
		if current.Hold != "" {
			return refuse(current.Snapshot, EnvOnHold, "it is on hold already: %s", current.Hold)
		}
	case snapshot.EventFreeze:
		if !n.Until.After(s.Now) {
			return Step{}, fmt.Errorf("the freeze would end at %s, which is past", n.Until.UTC().Format(time.RFC3339))
		}
		n.Until = n.Until.UTC().Truncate(time.Second)
		if n.Until.Before(current.Frozen) {
			return refuse(current.Snapshot, EnvFrozen, "it is frozen until %s already, which is later; to end that sooner: propagator resume %s",
				current.Frozen.UTC().Format("2006-01-02 15:04 MST"), e.Name)
		}
	case snapshot.EventResume:
		if current.Hold == "" && !s.Now.Before(current.Frozen) {
			return refuse(current.Snapshot, AlreadyThere, "it is neither on hold nor frozen")
		}
	case snapshot.EventReject, snapshot.EventValidate:
		if n.Version.IsZero() {
			n.Version = current.Snapshot
		}
		switch {
		case n.Version.IsZero():
			return refuse(n.Version, UnknownSnapshot, "%s points at nothing yet; name a version", e.Name)
		case s.Tags[n.Version] == "":
			return refuse(n.Version, UnknownSnapshot, "")
		}
		if entry, rejected := e.rejection(n.Version); rejected {
			switch {
			case n.Event == snapshot.EventReject:
				return refuse(n.Version, Rejected, "it is rejected already: %s", entry.Override)
			case n.Passed:
				return refuse(n.Version, Rejected, "rejected at %s: %s; a test does not take that back, who wants it promotes it with --override %s",
					entry.When.Format("2006-01-02 15:04 MST"), entry.Override, Rejected)
			}
		}
		if _, proven := e.deployed(n.Version); n.Event == snapshot.EventValidate && n.Passed && !proven {
			return refuse(n.Version, NotValidated, "%s has no evidence that it was deployed and healthy there, so nobody can have tested it", e.Name)
		}
	default:
		return Step{}, fmt.Errorf("unknown note %q", n.Event)
	}
	return Step{Kind: Annotate, Environment: e.Name, Version: n.Version, Reason: n.Reason, Note: &n, by: personByName}, nil
}

// executeNote writes a note.
func (e *Engine) executeNote(ctx context.Context, s *State, step Step) error {
	environment, ok := s.Environment(step.Environment)
	if !ok || step.Note == nil {
		return errors.New("there is nothing to note")
	}
	var target snapshot.Snapshot
	if environment.Snapshot != nil {
		target = *environment.Snapshot
	}
	return e.pushEntry(ctx, s, environment, step, target)
}

// apply makes an entry that carries the environment's state on.
func (n Note) apply(entry *snapshot.Entry, current snapshot.Entry) {
	entry.Event, entry.Snapshot, entry.SourceCommit = n.Event, current.Snapshot, current.SourceCommit
	entry.From, entry.Since, entry.Deployed = current.From, current.Since, current.Deployed
	entry.Hold, entry.Frozen = current.Hold, current.Frozen
	switch n.Event {
	case snapshot.EventClose:
		entry.Closed = append(slices.Clone(current.Closed), *n.Closure)
	case snapshot.EventHold:
		entry.Hold = n.Reason
	case snapshot.EventFreeze:
		entry.Frozen, entry.Override = n.Until, n.Reason
	case snapshot.EventResume:
		entry.Hold, entry.Frozen, entry.Override = "", time.Time{}, n.Reason
	case snapshot.EventReject, snapshot.EventRefuse:
		entry.About, entry.Override = n.Version, n.Reason
	case snapshot.EventValidate:
		result := gate.Refuse
		if n.Passed {
			result = gate.Pass
		}
		entry.About, entry.Gates = n.Version, []snapshot.Verdict{{Gate: "validation", Result: string(result), Detail: n.Reason}}
	}
}

// validation is what was said last about a snapshot in the environment; false
// when nobody has said that it passed, or somebody that it did not.
func (e Environment) validation(version snapshot.Version) (snapshot.Entry, bool) {
	for _, entry := range e.History {
		if entry.About == version && (entry.Event == snapshot.EventValidate || entry.Event == snapshot.EventReject) {
			return entry, entry.Event == snapshot.EventValidate && len(entry.Gates) > 0 && entry.Gates[0].Result == string(gate.Pass)
		}
	}
	return snapshot.Entry{}, false
}

// Proven returns the evidence that the environment runs the snapshot, and that it is
// deployed and healthy: the same by which later environments take it. It is nil when
// there is none yet, which is so again after a rollback to it, and the refusal says
// that there will be none: somebody rejected the snapshot, the environment was rolled
// back from it, or something newer took its place, before it was proven or since.
func (e Environment) Proven(version snapshot.Version) (*snapshot.Entry, *RefusedError) {
	refuse := func(reason Reason, format string, args ...any) (*snapshot.Entry, *RefusedError) {
		return nil, &RefusedError{Wait: Wait{Environment: e.Name, Version: version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}}
	}
	if at, why, rejected := e.rejectedIn(version); rejected {
		return refuse(Rejected, "at %s: %s", at.Format("2006-01-02 15:04 MST"), why)
	}
	if at, rolledBack := e.rolledBackFrom(version); rolledBack {
		return refuse(Rejected, "rolled back from it at %s", at.Format("2006-01-02 15:04 MST"))
	}
	current := e.Current()
	entry, ran := e.deployed(version)
	switch {
	case current.Snapshot == version && !current.Deployed.IsZero() && e.proven(version):
		return &entry, nil
	case current.Snapshot.Compare(version) > 0 && ran:
		return refuse(Superseded, "it was healthy there at %s, and %s has %s by now", entry.Deployed.Format("2006-01-02 15:04 MST"), e.Name, current.Snapshot)
	case current.Snapshot.Compare(version) > 0:
		return refuse(Superseded, "%s has %s by now", e.Name, current.Snapshot)
	}
	return nil, nil
}

// SnapshotOf is the snapshot that was captured from a source commit, as far as the
// newest snapshot and the ledgers know; zero when none is known.
func (s *State) SnapshotOf(commit gitrepo.Hash) snapshot.Version {
	for _, e := range s.Environments {
		for _, entry := range e.History {
			if entry.SourceCommit == commit {
				return entry.Snapshot
			}
		}
	}
	if s.Newest == nil || s.Newest.Captured() != commit {
		return snapshot.Version{}
	}
	// A patch goes back to the commit that its line began with.
	captured := s.Newest.Lock.Version
	for _, version := range s.Versions() {
		if version.SameLine(captured) && version.Compare(captured) < 0 {
			captured = version
		}
	}
	return captured
}

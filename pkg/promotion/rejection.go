package promotion

import (
	"fmt"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// rejection returns the entry by which a person rejected the snapshot in the
// environment; false when nobody did, or somebody has promoted it there by name
// since. No test takes it back.
func (e Environment) rejection(version snapshot.Version) (snapshot.Entry, bool) {
	for _, entry := range e.History {
		switch {
		case entry.Event == snapshot.EventPromote && entry.Snapshot == version:
			return snapshot.Entry{}, false
		case entry.Event == snapshot.EventReject && entry.About == version:
			return entry, true
		}
	}
	return snapshot.Entry{}, false
}

// rejectedIn returns when and why the snapshot was rejected in the environment,
// or failed its tests there; false when that was not, or is taken back: tests by
// later ones that passed, both by somebody who promoted it by name.
func (e Environment) rejectedIn(version snapshot.Version) (at time.Time, why string, rejected bool) {
	if entry, rejected := e.rejection(version); rejected {
		return entry.When, entry.Override, true
	}
	for _, entry := range e.History {
		switch {
		case entry.Event == snapshot.EventPromote && entry.Snapshot == version:
			return time.Time{}, "", false
		case entry.About == version && entry.Event == snapshot.EventValidate && len(entry.Gates) > 0:
			if entry.Gates[0].Result == string(gate.Pass) {
				return time.Time{}, "", false
			}
			return entry.When, strings.TrimSuffix("failed its tests: "+entry.Gates[0].Detail, ": "), true
		}
	}
	return time.Time{}, "", false
}

// refused reports whether somebody rejected the version here, or went back from
// it.
func (e Environment) refused(version snapshot.Version) bool {
	_, _, rejected := e.rejectedIn(version)
	_, rolledBack := e.rolledBackFrom(version)
	return rejected || rolledBack
}

// refusedBefore returns what is said against a snapshot in the environments
// before one, however far before and whether it is skipped or not: that it was
// rejected there, or taken back from where it is not asked for evidence. It is
// empty when there is nothing.
func (s *State) refusedBefore(e Environment, version snapshot.Version) string {
	seen := map[string]bool{}
	var walk func(names []string, direct bool) string
	walk = func(names []string, direct bool) string {
		for _, name := range names {
			before, ok := s.Environment(name)
			if !ok || seen[name] {
				continue
			}
			seen[name] = true
			if at, why, rejected := before.rejectedIn(version); rejected {
				return fmt.Sprintf("%s rejected it at %s: %s", name, at.Format("2006-01-02 15:04 MST"), why)
			}
			// Directly before, a rollback takes the evidence away.
			if at, rolledBack := before.rolledBackFrom(version); rolledBack && !direct {
				return fmt.Sprintf("%s was rolled back from it at %s", name, at.Format("2006-01-02 15:04 MST"))
			}
			if found := walk(before.After, false); found != "" {
				return found
			}
		}
		return ""
	}
	configured, _ := s.Environment(e.Name) // with what is skipped
	return walk(configured.After, true)
}

// BackTo is the snapshot that a rollback of the environment goes to when none is
// named: the newest entry of the ledger that proves an older one healthy, and
// that nobody rejected or went back from. Without one it is zero, and unwanted is
// the first that was left out, zero when there was none.
func (s *State) BackTo(e Environment) (to, unwanted snapshot.Version) {
	current := e.Current().Snapshot
	for _, entry := range e.History {
		ran := entry.Snapshot
		switch {
		case entry.Event != snapshot.EventDeployed || ran.Compare(current) >= 0 || s.Tags[ran] == "":
		case e.refused(ran) || s.refusedBefore(e, ran) != "":
			if unwanted.IsZero() {
				unwanted = ran
			}
		default:
			return ran, snapshot.Version{}
		}
	}
	return snapshot.Version{}, unwanted
}

package promotion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// The hotfix lane: an environment that has gone on to a newer line takes a patch
// of the line that a later environment still runs, proves it, and returns once
// the later one has it. Nothing but the ledger says that it is in the lane: its
// last promotion went to a lower version.

// lane is the patch that an environment takes although it runs something newer: of
// those that a later environment wants the newest that the environments before have
// proven, or the newest at all while they have proven none. It is zero when there
// is none.
func (s *State) lane(e Environment) snapshot.Version {
	var lane snapshot.Version
	current := e.Current().Snapshot
	for _, version := range s.Versions() {
		if version.Patch == 0 || version.Compare(current) >= 0 || version.SameLine(current) || e.refused(version) {
			continue
		}
		if _, proven := e.evidence(version); proven {
			continue
		}
		if !slices.ContainsFunc(s.after(e), func(later Environment) bool { return later.wants(version) && s.comesTo(later, version) }) {
			continue
		}
		if checkEvidence(s, e, version, automation).Result == gate.Pass {
			return version
		}
		if lane.IsZero() {
			lane = version
		}
	}
	return lane
}

// wants reports whether the environment runs an earlier patch of the version's
// line.
func (e Environment) wants(version snapshot.Version) bool {
	current := e.Current().Snapshot
	return current.SameLine(version) && current.Compare(version) < 0
}

// comesTo reports whether the version can still get to an environment: nobody has
// refused it there, nor on the way.
func (s *State) comesTo(to Environment, version snapshot.Version) bool {
	return !slices.ContainsFunc(s.Environments, func(e Environment) bool {
		return slices.Contains(s.Pipeline.Downstream(e.Name), to.Name) && e.refused(version)
	})
}

// after lists the environments after one, directly or through others.
func (s *State) after(e Environment) []Environment {
	var later []Environment
	for _, name := range s.Pipeline.Downstream(e.Name) {
		if found, ok := s.Environment(name); ok && name != e.Name {
			later = append(later, found)
		}
	}
	return later
}

// detour is the newest release that the environment left for the lane; zero when
// its last promotion went to a newer version, as they usually do.
func (e Environment) detour() snapshot.Version {
	current, top := e.Current().Snapshot, snapshot.Version{}
	for _, entry := range e.History {
		if !entry.Event.Moves() {
			continue
		}
		if entry.Event == snapshot.EventRollback || entry.From.Compare(entry.Snapshot) < 0 {
			break
		}
		top = entry.From // one more patch of the lane
	}
	if top.Compare(current) <= 0 {
		return snapshot.Version{}
	}
	return top
}

// checkLane says what may enter an environment that is in the lane: until the
// later environments have the patch, only further patches of its line; and then,
// where releases are kept, the release that was left for it. It is false when the
// environment is not in the lane, or asks for the lane itself.
func checkLane(s *State, e Environment, version snapshot.Version) (Finding, bool) {
	if version == s.lane(e) {
		return passes("", "the hotfix lane: a later environment runs %s", lineOf(version)), true
	}
	release, current := e.detour(), e.Current().Snapshot
	if release.IsZero() || version.SameLine(current) {
		return Finding{}, false
	}
	var missing []string
	for _, later := range s.after(e) {
		_, proven := later.evidence(current)
		at := later.Current().Snapshot
		if at.SameLine(current) && at.Compare(current) <= 0 && !proven && s.comesTo(later, current) {
			missing = append(missing, later.Name)
		}
	}
	if len(missing) > 0 {
		return waits("", ReleaseInProgress, "the hotfix lane: %s is not in %s yet", current, strings.Join(missing, ", ")), true
	}
	if e.Admit == config.AdmitRelease && !version.SameLine(release) && s.unfinished(e, release) {
		return waits("", ReleaseInProgress, "the environment returns to %s, which it left for %s", lineOf(release), current), true
	}
	return passes("", "the hotfix lane is free"), true
}

// unfinished reports whether a release that was left for the lane still has to
// get to a later environment.
func (s *State) unfinished(e Environment, release snapshot.Version) bool {
	return slices.ContainsFunc(s.after(e), func(later Environment) bool {
		return !later.reached(release) && s.comesTo(later, release)
	})
}

func lineOf(v snapshot.Version) string { return fmt.Sprintf("v%d.%d", v.Major, v.Minor) }

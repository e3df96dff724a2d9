package promotion

import (
	"slices"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Phase is how far a snapshot has come as a release.
type Phase string

// The phases of a release.
const (
	// PhaseOpen: captured, and in no environment yet.
	PhaseOpen Phase = "open"
	// PhaseStaged: it entered an environment, and is not proven there.
	PhaseStaged Phase = "staged"
	// PhaseValidated: it was deployed and healthy there.
	PhaseValidated Phase = "validated"
	// PhaseReleased: it was deployed and healthy in every environment after that one.
	PhaseReleased Phase = "released"
	// PhaseRejected: somebody rejected it, or the environment was rolled back from it;
	// or so in another one, which keeps it out of one that comes after.
	PhaseRejected Phase = "rejected"
	// PhaseSuperseded: something newer took its place before it was released.
	PhaseSuperseded Phase = "superseded"
)

// underWay reports whether an environment that keeps releases keeps this one.
func (p Phase) underWay() bool { return p == PhaseStaged || p == PhaseValidated }

// Phase is how far a snapshot has come, seen from the environments that are next
// to the first one: the furthest of them counts.
func (s *State) Phase(version snapshot.Version) Phase {
	order := []Phase{PhaseOpen, PhaseSuperseded, PhaseRejected, PhaseStaged, PhaseValidated, PhaseReleased}
	furthest := PhaseOpen
	for _, e := range s.Environments {
		if !directlyAfterFirst(s.Pipeline, e.Environment) {
			continue
		}
		phase, _ := s.phase(e, version)
		if slices.Index(order, phase) > slices.Index(order, furthest) {
			furthest = phase
		}
	}
	return furthest
}

// phase is how far a snapshot has come from an environment on, and which of the
// environments after it do not have it yet.
func (s *State) phase(e Environment, version snapshot.Version) (Phase, []string) {
	if version.IsZero() {
		return PhaseOpen, nil
	}
	if e.refused(version) {
		return PhaseRejected, nil
	}
	var missing []string
	for _, name := range s.Pipeline.Downstream(e.Name) {
		after, ok := s.Environment(name)
		if !ok || name == e.Name {
			continue
		}
		if after.refused(version) {
			return PhaseRejected, nil
		}
		if after.reached(version) {
			continue
		}
		if s.refusedBefore(after, version) != "" {
			return PhaseRejected, nil // it will not come there
		}
		missing = append(missing, name)
	}
	proven := e.proven(version)
	current := e.Current().Snapshot
	switch {
	case proven && len(missing) == 0:
		return PhaseReleased, nil
	case version.Compare(current) < 0, current != version && e.entered(version):
		return PhaseSuperseded, missing
	case current != version:
		return PhaseOpen, missing
	case proven:
		return PhaseValidated, missing
	}
	return PhaseStaged, missing
}

// ranTree is the tree that the environment last had under the version's name;
// empty when it never did.
func (e Environment) ranTree(version snapshot.Version) gitrepo.Hash {
	i := slices.IndexFunc(e.History, func(entry snapshot.Entry) bool { return entry.Snapshot == version })
	if i < 0 {
		return ""
	}
	return e.History[i].Tree
}

// entered reports whether the environment ever pointed at the version.
func (e Environment) entered(version snapshot.Version) bool {
	return slices.ContainsFunc(e.History, func(entry snapshot.Entry) bool { return entry.Snapshot == version })
}

// reached reports whether the environment has proven the version, or one that
// came after it.
func (e Environment) reached(version snapshot.Version) bool {
	return slices.ContainsFunc(e.History, func(entry snapshot.Entry) bool {
		return entry.Event == snapshot.EventDeployed && entry.Snapshot.Compare(version) >= 0
	})
}

// Release is how far a snapshot has come as a release of an environment.
type Release struct {
	Version snapshot.Version `json:"version"`
	Phase   Phase            `json:"phase"`
	// Missing are the later environments that do not have it yet, while it is
	// under way.
	Missing []string `json:"missing,omitempty"`
}

// Releases lists the newest snapshots, newest first and at most a number of
// them, as releases of an environment.
func (s *State) Releases(e Environment, most int) []Release {
	versions := s.Versions()
	releases := []Release{}
	for _, version := range versions[:min(most, len(versions))] {
		release := Release{Version: version}
		release.Phase, release.Missing = s.phase(e, version)
		if !release.Phase.underWay() {
			release.Missing = nil
		}
		releases = append(releases, release)
	}
	return releases
}

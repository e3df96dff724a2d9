package promotion

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	// Capture makes a snapshot of the candidate commit, and promotes it to
	// those environments that take it at once.
	Capture Kind = "capture"
	// Compose makes a snapshot of an earlier one and hotfixes.
	Compose Kind = "compose"
	// MergeBack brings a hotfix to the source branch.
	MergeBack Kind = "backmerge"
	// PullRequestOpened: a request to merge a hotfix back was opened. It is not
	// planned, for no promotion is to wait for it.
	PullRequestOpened Kind = "pullrequest"
	// Promote moves an environment to a snapshot.
	Promote Kind = "promote"
	// Record writes the evidence that a snapshot is deployed and healthy.
	Record Kind = "record"
	// Annotate writes what a person says about an environment or a snapshot.
	Annotate Kind = "annotate"
)

// Step is one thing to do; it ends in one atomic push.
type Step struct {
	Kind    Kind             `json:"kind"`
	Version snapshot.Version `json:"version"`
	// Commit is the source commit of a capture.
	Commit gitrepo.Hash `json:"commit,omitempty"`
	// Tag is why a capture is made, if a person set one on the commit.
	Tag string `json:"tag,omitempty"`
	// Scheduled is the scheduled time for which a capture is made, if one is.
	Scheduled time.Time `json:"scheduled,omitzero"`
	// Environment of a promotion or record.
	Environment string `json:"environment,omitempty"`
	// Into are the environments that a capture enters right away.
	Into []string `json:"into,omitempty"`
	// Gates are the verdicts that let a promotion pass, ApprovedBy the people.
	Gates      []snapshot.Verdict `json:"gates,omitempty"`
	ApprovedBy []string           `json:"approvedBy,omitempty"`
	// Rollback goes back to an older snapshot and holds the environment.
	Rollback bool `json:"rollback,omitempty"`
	// Reason given by a person.
	Reason string `json:"reason,omitempty"`
	// Overrides are the rules that the person who asked went against.
	Overrides []Reason `json:"overrides,omitempty"`
	// Note is what is written into the ledger of an environment beside promotions
	// and evidence.
	Note *Note `json:"note,omitempty"`
	// Onto is the snapshot that Hotfixes are composed onto.
	Onto     snapshot.Version  `json:"onto,omitzero"`
	Hotfixes []snapshot.Hotfix `json:"hotfixes,omitempty"`
	// Skip are environments whose evidence the person who asked does without.
	Skip []string `json:"skip,omitempty"`
	// Evidence of a record.
	Evidence []snapshot.Evidence `json:"evidence,omitempty"`
	// Request is the signed tag that asks for the step, if one does.
	Request snapshot.RequestRef `json:"request,omitzero"`

	by asker
	// debts of the environment after a promotion.
	debts []snapshot.Debt
	// actor is who signed the request; empty for the engine's own.
	actor string
}

func namesOf(hotfixes []snapshot.Hotfix) string {
	names := make([]string, 0, len(hotfixes))
	for _, h := range hotfixes {
		names = append(names, h.Name)
	}
	return strings.Join(names, ", ")
}

// asker is on whose behalf a promotion is considered.
type asker int

const (
	// automation: the rules decide.
	automation asker = iota
	// person: somebody asked for the newest that may enter.
	person
	// personByName: somebody asked for exactly this snapshot.
	personByName
)

func (s Step) String() string {
	text := s.text()
	if s.actor != "" {
		text += " as " + s.actor + " asks"
	}
	return text
}

func (s Step) text() string {
	switch {
	case s.Kind == Capture:
		text := fmt.Sprintf("capture %s", s.Version)
		if s.Tag != "" {
			text += " of tag " + s.Tag
		}
		if len(s.Into) > 0 {
			text += " into " + strings.Join(s.Into, ", ")
		}
		return text
	case s.Kind == Compose:
		return fmt.Sprintf("compose %s of %s and %s", s.Version, s.Onto, namesOf(s.Hotfixes))
	case s.Kind == MergeBack:
		return fmt.Sprintf("merge hotfix %s back to %s", namesOf(s.Hotfixes), s.Tag)
	case s.Kind == PullRequestOpened:
		return fmt.Sprintf("open a pull request for hotfix %s from %s", namesOf(s.Hotfixes), s.Tag)
	case s.Kind == Annotate && s.Note != nil:
		return s.Note.String(s.Environment)
	case s.Rollback:
		return fmt.Sprintf("rollback %s to %s", s.Environment, s.Version)
	case s.Kind == Record:
		return fmt.Sprintf("record %s deployed to %s", s.Version, s.Environment)
	default:
		return fmt.Sprintf("promote %s to %s", s.Version, s.Environment)
	}
}

// Decision is what a plan came to: what is due, and why other things wait.
type Decision struct {
	Steps []Step `json:"steps"`
	Waits []Wait `json:"waits"`
	// Ask are the gates that others have to answer before more can be said. With
	// the answers in the state, the plan is made again.
	Ask []Question `json:"-"`
}

// Plan decides what has to happen. It is a pure function of the state.
// Evidence comes first: a capture that overtook it would put another snapshot
// in the place of one that is proven but not recorded.
func Plan(s *State) Decision {
	var d Decision
	if s.ConfigFault != "" {
		d.Waits = append(d.Waits, Wait{Environment: s.Pipeline.First().Name, Reason: InvalidConfig, Detail: s.ConfigFault})
	}
	for _, version := range slices.SortedFunc(maps.Keys(s.Damaged), snapshot.Version.Compare) {
		d.Waits = append(d.Waits, Wait{Environment: s.Pipeline.First().Name, Version: version.String(), Reason: DamagedSnapshot, Detail: s.Damaged[version]})
	}
	for _, e := range s.Environments {
		if e.Unreadable != "" {
			d.Waits = append(d.Waits, Wait{Environment: e.Name, Reason: LedgerUnavailable, Detail: e.Unreadable})
			continue
		}
		d.add(planRecord(s, e))
		asked := planSigned(s, e)
		d.Steps, d.Waits, d.Ask = append(d.Steps, asked.Steps...), append(d.Waits, asked.Waits...), append(d.Ask, asked.Ask...)
	}
	d.Waits = append(d.Waits, s.TagWaits...)
	d.Steps = append(d.Steps, planCaptures(s)...)
	planHotfixes(s, &d)
	if s.Candidate == nil && s.CandidateWait.Reason != "" {
		d.Waits = append(d.Waits, s.CandidateWait)
	}
	for _, e := range s.Environments {
		if e.Unreadable != "" {
			continue
		}
		step, obstacles, ask := planPromotion(s, e)
		d.add(step, nil)
		d.Waits = append(d.Waits, obstacles...)
		if ask != nil {
			d.Ask = append(d.Ask, *ask)
		}
	}
	return d
}

func (d *Decision) add(step *Step, wait *Wait) {
	if step != nil {
		d.Steps = append(d.Steps, *step)
	}
	if wait != nil {
		d.Waits = append(d.Waits, *wait)
	}
}

// planCaptures captures what people's tags ask for, and what the first
// environment runs.
func planCaptures(s *State) []Step {
	steps := planTags(s)
	if s.Candidate != nil && !slices.ContainsFunc(s.Tagged, func(c Candidate) bool { return c.Commit == s.Candidate.Commit }) {
		step := captureStep(s, s.Candidate.Commit, s.nextVersion())
		step.Scheduled = s.Candidate.Scheduled
		steps = append(steps, step)
	}
	return steps
}

// planTags captures every tag, lowest version first. Only the highest enters an
// environment right away, so that no release is replaced the moment it arrives.
func planTags(s *State) []Step {
	var steps []Step
	for i, c := range s.Tagged {
		step := captureStep(s, c.Commit, c.Version)
		step.Tag = c.Tag
		if i < len(s.Tagged)-1 {
			step.Into = nil
		}
		steps = append(steps, step)
	}
	return steps
}

func captureStep(s *State, commit gitrepo.Hash, version snapshot.Version) Step {
	step := Step{Kind: Capture, Version: version, Commit: commit}
	for _, e := range s.Environments {
		// An environment with gates takes the snapshot in a step of its own,
		// once there is something that can be approved.
		onlyFirst := len(e.After) == 1 && directlyAfterFirst(s.Pipeline, e.Environment)
		current := e.Current()
		free := current.Hold == "" && checkFrozen(s, e, version, automation).passed() && checkAdmission(s, e, version, automation).passed()
		if onlyFirst && e.Unreadable == "" && e.Promote == config.Auto && free && len(e.Gates) == 0 && len(s.owed(e)) == 0 && version.Compare(current.Snapshot) > 0 {
			step.Into = append(step.Into, e.Name)
		}
	}
	return step
}

// planRecord writes evidence once every Application is proven to run what the
// environment points at.
func planRecord(s *State, e Environment) (*Step, *Wait) {
	current := e.Current()
	if e.Snapshot == nil || !current.Deployed.IsZero() {
		return nil, nil
	}
	seen := e.look(s)
	if seen.missing != "" {
		step, due := planFailure(s, e, seen)
		if !due.IsZero() {
			seen.until = due
		}
		return step, &Wait{Environment: e.Name, Version: current.Snapshot.String(), Reason: seen.reason, Detail: seen.missing, Until: seen.until}
	}
	return &Step{Kind: Record, Environment: e.Name, Version: current.Snapshot, Evidence: seen.evidence}, nil
}

// planFailure does what the configuration wants about a deployment that has
// failed. Until that is due it returns when it will be.
func planFailure(s *State, e Environment, seen sight) (step *Step, due time.Time) {
	current := e.Current()
	if e.OnFailure == nil || seen.failed == "" || current.Hold != "" {
		return nil, time.Time{}
	}
	if due = current.Since.Add(e.OnFailure.After); s.Now.Before(due) {
		return nil, due
	}
	newer, _, ask := planPromotion(s, e)
	captured := slices.ContainsFunc(planCaptures(s), func(step Step) bool { return slices.Contains(step.Into, e.Name) })
	if newer != nil || ask != nil || captured {
		return nil, time.Time{} // what comes next may be the correction
	}
	reason := fmt.Sprintf("not deployed after %s: %s", e.OnFailure.After, seen.failed)
	if e.OnFailure.Do == config.FailureRollback {
		if back, err := planRollback(s, e, Request{Environment: e.Name, Rollback: true, Reason: reason}); err == nil {
			return &back, time.Time{}
		}
	}
	return &Step{Kind: Annotate, Environment: e.Name, Version: current.Snapshot, Reason: reason, Note: &Note{Event: snapshot.EventHold, Reason: reason}}, time.Time{}
}

// sight is what the Applications of an environment prove about the snapshot it
// points at.
type sight struct {
	evidence []snapshot.Evidence
	// since all of them are healthy.
	since time.Time
	// missing is the first thing that is not proven, reason its name; empty when
	// everything is.
	missing string
	reason  Reason
	// until is when time alone will have changed that; zero otherwise.
	until time.Time
	// failed is the first Application that will not come right by itself.
	failed string
}

// look asks every Application of the environment.
func (e Environment) look(s *State) sight {
	if !e.ApplicationsKnown {
		return sight{reason: HealthUnknown, missing: "Argo CD cannot be asked from here"}
	}
	want := expectation(s, *e.Snapshot)
	var seen sight
	for _, target := range e.Targets {
		i := slices.IndexFunc(e.Applications, func(a Application) bool { return matches(a, target) })
		if i < 0 {
			return sight{reason: HealthUnknown, missing: fmt.Sprintf("no Application for %s", target)}
		}
		a := e.Applications[i]
		if fault := a.fault(want, s.Now); fault.text != "" {
			text := fmt.Sprintf("Application %s %s", a.Name, fault.text)
			if fault.failed {
				return sight{reason: fault.reason, missing: text, failed: text}
			}
			if seen.missing == "" {
				seen.reason, seen.missing, seen.until = fault.reason, text, fault.until
			}
			continue
		}
		seen.since = later(seen.since, a.HealthSince)
		seen.evidence = append(seen.evidence, snapshot.Evidence{
			Application: target.Application,
			Destination: destinationKey(target.Destination.Cluster, target.Destination.Server, target.Destination.Namespace),
			Revision:    a.ComparedRevision,
			Health:      a.Health,
			FinishedAt:  a.FinishedAt,
			Pods:        a.Live.pods(),
			Digests:     a.Live.digests(),
		})
	}
	return seen
}

// targetsOf lists the spellings of targetRevision that mean a snapshot: the
// tag's short and full name, and the commit.
func targetsOf(s snapshot.Snapshot) []string {
	return []string{s.Lock.Version.String(), s.Lock.Version.Ref(), string(s.ID)}
}

// matches reports whether an Application is the one for a target.
func matches(a Application, t snapshot.Target) bool {
	if a.Environment != t.Environment || a.Application != t.Application || path.Clean(a.Path) != t.Path || a.DestNamespace != t.Destination.Namespace {
		return false
	}
	if t.Destination.Server != "" {
		return a.Server == t.Destination.Server
	}
	// Argo CD names the cluster it runs in "in-cluster" and knows it by this
	// address as well.
	return a.Cluster == t.Destination.Cluster || t.Destination.Cluster == "in-cluster" && a.Server == "https://kubernetes.default.svc"
}

// planPromotion looks for the newest snapshot that may enter the environment.
// One that waits for a gate does not block an older one that passed its own;
// one whose gate was not asked yet does, until it was. If none may enter, it says
// why of the newest, and before that of the one that an environment before this one
// runs, which may be a patch in its hotfix lane: about that somebody can do
// something now.
func planPromotion(s *State, e Environment) (step *Step, obstacles []Wait, ask *Question) {
	if lane := s.lane(e); !lane.IsZero() {
		// It is what a later environment waits for.
		step, obstacle := check(s, e, lane, automation)
		switch {
		case step != nil:
			return step, nil, nil
		case obstacle.question != nil || obstacle.Result != gate.Refuse:
			return nil, []Wait{*obstacle.wait(e, lane)}, obstacle.question
		}
	}
	for _, version := range s.Versions() {
		if version.Compare(e.Current().Snapshot) <= 0 {
			break
		}
		step, obstacle := check(s, e, version, automation)
		switch {
		case step != nil:
			return step, nil, nil
		case obstacle.question != nil:
			return nil, []Wait{*obstacle.wait(e, version)}, obstacle.question
		case len(obstacles) == 0:
			obstacles = []Wait{*obstacle.wait(e, version)}
		case s.runsBefore(e, version) && obstacles[0].Reason == NotValidated && obstacle.Reason != NotValidated:
			obstacles = []Wait{*obstacle.wait(e, version), obstacles[0]}
		}
	}
	return nil, obstacles, nil
}

// runsBefore reports whether an environment directly before this one points at the
// version.
func (s *State) runsBefore(e Environment, version snapshot.Version) bool {
	return slices.ContainsFunc(e.After, func(name string) bool {
		before, ok := s.Environment(name)
		return ok && before.Current().Snapshot == version
	})
}

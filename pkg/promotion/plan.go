package promotion

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
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
	// Promote moves an environment to a snapshot.
	Promote Kind = "promote"
	// Record writes the evidence that a snapshot is deployed and healthy.
	Record Kind = "record"
)

// Step is one thing to do; it ends in one atomic push.
type Step struct {
	Kind    Kind             `json:"kind"`
	Version snapshot.Version `json:"version"`
	// Commit is the source commit of a capture.
	Commit gitrepo.Hash `json:"commit,omitempty"`
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
	// Evidence of a record.
	Evidence []snapshot.Evidence `json:"evidence,omitempty"`
}

func (s Step) String() string {
	switch {
	case s.Kind == Capture && len(s.Into) > 0:
		return fmt.Sprintf("capture %s into %s", s.Version, strings.Join(s.Into, ", "))
	case s.Kind == Capture:
		return fmt.Sprintf("capture %s", s.Version)
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
}

// Plan decides what has to happen. It is a pure function of the state.
// Evidence comes before promotions, and a capture before both, so that a
// snapshot's first environment is never later than it has to be.
func Plan(s *State) Decision {
	var d Decision
	if s.Candidate != nil {
		d.Steps = append(d.Steps, planCapture(s))
	} else if s.CandidateWait.Reason != "" {
		d.Waits = append(d.Waits, s.CandidateWait)
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
	}
	for _, e := range s.Environments {
		if e.Unreadable == "" {
			d.add(planPromotion(s, e))
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

func planCapture(s *State) Step {
	step := Step{Kind: Capture, Version: s.nextVersion(), Commit: s.Candidate.Commit}
	for _, e := range s.Environments {
		// An environment with gates takes the snapshot in a step of its own,
		// once there is something that can be approved.
		onlyFirst := len(e.After) == 1 && directlyAfterFirst(s.Pipeline, e.Environment)
		if onlyFirst && e.Unreadable == "" && e.Promote == config.Auto && e.Current().Hold == "" && len(e.Gates) == 0 {
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
	unknown := func(format string, args ...any) (*Step, *Wait) {
		return nil, &Wait{Environment: e.Name, Version: current.Snapshot.String(), Reason: HealthUnknown, Detail: fmt.Sprintf(format, args...)}
	}
	if !e.ApplicationsKnown {
		return unknown("Argo CD cannot be asked from here")
	}
	want := Expectation{
		Revision: e.Snapshot.ID,
		Targets:  targetsOf(*e.Snapshot),
		Settle:   s.Settle,
	}
	var evidence []snapshot.Evidence
	for _, target := range e.Targets {
		i := slices.IndexFunc(e.Applications, func(a Application) bool { return matches(a, target) })
		if i < 0 {
			return unknown("no Application for %s", target)
		}
		a := e.Applications[i]
		if ok, missing := a.Deployed(want, s.Now); !ok {
			step, wait := unknown("Application %s %s", a.Name, missing)
			if a.missing(want) == "" {
				wait.Until = a.settled(want)
			}
			return step, wait
		}
		evidence = append(evidence, snapshot.Evidence{
			Application: target.Application,
			Destination: destinationKey(target.Destination.Cluster, target.Destination.Server, target.Destination.Namespace),
			Revision:    a.ComparedRevision,
			Health:      a.Health,
			FinishedAt:  a.FinishedAt,
		})
	}
	return &Step{Kind: Record, Environment: e.Name, Version: current.Snapshot, Evidence: evidence}, nil
}

// targetsOf lists the spellings of targetRevision that mean a snapshot: the
// tag's short and full name, and the commit.
func targetsOf(s snapshot.Snapshot) []string {
	return []string{s.Lock.Version.String(), s.Lock.Version.Ref(), string(s.ID)}
}

// matches reports whether an Application is the one for a target.
func matches(a Application, t snapshot.Target) bool {
	if a.Environment != t.Environment || a.Application != t.Application || a.DestNamespace != t.Destination.Namespace {
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
// One that waits for a gate does not block an older one that passed its own.
func planPromotion(s *State, e Environment) (*Step, *Wait) {
	var first *Wait
	for _, version := range s.Versions() {
		if version.Compare(e.Current().Snapshot) <= 0 {
			break
		}
		step, wait := check(s, e, version, false)
		if step != nil {
			return step, nil
		}
		if first == nil {
			first = wait
		}
	}
	return nil, first
}

// check applies every rule to the promotion of one snapshot into one
// environment. byPerson is a promotion that a person asked for: it needs no
// automation, but everything else.
func check(s *State, e Environment, version snapshot.Version, byPerson bool) (*Step, *Wait) {
	wait := func(reason Reason, format string, args ...any) (*Step, *Wait) {
		return nil, &Wait{Environment: e.Name, Version: version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	current := e.Current()
	if version == current.Snapshot {
		return wait(AlreadyThere, "since %s", current.Since.Format("2006-01-02 15:04 MST"))
	}
	for _, name := range e.After {
		before, ok := s.Environment(name)
		if !ok {
			continue // the first environment: being a snapshot is the proof
		}
		if _, validated := before.validatedAt(version); !validated {
			return wait(NotValidated, "%s has no evidence of it, or was rolled back from it", name)
		}
	}
	step := Step{Kind: Promote, Environment: e.Name, Version: version, ApprovedBy: s.approvers(e.Name, version)}
	for _, gate := range e.Gates {
		verdict, missing := judge(s, e, version, gate)
		if missing != nil {
			return nil, missing
		}
		step.Gates = append(step.Gates, verdict)
	}
	if !byPerson {
		if current.Hold != "" {
			return wait(EnvOnHold, "%s", current.Hold)
		}
		if e.Promote == config.Manual {
			return wait(ManualPromotion, "")
		}
	}
	return &step, nil
}

// judge evaluates one gate.
func judge(s *State, e Environment, version snapshot.Version, gate config.Gate) (snapshot.Verdict, *Wait) {
	wait := func(reason Reason, format string, args ...any) (snapshot.Verdict, *Wait) {
		return snapshot.Verdict{}, &Wait{Environment: e.Name, Version: version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case gate.Approval != nil:
		who := s.approvers(e.Name, version)
		if len(who) < gate.Approval.Count {
			return wait(ApprovalMissing, "%d of %d; tag approve/%s/%s/<you>", len(who), gate.Approval.Count, e.Name, version)
		}
		return snapshot.Verdict{Gate: "approval", Result: "pass", Detail: strings.Join(who, ", ")}, nil
	case gate.Soak != nil:
		for _, name := range e.After {
			before, ok := s.Environment(name)
			if !ok {
				continue
			}
			since, _ := before.validatedAt(version)
			if healthy := s.Now.Sub(since); healthy < gate.Soak.For {
				verdict, missing := wait(SoakNotReached, "in %s for %s of %s", name, healthy.Truncate(time.Second), gate.Soak.For)
				missing.Until = since.Add(gate.Soak.For)
				return verdict, missing
			}
		}
		return snapshot.Verdict{Gate: "soak", Result: "pass", Detail: gate.Soak.For.String()}, nil
	}
	// A gate this version does not know must never let anything pass.
	return wait(NotValidated, "unknown gate in the configuration")
}

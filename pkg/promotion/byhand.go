package promotion

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Request is a promotion that a person asks for.
type Request struct {
	Environment string
	// Version; zero means the newest snapshot that may enter.
	Version snapshot.Version
	// Rollback permits an older version, and needs a Reason.
	Rollback bool
	Reason   string
	// Overrides are rules that need not hold for this promotion; they need a
	// Reason, and only some may be named ([Reason.Overridable]).
	Overrides []Reason
	// Skip are environments before this one that need not have proven the version;
	// its own gates count all the same. It needs a Reason and a Version.
	Skip []string
}

// RefusedError says why a request is not carried out.
type RefusedError struct {
	Wait Wait

	// question is to be answered before anything can be said.
	question *Question
}

func (e *RefusedError) Error() string { return strings.TrimPrefix(e.Wait.String(), ": ") }

// PlanRequest checks a person's request against the state and returns the step
// to execute. It is pure. A refusal is a *RefusedError.
func PlanRequest(s *State, r Request) (Step, error) {
	e, ok := s.Environment(r.Environment)
	if !ok {
		return Step{}, unknownEnvironment(s, r.Environment)
	}
	refuse := func(reason Reason, format string, args ...any) (Step, error) {
		return Step{}, &RefusedError{Wait: Wait{Environment: e.Name, Version: r.Version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}}
	}
	if err := r.checkOverrides(); err != nil {
		return Step{}, err
	}
	if e.Unreadable != "" {
		return refuse(LedgerUnavailable, "%s", e.Unreadable)
	}
	if err := r.checkSkip(e); err != nil {
		return Step{}, err
	}
	e = e.without(r.Skip)
	current := e.Current().Snapshot
	switch {
	case r.Rollback:
		return planRollback(s, e, r)
	case r.Version.IsZero():
		return newestFor(s, e, r)
	case s.Tags[r.Version] == "":
		return refuse(UnknownSnapshot, "")
	case r.Version.Compare(current) < 0 && r.Version != s.lane(e):
		older := checkCurrent(s, e, r.Version, personByName)
		return Step{}, older.refusal(e, r.Version)
	}
	step, obstacle := check(s, e, r.Version, personByName, r.Overrides...)
	if obstacle != nil {
		return Step{}, obstacle.refusal(e, r.Version)
	}
	step.Reason, step.Skip = r.Reason, r.Skip
	return *step, nil
}

func (r Request) checkSkip(e Environment) error {
	for _, name := range r.Skip {
		if !slices.Contains(e.After, name) {
			return fmt.Errorf("%s does not come directly before %s; there is %s", name, e.Name, strings.Join(e.After, ", "))
		}
	}
	switch {
	case len(r.Skip) == 0:
		return nil
	case r.Version.IsZero() || r.Rollback:
		return errors.New("who skips an environment has to name the snapshot")
	case snapshot.Blank(r.Reason):
		return errors.New("skipping an environment is recorded with its reason; add --reason")
	}
	return nil
}

func (r Request) checkOverrides() error {
	for _, reason := range r.Overrides {
		if !reason.Overridable() {
			return fmt.Errorf("%s cannot be overridden", reason)
		}
	}
	if len(r.Overrides) > 0 && snapshot.Blank(r.Reason) {
		return errors.New("an override is recorded with its reason; add --reason")
	}
	return nil
}

func (f Finding) refusal(e Environment, version snapshot.Version) *RefusedError {
	return &RefusedError{Wait: *f.wait(e, version), question: f.question}
}

// planRollback goes back to a snapshot that the environment ran before.
func planRollback(s *State, e Environment, r Request) (Step, error) {
	current := e.Current().Snapshot
	refuse := func(reason Reason, format string, args ...any) (Step, error) {
		return Step{}, &RefusedError{Wait: Wait{Environment: e.Name, Version: r.Version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}}
	}
	if snapshot.Blank(r.Reason) {
		return Step{}, errors.New("a rollback is recorded with its reason; add --reason")
	}
	// By name anything that ran here, because in an emergency a person knows better.
	to, unwanted := r.Version, snapshot.Version{}
	if to.IsZero() {
		to, unwanted = s.BackTo(e)
	}
	if !to.IsZero() && to.Compare(current) < 0 && s.Tags[to] != "" && e.entered(to) {
		return Step{Kind: Promote, Environment: e.Name, Version: to, Rollback: true, Reason: r.Reason, by: personByName}, nil
	}
	if !unwanted.IsZero() {
		return refuse(NotValidated, "%s ran nothing older that it could go back to but what was rejected or rolled back from; name it to go back all the same: %s",
			e.Name, unwanted)
	}
	if r.Version == current && !current.IsZero() {
		return refuse(AlreadyThere, "")
	}
	if r.Version.Compare(current) > 0 {
		return Step{}, fmt.Errorf("%s is newer than %s, which %s runs; promote it without --rollback", r.Version, current, e.Name)
	}
	return refuse(NotValidated, "%s ran nothing older that it could go back to", e.Name)
}

func newestFor(s *State, e Environment, r Request) (Step, error) {
	var refused error
	for _, version := range s.Versions() {
		if version.Compare(e.Current().Snapshot) <= 0 {
			break
		}
		step, obstacle := check(s, e, version, person, r.Overrides...)
		if step != nil {
			step.Reason = r.Reason
			return *step, nil
		}
		if obstacle.question != nil {
			return Step{}, obstacle.refusal(e, version)
		}
		if refused == nil {
			refused = obstacle.refusal(e, version)
		}
	}
	if refused != nil {
		return Step{}, refused
	}
	if current := e.Current().Snapshot; !current.IsZero() {
		return Step{}, &RefusedError{Wait: Wait{Environment: e.Name, Version: current.String(), Reason: AlreadyThere, Detail: "it is the newest snapshot"}}
	}
	return Step{}, &RefusedError{Wait: Wait{Environment: e.Name, Reason: UnknownSnapshot, Detail: "there is no snapshot yet"}}
}

func unknownEnvironment(s *State, name string) error {
	if s.Pipeline.First().Name == name {
		return fmt.Errorf("%s follows the branch %s by itself; nothing is promoted there", name, s.Pipeline.Source.Branch)
	}
	var known []string
	for _, e := range s.Environments {
		known = append(known, e.Name)
	}
	return fmt.Errorf("unknown environment %q; there are %s", name, strings.Join(known, ", "))
}

// PlanCapture returns the step that captures a commit by hand. A commit that
// is captured already is refused.
func PlanCapture(s *State, commit gitrepo.Hash, version snapshot.Version) (Step, error) {
	if version.IsZero() {
		version = s.nextVersion()
	}
	if s.Tags[version] != "" {
		return Step{}, &RefusedError{Wait: Wait{Environment: s.Pipeline.First().Name, Version: version.String(), Reason: AlreadyThere, Detail: "the tag exists and is never moved"}}
	}
	if s.Newest != nil && s.Newest.Captured() == commit {
		return Step{}, &RefusedError{Wait: Wait{Environment: s.Pipeline.First().Name, Version: s.Newest.Lock.Version.String(), Reason: AlreadyThere, Detail: "it is the snapshot of " + commit.Short()}}
	}
	return captureStep(s, commit, version), nil
}

// PlanTag returns the step that captures a tagged commit by hand: its version
// is what the tag says, wherever that stands among the others. A version that
// exists is refused, and a name that says none is an error.
func PlanTag(s *State, tag string, commit gitrepo.Hash) (Step, error) {
	version, ok := SourceTag(s.Pipeline, tag)
	if !ok {
		return Step{}, fmt.Errorf("tag %s is not of the form %q that source.tags asks for", tag, s.Pipeline.Source.Tags)
	}
	if s.Tags[version] != "" {
		return Step{}, &RefusedError{Wait: Wait{Environment: s.Pipeline.First().Name, Version: version.String(), Reason: AlreadyThere, Detail: "the tag exists and is never moved"}}
	}
	step := captureStep(s, commit, version)
	step.Tag = tag
	return step, nil
}

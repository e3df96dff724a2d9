package promotion

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Finding is what one rule or gate says about a promotion.
type Finding struct {
	// Check names the rule: evidence, hold, admission, or a gate's name.
	Check string `json:"check"`
	// Result is pass, wait, refuse, unknown, or skip where a person overrode it.
	Result gate.Result `json:"result"`
	// Reason is empty for pass and skip.
	Reason Reason    `json:"reason,omitempty"`
	Detail string    `json:"detail,omitempty"`
	Until  time.Time `json:"until,omitzero"`

	// gate: the verdict is recorded with the promotion.
	gate bool
	// question is to be answered before anything can be said.
	question *Question
}

// skip is the result of a check that a person overrode.
const skip gate.Result = "skip"

// passed reports whether the check is no obstacle.
func (f Finding) passed() bool { return f.Result == gate.Pass || f.Result == skip }

func (f Finding) verdict() snapshot.Verdict {
	return snapshot.Verdict{Gate: f.Check, Result: string(f.Result), Detail: f.Detail}
}

func (f Finding) wait(e Environment, version snapshot.Version) *Wait {
	return &Wait{Environment: e.Name, Version: version.String(), Reason: f.Reason, Detail: f.Detail, Until: f.Until}
}

func passes(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: gate.Pass, Detail: fmt.Sprintf(format, args...)}
}

func waits(check string, reason Reason, format string, args ...any) Finding {
	return Finding{Check: check, Result: gate.Wait, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

func refuses(check string, reason Reason, format string, args ...any) Finding {
	return Finding{Check: check, Result: gate.Refuse, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Overridable are the reasons that a person may go against, with a reason of
// their own. The others are about what is true, such as missing images: no
// order changes that.
func (r Reason) Overridable() bool {
	switch r {
	case EnvFrozen, OutsideWindow, SoakNotReached, ApprovalMissing, Rejected, ReleaseInProgress, GateClosed, SignatureMissing, NotTested, GateUnknown, HotfixLost, BackMergeOwed:
		return true
	}
	return false
}

// check applies every rule to the promotion of one snapshot into one
// environment, up to the first that it does not pass. What a person asks for
// needs no automation, but everything else.
func check(s *State, e Environment, version snapshot.Version, by asker, overrides ...Reason) (*Step, *Finding) {
	step := Step{Kind: Promote, Environment: e.Name, Version: version, ApprovedBy: s.approvers(e, version), by: by}
	for f := range findings(s, e, version, by) {
		if !f.passed() {
			if !slices.Contains(overrides, f.Reason) || !f.Reason.Overridable() {
				return nil, &f
			}
			step.Overrides = append(step.Overrides, f.Reason)
			f.Detail = strings.TrimPrefix(f.Detail+" ("+string(f.Reason)+")", " ")
			f.Result, f.gate = skip, true
		}
		if f.gate {
			step.Gates = append(step.Gates, f.verdict())
		}
	}
	return &step, nil
}

// findings are the rules in order: what is cheap and certain first, what asks
// others last, so that nobody is asked for a promotion that is refused anyway.
func findings(s *State, e Environment, version snapshot.Version, by asker) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, rule := range []func(*State, Environment, snapshot.Version, asker) Finding{
			checkCurrent, checkEvidence, checkRejected, checkAdmission, checkHold, checkFrozen, checkHotfixes,
		} {
			if !yield(rule(s, e, version, by)) {
				return
			}
		}
		for i, g := range e.Gates {
			found := judge(s, e, version, g, i)
			found.Check, found.gate = g.Name(), true
			if !yield(found) {
				return
			}
		}
		if by == automation && !yield(checkMode(e)) {
			return
		}
	}
}

// checkCurrent: the environment runs something older. It may have come further
// than the snapshot while that was mirrored; only a rollback goes back.
func checkCurrent(s *State, e Environment, version snapshot.Version, _ asker) Finding {
	const name = "current"
	current := e.Current()
	if version == current.Snapshot {
		return refuses(name, AlreadyThere, "since %s", current.Since.Format("2006-01-02 15:04 MST"))
	}
	if version.Compare(current.Snapshot) < 0 && version != s.lane(e) {
		if !e.entered(version) {
			return refuses(name, Superseded, "%s runs %s, and never ran this one", e.Name, current.Snapshot)
		}
		return refuses(name, OlderThanCurrent, "%s runs %s", e.Name, current.Snapshot)
	}
	return passes(name, "the environment runs something else")
}

// checkEvidence: every environment before this one has seen the snapshot synced
// and healthy, and nobody has refused it on the way.
func checkEvidence(s *State, e Environment, version snapshot.Version, _ asker) Finding {
	const name = "evidence"
	var seen []string
	if len(e.skipped) > 0 {
		seen = append(seen, "skipped: "+strings.Join(e.skipped, ", "))
	}
	for _, before := range e.After {
		state, ok := s.Environment(before)
		if !ok {
			continue // the first environment: being a snapshot is the proof
		}
		if state.Unreadable != "" {
			return waits(name, NotValidated, "%s cannot be read: %s", before, state.Unreadable)
		}
		proof, proven := state.evidence(version)
		if !proven {
			whole := len(state.History) < historyDepth
			if current := state.Current().Snapshot; whole && current.Compare(version) > 0 && !state.refused(version) {
				return refuses(name, Superseded, "%s runs %s by now, and this one was never proven there", before, current)
			}
			if !whole {
				before += fmt.Sprintf(" (its %d newest entries)", historyDepth)
			}
			return waits(name, NotValidated, "%s has no evidence of it, or was rolled back from it", before)
		}
		seen = append(seen, fmt.Sprintf("%s since %s", before, proof.since.Format("2006-01-02 15:04 MST")))
	}
	// An opinion, which counts once all that is true is there.
	if against := s.refusedBefore(e, version); against != "" {
		return refuses(name, Rejected, "%s", against)
	}
	return passes(name, "%s", strings.Join(seen, ", "))
}

// checkRejected: the environment was not rolled back from the snapshot, and
// nobody has rejected it here. A person who names the snapshot may take up again
// what was rolled back.
func checkRejected(_ *State, e Environment, version snapshot.Version, by asker) Finding {
	const name = "rejected"
	if at, why, rejected := e.rejectedIn(version); rejected {
		return refuses(name, Rejected, "rejected at %s: %s", at.Format("2006-01-02 15:04 MST"), why)
	}
	if at, rolledBack := e.rolledBackFrom(version); rolledBack && by != personByName {
		if hold := e.Current().Hold; by == automation && hold != "" {
			return waits(name, EnvOnHold, "%s", hold)
		}
		return refuses(name, Rejected, "rolled back from it at %s", at.Format("2006-01-02 15:04 MST"))
	}
	return passes(name, "nobody has rejected it")
}

// checkAdmission: an environment that keeps a release lets nothing else in until
// that is everywhere, or rejected.
func checkAdmission(s *State, e Environment, version snapshot.Version, _ asker) Finding {
	const name = "admission"
	if found, inLane := checkLane(s, e, version); inLane {
		found.Check = name
		return found
	}
	if e.Admit != config.AdmitRelease {
		return passes(name, "%s", config.AdmitLatest)
	}
	current := e.Current().Snapshot
	if phase, missing := s.phase(e, current); phase.underWay() && !current.SameLine(version) {
		return waits(name, ReleaseInProgress, "%s is %s; it is not in %s yet", current, phase, strings.Join(missing, ", "))
	}
	return passes(name, "no release is under way")
}

func checkHold(_ *State, e Environment, _ snapshot.Version, by asker) Finding {
	const name = "hold"
	if hold := e.Current().Hold; hold != "" && by == automation {
		return waits(name, EnvOnHold, "%s", hold)
	}
	return passes(name, "there is none")
}

func checkFrozen(s *State, e Environment, _ snapshot.Version, _ asker) Finding {
	const name = "frozen"
	until := e.Current().Frozen
	if !until.IsZero() && s.Now.Before(until) {
		found := waits(name, EnvFrozen, "until %s", until.Format("2006-01-02 15:04 MST"))
		found.Until = until
		return found
	}
	return passes(name, "it is not")
}

func checkMode(e Environment) Finding {
	const name = "promote"
	if e.Promote == config.Manual {
		return waits(name, ManualPromotion, "propagator promote %s", e.Name)
	}
	return passes(name, "%s", config.Auto)
}

// judge evaluates one gate.
func judge(s *State, e Environment, version snapshot.Version, g config.Gate, i int) Finding {
	switch {
	case g.Approval != nil:
		return judgeApproval(s, e, version, *g.Approval)
	case g.Validation != nil:
		return judgeValidation(s, e, version)
	case g.Soak != nil:
		return judgeSoak(s, e, version, g.Soak.For)
	case g.Name() == "":
		// A gate this version does not know must never let anything pass.
		return refuses("", GateUnknown, "unknown gate in the configuration")
	}
	question := Question{Environment: e.Name, Version: version, Index: i, Gate: g}
	verdict, answered := s.Verdicts[question.key()]
	if !answered {
		found := waits("", GateUnknown, "nobody has asked yet")
		found.Result, found.question = gate.Unknown, &question
		return found
	}
	found := Finding{Result: verdict.Result, Detail: verdict.Detail, Until: verdict.Until}
	if verdict.Result != gate.Pass {
		found.Reason = reasonOf(g, verdict.Result)
	}
	return found
}

// reasonOf names what a gate of the outside world answered.
func reasonOf(g config.Gate, result gate.Result) Reason {
	switch {
	case result == gate.Unknown:
		return GateUnknown
	case g.Window != nil:
		return OutsideWindow
	case g.Freeze != nil:
		return EnvFrozen
	case g.Signatures != nil:
		return SignatureMissing
	}
	return GateClosed
}

func judgeApproval(s *State, e Environment, version snapshot.Version, want config.ApprovalGate) Finding {
	who, left := s.approvers(e, version), s.discounted(e, version)
	if len(who) < want.Count {
		found := waits("", ApprovalMissing, "%d of %d; tag approve/%s/%s/<you>", len(who), want.Count, e.Name, version)
		if want.Signers != "" {
			found.Detail += ", signed"
		}
		if left != "" {
			found.Detail += "; " + left
		}
		return found
	}
	return passes("", "%s", strings.Join(who, ", "))
}

// judgeValidation: whoever tests has said pass in every environment before.
func judgeValidation(s *State, e Environment, version snapshot.Version) Finding {
	var said []string
	for _, name := range e.After {
		before, ok := s.Environment(name)
		if !ok {
			continue
		}
		validation, ok := before.validation(version)
		if !ok {
			return waits("", NotTested, "nobody has said so in %s: propagator validate %s %s --pass", name, name, version)
		}
		said = append(said, strings.TrimSuffix(validation.Actor+" in "+name+": "+validation.Gates[0].Detail, ": "))
	}
	if len(e.skipped) > 0 && len(said) == 0 {
		return waits("", NotTested, "nobody can have tested it, because %s is skipped", strings.Join(e.skipped, ", "))
	}
	return passes("", "%s", strings.Join(said, "; "))
}

// judgeSoak measures how long the version was healthy in the environments
// before.
func judgeSoak(s *State, e Environment, version snapshot.Version, wanted time.Duration) Finding {
	measured := false
	for _, name := range e.After {
		before, ok := s.Environment(name)
		if !ok {
			continue
		}
		if found := soak(s, before, version, wanted); !found.passed() {
			return found
		}
		measured = true
	}
	if len(e.skipped) > 0 && !measured {
		return waits("", SoakNotReached, "nobody has measured it, because %s is skipped", strings.Join(e.skipped, ", "))
	}
	return passes("", "%s", wanted)
}

// soak measures how long the version was healthy in an environment: from the
// evidence to the moment when something else took its place. While it is there
// and can be seen, it must be healthy now, and the time begins anew when it was
// not.
func soak(s *State, before Environment, version snapshot.Version, wanted time.Duration) Finding {
	proof, ok := before.evidence(version)
	if !ok {
		return waits("", NotValidated, "%s has no evidence of it", before.Name)
	}
	since, end := proof.since, proof.until
	if !end.IsZero() {
		if end.Sub(since) < wanted {
			return refuses("", SoakNotReached, "it was in %s for %s of %s when it was replaced", before.Name, end.Sub(since).Truncate(time.Second), wanted)
		}
		return passes("", "%s", wanted)
	}
	if before.ApplicationsKnown {
		seen := before.look(s)
		if seen.missing != "" {
			found := waits("", SoakNotReached, "%s: %s", before.Name, seen.missing)
			found.Until = seen.until
			return found
		}
		since = later(since, seen.since)
	}
	if healthy := s.Now.Sub(since); healthy < wanted {
		found := waits("", SoakNotReached, "in %s for %s of %s", before.Name, healthy.Truncate(time.Second), wanted)
		found.Until = since.Add(wanted)
		return found
	}
	return passes("", "%s", wanted)
}

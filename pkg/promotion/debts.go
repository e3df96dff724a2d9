package promotion

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// debtsOf lists the debts of environments, or of all.
func (s *State) debtsOf(environments ...string) []snapshot.Debt {
	var debts []snapshot.Debt
	closed, at := s.closures(), map[gitrepo.Hash]int{}
	for _, e := range s.Environments {
		if len(environments) > 0 && !slices.Contains(environments, e.Name) {
			continue
		}
		for _, d := range e.Current().Hotfixes {
			i, known := at[d.Head]
			switch {
			case closed[d.Head] != nil:
			case !known:
				at[d.Head] = len(debts)
				debts = append(debts, d)
			case debts[i].In == "":
				debts[i].In = d.In
			}
		}
	}
	return debts
}

// closures are what somebody has said about hotfixes, in whichever ledger, by head.
func (s *State) closures() map[gitrepo.Hash]*snapshot.Closure {
	all := map[gitrepo.Hash]*snapshot.Closure{}
	for _, e := range s.Environments {
		for _, c := range e.Current().Closed {
			if all[c.Head] == nil {
				all[c.Head] = &c
			}
		}
	}
	return all
}

// owed are the debts that whatever enters an environment must contain: its own,
// and those of the environments after it.
func (s *State) owed(e Environment) []snapshot.Debt {
	return s.debtsOf(s.Pipeline.Downstream(e.Name)...)
}

// closed returns what somebody has said about a hotfix, in whichever ledger.
func (s *State) closed(h snapshot.Hotfix) *snapshot.Closure {
	for _, e := range s.Environments {
		for _, c := range e.Current().Closed {
			if c.Head == h.Head {
				return &c
			}
		}
	}
	return nil
}

// checkHotfixes: nothing that an environment has had, or a later one, is lost.
func checkHotfixes(s *State, e Environment, version snapshot.Version, _ asker) Finding {
	const name = "hotfixes"
	if len(s.owed(e)) == 0 {
		return passes(name, "there is no debt")
	}
	question := Question{Environment: e.Name, Version: version, Index: hotfixQuestion}
	if found, answered := s.debts[question.key()]; answered {
		return found
	}
	found := waits(name, GateUnknown, "nobody has looked yet")
	found.question = &question
	return found
}

// hotfixQuestion is the index of the question whether hotfixes would be lost.
const hotfixQuestion = -1

// answerHotfixes puts the answer to a question into the state.
func (e *Engine) answerHotfixes(ctx context.Context, s *State, q Question) error {
	if s.debts == nil {
		s.debts = map[questionKey]Finding{}
	}
	found, err := e.askHotfixes(ctx, s, q)
	if err != nil {
		if transient(ctx, err) {
			return err
		}
		found = waits("hotfixes", GateUnknown, "%v", err)
	}
	s.debts[q.key()] = found
	return nil
}

// askHotfixes looks for every debt in a snapshot.
func (e *Engine) askHotfixes(ctx context.Context, s *State, q Question) (Finding, error) {
	const name = "hotfixes"
	environment, ok := s.Environment(q.Environment)
	if !ok {
		return Finding{}, fmt.Errorf("unknown environment %q", q.Environment)
	}
	target, err := e.Snapshot(ctx, s, q.Version)
	if err != nil {
		return Finding{}, err
	}
	own := s.debtsOf(environment.Name)
	var contained []string
	var missing *Finding
	for _, d := range s.owed(environment) {
		if ofNewerLine(d, q.Version) {
			continue
		}
		found, err := e.contained(ctx, s, d, e.placeOf(s, target))
		if err != nil {
			return Finding{}, err
		}
		if found.Answer == hotfix.Contained {
			contained = append(contained, fmt.Sprintf("%s %s", d.Name, found))
			continue
		}
		reason := BackMergeOwed
		if slices.ContainsFunc(own, func(other snapshot.Debt) bool { return other.Head == d.Head }) {
			reason = HotfixLost
		}
		if missing == nil || missing.Reason == BackMergeOwed && reason == HotfixLost {
			lost := refuses(name, reason, "%s, which came to %s with %s: %s", d.Name, strings.Join(s.owing(d), " and "), d.Since, found)
			missing = &lost
		}
	}
	if missing != nil {
		return *missing, nil
	}
	return passes(name, "%s", strings.Join(contained, ", ")), nil
}

// ofNewerLine reports whether a debt was made on a newer line than a version's. An
// environment gets to an older line by a rollback or in the lane, both of which say
// so in its ledger; what was fixed on the newer one must be in what it runs when it
// is there again.
func ofNewerLine(d snapshot.Debt, version snapshot.Version) bool {
	return !d.Since.SameLine(version) && d.Since.Compare(version) > 0
}

// owing names the environments that have had a hotfix.
func (s *State) owing(d snapshot.Debt) []string {
	var names []string
	for _, e := range s.Environments {
		if slices.ContainsFunc(e.Current().Hotfixes, func(other snapshot.Debt) bool { return other.Head == d.Head }) {
			names = append(names, e.Name)
		}
	}
	return names
}

// carry works out the debts of an environment after a promotion: those that it
// had, with what has proven to contain them, and those of the new snapshot.
func (e *Engine) carry(ctx context.Context, s *State, environment Environment, target snapshot.Snapshot) ([]snapshot.Debt, error) {
	debts := s.debtsOf(environment.Name)
	for i, d := range debts {
		if target.Lock.Base != nil {
			break // a composition is not on the source branch
		}
		found, err := e.contained(ctx, s, d, e.placeOf(s, target))
		if err != nil {
			return nil, err
		}
		if found.Answer == hotfix.Contained {
			debts[i].In = target.Source
		}
	}
	for _, h := range target.Lock.Hotfixes {
		if s.closed(h) == nil && !slices.ContainsFunc(debts, func(d snapshot.Debt) bool { return d.Head == h.Head }) {
			debts = append(debts, snapshot.Debt{Hotfix: h})
		}
	}
	return debts, nil
}

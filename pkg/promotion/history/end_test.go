package history

import (
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// maxRounds is in how many rounds everything has to arrive once people do what
// they should.
const maxRounds = 30

// end is people who clean up: everything is well, holds are taken back, every
// hotfix that an environment has had is merged back to main, with a message that
// says so, and what is not automatic is promoted by hand. Nobody overrides
// anything. Then the newest commit has to come to Prod.
func (w *world) end() {
	w.tracef("the end: people clean up")
	clear(w.sick)
	w.dice.roll(uint64(w.step), 1<<20)
	w.restart()
	w.edit()
	var waits []promotion.Wait
	for range maxRounds {
		w.follow()
		did := w.reconcile(0)
		for w.resume() {
			did++
		}
		tidied, now := w.tidy()
		did += tidied
		waits = now
		if w.broken != "" {
			return
		}
		if did == 0 && w.arrived() {
			w.checkEnd()
			return
		}
	}
	var texts []string
	for _, wait := range waits {
		texts = append(texts, wait.String())
	}
	w.fail("STUCK: the newest commit %s does not come to prod, which runs %s; it waits for\n  %s", w.main().Short(), w.ledgers["prod"].current(), strings.Join(texts, "\n  "))
}

// tidy does what people have to do. It returns how much, and what the engine
// says that it waits for.
func (w *world) tidy() (did int, waits []promotion.Wait) {
	e := w.ada
	state, err := e.Observe(w.ctx)
	if err != nil {
		w.fail("a person cannot look: %v", err)
		return 0, nil
	}
	// What a later hotfix takes back is closed: both cannot be in anything.
	for _, h := range state.Hotfixes {
		if len(h.Owed) > 0 && h.Closed == nil && w.brings(h.Base, h.Head)&w.takenBack(state) != 0 {
			w.count("closed, because another took it back")
			if !w.closeOne(h, "another took it back") {
				return did, nil
			}
			return did + 1, nil
		}
	}
	for _, h := range state.Hotfixes {
		lacks := slices.ContainsFunc(h.In, func(in promotion.Whereabouts) bool { return in.Version.IsZero() && in.Answer != hotfix.Contained })
		if len(h.Owed) == 0 || h.Closed != nil || !lacks {
			continue
		}
		if !w.bringProperly(h.Hotfix) {
			return did, nil
		}
		did++
	}
	if did > 0 {
		return did, nil
	}
	decision, err := e.Plan(w.ctx, state)
	if err != nil {
		w.fail("a person cannot plan: %v", err)
		return 0, nil
	}
	for _, wait := range decision.Waits {
		// The release that an environment left for the lane conflicts with what was
		// fixed meanwhile, and nobody will resolve that: the next one has it.
		// So does one that was let in against the rules, and cannot go on by them.
		if left := w.ledgers[wait.Environment]; wait.Reason == promotion.ReleaseInProgress && left != nil && (strings.Contains(wait.Detail, "returns to") || strings.Contains(wait.Detail, "is validated") && w.loses(state, left.current())) {
			version := left.left()
			if version.IsZero() || strings.Contains(wait.Detail, "is validated") {
				version = left.current()
			}
			w.count("a release is given up")
			if !w.note(wait.Environment, promotion.Note{Event: snapshot.EventReject, Version: version, Reason: "the next one has the fix"}) {
				return did, decision.Waits
			}
			return did + 1, nil
		}
	}
	if w.compose == "manual" && len(state.Compositions) > 0 && w.composeByHand() {
		did++
	}
	if w.prodMode == "manual" {
		for _, env := range []string{"prod"} {
			if w.request("promote", promotion.Request{Environment: env}) {
				did++
			}
		}
	}
	return did, decision.Waits
}

// loses reports whether a later environment refuses a snapshot because of a
// hotfix.
func (w *world) loses(state *promotion.State, version snapshot.Version) bool {
	for _, environment := range state.Environments {
		findings, err := w.ada.Explain(w.ctx, state, environment, version)
		if err != nil {
			w.fail("a person asks why: %v", err)
			return false
		}
		if slices.ContainsFunc(findings, func(f promotion.Finding) bool {
			return f.Reason == promotion.HotfixLost || f.Reason == promotion.BackMergeOwed
		}) {
			return true
		}
	}
	return false
}

// takenBack are the effects that hotfixes end.
func (w *world) takenBack(state *promotion.State) effects {
	var all effects
	for _, h := range state.Hotfixes {
		if len(h.Owed) > 0 && h.Base != "" {
			all |= w.held(w.mustAt(h.Base)) &^ w.held(w.mustAt(h.Head))
		}
	}
	return all
}

// closeOne is what a person says about one hotfix.
func (w *world) closeOne(h promotion.Hotfix, reason string) bool {
	done := w.byHand("close", func(_ *promotion.Engine, s *promotion.State) ([]promotion.Step, error) {
		step, err := promotion.PlanClose(s, h.Name+"@"+string(h.Head), false, reason)
		if err != nil {
			return nil, err
		}
		return []promotion.Step{step}, nil
	})
	if done {
		w.forgiven |= w.brings(h.Base, h.Head)
	}
	return done
}

// left is the release that the environment left for the lane.
func (l *ledger) left() snapshot.Version {
	var left snapshot.Version
	for _, entry := range slices.Backward(l.entries) {
		if !entry.Event.Moves() {
			continue
		}
		if entry.From.Compare(entry.Snapshot) < 0 {
			break
		}
		left = entry.From
	}
	return left
}

// bringProperly is a back-merge as the documentation wants it: one commit, which
// says what it brings.
func (w *world) bringProperly(h snapshot.Hotfix) bool {
	tip := w.main()
	now := w.mustAt(tip)
	change := w.merge(w.mustAt(h.Base), w.mustAt(h.Head), now)
	if len(change) == 0 {
		change[keyC] = w.newValue(now[keyC])
	}
	w.change([]gitrepo.Hash{tip}, mainRef, strings.TrimSpace(snapshot.BackMerge(h, "bring it back")), change, 0)
	return w.broken == ""
}

// arrived: Prod runs the newest commit of main, or a patch of its snapshot.
func (w *world) arrived() bool {
	at := w.ledgers["prod"].current()
	at.Patch = 0
	id := w.tags[at]
	if id == "" {
		return false
	}
	commit, err := gitrepo.ReadCommit(w.people, id)
	return err == nil && len(commit.Parents) == 1 && commit.Parents[0] == w.main()
}

// checkEnd: everything that any environment has had is in Prod, and a process that
// knows nothing finds nothing to do.
func (w *world) checkEnd() {
	at, err := w.at(w.ledgers["prod"].tip)
	if err != nil {
		w.fail("what prod runs: %v", err)
		return
	}
	var all effects
	for _, env := range w.envs {
		all |= w.ledgers[env].shipped
	}
	if lost := all &^ w.held(at) &^ w.forgiven; lost != 0 {
		w.fail("LOST: at the end prod lacks %s", w.name(lost))
	}
	e := w.person()
	state, err := e.Observe(w.ctx)
	if err != nil {
		w.fail("a new process cannot look: %v", err)
		return
	}
	decision, err := e.Plan(w.ctx, state)
	if err != nil || len(decision.Steps) > 0 {
		w.fail("I10: a new process would do %v (%v)", decision.Steps, err)
	}
	if len(state.Damaged) > 0 {
		w.fail("snapshots do not verify: %v", state.Damaged)
	}
}

package history

import (
	"errors"

	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// byHand carries out what a person asks the command line for. Being refused is
// part of life.
func (w *world) byHand(what string, plan func(*promotion.Engine, *promotion.State) ([]promotion.Step, error)) bool {
	e := w.ada
	state, err := e.Observe(w.ctx)
	if err != nil {
		w.fail("a person cannot look: %v", err)
		return false
	}
	steps, err := plan(e, state)
	for _, step := range steps {
		if err == nil {
			err = e.Execute(w.ctx, state, step)
		}
	}
	w.tracef("ada: %s %v: %v", what, steps, err)
	var no *promotion.RefusedError
	if errors.As(err, &no) {
		w.count("refused: " + string(no.Wait.Reason))
	}
	return err == nil && len(steps) > 0
}

func (w *world) request(what string, r promotion.Request) bool {
	return w.byHand(what, func(e *promotion.Engine, s *promotion.State) ([]promotion.Step, error) {
		step, err := e.PlanRequest(w.ctx, s, r)
		if err != nil {
			return nil, err
		}
		return []promotion.Step{step}, nil
	})
}

func (w *world) note(env string, n promotion.Note) bool {
	return w.byHand("note in "+env, func(_ *promotion.Engine, s *promotion.State) ([]promotion.Step, error) {
		step, err := promotion.PlanNote(s, env, n)
		if err != nil {
			return nil, err
		}
		return []promotion.Step{step}, nil
	})
}

func (w *world) rollback() bool {
	return w.request("rollback", promotion.Request{Environment: pick(w.dice, w.envs), Rollback: true, Reason: "it is slow"})
}

func (w *world) reject() bool {
	return w.note(pick(w.dice, w.envs), promotion.Note{Event: snapshot.EventReject, Reason: "it looks wrong"})
}

func (w *world) holdOn() bool {
	return w.note(pick(w.dice, w.envs), promotion.Note{Event: snapshot.EventHold, Reason: "wait"})
}

func (w *world) resume() bool {
	for _, env := range w.envs {
		if w.ledgers[env].hold() != "" {
			return w.note(env, promotion.Note{Event: snapshot.EventResume, Reason: "go on"})
		}
	}
	return false
}

func (w *world) closeFix() bool { return w.closeAny(false) }
func (w *world) dropFix() bool  { return w.closeAny(true) }

func (w *world) closeAny(dropped bool) bool {
	var forgiven effects
	done := w.byHand("close", func(_ *promotion.Engine, s *promotion.State) ([]promotion.Step, error) {
		if len(s.Hotfixes) == 0 {
			return nil, nil
		}
		h := pick(w.dice, s.Hotfixes)
		step, err := promotion.PlanClose(s, h.Name+"@"+string(h.Head), dropped, "it is elsewhere")
		if err != nil {
			return nil, err
		}
		forgiven = w.brings(h.Base, h.Head)
		return []promotion.Step{step}, nil
	})
	if done {
		w.forgiven |= forgiven
	}
	return done
}

func (w *world) promoteNewest() bool {
	return w.request("promote", promotion.Request{Environment: pick(w.dice, append([]string{"prod"}, w.envs...))})
}

func (w *world) promoteNamed() bool {
	versions := w.versions()
	return len(versions) > 0 && w.request("promote", promotion.Request{Environment: pick(w.dice, w.envs), Version: pick(w.dice, versions)})
}

func (w *world) override() bool {
	versions := w.versions()
	return len(versions) > 0 && w.request("override", promotion.Request{
		Environment: pick(w.dice, w.envs), Version: pick(w.dice, versions[:min(3, len(versions))]), Reason: "the customer insists",
		Overrides: []promotion.Reason{promotion.HotfixLost, promotion.BackMergeOwed, promotion.ReleaseInProgress},
	})
}

func (w *world) skipStage() bool {
	versions := w.versions()
	return len(versions) > 0 && w.request("skip", promotion.Request{
		Environment: "prod", Version: pick(w.dice, versions), Skip: []string{"stage"}, Reason: "customers cannot pay",
	})
}

func (w *world) composeByHand() bool {
	return w.byHand("compose", func(_ *promotion.Engine, s *promotion.State) ([]promotion.Step, error) {
		return promotion.PlanCompose(s)
	})
}

// backByEngine asks for a back-merge, to main or to a branch.
func (w *world) backByEngine() bool {
	return w.byHand("merge back", func(_ *promotion.Engine, s *promotion.State) ([]promotion.Step, error) {
		if len(s.Hotfixes) == 0 {
			return nil, nil
		}
		h := pick(w.dice, s.Hotfixes)
		own := w.dice.chance(400)
		step, err := promotion.PlanMergeBack(s, h.Name+"@"+string(h.Head), own)
		if err != nil {
			return nil, err
		}
		return []promotion.Step{step}, nil
	})
}

func (w *world) sicken() bool {
	env := pick(w.dice, w.envs)
	w.sick[env] = !w.sick[env]
	w.tracef("%s is sick: %v", env, w.sick[env])
	return true
}

// restart replaces a replica by one that knows nothing.
func (w *world) restart() bool {
	i := w.dice.IntN(len(w.nodes))
	w.nodes[i] = &node{Memory: w.people.Client(), world: w}
	w.engines[i] = w.engine(w.nodes[i], "propagator")
	return true
}

// race lets others act in the middle of what a replica does: the other replica,
// or people.
func (w *world) race() bool {
	i := w.dice.IntN(len(w.nodes))
	w.follow()
	n := w.nodes[i]
	n.skip = w.dice.IntN(6)
	n.before = func() {
		w.racing = true
		w.tracef("in the middle of it:")
		if w.dice.chance(500) {
			w.reconcile(1 - i)
			return
		}
		w.anyAction(interruptions())
	}
	w.reconcile(i)
	n.before, w.racing = nil, false
	return true
}

func interruptions() []action {
	return []action{
		{"meanwhile: main: edit", 3, (*world).edit},
		{"meanwhile: hotfix: cut", 3, (*world).cut},
		{"meanwhile: hotfix: commit", 3, (*world).moreFix},
		{"meanwhile: hotfix: delete the branch", 3, (*world).deleteBranch},
		{"meanwhile: rollback", 3, (*world).rollback},
		{"meanwhile: promote", 3, (*world).promoteNewest},
		{"meanwhile: promote past stage", 3, (*world).skipStage},
		{"meanwhile: hotfix: drop", 3, (*world).dropFix},
		{"meanwhile: promote against the rule", 2, (*world).override},
		{"meanwhile: back-merge: merge", 2, (*world).backMerge},
	}
}

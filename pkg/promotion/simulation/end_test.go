package simulation

import (
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// approveAll is somebody who approves what is left, and reports whether there
// was something.
func (w *world) approveAll() bool {
	before := len(w.audit.past)
	for _, version := range w.audit.versions() {
		if w.gate == approvalGate && w.audit.proven("stage", version) {
			w.approve(version, "eve")
		}
	}
	return len(w.audit.past) > before
}

// maxRounds bounds how often everything may follow before nothing is left to do.
const maxRounds = 40

// end lets the runs go on without faults, then everything follow, until nothing
// is left to do; and looks whether that is where it had to arrive.
func (w *world) end() {
	w.drain()
	if w.broken != "" {
		return
	}
	w.step++
	w.calm = true
	w.tracef("calm")
	for _, l := range w.late {
		l.effect()
	}
	for i, n := range w.nodes {
		if n.run != nil && n.run.dead.Load() {
			w.replace(i)
		}
		n.run = nil
	}
	for _, a := range w.argo.all {
		a.fine = true
	}
	w.restore()
	w.arrive()
	for w.approveAll() && w.broken == "" {
		w.arrive()
	}
	if w.broken == "" {
		w.checkArrival()
	}
	if w.broken == "" {
		w.checkForgetful()
	}
}

// drain lets every run end: without a fault, or at once if a promise was broken.
func (w *world) drain() {
	for range 100_000 {
		synctest.Wait()
		w.reap()
		if w.broken != "" {
			for _, r := range slices.Clone(w.runs) {
				w.kill(r)
			}
		}
		waiting := w.waiting()
		if len(waiting) == 0 {
			return
		}
		w.grant(waiting[0], none)
	}
	w.fail("I6: a run does not end")
}

// arrive reconciles with one replica after the other until nothing happens any
// more.
func (w *world) arrive() {
	idle := 0
	for round := 0; idle < 2; round++ {
		if round == maxRounds {
			w.fail("I6: after %d rounds there still is something to do", maxRounds)
			return
		}
		w.now = w.now.Add(20 * time.Minute)
		for range 5 {
			for _, a := range w.argo.all {
				if a.env == "dev" || w.audit.current(a.env) != "" {
					w.argo.follow(a)
				}
			}
			w.now = w.now.Add(5 * time.Second)
		}
		result, err := w.engines[round%len(w.engines)].Reconcile(w.ctx)
		if len(result.Done) > 0 || err != nil || idle == 0 {
			w.tracef("calm reconcile: %v %v %v", result.Done, result.Waits, err)
		}
		if w.broken != "" {
			return
		}
		idle++
		if err != nil || len(result.Done) > 0 {
			idle = 0
		}
	}
}

// checkArrival compares where the pipeline is with what a run without faults
// would have made of the same decisions (I6).
func (w *world) checkArrival() {
	a := w.audit
	versions := a.versions()
	tip := a.refs["refs/heads/main"]
	switch {
	case !w.tags && !a.captured(tip):
		w.fail("I6: the newest commit %s was not captured", tip.Short())
	case w.tags && w.tagVersion != "":
		if snap, ok := a.locks["shop/"+w.tagVersion]; !ok || snap.Source != w.tagOf {
			w.fail("I6: the tag %s was not captured", w.tagVersion)
		}
	}
	for _, env := range []string{"stage", "prod"} {
		ledger := a.ledgers[env]
		if current := a.current(env); current != "" && !a.provenNow(env) {
			w.fail("I6: %s has %s and no evidence of it", env, current)
		}
		if a.hold(env) != "" || map[string]string{"stage": w.stageMode, "prod": w.prodMode}[env] == "manual" {
			continue
		}
		if env == "stage" && w.admit == "release" && a.current("prod") != a.current("stage") && len(a.ledgers["stage"]) > 0 {
			continue // it keeps a release, as it should
		}
		for _, version := range slices.Backward(versions) {
			if current := a.current(env); current != "" && compareVersions(version, current) <= 0 {
				break
			}
			if wentBackFrom(ledger, version) {
				continue
			}
			if env == "prod" && (!a.proven("stage", version) || rolledBackSince(a.ledgers["stage"], version) || !w.soaked(version)) {
				continue
			}
			w.fail("I6: %s has %q, and nothing keeps it from %s", env, a.current(env), version)
			break
		}
	}
}

// provenNow reports whether the environment has evidence of what it points at,
// since it does.
func (a *audit) provenNow(env string) bool {
	for _, e := range slices.Backward(a.ledgers[env]) {
		switch e.event {
		case "deployed":
			return true
		case "promote", "rollback":
			return false
		}
	}
	return false
}

// rolledBackSince reports whether a ledger goes back from the version after its
// newest evidence of it.
func rolledBackSince(ledger []entry, version string) bool {
	for _, e := range slices.Backward(ledger) {
		switch {
		case e.event == "rollback" && e.from == version:
			return true
		case e.event == "deployed" && e.snapshot == version:
			return false
		}
	}
	return false
}

// soaked reports whether stage can have had the version for as long as prod's
// gate wants: what was replaced before will never have been there long enough.
func (w *world) soaked(version string) bool {
	return w.gate != soakGate || w.audit.current("stage") == version
}

// checkForgetful is I10: a new process that knows nothing comes to the same
// decision, which is to do nothing.
func (w *world) checkForgetful() {
	old := w.engines[0]
	before := w.audit.refs
	var texts []string
	for _, e := range []*promotion.Engine{old, w.engine(w.newNode(automation))} {
		// The same clock: its skew is no memory.
		e.Now = func() time.Time { return w.now }
		state, err := e.Observe(w.ctx)
		if err != nil {
			w.fail("I10: %v", err)
			return
		}
		decision, err := e.Plan(w.ctx, state)
		if err != nil || len(decision.Steps) > 0 {
			w.fail("I10: the plan at the end is %v (%v)", decision.Steps, err)
			return
		}
		texts = append(texts, strings.ReplaceAll(fmt.Sprint(decision.Waits), " ", "\n"))
	}
	if diff := cmp.Diff(texts[0], texts[1]); diff != "" {
		w.fail("I10: a new process decides otherwise: %s", diff)
	}
	w.audit.look(nil, nil)
	if diff := cmp.Diff(before, w.audit.refs); diff != "" {
		w.fail("I10: a look has changed refs: %s", diff)
	}
}

package promotion

import (
	"context"
	"errors"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// podReader reads Pods during one look, each namespace once at most.
type podReader struct {
	engine *Engine
	read   map[string]podList
	// inquiry about digests that environments wait for.
	inquiry *inquiry
}

type podList struct {
	pods []Pod
	err  error
}

func (e *Engine) podReader() *podReader {
	return &podReader{engine: e, read: map[string]podList{}, inquiry: e.memory.inquire(evidenceBudget)}
}

// of returns what the Pods of an Application show, and the Pods; nil when
// nothing can be seen of them.
func (r *podReader) of(ctx context.Context, a Application) (*Sight, []Pod) {
	if r.engine.Live == nil {
		return nil, nil
	}
	var sight *Sight
	var own []Pod
	for _, namespace := range a.namespaces() {
		list, ok := r.read[namespace]
		if !ok {
			list.pods, list.err = r.engine.Live.Pods(ctx, namespace)
			r.read[namespace] = list
		}
		if errors.Is(list.err, ErrNotVisible) {
			if r.engine.memory.first(namespace) {
				r.engine.log().WarnContext(ctx, "Pods are not visible: live digests are not compared, and images that cannot be pulled not named", "namespace", namespace, "error", list.err)
			}
			continue
		}
		if sight == nil {
			sight = &Sight{}
		}
		if list.err != nil {
			sight.Unread = brief(list.err.Error())
		}
		own = append(own, a.podsOf(list.pods)...)
	}
	return sight, own
}

// observePods looks at the Pods where they decide or explain something: when an
// Application is otherwise about to count as deployed or asked to go on doing
// so, and when it is unwell.
func (e *Engine) observePods(ctx context.Context, s *State, applications []Application) {
	if e.Live == nil {
		return
	}
	pods := e.podReader()
	for i := range applications {
		// The first environment's; the others have copies of their own.
		if a := &applications[i]; a.local() && a.unwell() {
			a.Live = e.complaints(ctx, pods, *a)
		}
	}
	for i := range s.Environments {
		environment := &s.Environments[i]
		for j := range environment.Applications {
			a := &environment.Applications[j]
			switch {
			case !a.local():
			case a.unwell():
				a.Live = e.complaints(ctx, pods, *a)
			case environment.Snapshot != nil && environment.Unreadable == "" && s.needsEvidence(*environment):
				if want := expectation(s, *environment.Snapshot); a.missing(want).text == "" {
					a.Live = e.evidence(ctx, pods, *a, environment)
				}
			}
		}
	}
	if s.Newest != nil && e.sees(s.Pipeline.First().Name) {
		s.Warnings = append(s.Warnings, e.differences(ctx, s, applications, pods)...)
	}
}

// needsEvidence reports whether what an environment's Pods run decides
// something: that it counts as deployed, or that it did all the time that
// another environment's gate asks for.
func (s *State) needsEvidence(e Environment) bool {
	return e.Current().Deployed.IsZero() || slices.ContainsFunc(s.Environments, func(next Environment) bool {
		return slices.Contains(next.After, e.Name) && e.Current().Snapshot.Compare(next.Current().Snapshot) > 0 &&
			slices.ContainsFunc(next.Gates, func(g config.Gate) bool { return g.Soak != nil })
	})
}

func (e *Engine) complaints(ctx context.Context, pods *podReader, a Application) *Sight {
	sight, own := pods.of(ctx, a)
	if sight != nil {
		sight.complain(own)
	}
	return sight
}

func (e *Engine) evidence(ctx context.Context, pods *podReader, a Application, environment *Environment) *Sight {
	sight, own := pods.of(ctx, a)
	if sight == nil {
		return nil
	}
	p, err := snapshot.ReadConfig(e.Repo, environment.Snapshot.Tree)
	if err == nil {
		var all map[string]pin
		if all, err = pins(p, environment.Snapshot.Lock, environment.Name, a.Application); err == nil {
			e.compare(ctx, p, pods.inquiry, sight, a.running(own), all)
		}
	}
	if err != nil && sight.Unread == "" {
		sight.Unread = brief(err.Error())
	}
	return sight
}

// expectation is what an Application of an environment has to show for a
// snapshot. One that the snapshot does not change is not synced by Argo CD, so
// the comparison with the snapshot counts and an older operation is accepted.
func expectation(s *State, target snapshot.Snapshot) Expectation {
	return Expectation{Revision: target.ID, Targets: targetsOf(target), AnyOperation: true, Settle: s.Settle}
}

package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Publish carries out a capture or a composition with a snapshot that
// [Engine.Prepare] or [Engine.PrepareComposition] made before, so that a person
// can look at it in between. It keeps the promises of [Engine.Execute]. The
// snapshot must be the step's own.
func (e *Engine) Publish(ctx context.Context, s *State, step Step, captured *Captured) error {
	if made := captured.Snapshot; !step.makes(made) {
		return fmt.Errorf("%s: the snapshot prepared is %s of %s", step, made.Lock.Version, made.Source.Short())
	}
	err := e.publish(ctx, s, step, captured)
	var no *RefusedError
	if errors.As(err, &no) {
		return no
	}
	if err != nil {
		return stepError(step.String(), sideGit, err)
	}
	e.poke(ctx, s)
	return nil
}

// makes reports whether a snapshot is what the step is about.
func (s Step) makes(made snapshot.Snapshot) bool {
	switch {
	case made.Lock.Version != s.Version || made.Lock.Source.Tag != s.Tag || !made.Lock.Source.Scheduled.Equal(s.Scheduled):
		return false
	case s.Kind == Compose:
		// Hotfixes that cannot be built may have been left out.
		composed := made.Composed()
		return made.Lock.Base != nil && made.Lock.Base.Snapshot == s.Onto && len(composed) > 0 &&
			!slices.ContainsFunc(composed, func(h snapshot.Hotfix) bool { return !s.brings(h) })
	}
	return s.Kind == Capture && made.Source == s.Commit
}

// brings reports whether a hotfix is among the step's.
func (s Step) brings(h snapshot.Hotfix) bool {
	return slices.ContainsFunc(s.Hotfixes, func(own snapshot.Hotfix) bool { return own.Name == h.Name && own.Head == h.Head })
}

// Mirror makes the snapshot's images complete in the environment's registry, as
// a promotion would, and verifies them. It moves nothing in git. The pipeline is
// the snapshot's own. Where the environment takes snapshots from the first one
// the images come from where they were captured, as long as they are there, so
// that a registry which lost something is repaired.
func (e *Engine) Mirror(ctx context.Context, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (mirror.Report, error) {
	step := fmt.Sprintf("mirror %s to %s", lock.Version, environment.Name)
	var fresh freshness
	if directlyAfterFirst(p, environment) {
		fresh = allFresh
	}
	report, err := e.mirrorInto(ctx, step, p, lock, environment, fresh)
	if err != nil {
		return report, err
	}
	return report, e.release(ctx, step, p, lock, environment)
}

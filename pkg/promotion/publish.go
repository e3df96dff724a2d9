package promotion

import (
	"context"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Publish carries out a capture with a snapshot that [Engine.Prepare] made
// before, so that a person can look at it in between. It keeps the promises of
// [Engine.Execute]. The snapshot must be the step's own.
func (e *Engine) Publish(ctx context.Context, s *State, step Step, captured *Captured) error {
	if made := captured.Snapshot; step.Kind != Capture || made.Lock.Version != step.Version || made.Source != step.Commit {
		return fmt.Errorf("%s: the snapshot prepared is %s of %s", step, made.Lock.Version, made.Source.Short())
	}
	if err := e.publish(ctx, s, step, captured); err != nil {
		return stepError(step.String(), sideGit, err)
	}
	e.poke(ctx, s)
	return nil
}

// Mirror copies, by hand, what a promotion of the snapshot into the environment
// would copy, and verifies it. It moves nothing in git. The pipeline is the
// snapshot's own. An environment that takes snapshots from the first one got
// its images when the snapshot was taken; there Mirror can only check them.
func (e *Engine) Mirror(ctx context.Context, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (mirror.Report, error) {
	return e.mirrorInto(ctx, fmt.Sprintf("mirror %s to %s", lock.Version, environment.Name), p, lock, environment, false)
}

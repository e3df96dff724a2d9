package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// executePromotion mirrors, verifies and then moves the environment's branch.
func (e *Engine) executePromotion(ctx context.Context, s *State, step Step) error {
	environment, ok := s.Environment(step.Environment)
	if !ok {
		return fmt.Errorf("unknown environment %q", step.Environment)
	}
	target, err := e.Snapshot(ctx, s, step.Version)
	if err != nil {
		return err
	}
	// What the snapshot deploys, and to which registry, follows from its own
	// configuration; the current one decides whether it may.
	pipeline, err := snapshot.ReadConfig(e.Repo, target.Tree)
	if err != nil {
		return stepError(step.String(), sideConfig, err)
	}
	configured, ok := pipeline.Environment(environment.Name)
	if !ok {
		return refused(environment.Name, step.Version, NotValidated, "the snapshot does not know this environment; the next one will")
	}
	for _, name := range environment.After {
		// A version is a name; what was tested is a tree.
		if before, ok := s.Environment(name); ok && !step.Rollback {
			if proof, proven := before.evidence(step.Version); proven && proof.tree != target.Tree {
				return refused(environment.Name, step.Version, NotValidated, "%s tested another tree under this name: the tag was moved", name)
			}
		}
	}
	if ran := environment.ranTree(step.Version); step.Rollback && ran != target.Tree {
		return refused(environment.Name, step.Version, NotValidated, "%s ran another tree under this name: the tag was moved", environment.Name)
	}
	if step.Rollback {
		// The environment ran this snapshot before, so its images are in its own
		// registry; asking the one before for anything could only fail.
		if _, err := e.VerifyImages(ctx, pipeline, target.Lock, configured); err == nil {
			return e.pushEntry(ctx, s, environment, step, target)
		}
	}
	if _, err := e.mirrorInto(ctx, step.String(), pipeline, target.Lock, configured, nil); err != nil {
		return err
	}
	if err := e.release(ctx, step.String(), pipeline, target.Lock, configured); err != nil {
		return err
	}
	e.Hops.reach(step, atMirrored, e.now())
	if step.Rollback {
		return e.pushEntry(ctx, s, environment, step, target)
	}
	return e.pushStillAllowed(ctx, step, target)
}

// pushStillAllowed looks again before it moves the environment: a mirror takes
// its time, and meanwhile the environment before may have been rolled back, an
// approval withdrawn or the environment put on hold.
func (e *Engine) pushStillAllowed(ctx context.Context, step Step, target snapshot.Snapshot) error {
	s, err := e.Observe(Exact(ctx))
	if err != nil {
		return err
	}
	environment, ok := s.Environment(step.Environment)
	if !ok || environment.Unreadable != "" || s.Tags[step.Version] != target.ID {
		return refused(step.Environment, step.Version, NotValidated, "the repository changed while images were mirrored")
	}
	now, err := e.checkAgain(ctx, s, environment.without(step.Skip), step)
	if err != nil {
		return err
	}
	if step.debts, err = e.carry(ctx, s, environment, target); err != nil {
		return err
	}
	step.Gates, step.ApprovedBy, step.Overrides = now.Gates, now.ApprovedBy, now.Overrides
	return e.pushEntry(ctx, s, environment, step, target)
}

// checkAgain applies the rules once more, asking every gate anew.
func (e *Engine) checkAgain(ctx context.Context, s *State, environment Environment, step Step) (*Step, error) {
	for range maxQuestions {
		now, obstacle := check(s, environment, step.Version, step.by, step.Overrides...)
		switch {
		case obstacle == nil:
			return now, nil
		case obstacle.question == nil:
			return nil, obstacle.refusal(environment, step.Version)
		}
		if err := e.answer(ctx, s, []Question{*obstacle.question}); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the promotion asks gates without end")
}

func refused(environment string, version snapshot.Version, reason Reason, format string, args ...any) error {
	return &RefusedError{Wait: Wait{Environment: environment, Version: version.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)}}
}

func (e *Engine) pushEntry(ctx context.Context, s *State, environment Environment, step Step, target snapshot.Snapshot) error {
	var push gitrepo.Push
	if err := e.checkRequest(ctx, environment, step); err != nil {
		return err
	}
	if err := e.append(s, environment, step, target, &push); err != nil {
		return err
	}
	if err := e.Repo.Push(ctx, push); err != nil {
		return err
	}
	e.logPushed(ctx, push)
	e.Hops.reach(step, atPushed, e.now())
	return nil
}

// logPushed keeps in the log where refs went: should somebody delete a branch,
// that is how it is found again.
func (e *Engine) logPushed(ctx context.Context, push gitrepo.Push) {
	for _, update := range push.Updates {
		e.log().InfoContext(ctx, "pushed", "ref", update.Ref, "from", string(update.Old), "to", string(update.New))
	}
}

// executeRecord writes evidence; nothing moves but the ledger.
func (e *Engine) executeRecord(ctx context.Context, s *State, step Step) error {
	environment, ok := s.Environment(step.Environment)
	if !ok || environment.Snapshot == nil {
		return fmt.Errorf("environment %q points at nothing", step.Environment)
	}
	return e.pushEntry(ctx, s, environment, step, *environment.Snapshot)
}

// append adds the ledger entry of a step to a push.
func (e *Engine) append(s *State, environment Environment, step Step, target snapshot.Snapshot, push *gitrepo.Push) error {
	current := environment.Current()
	now := s.Now.Truncate(time.Second) // as commits keep it
	entry := snapshot.Entry{
		Event:        snapshot.EventPromote,
		When:         now,
		Environment:  environment.Name,
		Snapshot:     step.Version,
		SourceCommit: target.Source,
		From:         current.Snapshot,
		Since:        now,
		Gates:        step.Gates,
		ApprovedBy:   step.ApprovedBy,
		Actor:        cmp.Or(step.actor, e.Actor),
		Request:      step.Request,
		Frozen:       current.Frozen,
		Hotfixes:     current.Hotfixes,
		Closed:       current.Closed,
	}
	for _, name := range step.Skip {
		step.Gates = append(slices.Clone(step.Gates), snapshot.Verdict{Gate: name, Result: string(skip), Detail: step.Reason})
		entry.Gates, entry.Override = step.Gates, step.Reason
	}
	if step.Kind == Promote && !step.Rollback {
		entry.Hotfixes = step.debts
	}
	if tag := personsTag(target); tag != "" && step.Kind == Promote && !step.Rollback && directlyAfterFirst(s.Pipeline, environment.Environment) {
		// What usually proves a snapshot fit to enter here was not asked.
		skipped := snapshot.Verdict{Gate: s.Pipeline.First().Name, Result: "skip", Detail: "captured because of the tag " + tag}
		entry.Gates = append([]snapshot.Verdict{skipped}, step.Gates...)
	}
	if len(step.Overrides) > 0 {
		entry.Override = step.Reason
	}
	switch {
	case step.Kind == Annotate:
		step.Note.apply(&entry, current)
	case step.Kind == Record:
		entry.Event, entry.Since, entry.From, entry.Hold = snapshot.EventDeployed, current.Since, current.From, current.Hold
		entry.Deployed, entry.Applications = now, step.Evidence
	case step.Rollback:
		entry.Event = snapshot.EventRollback
		entry.Hold = fmt.Sprintf("rolled back from %s: %s", current.Snapshot, step.Reason)
		entry.Override = step.Reason
	}
	id, objects, err := snapshot.Append(environment.Tip, entry, target, e.identity(s.Pipeline))
	if err != nil {
		return err
	}
	push.Objects = append(push.Objects, objects...)
	push.Updates = append(push.Updates, gitrepo.Update{Ref: gitrepo.Heads + environment.Branch, Old: environment.Tip, New: id})
	return nil
}

// personsTag is the tag of a person that made the snapshot, if one did.
func personsTag(s snapshot.Snapshot) string {
	if s.Lock == nil {
		return "" // nothing was promoted yet
	}
	return s.Lock.Source.Tag
}

// snapshotDepth brings a snapshot's source commit along, which proves that the
// snapshot adds nothing to it but the lock.
const snapshotDepth = 2

// Snapshot reads a snapshot by version and proves that it adds nothing to its
// source commit but the lock.
func (e *Engine) Snapshot(ctx context.Context, s *State, version snapshot.Version) (snapshot.Snapshot, error) {
	id, ok := s.Tags[version]
	if !ok {
		return snapshot.Snapshot{}, &RefusedError{Wait: Wait{Version: version.String(), Reason: UnknownSnapshot}}
	}
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: snapshotDepth}); err != nil {
		return snapshot.Snapshot{}, err
	}
	return e.readSnapshot(ctx, id, version)
}

// readSnapshot reads a snapshot that was fetched with its source commit. A
// snapshot never changes, so that its lock is parsed and proven once; nobody
// changes what it returns.
func (e *Engine) readSnapshot(ctx context.Context, id gitrepo.Hash, version snapshot.Version) (snapshot.Snapshot, error) {
	key := snapshotKey{id, version}
	if known, ok := e.memory.snapshots.get(key); ok {
		return known, nil
	}
	s, err := snapshot.Read(e.Repo, id, version)
	if err == nil {
		err = snapshot.CheckTree(e.Repo, s)
	}
	if err == nil && s.Lock.Base != nil {
		err = e.checkComposed(ctx, s)
	}
	if err == nil {
		e.memory.snapshots.putAmong(maxSnapshots, key, s)
	}
	return s, err
}

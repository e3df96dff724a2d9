package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// historyDepth is how many ledger entries are read: enough for every snapshot
// that may still matter, and a bound on the cost.
const historyDepth = 256

// Observe reads the state. It writes nothing.
func (e *Engine) Observe(ctx context.Context) (*State, error) {
	const step = "observe"
	refs, until, err := e.refs(ctx)
	if err != nil {
		return nil, stepError(step, sideGit, err)
	}
	current, err := snapshot.ReadCurrent(ctx, e.Repo, refs, e.branch())
	if err != nil {
		side := sideGit
		var broken *snapshot.ConfigError
		if errors.As(err, &broken) {
			side = sideConfig
		}
		return nil, stepError(step, side, err)
	}
	pipeline := current.Pipeline
	e.memory.name(pipeline.Name)
	s := &State{
		Now: e.now(), Settle: e.Settle, Pipeline: pipeline, SourceTip: current.Tip, refsUntil: until,
		Tags: make(map[snapshot.Version]gitrepo.Hash, len(refs)), Damaged: map[snapshot.Version]string{},
	}
	if current.Fault != nil {
		s.ConfigFault = current.Fault.Error()
	}
	ours := gitrepo.Tags + pipeline.Name + "/"
	for name, id := range refs {
		if !strings.HasPrefix(name, ours) {
			continue
		}
		if v, err := snapshot.ParseVersion(strings.TrimPrefix(name, gitrepo.Tags)); err == nil {
			v.Pipeline = pipeline.Name // not a part of the list, which would be kept with it
			s.Tags[v] = id
		}
	}
	s.sorted = e.memory.newestFirst(s.Tags)
	if err := e.observeLedgers(ctx, s, refs); err != nil {
		return nil, stepError(step, sideGit, err)
	}
	if err := e.observeHotfixes(ctx, s, refs); err != nil {
		return nil, stepError(step, sideGit, err)
	}
	if err := e.observeApprovals(ctx, s, refs); err != nil {
		return nil, stepError(step, sideGit, err)
	}
	if err := e.observeRequests(ctx, s, refs); err != nil {
		return nil, stepError(step, sideGit, err)
	}
	if err := e.observeApplications(ctx, s); err != nil {
		return nil, stepError(step, sideArgo, err)
	}
	if err := e.observeTiming(ctx, s); err != nil {
		return nil, stepError(step, sideGit, err)
	}
	if err := e.observeTags(ctx, s, refs); err != nil {
		return nil, stepError(step, sideGit, err)
	}
	return s, nil
}

// refsLife is how long a list of refs is good enough for a [Glance].
const refsLife = 2 * time.Second

// refs lists branches and tags, or returns those that were listed a moment ago, and
// until when these may be used; that is zero when they were listed now.
func (e *Engine) refs(ctx context.Context) (refs gitrepo.Refs, until time.Time, err error) {
	now := e.now()
	if isGlance(ctx) {
		if refs, until, ok := e.memory.recentRefs(now); ok {
			return refs, until, nil
		}
	}
	refs, err = e.Repo.Refs(ctx, gitrepo.Heads, gitrepo.Tags)
	if err == nil {
		e.memory.keepRefs(refs, now)
	}
	return refs, time.Time{}, err
}

// observeLedgers reads every environment's history and the snapshots that
// matter: what the environments point at, and the newest.
func (e *Engine) observeLedgers(ctx context.Context, s *State, refs gitrepo.Refs) error {
	var tips []gitrepo.Hash
	for _, environment := range s.Pipeline.Environments {
		if tip := refs[gitrepo.Heads+environment.Branch]; !environment.First() && tip != "" {
			tips = append(tips, tip)
		}
	}
	if len(tips) > 0 {
		if err := e.Repo.Fetch(ctx, tips, gitrepo.FetchOptions{Depth: historyDepth, CommitsOnly: true}); err != nil {
			return err
		}
	}
	wanted := map[snapshot.Version]bool{}
	if versions := s.Versions(); len(versions) > 0 {
		wanted[versions[0]] = true
	}
	for _, environment := range s.Pipeline.Environments {
		if environment.First() {
			continue
		}
		state := Environment{Environment: environment, Tip: refs[gitrepo.Heads+environment.Branch]}
		state.History, state.Unreadable = e.readLedger(s.Pipeline.Name, environment.Name, state.Tip)
		if current := state.Current().Snapshot; !current.IsZero() {
			wanted[current] = true
			if s.Tags[current] == "" {
				state.Unreadable = fmt.Sprintf("it names %s, but the tag is gone", current)
			}
		}
		s.Environments = append(s.Environments, state)
	}
	snapshots, err := e.readSnapshots(ctx, s, wanted)
	if err != nil {
		return err
	}
	if err := e.findNewest(ctx, s, snapshots); err != nil {
		return err
	}
	for i := range s.Environments {
		state := &s.Environments[i]
		current := state.Current().Snapshot
		if state.Unreadable != "" || current.IsZero() {
			continue
		}
		found := snapshots[current]
		if found.err == nil {
			state.Snapshot = &found.Snapshot
			if state.Current().Tree != found.Tree {
				state.Unreadable = fmt.Sprintf("the tag %s does not name the tree that the branch has: the tag was moved", current)
				continue
			}
			state.Targets, found.err = e.targets(found.Snapshot, state.Name)
		}
		if found.err != nil {
			state.Unreadable = found.err.Error()
		}
	}
	e.observeRewritten(s)
	return nil
}

func (e *Engine) readLedger(pipeline, environment string, tip gitrepo.Hash) (history []snapshot.Entry, unreadable string) {
	if tip == "" {
		return nil, ""
	}
	commits, err := gitrepo.FirstParents(e.Repo, tip, historyDepth)
	if err != nil {
		return nil, err.Error()
	}
	for _, c := range commits {
		entry, err := snapshot.ParseEntry(c.ID, c.Commit)
		if err != nil {
			return nil, err.Error()
		}
		if entry.Environment != environment {
			return nil, fmt.Sprintf("its branch is the ledger of environment %q; correct branch: in %s", entry.Environment, config.File)
		}
		if owner := entry.Snapshot.Pipeline; owner != "" && owner != pipeline {
			return nil, fmt.Sprintf("its branch is the ledger of pipeline %q, and metadata.name in %s is %q", owner, config.File, pipeline)
		}
		history = append(history, entry)
	}
	return history, ""
}

// findNewest takes the newest sound snapshot and notes the damaged ones above
// it: a tag that somebody set by mistake must not stop everything.
func (e *Engine) findNewest(ctx context.Context, s *State, read map[snapshot.Version]readSnapshot) error {
	for i, version := range s.Versions() {
		if i == maxDamaged {
			return fmt.Errorf("the %d newest snapshot tags are all damaged: %s", maxDamaged, s.Damaged[version])
		}
		found, ok := read[version]
		if !ok {
			more, err := e.readSnapshots(ctx, s, map[snapshot.Version]bool{version: true})
			if err != nil {
				return err
			}
			found = more[version]
		}
		if found.err == nil {
			s.Newest = &found.Snapshot
			return nil
		}
		s.Damaged[version] = found.err.Error()
	}
	return nil
}

// maxDamaged bounds how many damaged tags are looked at.
const maxDamaged = 20

type readSnapshot struct {
	snapshot.Snapshot
	err error
}

// readSnapshots fetches and reads snapshots in one go.
func (e *Engine) readSnapshots(ctx context.Context, s *State, wanted map[snapshot.Version]bool) (map[snapshot.Version]readSnapshot, error) {
	var ids []gitrepo.Hash
	for v := range wanted {
		if id := s.Tags[v]; id != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	slices.Sort(ids)
	if err := e.Repo.Fetch(ctx, ids, gitrepo.FetchOptions{Depth: snapshotDepth}); err != nil {
		return nil, err
	}
	found := map[snapshot.Version]readSnapshot{}
	for v := range wanted {
		if id := s.Tags[v]; id != "" {
			read, err := e.readSnapshot(ctx, id, v)
			if err != nil && transient(ctx, err) {
				return nil, err
			}
			found[v] = readSnapshot{read, err}
		}
	}
	return found, nil
}

// targets lists what a snapshot deploys to an environment, by the snapshot's
// own configuration.
func (e *Engine) targets(s snapshot.Snapshot, environment string) ([]snapshot.Target, error) {
	pipeline, err := snapshot.ReadConfig(e.Repo, s.Tree)
	if err != nil {
		return nil, err
	}
	return snapshot.Targets(pipeline, s.Lock, environment)
}

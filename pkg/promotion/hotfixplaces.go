package promotion

import (
	"context"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Whereabouts is whether a hotfix is in one place.
type Whereabouts struct {
	// Place is a branch, or an environment with the snapshot that it runs.
	Place   string
	Version snapshot.Version
	hotfix.Containment
}

// find looks for a hotfix, and remembers: the same commits always give the same
// answer.
func (e *Engine) find(ctx context.Context, d snapshot.Debt, in hotfix.Place) (hotfix.Containment, error) {
	key := findKey{d.Base, d.Head, d.In, in.Tree, in.Commit, d.Since}
	known, ok := e.memory.found.get(key)
	if age := e.now().Sub(known.at); ok && (known.Doubt == "" || age >= 0 && age < verdictLife) {
		return known.Containment, nil
	}
	found, err := e.memory.finder.Find(ctx, e.Repo, d, in)
	if err == nil {
		e.memory.found.put(key, pastFind{found, e.now()})
	}
	return found, err
}

// Contains tells whether a snapshot contains a hotfix, and what shows that.
func (e *Engine) Contains(ctx context.Context, s *State, d snapshot.Debt, in snapshot.Snapshot) (hotfix.Containment, error) {
	return e.contained(ctx, s, d, e.placeOf(s, in))
}

// contained is find; where that does not know, because the same lines were
// changed, it asks the hotfixes that were made on top of this one. If all that
// changed from the base of this one to the head of such a one is in the place,
// the place has gone on from this one the way they did. One that takes this one
// back shows nothing.
func (e *Engine) contained(ctx context.Context, s *State, d snapshot.Debt, in hotfix.Place) (hotfix.Containment, error) {
	found, err := e.find(ctx, d, in)
	if err != nil || found.Answer != hotfix.Unknown {
		return found, err
	}
	for _, h := range s.Hotfixes {
		if !h.follows(d) {
			continue
		}
		both := snapshot.Debt{Hotfix: snapshot.Hotfix{Name: d.Name, Base: d.Base, Head: h.Head}}
		later, err := e.find(ctx, both, in)
		if err != nil {
			return found, err
		}
		// What the history says is about the later one alone.
		if later.Answer != hotfix.Contained || later.Evidence != hotfix.MergeIsEmpty || later.Commit != "" {
			continue
		}
		has, err := e.hasGoneOnFrom(ctx, h, d)
		if err != nil {
			return found, err
		}
		if has {
			return hotfix.Containment{Answer: hotfix.Contained, Evidence: hotfix.Followed, Commit: h.Head}, nil
		}
	}
	return found, nil
}

// hasGoneOnFrom reports whether the other hotfix is in the tree of this one's head,
// was changed there on top of it, or was merged into the branch by somebody who
// decided what becomes of the lines that both change.
func (e *Engine) hasGoneOnFrom(ctx context.Context, h Hotfix, d snapshot.Debt) (bool, error) {
	if err := e.fetchHotfixes(ctx, []snapshot.Hotfix{h.Hotfix}); err != nil {
		return false, err
	}
	head, err := gitrepo.ReadCommit(e.Repo, h.Head)
	if err != nil {
		return false, err
	}
	found, err := e.find(ctx, d, hotfix.Place{Name: h.Ref(), Tree: head.Tree, Commit: h.Head})
	if err != nil || found.Answer == hotfix.Contained {
		return err == nil, err
	}
	if len(found.Conflicts) == 0 || len(found.Changes) > 0 {
		return false, nil
	}
	return hotfix.Merges(e.Repo, h.Hotfix, d.Head)
}

// follows reports whether the hotfix may have been made on top of another.
func (h Hotfix) follows(d snapshot.Debt) bool {
	if h.Fault != "" || h.Head == d.Head || h.Base == "" {
		return false
	}
	return h.Base == d.Head || !d.Since.IsZero() && h.From.SameLine(d.Since) && h.From.Compare(d.Since) >= 0
}

// locate looks for a hotfix on the source branch and in what the environments
// run.
func (e *Engine) locate(ctx context.Context, s *State, h *Hotfix, debt snapshot.Debt) error {
	if h.Closed != nil || h.Fault != "" {
		return nil
	}
	look := func(place string, version snapshot.Version, in hotfix.Place) error {
		found, err := e.contained(ctx, s, debt, in)
		if err != nil {
			if transient(ctx, err) {
				return err
			}
			found = hotfix.Containment{Answer: hotfix.Unknown, Doubt: err.Error()}
		}
		h.In = append(h.In, Whereabouts{Place: place, Version: version, Containment: found})
		return nil
	}
	tip, err := gitrepo.ReadCommit(e.Repo, s.SourceTip)
	if err != nil {
		return err
	}
	branch := s.Pipeline.Source.Branch
	if err := look(branch, snapshot.Version{}, hotfix.Place{Name: branch, Tree: tip.Tree, Commit: s.SourceTip}); err != nil {
		return err
	}
	for _, environment := range s.Environments {
		if environment.Snapshot == nil || environment.Unreadable != "" {
			continue
		}
		at := environment.Snapshot
		if err := look(environment.Name, at.Lock.Version, e.placeOf(s, *at)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) placeOf(s *State, snap snapshot.Snapshot) hotfix.Place {
	place := hotfix.Place{Name: snap.Lock.Version.String(), Tree: snap.Tree, Commit: snap.Source}
	if e.Services != nil {
		place.Images, place.Origins = snap.Lock.Images, origins{e, s}
	}
	return place
}

// origins implements [hotfix.Origins].
type origins struct {
	engine *Engine
	state  *State
}

// Of implements [hotfix.Origins]. Snapshots that are gone tell nothing.
func (o origins) Of(ctx context.Context, h snapshot.Hotfix) ([]snapshot.Image, error) {
	composed, err := o.engine.Snapshot(ctx, o.state, h.Since)
	if err != nil || composed.Lock.Base == nil {
		return nil, unlessTransient(ctx, err)
	}
	below, err := o.engine.Snapshot(ctx, o.state, composed.Lock.Base.Snapshot)
	if err != nil {
		return nil, unlessTransient(ctx, err)
	}
	return hotfix.Brought(composed.Lock, below.Lock), nil
}

// Repository implements [hotfix.Origins].
func (o origins) Repository(image string) (gitrepo.Reader, error) {
	return o.engine.Services(o.state.Pipeline, image)
}

func unlessTransient(ctx context.Context, err error) error {
	if err != nil && transient(ctx, err) {
		return err
	}
	return nil
}

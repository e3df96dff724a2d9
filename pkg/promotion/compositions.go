package promotion

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Composition is a patch that is due: hotfixes onto the newest snapshot of a
// line.
type Composition struct {
	Onto     snapshot.Snapshot
	Version  snapshot.Version
	Hotfixes []snapshot.Hotfix
}

// observeCompositions finds out which patches are due: on each line that an
// environment runs, the hotfixes cut from it, and those that are debts of an
// environment which runs an earlier line.
func (e *Engine) observeCompositions(ctx context.Context, s *State, lines []snapshot.Snapshot) error {
	for _, line := range lines {
		onto, err := e.withoutDropped(ctx, s, line)
		if err != nil && transient(ctx, err) {
			return err
		}
		if err != nil {
			s.Damaged[onto.Lock.Base.Snapshot] = err.Error()
			continue // nobody can say what the line is without the dropped one
		}
		pool, err := e.pool(ctx, s, onto)
		if err != nil || len(pool) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		composed, err := e.tryCompose(ctx, s, onto, pool)
		if err != nil {
			return err
		}
		for _, left := range composed.Left {
			s.leave(left, onto.Lock.Version)
		}
		// Who sees the first environment can read where new images come from.
		if len(composed.Hotfixes) > 0 && e.sees(s.Pipeline.First().Name) {
			s.Compositions = append(s.Compositions, Composition{Onto: onto, Version: s.nextPatch(onto.Lock.Version), Hotfixes: composed.Hotfixes})
		}
	}
	return nil
}

// tryCompose finds out which of the hotfixes can be merged onto a snapshot, and
// remembers: the same commits always come to the same.
func (e *Engine) tryCompose(ctx context.Context, s *State, onto snapshot.Snapshot, pool []snapshot.Hotfix) (hotfix.Composition, error) {
	of := fmt.Sprintf("%s %s", onto.ID, onto.Lock.Version)
	for _, h := range pool {
		of += fmt.Sprintf(" %s %s %s %s", h.Name, h.Base, h.Head, h.Since)
	}
	key := sha256.Sum256([]byte(of))
	if known, ok := e.memory.composed.get(key); ok {
		return known, nil
	}
	if err := e.fetchHotfixes(ctx, pool); err != nil {
		return hotfix.Composition{}, err
	}
	composed, err := hotfix.Compose(e.Repo, onto.Tree, onto.Lock.Version.String(), pool)
	if err != nil {
		return hotfix.Composition{}, err
	}
	composed.Objects = nil // it is made again when it is due
	for i := range composed.Left {
		left := &composed.Left[i]
		left.Note = s.rewritten(left.Hotfix, onto)
		if err := e.blame(ctx, left, onto); err != nil && transient(ctx, err) {
			return hotfix.Composition{}, err
		}
	}
	e.memory.composed.putAmong(maxSnapshots, key, composed)
	return composed, nil
}

// blame finds out whether a hotfix that conflicts with a composed snapshot does so
// because of a hotfix in it.
func (e *Engine) blame(ctx context.Context, left *hotfix.Left, onto snapshot.Snapshot) error {
	if left.Against != "" || len(onto.Lock.Hotfixes) == 0 {
		return nil
	}
	if err := e.fetchHotfixes(ctx, append(slices.Clone(onto.Lock.Hotfixes), left.Hotfix)); err != nil {
		return err
	}
	base, err := gitrepo.ReadCommit(e.Repo, left.Base)
	if err != nil {
		return err
	}
	for _, other := range onto.Lock.Hotfixes {
		both, err := hotfix.Compose(e.Repo, base.Tree, left.Base.Short(), []snapshot.Hotfix{other, left.Hotfix})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(both.Left, func(l hotfix.Left) bool { return l.Against != "" }) {
			left.Against = other.Name
			return nil
		}
	}
	return nil
}

// withoutDropped is the newest snapshot of a line in which there is no hotfix
// that somebody dropped.
func (e *Engine) withoutDropped(ctx context.Context, s *State, line snapshot.Snapshot) (snapshot.Snapshot, error) {
	for line.Lock.Base != nil && slices.ContainsFunc(line.Lock.Hotfixes, func(h snapshot.Hotfix) bool {
		c := s.closed(h)
		return c != nil && c.Dropped
	}) {
		// By its commit: somebody may have deleted the tag.
		base := *line.Lock.Base
		if err := e.Repo.Fetch(ctx, []gitrepo.Hash{base.Commit}, gitrepo.FetchOptions{Depth: snapshotDepth}); err != nil {
			return line, err
		}
		below, err := e.readSnapshot(ctx, base.Commit, base.Snapshot)
		if err != nil {
			return line, err
		}
		line = below
	}
	return line, nil
}

// pool lists the hotfixes that belong onto a snapshot and are not in it.
func (e *Engine) pool(ctx context.Context, s *State, onto snapshot.Snapshot) ([]snapshot.Hotfix, error) {
	version := onto.Lock.Version
	var pool []snapshot.Hotfix
	for _, h := range s.Hotfixes {
		if slices.ContainsFunc(pool, func(other snapshot.Hotfix) bool { return other.Head == h.Head }) {
			continue // another name for the same
		}
		own := h.Onto.SameLine(version)
		earlier := h.Onto.Compare(version) < 0 && len(h.Owed) > 0
		in := slices.ContainsFunc(onto.Lock.Hotfixes, func(other snapshot.Hotfix) bool { return other.Head == h.Head })
		if h.Fault != "" || h.Closed != nil || in || !own && !earlier {
			continue
		}
		found, err := e.contained(ctx, s, snapshot.Debt{Hotfix: h.Hotfix}, e.placeOf(s, onto))
		if err != nil {
			if transient(ctx, err) {
				return nil, err
			}
			s.leave(hotfix.Left{Hotfix: h.Hotfix, Note: err.Error()}, version)
			continue
		}
		if found.Answer != hotfix.Contained && found.Answer != hotfix.Reverted {
			h.Since = s.nextPatch(version)
			pool = append(pool, h.Hotfix)
		}
	}
	return pool, nil
}

func (s *State) leave(left hotfix.Left, onto snapshot.Version) {
	for i := range s.Hotfixes {
		if s.Hotfixes[i].Head != left.Head {
			continue
		}
		if s.Hotfixes[i].Left == nil {
			s.Hotfixes[i].Left = map[snapshot.Version]hotfix.Left{}
		}
		s.Hotfixes[i].Left[onto] = left
	}
}

// rewritten says that a branch was rewritten after it was composed, if it was, and
// what its author can do: what was composed stays.
func (s *State) rewritten(h snapshot.Hotfix, onto snapshot.Snapshot) string {
	i := slices.IndexFunc(onto.Lock.Hotfixes, func(other snapshot.Hotfix) bool { return other.Name == h.Name })
	if i < 0 {
		return ""
	}
	before := onto.Lock.Hotfixes[i]
	return fmt.Sprintf("the branch was rewritten: it was at %s when %s was made of it, which stays; go on from there: git rebase --onto %s %s hotfix/%s",
		before.Head.Short(), before.Since, before.Head.Short(), h.Base.Short(), h.Name)
}

// nextPatch is the version of the next composition of a line.
func (s *State) nextPatch(of snapshot.Version) snapshot.Version {
	highest := of
	for v := range s.Tags {
		if v.SameLine(of) && v.Compare(highest) > 0 {
			highest = v
		}
	}
	next := highest.NextPatch()
	for s.Reserved[next] {
		next = next.NextPatch()
	}
	return next
}

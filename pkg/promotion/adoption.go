package promotion

import (
	"context"
	"errors"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// trailerSourceTag is how a snapshot's commit names the tag that it was
// captured because of.
const trailerSourceTag = "Propagator-Source-Tag"

// beginning is where the captures of tags began.
type beginning struct {
	version snapshot.Version
	// id is the snapshot and source the commit that it was made of.
	id, source gitrepo.Hash
	// tagged is false as long as no tag was captured; it is then the newest
	// snapshot, if there is one.
	tagged bool
}

// adopt chooses which of the tags on the branch, all above the newest snapshot,
// are to be captured: tags may be older than the pipeline, or than its interest
// in them.
//
//   - A tag on a commit from before the first capture of a tag, or before the
//     newest snapshot as long as there was none, is left alone: its version may
//     be high, but to capture it would send environments back.
//   - One whose commit has no usable configuration cannot be captured.
//   - Of the others, before the first capture of a tag, only the highest counts.
func (e *Engine) adopt(ctx context.Context, s *State, tags, here []sourceTag) (chosen []sourceTag, adopting bool, err error) {
	if len(here) == 0 {
		return nil, true, nil
	}
	begin, err := e.findBeginning(ctx, s, tags)
	if err != nil {
		return nil, false, err
	}
	here, before, err := e.since(ctx, begin, here)
	if err != nil {
		return nil, false, err
	}
	s.tagWait(TagOlder, before, "%s on commits before %s, which is snapshot %s", list(before), begin.source.Short(), begin.version)
	chosen, without, err := e.configured(ctx, here, !begin.tagged)
	if err != nil {
		return nil, false, err
	}
	s.tagWait(TagWithoutConfig, without, "%s", list(without))
	return chosen, !begin.tagged, nil
}

// findBeginning looks for the snapshot with the lowest version that was captured
// because of one of the tags. At most maxSourceTags are looked at, of which the
// commits alone are fetched.
func (e *Engine) findBeginning(ctx context.Context, s *State, tags []sourceTag) (beginning, error) {
	var begin beginning
	if s.Newest != nil {
		begin = beginning{version: s.Newest.Lock.Version, id: s.Newest.ID, source: s.Newest.Source}
	}
	for _, snap := range s.captured() {
		if v := snap.Lock.Version; snap.Lock.Source.Tag != "" && (!begin.tagged || v.Compare(begin.version) < 0) {
			begin = beginning{version: v, id: snap.ID, source: snap.Source, tagged: true}
		}
	}
	var (
		versions []snapshot.Version
		ids      []gitrepo.Hash
	)
	for _, tag := range tags {
		id, known := s.Tags[tag.version]
		if len(versions) == maxSourceTags || begin.tagged && tag.version.Compare(begin.version) >= 0 {
			break
		}
		if _, damaged := s.Damaged[tag.version]; known && !damaged {
			versions, ids = append(versions, tag.version), append(ids, id)
		}
	}
	if len(ids) == 0 {
		return begin, nil
	}
	if err := e.Repo.Fetch(ctx, ids, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return begin, err
	}
	for i, id := range ids {
		commit, err := gitrepo.ReadCommit(e.Repo, id)
		if err != nil || len(commit.Parents) == 0 {
			continue // not a snapshot: it proves nothing
		}
		if snapshot.ParseTrailers(commit.Message).Get(trailerSourceTag) != "" {
			return beginning{version: versions[i], id: id, source: commit.Parents[0], tagged: true}, nil
		}
	}
	return begin, nil
}

// since separates the tags on commits that came before the beginning. One on
// the very commit did not.
func (e *Engine) since(ctx context.Context, begin beginning, tags []sourceTag) (here, before []sourceTag, err error) {
	if begin.id == "" {
		return tags, nil, nil
	}
	// The branch may have been rewritten since, so its history is not enough.
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{begin.id}, gitrepo.FetchOptions{Depth: sourceHistory, CommitsOnly: true}); err != nil {
		return nil, nil, err
	}
	old, _, err := reachable(e.Repo, []gitrepo.Hash{begin.source}, commitsOf(tags))
	if err != nil {
		return nil, nil, err
	}
	before, here = split(tags, func(t sourceTag) bool { return t.commit != begin.source && old[t.commit] })
	return here, before, nil
}

// configured separates the tags on commits without a usable configuration. If
// only the highest counts, the others are looked at only if it is needed.
func (e *Engine) configured(ctx context.Context, tags []sourceTag, highest bool) (with, without []sourceTag, err error) {
	look := tags
	if highest {
		look = tags[max(0, len(tags)-1):]
	}
	if with, without, err = e.readConfigs(ctx, look); err != nil || !highest || len(with) > 0 || len(tags) < 2 {
		return with, without, err
	}
	with, lower, err := e.readConfigs(ctx, tags[:len(tags)-1])
	if err != nil {
		return nil, nil, err
	}
	with = with[max(0, len(with)-1):]
	if len(with) > 0 {
		// Nobody has to hear about those that would not count anyway.
		lower = slices.DeleteFunc(lower, func(t sourceTag) bool { return t.version.Compare(with[0].version) < 0 })
	}
	return with, slices.Concat(lower, without), nil
}

func (e *Engine) readConfigs(ctx context.Context, tags []sourceTag) (with, without []sourceTag, err error) {
	if len(tags) == 0 {
		return nil, nil, nil
	}
	if err := e.Repo.Fetch(ctx, commitsOf(tags), gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, nil, err
	}
	usable := map[gitrepo.Hash]bool{}
	for _, id := range commitsOf(tags) {
		commit, err := gitrepo.ReadCommit(e.Repo, id)
		if err != nil {
			return nil, nil, err
		}
		_, err = snapshot.ReadConfig(e.Repo, commit.Tree)
		if errors.Is(err, gitrepo.ErrNotFound) {
			return nil, nil, err // not here, which says nothing about what it holds
		}
		usable[id] = err == nil
	}
	with, without = split(tags, func(t sourceTag) bool { return usable[t.commit] })
	return with, without, nil
}

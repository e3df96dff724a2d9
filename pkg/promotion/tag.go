package promotion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// sourceHistory is how far back on the source branch a commit is looked for.
const sourceHistory = historyDepth * 4

// maxSourceTags bounds how many tags are looked at in one observation; those
// with the highest versions come first.
const maxSourceTags = 64

// sourceTag is a tag of the form that source.tags asks for.
type sourceTag struct {
	name    string
	version snapshot.Version
	// id is what the ref names, a commit or an annotated tag; commit is what is
	// behind it, empty when that is no commit.
	id, commit gitrepo.Hash
}

func (t sourceTag) String() string {
	if t.commit == "" {
		return t.name
	}
	return t.name + " (" + t.commit.Short() + ")"
}

// SourceTag reads the name of a tag as the configuration wants it: v1.5.0 is
// the version shop/v1.5.0. It is false where tags are not captured or the name
// has another form.
func SourceTag(p *config.Pipeline, name string) (snapshot.Version, bool) {
	number, ok := p.Source.MatchTag(name)
	if !ok || !p.Source.Captures(config.CaptureTag) {
		return snapshot.Version{}, false
	}
	version, err := snapshot.ParseVersion(p.Name + "/v" + number)
	return version, err == nil
}

// observeTags finds the tagged commits that are to be captured, and what is to
// be said about other tags. It costs nothing beyond the list of refs unless
// there is a tag that was not seen before.
//
// What was captured tells which tags are new: those with a version above the
// newest snapshot's, as far as [Engine.adopt] does not find them older.
func (e *Engine) observeTags(ctx context.Context, s *State, refs gitrepo.Refs) error {
	first := s.Pipeline.First()
	if !s.Pipeline.Source.Captures(config.CaptureTag) {
		return nil
	}
	tags, odd := sourceTags(s, refs)
	s.Reserved = map[snapshot.Version]bool{}
	for _, tag := range tags {
		s.Reserved[tag.version] = true
	}
	if s.ConfigFault != "" || !e.sees(first.Name) {
		return nil
	}
	captured := s.captured()
	var above, compare, older []sourceTag
	for _, tag := range tags {
		snap, read := captured[tag.version]
		switch {
		case read && snap.Source != tag.id:
			compare = append(compare, tag)
		case s.Tags[tag.version] != "":
		case s.Newest == nil || tag.version.Compare(s.Newest.Lock.Version) > 0:
			above = append(above, tag)
		case tag.version.Compare(s.oldest()) > 0:
			older = append(older, tag)
		}
	}
	above = above[max(0, len(above)-maxSourceTags):]
	behind, err := e.peel(ctx, slices.Concat(above, compare))
	if err != nil {
		return err
	}
	for _, tag := range compare {
		if snap := captured[tag.version]; behind[tag.id] != snap.Source {
			tag.commit = behind[tag.id]
			s.tagWait(TagDiffers, []sourceTag{tag}, "%s", differs(tag, snap))
		}
	}
	for i := range above {
		above[i].commit = behind[above[i].id]
	}
	if err := e.chooseTags(ctx, s, tags, above); err != nil {
		return err
	}
	s.tagWait(TagNotVersion, odd, "%s", list(odd))
	if s.Newest != nil {
		s.tagWait(TagOlder, older, "%s below %s", list(older), s.Newest.Lock.Version)
	}
	if s.Pipeline.Source.FollowsFirst() {
		return nil
	}
	s.CandidateWait = Wait{}
	if len(s.Tagged) == 0 {
		s.CandidateWait = Wait{Environment: first.Name, Reason: TagExpected, Detail: fmt.Sprintf("tags %s on %s", s.Pipeline.Source.Tags, s.Pipeline.Source.Branch)}
	}
	return nil
}

// chooseTags puts those of the tags above the newest snapshot that are to be
// captured into the state, and says why the others are not.
func (e *Engine) chooseTags(ctx context.Context, s *State, tags, above []sourceTag) error {
	if len(above) == 0 {
		return nil
	}
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{s.SourceTip}, gitrepo.FetchOptions{Depth: sourceHistory, CommitsOnly: true}); err != nil {
		return err
	}
	onBranch, complete, err := reachable(e.Repo, []gitrepo.Hash{s.SourceTip}, commitsOf(above))
	if err != nil {
		return err
	}
	where := "on " + s.Pipeline.Source.Branch
	if !complete {
		where = fmt.Sprintf("among the newest %d generations of %s", sourceHistory, s.Pipeline.Source.Branch)
	}
	here, elsewhere := split(above, func(t sourceTag) bool { return onBranch[t.commit] })
	chosen, adopting, err := e.adopt(ctx, s, tags, here)
	if err != nil {
		return err
	}
	for _, tag := range chosen {
		s.Tagged = append(s.Tagged, Candidate{Commit: tag.commit, Tag: tag.name, Version: tag.version})
	}
	if adopting && len(chosen) > 0 {
		// Nobody has to hear about tags that were there before.
		elsewhere = slices.DeleteFunc(elsewhere, func(t sourceTag) bool { return t.version.Compare(chosen[0].version) < 0 })
	}
	s.tagWait(TagNotOnBranch, elsewhere, "%s not %s", list(elsewhere), where)
	return nil
}

// commitsOf lists what the tags name.
func commitsOf(tags []sourceTag) []gitrepo.Hash {
	var ids []gitrepo.Hash
	for _, tag := range tags {
		ids = append(ids, tag.commit)
	}
	return ids
}

// split keeps the order.
func split(tags []sourceTag, by func(sourceTag) bool) (yes, no []sourceTag) {
	for _, tag := range tags {
		if by(tag) {
			yes = append(yes, tag)
		} else {
			no = append(no, tag)
		}
	}
	return yes, no
}

// sourceTags lists the tags of the form that the configuration asks for by
// version, lowest first, and those whose names have that form but no version,
// unless what they begin with is a version that is behind us.
func sourceTags(s *State, refs gitrepo.Refs) (tags, odd []sourceTag) {
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		name, ok := strings.CutPrefix(ref, gitrepo.Tags)
		if !ok {
			continue
		}
		number, ok := s.Pipeline.Source.MatchTag(name)
		if !ok {
			continue
		}
		tag := sourceTag{name: name, id: refs[ref]}
		if tag.version, ok = SourceTag(s.Pipeline, name); ok {
			tags = append(tags, tag)
			continue
		}
		if v, ok := about(s.Pipeline.Name, number); !ok || s.Newest == nil || v.Compare(s.Newest.Lock.Version) > 0 {
			odd = append(odd, tag)
		}
	}
	slices.SortFunc(tags, func(a, b sourceTag) int { return a.version.Compare(b.version) })
	return tags, odd
}

// about is the version that something which is none begins with: v1.5.0 for
// 1.5.0-rc.1 and for 1.5.
func about(pipeline, number string) (snapshot.Version, bool) {
	number = number[:len(number)-len(strings.TrimLeft(number, "0123456789."))]
	for strings.Count(number, ".") < 2 {
		number += ".0"
	}
	v, err := snapshot.ParseVersion(pipeline + "/v" + number)
	return v, err == nil
}

// peel finds the commits behind what the tags' refs name.
func (e *Engine) peel(ctx context.Context, tags []sourceTag) (map[gitrepo.Hash]gitrepo.Hash, error) {
	var ids []gitrepo.Hash
	for _, tag := range tags {
		ids = append(ids, tag.id)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	options := gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}
	err := e.Repo.Fetch(ctx, ids, options)
	for _, id := range ids {
		if err == nil || ctx.Err() != nil {
			break
		}
		// One tag that names something odd, or is gone meanwhile, must not hide
		// the others.
		if one := e.Repo.Fetch(ctx, []gitrepo.Hash{id}, options); one != nil && !errors.Is(one, gitrepo.ErrNotFound) {
			return nil, one
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	commits := map[gitrepo.Hash]gitrepo.Hash{}
	for _, id := range ids {
		commits[id] = commitBehind(e.Repo, id)
	}
	return commits, nil
}

// maxNestedTags bounds how often an annotated tag may name another one.
const maxNestedTags = 8

// commitBehind follows annotated tags; empty when no commit is found.
func commitBehind(r gitrepo.Objects, id gitrepo.Hash) gitrepo.Hash {
	for range maxNestedTags {
		object, err := r.Object(id)
		if err != nil {
			return ""
		}
		if object.Type == gitrepo.TypeCommit {
			return id
		}
		tag, err := gitrepo.ParseTag(object)
		if err != nil {
			return ""
		}
		id = tag.Object
	}
	return ""
}

// checkTag looks whether the tag of a capture is where it was: copying images
// takes its time, and meanwhile it may have been moved or deleted.
func (e *Engine) checkTag(ctx context.Context, s *State, step Step) error {
	ref := gitrepo.Tags + step.Tag
	refs, err := e.Repo.Refs(ctx, ref)
	if err != nil {
		return err
	}
	first := s.Pipeline.First().Name
	now := sourceTag{name: step.Tag, id: refs[ref]}
	if now.id == "" {
		return refused(first, step.Version, TagDiffers, "tag %s was deleted while images were copied", step.Tag)
	}
	behind, err := e.peel(ctx, []sourceTag{now})
	if err != nil {
		return err
	}
	if now.commit = behind[now.id]; now.commit != step.Commit {
		return refused(first, step.Version, TagDiffers, "tag %s was moved from %s to %s while images were copied; it is captured anew", step.Tag, step.Commit.Short(), orNothing(now.commit))
	}
	return nil
}

// differs says how a tag and the snapshot of its version contradict each other.
func differs(tag sourceTag, snap snapshot.Snapshot) string {
	origin := "of " + snap.Source.Short()
	if snap.Lock.Source.Tag != tag.name {
		origin += ", which was not captured because of this tag"
	}
	return fmt.Sprintf("tag %s names %s; the snapshot is and stays that %s", tag.name, orNothing(tag.commit), origin)
}

// tagWait adds one wait for all tags of a kind; none for none.
func (s *State) tagWait(reason Reason, tags []sourceTag, format string, args ...any) {
	if len(tags) == 0 {
		return
	}
	newest := tags[len(tags)-1].version
	s.TagWaits = append(s.TagWaits, Wait{Environment: s.Pipeline.First().Name, Version: newest.String(), Reason: reason, Detail: fmt.Sprintf(format, args...)})
}

// maxListed is how many tags a message names.
const maxListed = 3

// list names the newest of the tags.
func list(tags []sourceTag) string {
	var names []string
	for _, tag := range slices.Backward(tags) {
		if len(names) == maxListed {
			return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(tags)-maxListed)
		}
		names = append(names, tag.String())
	}
	return strings.Join(names, ", ")
}

package hotfix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Bounds of what is looked at where the trees alone do not tell: generations of
// the place's history, commits in it whose change is compared, and commits before
// the hotfix whose lines are remembered.
const (
	historyLimit = 2048
	patchLimit   = 1024
	beforeLimit  = 64
)

// search looks for the hotfix in the history of a place.
func (f *Finder) search(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place, base, head gitrepo.Hash, c *Containment) error {
	past, err := f.past.of(ctx, r, in.Commit)
	if err != nil {
		return err
	}
	// What the hotfix was made on, and its own commits.
	if err := r.Fetch(ctx, []gitrepo.Hash{d.Base, d.Head}, gitrepo.FetchOptions{Depth: searchDepth[0], CommitsOnly: true}); err != nil {
		return err
	}
	c.Evidence, c.Commit, err = past.testimony(r, d)
	if err != nil {
		return err
	}
	if c.Evidence == "" {
		if c.Commit, err = f.searchChange(ctx, r, d, base, head, past); err != nil {
			return err
		}
		if c.Commit != "" {
			c.Evidence = PatchID
		}
	}
	if c.Evidence != "" {
		c.By = past.reverts(d, c.Commit)
	}
	return nil
}

// past keeps histories, what their commits change and what is in their folders,
// none of which ever becomes different. The zero value is ready for use.
type past struct {
	mu        sync.Mutex
	histories map[gitrepo.Hash]*chronicle
	patches   map[gitrepo.Hash]string
	entries   map[entryKey]gitrepo.Entry // a zero one for what is not there
}

// entryKey is a name in a folder.
type entryKey struct {
	tree gitrepo.Hash
	name string
}

// Bounds of what is remembered; when there is more, all is forgotten.
const (
	maxHistories = 8
	maxPatches   = 8192
	maxEntries   = 16384
)

// lookup is [gitrepo.Lookup]. The same folders are in most of a history's trees,
// and reading a large one takes longer than all else.
func (p *past) lookup(r gitrepo.Objects, tree gitrepo.Hash, path string) (gitrepo.Entry, error) {
	entry := gitrepo.Entry{Mode: gitrepo.ModeDir, ID: tree}
	for name := range strings.SplitSeq(path, "/") {
		if entry.Mode != gitrepo.ModeDir {
			return gitrepo.Entry{}, fmt.Errorf("look up %q: %w", path, fs.ErrNotExist)
		}
		at := entryKey{entry.ID, name}
		p.mu.Lock()
		known, ok := p.entries[at]
		p.mu.Unlock()
		if !ok {
			var err error
			if known, err = gitrepo.Lookup(r, at.tree, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return gitrepo.Entry{}, err
			}
			known.Name = name // not a part of the whole folder
			p.mu.Lock()
			if p.entries == nil || len(p.entries) >= maxEntries {
				p.entries = map[entryKey]gitrepo.Entry{}
			}
			p.entries[at] = known
			p.mu.Unlock()
		}
		if entry = known; entry.ID == "" {
			return gitrepo.Entry{}, fmt.Errorf("look up %q: %w", path, fs.ErrNotExist)
		}
	}
	return entry, nil
}

// chronicle is the history of one commit, as far as it is looked at.
type chronicle struct {
	commits map[gitrepo.Hash]gitrepo.Commit
	// order has those that are no merges, newest first.
	order []gitrepo.Hash
	// What messages say: the commits that bring the hotfix of a head, oldest first,
	// and the newest that was picked from a commit, and that reverts one.
	brought          map[gitrepo.Hash][]gitrepo.Hash
	picked, reverted map[gitrepo.Hash]gitrepo.Hash
}

// of fetches and reads the history of a commit.
func (p *past) of(ctx context.Context, r gitrepo.Reader, tip gitrepo.Hash) (*chronicle, error) {
	p.mu.Lock()
	known := p.histories[tip]
	p.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if err := r.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: historyLimit, CommitsOnly: true}); err != nil {
		return nil, err
	}
	commits, err := reach(r, tip, 2*historyLimit)
	if err != nil {
		return nil, err
	}
	known = newChronicle(commits)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.histories == nil || len(p.histories) >= maxHistories {
		p.histories = map[gitrepo.Hash]*chronicle{}
	}
	p.histories[tip] = known
	return known, nil
}

// Lines that git writes: git cherry-pick -x, and git revert.
var (
	pickedLine   = regexp.MustCompile(`\(cherry picked from commit ([0-9a-f]{40})\)`)
	revertedLine = regexp.MustCompile(`This reverts commit ([0-9a-f]{40})`)
)

func newChronicle(commits map[gitrepo.Hash]gitrepo.Commit) *chronicle {
	c := &chronicle{
		commits: commits,
		brought: map[gitrepo.Hash][]gitrepo.Hash{}, picked: map[gitrepo.Hash]gitrepo.Hash{}, reverted: map[gitrepo.Hash]gitrepo.Hash{},
	}
	for id, commit := range commits {
		if len(goesOnFrom(commit)) == 1 {
			c.order = append(c.order, id)
		}
	}
	slices.SortFunc(c.order, func(a, b gitrepo.Hash) int {
		if by := commits[b].Committer.When.Compare(commits[a].Committer.When); by != 0 {
			return by
		}
		return strings.Compare(string(a), string(b))
	})
	for _, id := range slices.Backward(c.order) {
		message := commits[id].Message
		for _, h := range snapshot.Mentioned(message) {
			c.brought[h.Head] = append(c.brought[h.Head], id)
		}
		for _, match := range pickedLine.FindAllStringSubmatch(message, -1) {
			c.picked[gitrepo.Hash(match[1])] = id
		}
		for _, match := range revertedLine.FindAllStringSubmatch(message, -1) {
			c.reverted[gitrepo.Hash(match[1])] = id
		}
	}
	return c
}

// climbed finds out whether a place whose tree conflicts with a hotfix was made
// on top of it.
func (f *Finder) climbed(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place, base, head gitrepo.Hash, c *Containment) error {
	past, err := f.past.of(ctx, r, in.Commit)
	if err != nil {
		return err
	}
	if err := r.Fetch(ctx, []gitrepo.Hash{d.Base, d.Head}, gitrepo.FetchOptions{Depth: searchDepth[0], CommitsOnly: true}); err != nil {
		return err
	}
	before, err := reach(r, d.Base, 2*historyLimit)
	if err != nil {
		return err
	}
	ids, err := past.since(r, d.Base)
	if err != nil {
		return err
	}
	mentions, err := past.mentions(r, d)
	if err != nil {
		return err
	}
	changes, err := merge.Diff(r, base, head)
	if err != nil {
		return err
	}
	up := climb{
		ctx: ctx, r: r, d: d, base: base, head: head, past: past, memory: &f.past, before: before, mentions: mentions, files: filesOf(changes),
		order: ids, fetched: map[gitrepo.Hash]bool{}, merges: map[string]state{}, lost: map[string]bool{},
	}
	if err := up.remember(); err != nil {
		return err
	}
	evidence, commit, err := up.onTop(in.Commit)
	if err == nil && evidence != "" {
		c.Answer, c.Evidence, c.Commit = Contained, evidence, commit
	}
	return err
}

// testimony is what the history itself and its messages say about a hotfix.
func (c *chronicle) testimony(r gitrepo.Objects, d snapshot.Debt) (Evidence, gitrepo.Hash, error) {
	for _, id := range []gitrepo.Hash{d.Head, d.In} {
		if _, ok := c.commits[id]; ok {
			return Ancestor, id, nil
		}
	}
	ids, err := c.mentions(r, d)
	if err != nil || len(ids) == 0 {
		return "", "", err
	}
	return Mention, ids[len(ids)-1], nil
}

// mentions returns the commits that say they bring a hotfix, oldest first, or the
// last of those that were picked from each of its commits.
func (c *chronicle) mentions(r gitrepo.Objects, d snapshot.Debt) ([]gitrepo.Hash, error) {
	if ids := c.brought[d.Head]; len(ids) > 0 {
		return ids, nil
	}
	_, visited, complete, err := walk(r, d.Head, Known{d.Base: {}})
	if err != nil || !complete {
		return nil, err
	}
	// Every commit of the branch was picked: the newest of the picks is the one
	// with which it was there.
	var newest gitrepo.Hash
	for _, id := range visited {
		pick, ok := c.picked[id]
		if commit, err := gitrepo.ReadCommit(r, id); err == nil && len(commit.Parents) > 1 {
			continue // a merge is not picked
		}
		if !ok {
			return nil, nil
		}
		if newest == "" || c.commits[pick].Committer.When.After(c.commits[newest].Committer.When) {
			newest = pick
		}
	}
	if newest == "" {
		return nil, nil
	}
	return []gitrepo.Hash{newest}, nil
}

// reverts returns the commit that says it takes back a hotfix, or what brought
// it; empty when none does.
func (c *chronicle) reverts(d snapshot.Debt, evidence gitrepo.Hash) gitrepo.Hash {
	for _, id := range []gitrepo.Hash{evidence, d.Head, d.In} {
		if by, ok := c.reverted[id]; ok {
			return by
		}
	}
	for by, commit := range c.commits {
		// A merge of the branch is reverted by its own id.
		if !slices.Contains(commit.Parents, d.Head) {
			continue
		}
		if reverted, ok := c.reverted[by]; ok {
			return reverted
		}
	}
	return ""
}

// since lists the commits that may have brought a hotfix, newest first: those
// that what it was made on has not.
func (c *chronicle) since(r gitrepo.Objects, base gitrepo.Hash) ([]gitrepo.Hash, error) {
	before := map[gitrepo.Hash]bool{}
	for queue := []gitrepo.Hash{base}; len(queue) > 0 && len(before) < 2*historyLimit; queue = queue[1:] {
		id := queue[0]
		if before[id] {
			continue
		}
		commit, ok := c.commits[id]
		if !ok {
			var err error
			if commit, ok, err = optional(r, id); err != nil {
				return nil, err
			}
		}
		if ok {
			before[id] = true
			queue = append(queue, goesOnFrom(commit)...)
		}
	}
	var ids []gitrepo.Hash
	for _, id := range c.order {
		if !before[id] {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// searchChange looks for a commit that makes the same change as the hotfix; empty
// when there is none.
func (f *Finder) searchChange(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, base, head gitrepo.Hash, past *chronicle) (gitrepo.Hash, error) {
	want, err := merge.PatchID(r, base, head, []string{own})
	if err != nil {
		return "", err
	}
	ids, err := past.since(r, d.Base)
	if err != nil {
		return "", err
	}
	if len(ids) > patchLimit {
		// A hotfix comes to the source branch soon after it was made, or lately.
		ids = slices.Concat(ids[:patchLimit/2], ids[len(ids)-patchLimit/2:])
	}
	patches, err := f.past.patchesOf(ctx, r, past, ids)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if patches[id] == want {
			return id, nil
		}
	}
	return "", nil
}

// patchesOf returns what commits change, as patch ids. The trees of those that
// were not looked at before are fetched in one go.
func (p *past) patchesOf(ctx context.Context, r gitrepo.Reader, past *chronicle, ids []gitrepo.Hash) (map[gitrepo.Hash]string, error) {
	found := map[gitrepo.Hash]string{}
	var unknown, fetch []gitrepo.Hash
	p.mu.Lock()
	for _, id := range ids {
		patch, ok := p.patches[id]
		if found[id] = patch; !ok {
			unknown = append(unknown, id)
			fetch = append(fetch, id, past.commits[id].Parents[0])
		}
	}
	p.mu.Unlock()
	if len(unknown) == 0 {
		return found, nil
	}
	slices.Sort(fetch)
	if err := r.Fetch(ctx, slices.Compact(fetch), gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	for _, id := range unknown {
		before, after, err := trees(r, past.commits[id].Parents[0], id)
		if err != nil {
			return nil, err
		}
		if found[id], err = merge.PatchID(r, before, after, []string{own}); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.patches == nil || len(p.patches)+len(unknown) > maxPatches {
		p.patches = map[gitrepo.Hash]string{}
	}
	for _, id := range unknown {
		p.patches[id] = found[id]
	}
	return found, nil
}

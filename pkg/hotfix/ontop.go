package hotfix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// climb goes through the history of a place whose tree conflicts with a hotfix,
// and finds out whether the tree was made on top of it. That a commit of the
// history had the hotfix is not enough: it may have been reverted before somebody
// changed the same lines.
//
// A commit has the hotfix if merging that changes nothing. Where the merge
// conflicts, it has gone on from the hotfix if it says so itself or one of its
// parents has the hotfix. Where the merge would change anything without a
// conflict, a part of the hotfix is gone; and where the lines are what they were in
// a commit without the hotfix, somebody has put them back.
type climb struct {
	ctx    context.Context //nolint:containedctx // lives as long as one call
	r      gitrepo.Reader
	d      snapshot.Debt
	base   gitrepo.Hash // trees
	head   gitrepo.Hash
	past   *chronicle
	memory *past
	before map[gitrepo.Hash]gitrepo.Commit
	// mentions are the commits that say they bring the hotfix, files what that changes.
	mentions []gitrepo.Hash
	files    []string

	// order is what will be asked for next: the history, newest first; fetched is
	// how much of it was.
	order   []gitrepo.Hash
	fetched map[gitrepo.Hash]bool
	merges  map[string]state // by what the tree has of the hotfix's files
	// lost is what commits without the hotfix have in the place of its lines, place by
	// place: a tree may put some of them back, and have the others.
	lost map[string]bool
}

// state is what merging the hotfix into one commit comes to.
type state struct {
	step
	// ours is what the commit has where it conflicts, a piece for each conflict.
	ours []string
}

// step is the kind of a [state].
type step int

const (
	missing step = iota
	whole
	conflicting
)

// fetchAtOnce is how many trees are asked for at a time.
const fetchAtOnce = 256

// witness is the commit that had the hotfix, and how that is known; zero when the
// hotfix is not there.
type witness struct {
	Evidence
	commit gitrepo.Hash
}

// remember reads what the newest commits before the hotfix have in the place of its
// lines: one that was made on an earlier hotfix may be taken back together with
// that one.
func (c *climb) remember() error {
	var ids []gitrepo.Hash
	seen := map[gitrepo.Hash]bool{}
	for queue := []gitrepo.Hash{c.d.Base}; len(queue) > 0 && len(ids) < beforeLimit; queue = queue[1:] {
		id := queue[0]
		commit, ok := c.before[id]
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		ids = append(ids, id)
		queue = append(queue, goesOnFrom(commit)...)
	}
	c.order = slices.Concat(ids, c.order)
	for _, id := range ids {
		is, err := c.merge(id, c.before[id].Tree)
		if err != nil {
			return err
		}
		c.lose(is)
	}
	return nil
}

// onTop returns the commit that has the hotfix and that the place has gone on
// from, and how it is known; empty when there is none.
func (c *climb) onTop(from gitrepo.Hash) (Evidence, gitrepo.Hash, error) {
	known := map[gitrepo.Hash]witness{}
	// Parents first, with a stack of its own: histories are long.
	for stack := []gitrepo.Hash{from}; len(stack) > 0; {
		id := stack[len(stack)-1]
		if _, done := known[id]; done {
			stack = stack[:len(stack)-1]
			continue
		}
		parents := c.parents(id)
		if i := slices.IndexFunc(parents, func(p gitrepo.Hash) bool { _, done := known[p]; return !done }); i >= 0 {
			stack = append(stack, parents[i])
			continue
		}
		found, err := c.self(id, parents, known)
		if err != nil {
			return "", "", err
		}
		known[id] = found
	}
	return known[from].Evidence, known[from].commit, nil
}

// parents are those that matter for what a commit has.
func (c *climb) parents(id gitrepo.Hash) []gitrepo.Hash {
	commit, ok := c.past.commits[id]
	if _, old := c.before[id]; old || !ok {
		return nil
	}
	return goesOnFrom(commit)
}

// self is what a commit has. Its parents are known.
func (c *climb) self(id gitrepo.Hash, parents []gitrepo.Hash, known map[gitrepo.Hash]witness) (witness, error) {
	if id == c.d.Head {
		return witness{Ancestor, id}, nil
	}
	commit, ok := c.past.commits[id]
	if !ok {
		return witness{}, nil
	}
	is, err := c.merge(id, commit.Tree)
	if err != nil || is.step == missing {
		return witness{}, err
	}
	_, old := c.before[id]
	switch {
	case id == c.d.In:
		// Proven before, by whatever there was: its lines are on top of the hotfix.
		c.keep(is)
		return witness{Ancestor, id}, nil
	case old:
	case slices.Contains(c.mentions, id):
		// Who says so means the lines as they are, whatever they were before.
		c.keep(is)
		return witness{Mention, id}, nil
	case is.step == whole:
		return witness{MergeIsEmpty, id}, nil
	case c.merged(commit):
		return witness{Ancestor, c.d.Head}, nil
	case c.hasPutBack(is):
		// What was there before the hotfix came is there again.
	default:
		for _, parent := range parents {
			if known[parent].Evidence == "" {
				continue
			}
			// Of several that were composed at once, one may have taken the hotfix back,
			// and the next changed the same lines.
			if back, err := c.takenBack(commit); back || err != nil {
				return witness{}, err
			}
			return known[parent], nil
		}
	}
	c.lose(is)
	return witness{}, nil
}

// lose says that what a commit has is there without the hotfix.
func (c *climb) lose(is state) {
	for _, piece := range is.ours {
		c.lost[piece] = true
	}
}

// keep says that what a commit has is on top of the hotfix, whatever it was before.
func (c *climb) keep(is state) {
	for _, piece := range is.ours {
		delete(c.lost, piece)
	}
}

// hasPutBack reports whether some of what a commit has is what was there without
// the hotfix.
func (c *climb) hasPutBack(is state) bool {
	return slices.ContainsFunc(is.ours, func(piece string) bool { return c.lost[piece] })
}

// merged reports whether a composition has another hotfix into which somebody has
// merged this one: its head is between the other's base and head.
func (c *climb) merged(composition gitrepo.Commit) bool {
	if !snapshot.IsComposition(composition.Message) {
		return false
	}
	return slices.ContainsFunc(snapshot.Mentioned(composition.Message), func(h snapshot.Hotfix) bool {
		with, err := reach(c.r, h.Head, historyLimit)
		if err != nil {
			return false
		}
		without, err := reach(c.r, h.Base, historyLimit)
		_, has := with[c.d.Head]
		_, had := without[c.d.Head]
		return err == nil && has && !had
	})
}

// Merges reports whether one of a hotfix's own commits is a merge with another
// commit: somebody has decided what becomes of the lines that both change. The
// hotfix must have been fetched.
func Merges(r gitrepo.Objects, h snapshot.Hotfix, other gitrepo.Hash) (bool, error) {
	_, commits, _, err := walk(r, h.Head, Known{h.Base: {}})
	if err != nil {
		return false, err
	}
	for _, id := range commits {
		commit, err := gitrepo.ReadCommit(r, id)
		if err != nil {
			return false, err
		}
		if len(commit.Parents) > 1 && slices.Contains(commit.Parents, other) {
			return true, nil
		}
	}
	return false, nil
}

// takenBack reports whether one of the hotfixes of a composition begins with the
// hotfix, and ends without.
func (c *climb) takenBack(composition gitrepo.Commit) (bool, error) {
	if !snapshot.IsComposition(composition.Message) {
		return false, nil
	}
	for _, h := range snapshot.Mentioned(composition.Message) {
		var is [2]state
		for i, id := range []gitrepo.Hash{h.Base, h.Head} {
			if err := c.r.Fetch(c.ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}); err != nil {
				return false, err
			}
			commit, err := gitrepo.ReadCommit(c.r, id)
			if err != nil {
				return false, err
			}
			c.fetched[id] = true
			if is[i], err = c.merge(id, commit.Tree); err != nil {
				return false, err
			}
		}
		if is[0].step != missing && is[1].step == missing {
			return true, nil
		}
	}
	return false, nil
}

func (c *climb) merge(id, tree gitrepo.Hash) (state, error) {
	if err := c.fetch(id); err != nil {
		return state{}, err
	}
	key, err := c.key(tree)
	if err != nil {
		return state{}, err
	}
	if known, ok := c.merges[key]; ok {
		return known, nil
	}
	merged, err := merge.Trees(c.r, c.base, tree, c.head, merge.Options{Leave: []string{own}})
	if err != nil {
		return state{}, err
	}
	is := state{step: conflicting}
	switch {
	case merged.Empty():
		is.step = whole
	case lacks(merged):
		is.step = missing
	default:
		is.ours, err = c.has(tree, merged.Conflicts)
	}
	c.merges[key] = is
	return is, err
}

// key is what the merge into a tree depends on: the files that the hotfix changes.
// Where one of them is not there it may have been moved, and the whole tree counts.
func (c *climb) key(tree gitrepo.Hash) (string, error) {
	var key strings.Builder
	for _, file := range c.files {
		entry, err := c.memory.lookup(c.r, tree, file)
		if errors.Is(err, fs.ErrNotExist) {
			return string(tree), nil
		}
		if err != nil {
			return "", err
		}
		key.WriteString(string(entry.Mode) + string(entry.ID))
	}
	return key.String(), nil
}

// filesOf lists the files of changes, where they were and where they are.
func filesOf(changes []merge.Change) []string {
	var files []string
	for _, change := range changes {
		files = append(files, change.Path)
		if change.From != "" {
			files = append(files, change.From)
		}
	}
	return files
}

// has says what a tree has where it conflicts, conflict by conflict: the lines, or
// the whole file where a conflict is not about lines.
func (c *climb) has(tree gitrepo.Hash, conflicts []merge.Conflict) ([]string, error) {
	var pieces []string
	for _, conflict := range conflicts {
		piece := fmt.Sprintf("%q %q", conflict.Path, conflict.Ours.Lines)
		if conflict.Ours.First == 0 {
			entry, err := c.memory.lookup(c.r, tree, conflict.Path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			piece += fmt.Sprintf(" %s %s", entry.Mode, entry.ID)
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// lacks reports whether a merge would change something besides conflicts.
func lacks(merged merge.Result) bool { return len(merged.Changes)+len(merged.Beside) > 0 }

// fetch brings the tree of a commit, and those of others that will be needed.
func (c *climb) fetch(id gitrepo.Hash) error {
	if c.fetched[id] {
		return nil
	}
	ids := []gitrepo.Hash{id}
	for len(c.order) > 0 && len(ids) < fetchAtOnce {
		if next := c.order[0]; !c.fetched[next] && next != id {
			ids = append(ids, next)
		}
		c.order = c.order[1:]
	}
	for _, id := range ids {
		c.fetched[id] = true
	}
	return c.r.Fetch(c.ctx, ids, gitrepo.FetchOptions{Depth: 1})
}

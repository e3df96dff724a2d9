package hotfix

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Composition is what came of merging hotfixes onto a snapshot.
type Composition struct {
	// Tree that the composed snapshot has, but for the lock. Objects are what the
	// repository does not have of it.
	Tree    gitrepo.Hash
	Objects []gitrepo.Object
	// Hotfixes that were merged, in that order.
	Hotfixes []snapshot.Hotfix
	// Left are those that were not.
	Left []Left
}

// Left is a hotfix that could not be merged.
type Left struct {
	snapshot.Hotfix
	Conflicts []merge.Conflict
	// Against is the hotfix that it conflicts with; empty when that is the
	// snapshot.
	Against string
	// Note is more about it, or with no conflict all there is to say.
	Note string
}

func (l Left) String() string {
	if len(l.Conflicts) == 0 && l.Note != "" {
		return l.Note
	}
	with := "the release"
	if l.Against != "" {
		with = "hotfix/" + l.Against
	}
	text := fmt.Sprintf("conflicts with %s", with)
	if len(l.Conflicts) > 0 {
		text += ": " + l.Conflicts[0].String()
	}
	if more := len(l.Conflicts) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	if l.Note != "" {
		text += "; " + l.Note
	}
	return text
}

// Compose merges hotfixes onto a tree, one after the other in the order of their
// names and heads. One that conflicts is left out, and the others go on. The
// trees of all commits must have been fetched. The result depends on nothing but
// the arguments; it is part of what makes a snapshot, so what a merge comes to
// must never change.
func Compose(r gitrepo.Objects, onto gitrepo.Hash, ontoName string, hotfixes []snapshot.Hotfix) (Composition, error) {
	var left []Left
	for {
		c, err := composeOnce(r, onto, ontoName, hotfixes)
		left = append(left, c.Left...)
		if err != nil || len(c.Left) == 0 {
			c.Left, c.Objects = left, needed(c.Objects, c.Tree)
			return c, err
		}
		// Anew with those that could be merged: whoever checks the result knows of
		// no others, and their order may depend on them.
		hotfixes = c.Hotfixes
	}
}

// needed leaves out the objects of trees between the merges. Nobody could keep them
// on a server, where nothing leads to them, and who takes them for pushed would
// not push them when they are part of another tree.
func needed(objects []gitrepo.Object, root gitrepo.Hash) []gitrepo.Object {
	made := map[gitrepo.Hash]gitrepo.Object{}
	for _, o := range objects {
		made[o.ID()] = o
	}
	wanted := map[gitrepo.Hash]bool{}
	for queue := []gitrepo.Hash{root}; len(queue) > 0; queue = queue[1:] {
		o, ok := made[queue[0]]
		if !ok || wanted[queue[0]] {
			continue
		}
		wanted[queue[0]] = true
		if tree, err := gitrepo.ParseTree(o); o.Type == gitrepo.TypeTree && err == nil {
			for _, entry := range tree {
				queue = append(queue, entry.ID)
			}
		}
	}
	return slices.DeleteFunc(objects, func(o gitrepo.Object) bool {
		id := o.ID()
		first := wanted[id]
		wanted[id] = false // each once
		return !first
	})
}

func composeOnce(r gitrepo.Objects, onto gitrepo.Hash, ontoName string, hotfixes []snapshot.Hotfix) (Composition, error) {
	c := Composition{Tree: onto}
	built := r
	for _, h := range order(hotfixes) {
		merged, err := mergeInto(built, h, c.Tree, ontoName)
		if err != nil {
			return Composition{}, err
		}
		if !merged.Clean() {
			left, err := blame(built, h, onto, ontoName, c.Hotfixes)
			if err != nil {
				return Composition{}, err
			}
			if left.Conflicts == nil {
				left.Conflicts = merged.Conflicts
			}
			c.Left = append(c.Left, left)
			continue
		}
		built = gitrepo.With(built, merged.Objects...)
		c.Objects = append(c.Objects, merged.Objects...)
		c.Tree, c.Hotfixes = merged.Tree, append(c.Hotfixes, h)
	}
	return c, nil
}

// order is that in which hotfixes are merged, whoever does it. One that begins
// where another ends comes after it.
func order(hotfixes []snapshot.Hotfix) []snapshot.Hotfix {
	rest := slices.Clone(hotfixes)
	slices.SortFunc(rest, func(a, b snapshot.Hotfix) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Head), string(b.Head)))
	})
	var sorted []snapshot.Hotfix
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(h snapshot.Hotfix) bool {
			return !slices.ContainsFunc(rest, func(other snapshot.Hotfix) bool { return other.Head == h.Base && other != h })
		})
		i = max(i, 0)
		sorted, rest = append(sorted, rest[i]), slices.Delete(rest, i, i+1)
	}
	return sorted
}

func mergeInto(r gitrepo.Objects, h snapshot.Hotfix, tree gitrepo.Hash, name string) (merge.Result, error) {
	base, head, err := trees(r, h.Base, h.Head)
	if err != nil {
		return merge.Result{}, fmt.Errorf("hotfix %s: %w", h.Name, err)
	}
	merged, err := merge.Trees(r, base, tree, head, options(name, h))
	if err != nil {
		return merge.Result{}, fmt.Errorf("hotfix %s: %w", h.Name, err)
	}
	return merged, nil
}

// blame finds out what a hotfix conflicts with: the snapshot itself, or the first
// of the hotfixes that were merged before.
func blame(r gitrepo.Objects, h snapshot.Hotfix, onto gitrepo.Hash, ontoName string, before []snapshot.Hotfix) (Left, error) {
	left := Left{Hotfix: h}
	alone, err := mergeInto(r, h, onto, ontoName)
	if err != nil {
		return left, err
	}
	if !alone.Clean() {
		left.Conflicts = alone.Conflicts
		return left, nil
	}
	for _, other := range before {
		merged, err := mergeInto(r, other, onto, ontoName)
		if err != nil {
			return left, err
		}
		both, err := mergeInto(gitrepo.With(r, merged.Objects...), h, merged.Tree, "hotfix/"+other.Name)
		if err != nil {
			return left, err
		}
		if !both.Clean() {
			left.Against, left.Conflicts = other.Name, both.Conflicts
			return left, nil
		}
	}
	return left, nil
}

// ErrForged: a composed snapshot is not what its parts come to.
var ErrForged = errors.New("forged composition")

// Check proves that a composed snapshot is what its hotfixes come to on the
// snapshot below it, so that whoever can push a tag cannot slip anything in. The
// trees of all commits must have been fetched; below is the snapshot that the
// lock names as its base.
func Check(r gitrepo.Objects, s, below snapshot.Snapshot) error {
	commit, err := gitrepo.ReadCommit(r, s.Source)
	if err != nil {
		return fmt.Errorf("composition %s: %w", s.Source.Short(), err)
	}
	if below.ID != s.Lock.Base.Commit || below.Lock.Version != s.Lock.Base.Snapshot || below.Captured() != s.Lock.Base.Captured {
		return fmt.Errorf("%w: %s is not the snapshot that %s was composed onto", ErrForged, s.Lock.Base.Snapshot, s.Lock.Version)
	}
	composed := s.Composed()
	parents := []gitrepo.Hash{below.ID}
	for _, h := range order(composed) {
		parents = append(parents, h.Head)
	}
	if !slices.Equal(commit.Parents, parents) {
		return fmt.Errorf("%w: the parents of %s are not %s and the hotfixes of the lock", ErrForged, s.Source.Short(), s.Lock.Base.Snapshot)
	}
	c, err := Compose(r, below.Tree, below.Lock.Version.String(), composed)
	if err != nil {
		return err
	}
	if len(c.Left) > 0 || c.Tree != commit.Tree {
		return fmt.Errorf("%w: %s holds something else than %s and its hotfixes; see git diff --stat %s %s",
			ErrForged, s.Lock.Version, below.Lock.Version, below.ID.Short(), s.Source.Short())
	}
	return nil
}

package merge

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// ChangeKind says what happened to a file.
type ChangeKind string

// The kinds of change.
const (
	Added    ChangeKind = "added"
	Removed  ChangeKind = "removed"
	Modified ChangeKind = "modified" // content, and perhaps the mode
	Mode     ChangeKind = "mode"     // the mode alone
	Renamed  ChangeKind = "renamed"  // moved from another path, content unchanged
)

// Change is one file that differs between two trees. A symlink or a submodule
// counts as a file; directories never appear.
type Change struct {
	Path string
	Kind ChangeKind
	// From is the path a renamed file had before; empty otherwise.
	From string
	// Origin is set where a merge followed a move: the path that the file had
	// on the side that did not move it. Diff leaves it empty.
	Origin string
	// OldMode and OldID are empty for an added file, NewMode and NewID for a
	// removed one.
	OldMode, NewMode gitrepo.Mode
	OldID, NewID     gitrepo.Hash
}

// String is one line for people.
func (c Change) String() string {
	s := fmt.Sprintf("%s %s", c.Kind, c.Path)
	if c.Kind == Renamed {
		s = fmt.Sprintf("renamed %s to %s", c.From, c.Path)
	}
	if c.Kind == Mode || c.Kind == Renamed && c.OldMode != c.NewMode {
		s += fmt.Sprintf(" (%s to %s)", c.OldMode, c.NewMode)
	}
	if c.Origin != "" {
		s += fmt.Sprintf(" (was %s)", c.Origin)
	}
	return s
}

// Diff returns the files that differ from tree a to tree b, sorted by path. An
// empty hash is the empty tree. Directories with the same id are not read, and
// no file's content is.
//
// A file counts as renamed where a removed and an added one have the same
// content and no other file of either kind has it. Empty files are never
// paired.
func Diff(r gitrepo.Objects, a, b gitrepo.Hash) ([]Change, error) {
	changes, err := plainDiff(r, a, b)
	if err != nil {
		return nil, err
	}
	return pairRenames(changes), nil
}

// plainDiff is Diff without renames.
func plainDiff(r gitrepo.Objects, a, b gitrepo.Hash) ([]Change, error) {
	var d treeDiff
	d.r = r
	if err := d.walk("", rootEntry(a), rootEntry(b), 0); err != nil {
		return nil, fmt.Errorf("compare trees %s and %s: %w", a.Short(), b.Short(), err)
	}
	slices.SortFunc(d.changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return d.changes, nil
}

type treeDiff struct {
	r       gitrepo.Objects
	changes []Change
}

var errTooDeep = errors.New("directories lie too deep")

func (d *treeDiff) walk(path string, a, b gitrepo.Entry, depth int) error {
	if same(a, b) {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%q: %w", path, errTooDeep)
	}
	if isDir(a) || isDir(b) {
		slots, err := differing(d.r, path, a, b)
		if err != nil {
			return err
		}
		for _, s := range slots {
			if err := d.walk(join(path, s.name), s.entries[0], s.entries[1], depth+1); err != nil {
				return err
			}
		}
	}
	if isDir(a) {
		a = gitrepo.Entry{}
	}
	if isDir(b) {
		b = gitrepo.Entry{}
	}
	c := Change{Path: path, Kind: Modified, OldMode: a.Mode, NewMode: b.Mode, OldID: a.ID, NewID: b.ID}
	switch {
	case absent(a) && absent(b):
		return nil
	case absent(a):
		c.Kind = Added
	case absent(b):
		c.Kind = Removed
	case a.ID == b.ID:
		c.Kind = Mode
	}
	d.changes = append(d.changes, c)
	return nil
}

// pairRenames joins removed and added files of the same content.
func pairRenames(changes []Change) []Change {
	type pair struct{ removed, added []int }
	pairs := map[gitrepo.Hash]pair{}
	for i, c := range changes {
		switch c.Kind {
		case Removed:
			p := pairs[c.OldID]
			p.removed = append(p.removed, i)
			pairs[c.OldID] = p
		case Added:
			p := pairs[c.NewID]
			p.added = append(p.added, i)
			pairs[c.NewID] = p
		}
	}
	gone := map[int]bool{}
	empty := gitrepo.NewBlob(nil).ID()
	for id, p := range pairs {
		if id == empty || len(p.removed) != 1 || len(p.added) != 1 {
			continue
		}
		from, to := changes[p.removed[0]], &changes[p.added[0]]
		if isRegular(gitrepo.Entry{Mode: from.OldMode}) != isRegular(gitrepo.Entry{Mode: to.NewMode}) {
			continue
		}
		to.Kind, to.From, to.OldMode, to.OldID = Renamed, from.Path, from.OldMode, from.OldID
		gone[p.removed[0]] = true
	}
	var out []Change
	for i, c := range changes {
		if !gone[i] {
			out = append(out, c)
		}
	}
	return out
}

package merge

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Options of [Trees]. The zero value merges everything.
type Options struct {
	// Leave has files and folders, as slash-separated paths from the root,
	// whose changes in theirs are not merged: ours stays as it is there.
	Leave []string
	// Ours and Theirs name both sides in messages, such as shop/v1.4.0 and
	// hotfix/pay-timeout. Default "ours" and "theirs".
	Ours, Theirs string
}

// Result is the outcome of a merge.
type Result struct {
	// Tree is the merged tree. Files with a conflict are as in ours.
	Tree gitrepo.Hash
	// Objects are the blobs and trees of Tree that the reader does not have,
	// children before parents.
	Objects []gitrepo.Object
	// Changes are the files in which Tree differs from ours, sorted by path.
	Changes []Change
	// Conflicts are sorted by path and line.
	Conflicts []Conflict
	// Beside are the files with a conflict of which theirs changes other parts as
	// well, without one. Tree has none of that. Sorted.
	Beside []string
}

// Clean reports whether there are no conflicts.
func (r Result) Clean() bool { return len(r.Conflicts) == 0 }

// Empty reports whether the merge is clean and changed nothing in ours.
func (r Result) Empty() bool { return r.Clean() && len(r.Changes) == 0 }

// Trees merges what changed from base to theirs into ours. An empty hash is
// the empty tree. The package comment says how.
//
// A conflict is not an error: it is in the result. An error means that the
// trees could not be read; an object that was not fetched is
// [gitrepo.ErrNotFound], because then nobody knows what the merge would be.
func Trees(r gitrepo.Objects, base, ours, theirs gitrepo.Hash, o Options) (Result, error) {
	v := newOverlay(r)
	m := &treeMerge{
		overlay: v, leave: newLeaves(o.Leave),
		ours: cmp.Or(o.Ours, "ours"), theirs: cmp.Or(o.Theirs, "theirs"), origins: map[string]Change{},
	}
	m.moves = &moves{overlay: v, base: base, ours: ours, theirs: theirs, leave: m.leave, used: map[string]bool{}}
	result, err := m.run(base, ours, theirs)
	if err != nil {
		return Result{}, fmt.Errorf("merge %s into %s: %w", m.theirs, m.ours, err)
	}
	return result, nil
}

type treeMerge struct {
	*overlay
	leave        leaves
	ours, theirs string // names
	moves        *moves

	edits     edit
	conflicts []Conflict
	beside    []string
	moved     []Change // files whose move was followed
	// origins has, for files that both sides moved to the same path, the base's.
	origins map[string]Change
}

func (m *treeMerge) run(base, ours, theirs gitrepo.Hash) (Result, error) {
	if base != ours && base != theirs && ours != theirs {
		if err := m.movedByBoth(); err != nil {
			return Result{}, err
		}
	}
	if err := m.walk("", rootEntry(base), rootEntry(ours), rootEntry(theirs), 0); err != nil {
		return Result{}, err
	}
	origins := map[string]string{}
	for _, c := range m.moved {
		m.edits.set(c.Path, gitrepo.Entry{Mode: c.NewMode, ID: c.NewID})
		origins[c.Path] = c.Origin
	}
	root, err := m.apply("", rootEntry(ours), &m.edits)
	if err != nil {
		return Result{}, err
	}
	if absent(root) {
		root.ID = m.put(gitrepo.Object{Type: gitrepo.TypeTree})
	}
	changes, err := Diff(m.overlay, ours, root.ID)
	if err != nil {
		return Result{}, err
	}
	for i, c := range changes {
		changes[i].Origin = origins[c.Path]
	}
	slices.SortFunc(m.conflicts, compareConflicts)
	slices.Sort(m.beside)
	return Result{Tree: root.ID, Objects: m.objects(), Changes: changes, Conflicts: m.conflicts, Beside: m.beside}, nil
}

// walk merges what lies at a path: a file, a directory or nothing, on each of
// the three.
func (m *treeMerge) walk(path string, b, o, t gitrepo.Entry, depth int) error {
	if m.leave.covers(path) || same(t, b) || same(o, t) {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%q: %w", path, errTooDeep)
	}
	whole := !m.leave.below(path)
	if same(o, b) && whole {
		m.edits.set(path, t)
		return nil
	}
	switch {
	case !absent(o) && !absent(t) && isDir(o) != isDir(t):
		m.conflict(path, KindType, fmt.Sprintf("%s has %s here, %s has %s", m.ours, what(o), m.theirs, what(t)))
		return nil
	case isDir(o), isDir(t):
		return m.directory(path, b, o, t, depth)
	case isDir(b):
		b = gitrepo.Entry{} // both sides removed the directory; what is left is a file
		if same(t, b) {
			return nil
		}
	}
	return m.file(path, b, o, t)
}

func (m *treeMerge) directory(path string, b, o, t gitrepo.Entry, depth int) error {
	slots, err := differing(m.overlay, path, b, o, t)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if err := m.walk(join(path, s.name), s.entries[0], s.entries[1], s.entries[2], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// conflict adds a conflict that is about a file as a whole.
func (m *treeMerge) conflict(path string, kind Kind, detail string) {
	m.conflicts = append(m.conflicts, Conflict{
		Path: path, Kind: kind, Detail: detail,
		Ours: Side{Name: m.ours}, Theirs: Side{Name: m.theirs}, Base: Side{Name: "base"},
	})
}

package merge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// maxDepth bounds how deep directories may lie. git itself has no bound; paths
// longer than 4096 bytes cannot be checked out anyway.
const maxDepth = 512

// overlay reads objects that were built here and all that a reader has.
type overlay struct {
	gitrepo.Objects
	built map[gitrepo.Hash]gitrepo.Object
	trees map[gitrepo.Hash]gitrepo.Tree // read so far
	// order has the ids of built, children before parents.
	order []gitrepo.Hash
}

func newOverlay(r gitrepo.Objects) *overlay {
	return &overlay{Objects: r, built: map[gitrepo.Hash]gitrepo.Object{}, trees: map[gitrepo.Hash]gitrepo.Tree{}}
}

// Object implements [gitrepo.Objects].
func (v *overlay) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	if o, ok := v.built[id]; ok {
		return o, nil
	}
	return v.Objects.Object(id)
}

// put remembers an object unless the reader has it.
func (v *overlay) put(o gitrepo.Object) gitrepo.Hash {
	id := o.ID()
	if _, err := v.Object(id); err != nil {
		v.built[id] = o
		v.order = append(v.order, id)
	}
	return id
}

func (v *overlay) objects() []gitrepo.Object {
	var out []gitrepo.Object
	for _, id := range v.order {
		out = append(out, v.built[id])
	}
	return out
}

// rootEntry is a whole tree as if it were an entry; the empty hash is the
// empty tree.
func rootEntry(tree gitrepo.Hash) gitrepo.Entry {
	if tree == "" {
		return gitrepo.Entry{}
	}
	return gitrepo.Entry{Mode: gitrepo.ModeDir, ID: tree}
}

// An entry without a mode is one that is not there.
func absent(e gitrepo.Entry) bool { return e.Mode == "" }

func isDir(e gitrepo.Entry) bool { return e.Mode == gitrepo.ModeDir }

// isRegular also accepts modes such as 100664, which old tools wrote.
func isRegular(e gitrepo.Entry) bool { return strings.HasPrefix(string(e.Mode), "100") }

// same leaves out the name, which is that of the place.
func same(a, b gitrepo.Entry) bool { return a.Mode == b.Mode && a.ID == b.ID }

// what names an entry's type for people.
func what(e gitrepo.Entry) string {
	switch {
	case absent(e):
		return "nothing"
	case isDir(e):
		return "a directory"
	case isRegular(e):
		return "a file"
	case e.Mode == gitrepo.ModeSymlink:
		return "a symlink"
	case e.Mode == gitrepo.ModeSubmodule:
		return "a submodule"
	}
	return "an entry of mode " + string(e.Mode)
}

// slot is one name of a directory in up to three trees.
type slot struct {
	name    string
	entries [3]gitrepo.Entry
}

// differing reads the directories among the entries and returns, by name, what
// is not the same in all of them. Entries that are no directories count as
// empty ones.
func differing(r gitrepo.Objects, path string, dirs ...gitrepo.Entry) ([]slot, error) {
	trees := make([]gitrepo.Tree, len(dirs))
	for i, dir := range dirs {
		if !isDir(dir) {
			continue
		}
		var err error
		if trees[i], err = readTree(r, dir.ID); err != nil {
			return nil, fmt.Errorf("read directory %q: %w", cmp.Or(path, "."), err)
		}
	}
	var slots []slot
	places := map[string]int{} // of names in slots
	for {
		var least *gitrepo.Entry
		for _, t := range trees {
			if len(t) > 0 && (least == nil || compareEntries(t[0], *least) < 0) {
				least = &t[0]
			}
		}
		if least == nil {
			break
		}
		var found [3]gitrepo.Entry
		place, again := places[least.Name]
		if again { // a file in one tree, a directory in another
			found = slots[place].entries
		}
		name, equal := *least, true
		for i, t := range trees {
			if len(t) == 0 || compareEntries(t[0], *least) != 0 {
				equal = false
				continue
			}
			if !absent(found[i]) {
				return nil, fmt.Errorf("read directory %q: malformed tree object: %q is there twice", cmp.Or(path, "."), least.Name)
			}
			equal = equal && same(t[0], *least)
			found[i] = t[0]
		}
		switch {
		case equal:
		case again:
			slots[place].entries = found
		default:
			places[name.Name] = len(slots)
			slots = append(slots, slot{name.Name, found})
		}
		for i, t := range trees {
			if len(t) > 0 && compareEntries(t[0], name) == 0 {
				trees[i] = t[1:]
			}
		}
	}
	slices.SortFunc(slots, func(a, b slot) int { return cmp.Compare(a.name, b.name) })
	return slots, nil
}

// compareEntries orders as git does: a directory's name ends in a slash.
func compareEntries(a, b gitrepo.Entry) int {
	n := min(len(a.Name), len(b.Name))
	if c := cmp.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	at := func(e gitrepo.Entry) int {
		switch {
		case len(e.Name) > n:
			return int(e.Name[n])
		case isDir(e):
			return '/'
		}
		return -1
	}
	return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(len(a.Name), len(b.Name)))
}

// readTree reads a tree and checks its order, on which the comparison rests.
func readTree(r gitrepo.Objects, id gitrepo.Hash) (gitrepo.Tree, error) {
	v, remember := r.(*overlay)
	if remember {
		if tree, ok := v.trees[id]; ok {
			return tree, nil
		}
	}
	tree, err := gitrepo.ReadTree(r, id)
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(tree); i++ {
		if compareEntries(tree[i-1], tree[i]) >= 0 {
			return nil, fmt.Errorf("malformed tree object %s: %q does not come after %q", id.Short(), tree[i].Name, tree[i-1].Name)
		}
	}
	if remember {
		v.trees[id] = tree
	}
	return tree, nil
}

// readBlob reads a file's content.
func readBlob(r gitrepo.Objects, id gitrepo.Hash) (string, error) {
	o, err := r.Object(id)
	if err != nil {
		return "", err
	}
	if o.Type != gitrepo.TypeBlob {
		return "", fmt.Errorf("object %s is a %s, not a blob", id.Short(), o.Type)
	}
	return string(o.Data), nil
}

// join adds a name to a path; the root's path is empty.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

// leaves is a list of paths that are left alone.
type leaves []string

// newLeaves cleans paths as people write them.
func newLeaves(paths []string) leaves {
	var out leaves
	for _, p := range paths {
		if p = strings.Trim(strings.TrimPrefix(p, "./"), "/"); p != "" && p != "." {
			out = append(out, p)
		}
	}
	return out
}

// covers reports whether the path is one of the list or lies below one.
func (l leaves) covers(path string) bool {
	return slices.ContainsFunc(l, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// below reports whether one of the list lies below the path.
func (l leaves) below(path string) bool {
	return slices.ContainsFunc(l, func(p string) bool { return path == "" || strings.HasPrefix(p, path+"/") })
}

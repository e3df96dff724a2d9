package merge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// edit is what a merge does to ours at a path and below. Edits below a path
// apply to what the edit of the path itself put there.
type edit struct {
	replace bool
	entry   gitrepo.Entry // what replaces it; absent: it is removed
	below   map[string]*edit
}

// set replaces what is at a path; the empty path is the root.
func (e *edit) set(path string, entry gitrepo.Entry) {
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		if e.below == nil {
			e.below = map[string]*edit{}
		}
		if e.below[name] == nil {
			e.below[name] = &edit{}
		}
		e = e.below[name]
	}
	e.replace, e.entry = true, entry
}

// apply writes the trees that an entry becomes. A directory in which nothing
// is left goes.
func (m *treeMerge) apply(path string, entry gitrepo.Entry, e *edit) (gitrepo.Entry, error) {
	if e.replace {
		entry = e.entry
	}
	if len(e.below) == 0 {
		return entry, nil
	}
	var tree gitrepo.Tree
	switch {
	case isDir(entry):
		var err error
		if tree, err = readTree(m.overlay, entry.ID); err != nil {
			return entry, fmt.Errorf("read directory %q: %w", cmp.Or(path, "."), err)
		}
	case !absent(entry):
		return entry, fmt.Errorf("write below %q: it is %s", path, what(entry))
	}
	merged := make(gitrepo.Tree, 0, len(tree)+len(e.below))
	seen := map[string]bool{}
	for _, old := range tree {
		child := e.below[old.Name]
		if child == nil {
			merged = append(merged, old)
			continue
		}
		seen[old.Name] = true
		next, err := m.apply(join(path, old.Name), old, child)
		if err != nil {
			return entry, err
		}
		if !absent(next) {
			next.Name = old.Name
			merged = append(merged, next)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.below)) {
		if seen[name] {
			continue
		}
		next, err := m.apply(join(path, name), gitrepo.Entry{}, e.below[name])
		if err != nil {
			return entry, err
		}
		if !absent(next) {
			next.Name = name
			merged = append(merged, next)
		}
	}
	if len(merged) == 0 {
		return gitrepo.Entry{}, nil
	}
	o, err := gitrepo.NewTree(merged)
	if err != nil {
		return entry, fmt.Errorf("write directory %q: %w", cmp.Or(path, "."), err)
	}
	return gitrepo.Entry{Mode: gitrepo.ModeDir, ID: m.put(o)}, nil
}

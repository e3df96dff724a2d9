package gitrepo

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Lookup finds the entry at a slash-separated path below a fetched tree, as
// git ls-tree would: symlinks are not followed. "." is the tree itself. A path
// that is not there is [fs.ErrNotExist]; a tree on the way that was not
// fetched is [ErrNotFound], because then nobody knows.
func Lookup(r Objects, tree Hash, path string) (Entry, error) {
	if !fs.ValidPath(path) {
		return Entry{}, fmt.Errorf("look up %q: %w", path, fs.ErrInvalid)
	}
	entry := Entry{Name: ".", Mode: ModeDir, ID: tree}
	if path == "." {
		return entry, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if entry.Mode != ModeDir {
			return Entry{}, fmt.Errorf("look up %q: %w", path, fs.ErrNotExist)
		}
		t, err := ReadTree(r, entry.ID)
		if err != nil {
			return Entry{}, fmt.Errorf("look up %q: %w", path, err)
		}
		var ok bool
		if entry, ok = t.Find(name); !ok {
			return Entry{}, fmt.Errorf("look up %q: %w", path, fs.ErrNotExist)
		}
	}
	return entry, nil
}

// WriteFiles returns the tree that base becomes with the files (slash paths to
// content) added or replaced, and exactly the objects that base does not have
// at those places: blobs first, each tree after what it contains, the root
// last. An empty base is the empty tree. The trees of base along the paths
// must have been fetched.
//
// Everything else in base keeps its mode and id. A replaced file keeps its
// executable bit; a replaced symlink becomes a plain file; a new file is not
// executable. A path that runs through a file, symlink or submodule, or that
// names a directory, is an error. The same input gives the same ids.
func WriteFiles(r Objects, base Hash, files map[string][]byte) (root Hash, objects []Object, err error) {
	top := &folder{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := top.add(path, files[path]); err != nil {
			return "", nil, fmt.Errorf("write %q: %w", path, err)
		}
	}
	w := treeWriter{reader: r, written: map[Hash]bool{}}
	root, err = w.folder(base, top, "")
	return root, w.objects, err
}

// folder is what shall be written into one directory.
type folder struct {
	files   map[string][]byte
	folders map[string]*folder
}

func (f *folder) add(path string, content []byte) error {
	if !fs.ValidPath(path) || path == "." {
		return fs.ErrInvalid
	}
	for {
		name, rest, deeper := strings.Cut(path, "/")
		if err := checkEntryName(name); err != nil {
			return err
		}
		if !deeper {
			if f.files == nil {
				f.files = map[string][]byte{}
			}
			f.files[name] = content
			return nil
		}
		// Paths arrive sorted, so a file that is in the way came before.
		if _, ok := f.files[name]; ok {
			return fmt.Errorf("%q is a file in the same write", name)
		}
		if f.folders == nil {
			f.folders = map[string]*folder{}
		}
		if f.folders[name] == nil {
			f.folders[name] = &folder{}
		}
		f, path = f.folders[name], rest
	}
}

type treeWriter struct {
	reader  Objects
	written map[Hash]bool
	objects []Object
}

func (w *treeWriter) object(o Object) Hash {
	id := o.ID()
	if !w.written[id] {
		w.written[id] = true
		w.objects = append(w.objects, o)
	}
	return id
}

func (w *treeWriter) folder(base Hash, f *folder, at string) (Hash, error) {
	var tree Tree
	if base != "" {
		var err error
		if tree, err = ReadTree(w.reader, base); err != nil {
			return "", fmt.Errorf("write %q: %w", at, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		entry, err := w.file(tree, name, f.files[name])
		if err != nil {
			return "", fmt.Errorf("write %q: %w", at+name, err)
		}
		tree = tree.With(entry)
	}
	for _, name := range slices.Sorted(maps.Keys(f.folders)) {
		old, ok := tree.Find(name)
		if ok && old.Mode != ModeDir {
			return "", fmt.Errorf("write %q: it is not a directory (mode %s)", at+name, old.Mode)
		}
		id, err := w.folder(old.ID, f.folders[name], at+name+"/")
		if err != nil {
			return "", err
		}
		tree = tree.With(Entry{Name: name, Mode: ModeDir, ID: id})
	}
	o, err := NewTree(tree)
	if err != nil {
		return "", fmt.Errorf("write %q: %w", at, err)
	}
	if base != "" && o.ID() == base {
		return base, nil
	}
	return w.object(o), nil
}

func (w *treeWriter) file(tree Tree, name string, content []byte) (Entry, error) {
	entry := Entry{Name: name, Mode: ModeFile}
	old, ok := tree.Find(name)
	switch {
	case !ok, old.Mode == ModeSymlink:
	case old.Mode == ModeDir, old.Mode == ModeSubmodule:
		return entry, fmt.Errorf("it is a directory (mode %s)", old.Mode)
	default:
		entry.Mode = old.Mode
	}
	blob := NewBlob(content)
	if entry.ID = blob.ID(); entry.ID != old.ID {
		w.object(blob)
	}
	return entry, nil
}

package cmpwire

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// maxHops is how many symbolic links one look-up may follow; Linux allows as many.
const maxHops = 40

var (
	errLoop   = errors.New("too many levels of symbolic links")
	errEscape = errors.New("symbolic link leads out of the tree")
)

// Tree is a received repository: a read-only file system in memory. Symbolic
// links are followed, but never out of the tree. Files have mode 0644,
// directories 0755, and nothing has a time, so that equal content is equal. It
// may be read by several goroutines.
type Tree struct {
	root *node
}

var (
	_ fs.ReadFileFS = (*Tree)(nil)
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.StatFS     = (*Tree)(nil)
	_ fs.ReadLinkFS = (*Tree)(nil)
)

// node is a file, a directory (children is not nil) or a symbolic link (target
// is not empty).
type node struct {
	data     []byte
	target   string
	children map[string]*node
	// implied: the directory was made for an entry below it and has not been
	// seen itself.
	implied bool
}

func newDirectory() *node { return &node{children: map[string]*node{}} }

func (n *node) mode() fs.FileMode {
	switch {
	case n.children != nil:
		return fs.ModeDir | 0o755
	case n.target != "":
		return fs.ModeSymlink | 0o777
	}
	return 0o644
}

// sorted returns the directory's entries by name.
func (n *node) sorted() []fs.DirEntry {
	entries := make([]fs.DirEntry, 0, len(n.children))
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		entries = append(entries, fs.FileInfoToDirEntry(info{n.children[name], name}))
	}
	return entries
}

// find walks to a node. The last element is followed when it is a link, if so
// asked; those before it always are.
func (t *Tree) find(name string, follow bool) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	way := []*node{t.root}
	todo := strings.Split(name, "/")
	for hops := 0; len(todo) > 0; {
		here, part := way[len(way)-1], todo[0]
		todo = todo[1:]
		switch {
		case here.children == nil:
			return nil, fs.ErrNotExist
		case part == "." || part == "":
			continue
		case part == "..":
			if len(way) == 1 {
				return nil, errEscape
			}
			way = way[:len(way)-1]
			continue
		}
		next, ok := here.children[part]
		if !ok {
			return nil, fs.ErrNotExist
		}
		if next.target != "" && (follow || len(todo) > 0) {
			if hops++; hops > maxHops {
				return nil, errLoop
			}
			todo = append(strings.Split(next.target, "/"), todo...)
			continue
		}
		way = append(way, next)
	}
	return way[len(way)-1], nil
}

func (t *Tree) lookup(op, name string, follow bool) (*node, error) {
	n, err := t.find(name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// Open implements fs.FS.
func (t *Tree) Open(name string) (fs.File, error) {
	n, err := t.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	i := info{n, path.Base(name)}
	if n.children != nil {
		return &openDirectory{info: i, rest: n.sorted()}, nil
	}
	return &openFile{info: i, Reader: bytes.NewReader(n.data)}, nil
}

// ReadFile implements fs.ReadFileFS; the caller may change what it returns.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.children != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	return append([]byte{}, n.data...), nil
}

// ReadDir implements fs.ReadDirFS; entries are sorted by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.children == nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return n.sorted(), nil
}

// Stat implements fs.StatFS; it follows symbolic links.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.lookup("stat", name, true)
	if err != nil {
		return nil, err
	}
	return info{n, path.Base(name)}, nil
}

// Lstat implements fs.ReadLinkFS.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) {
	n, err := t.lookup("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return info{n, path.Base(name)}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (t *Tree) ReadLink(name string) (string, error) {
	n, err := t.lookup("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.target == "" {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.target, nil
}

// info describes a node under the name by which it was reached.
type info struct {
	*node
	as string
}

func (i info) Name() string       { return i.as }
func (i info) Size() int64        { return int64(len(i.data) + len(i.target)) }
func (i info) Mode() fs.FileMode  { return i.mode() }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.children != nil }
func (i info) Sys() any           { return nil }

type openFile struct {
	info info
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDirectory struct {
	info info
	rest []fs.DirEntry
}

func (d *openDirectory) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDirectory) Close() error               { return nil }

func (d *openDirectory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.as, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDirectory) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	entries := d.rest[:n:n]
	d.rest = d.rest[n:]
	return entries, nil
}

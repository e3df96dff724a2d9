package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxLinks bounds how many symlinks one path may pass, as Linux does.
	maxLinks = 40
	// maxLinkTarget is the longest symlink target in bytes (PATH_MAX).
	maxLinkTarget = 4096
)

var (
	errLinkEscapes = errors.New("symlink leads out of the tree")
	errLinkLoop    = errors.New("too many levels of symbolic links")
)

// TreeFS presents a fetched tree as a file system. Directories list sorted by
// name; symlinks are listed as such and, when opened, resolved inside the tree
// only: a target that is absolute or climbs above the root is an error, as is
// a loop. Submodules are empty directories. Times are zero.
//
// A path that is not there is [fs.ErrNotExist]. A tree or blob that was not
// fetched is [ErrNotFound] and not fs.ErrNotExist, so what is unknown is not
// mistaken for absent. The file system also implements [fs.ReadDirFS],
// [fs.ReadFileFS], [fs.StatFS] and [fs.ReadLinkFS] and is safe for concurrent
// use.
func TreeFS(r Objects, tree Hash) fs.FS {
	return &treeFS{reader: r, root: Entry{Name: ".", Mode: ModeDir, ID: tree}}
}

var (
	_ fs.ReadDirFS  = (*treeFS)(nil)
	_ fs.ReadFileFS = (*treeFS)(nil)
	_ fs.StatFS     = (*treeFS)(nil)
	_ fs.ReadLinkFS = (*treeFS)(nil)
)

type treeFS struct {
	reader Objects
	root   Entry
	trees  sync.Map // Hash to Tree: decoded once each
}

func (t *treeFS) Open(name string) (fs.File, error) {
	entry, err := t.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	if isDir(entry) {
		entries, err := t.list(entry)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openDir{info: t.info(name, entry, 0), entries: entries}, nil
	}
	data, err := t.content(entry)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{Reader: bytes.NewReader(data), info: t.info(name, entry, len(data))}, nil
}

func (t *treeFS) ReadFile(name string) ([]byte, error) {
	entry, err := t.resolve("read", name, true)
	if err != nil {
		return nil, err
	}
	if isDir(entry) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	data, err := t.content(entry)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return bytes.Clone(data), nil // objects are shared and must not change
}

func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entry, err := t.resolve("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !isDir(entry) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries, err := t.list(entry)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, nil
}

func (t *treeFS) Stat(name string) (fs.FileInfo, error)  { return t.stat("stat", name, true) }
func (t *treeFS) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *treeFS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	entry, err := t.resolve(op, name, follow)
	if err != nil {
		return nil, err
	}
	info, err := t.sized(name, entry)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return info, nil
}

func (t *treeFS) ReadLink(name string) (string, error) {
	entry, err := t.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	if entry.Mode != ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := t.content(entry)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(target), nil
}

// resolve walks a path from the root. dirs is the way from the root to the
// directory the walk is in, so ".." in a link target has something to pop.
func (t *treeFS) resolve(op, name string, follow bool) (Entry, error) {
	fail := func(err error) (Entry, error) {
		return Entry{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	dirs := []Entry{t.root}
	links := 0
	for rest := strings.Split(name, "/"); len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(dirs) == 1 {
				return fail(errLinkEscapes)
			}
			dirs = dirs[:len(dirs)-1]
			continue
		}
		tree, err := t.tree(dirs[len(dirs)-1])
		if err != nil {
			return fail(err)
		}
		entry, ok := tree.Find(part)
		if !ok {
			return fail(fs.ErrNotExist)
		}
		switch {
		case isDir(entry):
			dirs = append(dirs, entry)
		case entry.Mode == ModeSymlink && (follow || len(rest) > 0):
			if links++; links > maxLinks {
				return fail(errLinkLoop)
			}
			target, err := t.target(entry)
			if err != nil {
				return fail(err)
			}
			rest = append(strings.Split(target, "/"), rest...)
		case len(rest) > 0:
			return fail(fs.ErrNotExist) // a file is in the way
		default:
			return entry, nil
		}
	}
	return dirs[len(dirs)-1], nil
}

func (t *treeFS) target(link Entry) (string, error) {
	data, err := t.content(link)
	switch {
	case err != nil:
		return "", err
	case len(data) == 0 || len(data) > maxLinkTarget:
		return "", fmt.Errorf("symlink target of %d bytes", len(data))
	case data[0] == '/':
		return "", errLinkEscapes
	}
	return string(data), nil
}

func (t *treeFS) tree(dir Entry) (Tree, error) {
	if dir.Mode == ModeSubmodule {
		return nil, nil
	}
	if cached, ok := t.trees.Load(dir.ID); ok {
		return cached.(Tree), nil
	}
	tree, err := ReadTree(t.reader, dir.ID)
	if err == nil {
		t.trees.Store(dir.ID, tree)
	}
	return tree, err
}

func (t *treeFS) content(e Entry) ([]byte, error) {
	o, err := t.reader.Object(e.ID)
	if err != nil {
		return nil, err
	}
	if o.Type != TypeBlob {
		return nil, fmt.Errorf("object %s is a %s, not a blob", e.ID.Short(), o.Type)
	}
	return o.Data, nil
}

func (t *treeFS) list(dir Entry) ([]fs.DirEntry, error) {
	tree, err := t.tree(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(tree))
	for _, e := range tree {
		entries = append(entries, dirEntry{fs: t, entry: e})
	}
	// Git sorts directories as if their names ended in a slash.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (t *treeFS) info(name string, e Entry, size int) fileInfo {
	return fileInfo{name: path.Base(name), mode: fileMode(e), size: int64(size)}
}

func (t *treeFS) sized(name string, e Entry) (fs.FileInfo, error) {
	if isDir(e) {
		return t.info(name, e, 0), nil
	}
	data, err := t.content(e)
	if err != nil {
		return nil, err
	}
	return t.info(name, e, len(data)), nil
}

func isDir(e Entry) bool { return e.Mode == ModeDir || e.Mode == ModeSubmodule }

func fileMode(e Entry) fs.FileMode {
	switch e.Mode {
	case ModeDir, ModeSubmodule:
		return fs.ModeDir | 0o755
	case ModeSymlink:
		return fs.ModeSymlink | 0o777
	case ModeExecutable:
		return 0o755
	}
	return 0o644
}

type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

type dirEntry struct {
	fs    *treeFS
	entry Entry
}

func (d dirEntry) Name() string               { return d.entry.Name }
func (d dirEntry) IsDir() bool                { return isDir(d.entry) }
func (d dirEntry) Type() fs.FileMode          { return fileMode(d.entry).Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.fs.sized(d.entry.Name, d.entry) }
func (d dirEntry) String() string             { return fs.FormatDirEntry(d) }

type openFile struct {
	*bytes.Reader
	info fileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    fileInfo
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := d.entries
		d.entries = nil
		return out, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	out := d.entries[:n]
	d.entries = d.entries[n:]
	return out, nil
}

package pinned

import (
	"io/fs"
	"slices"
	"strings"
)

// ownFiles is the folder that a snapshot's tree has and its source commit has
// not.
const ownFiles = ".propagator"

// withoutOwnFiles hides ownFiles, so that a chart which lists all its files
// renders the same from both trees.
type withoutOwnFiles struct{ fs.FS }

var (
	_ fs.ReadFileFS = withoutOwnFiles{}
	_ fs.ReadDirFS  = withoutOwnFiles{}
	_ fs.StatFS     = withoutOwnFiles{}
	_ fs.ReadLinkFS = withoutOwnFiles{}
)

func hidden(op, name string) error {
	if name == ownFiles || strings.HasPrefix(name, ownFiles+"/") {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// Open implements fs.FS.
func (w withoutOwnFiles) Open(name string) (fs.File, error) {
	if err := hidden("open", name); err != nil {
		return nil, err
	}
	file, err := w.FS.Open(name)
	if directory, ok := file.(fs.ReadDirFile); ok && name == "." {
		return withoutOwnEntry{directory}, nil
	}
	return file, err
}

// ReadFile implements fs.ReadFileFS.
func (w withoutOwnFiles) ReadFile(name string) ([]byte, error) {
	if err := hidden("open", name); err != nil {
		return nil, err
	}
	return fs.ReadFile(w.FS, name)
}

// ReadDir implements fs.ReadDirFS.
func (w withoutOwnFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := hidden("open", name); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(w.FS, name)
	if name == "." {
		entries = withoutOwn(entries)
	}
	return entries, err
}

// Stat implements fs.StatFS.
func (w withoutOwnFiles) Stat(name string) (fs.FileInfo, error) {
	if err := hidden("stat", name); err != nil {
		return nil, err
	}
	return fs.Stat(w.FS, name)
}

// Lstat implements fs.ReadLinkFS.
func (w withoutOwnFiles) Lstat(name string) (fs.FileInfo, error) {
	if err := hidden("lstat", name); err != nil {
		return nil, err
	}
	return fs.Lstat(w.FS, name)
}

// ReadLink implements fs.ReadLinkFS.
func (w withoutOwnFiles) ReadLink(name string) (string, error) {
	if err := hidden("readlink", name); err != nil {
		return "", err
	}
	return fs.ReadLink(w.FS, name)
}

func withoutOwn(entries []fs.DirEntry) []fs.DirEntry {
	return slices.DeleteFunc(slices.Clone(entries), func(e fs.DirEntry) bool { return e.Name() == ownFiles })
}

// withoutOwnEntry is the root directory, opened.
type withoutOwnEntry struct{ fs.ReadDirFile }

// ReadDir implements fs.ReadDirFile.
func (d withoutOwnEntry) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.ReadDirFile.ReadDir(n)
	if entries = withoutOwn(entries); n > 0 && len(entries) == 0 && err == nil {
		return d.ReadDir(n)
	}
	return entries, err
}

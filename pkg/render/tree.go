package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

var (
	errOutside  = errors.New("leads out of the repository")
	errLinkLoop = errors.New("too many levels of symbolic links")
)

// maxLinks bounds how many symlinks one path may pass, as Linux does.
const maxLinks = 40

// tree reads the repository: paths are slash-separated from its root, "." is
// the root, symlinks are followed inside it only. Files that this package
// generates lie over the repository's own. A tree belongs to one render and is
// not safe for concurrent use.
type tree struct {
	fsys    fs.FS
	stopped func() error // the render's context; nil for none

	over  map[string][]byte
	known map[string]found
	read  int64
	// fault is the first error that was not plain absence. kustomize takes any
	// error for a missing file and tries the next thing; a tree that was not
	// fully fetched must not be rendered as if files were not there.
	fault error
}

type found struct {
	real string
	info fs.FileInfo
	err  error
}

func newTree(fsys fs.FS, stopped func() error) *tree {
	return &tree{fsys: fsys, stopped: stopped, over: map[string][]byte{}, known: map[string]found{}}
}

// put lays a generated file over the repository.
func (t *tree) put(name string, data []byte) {
	t.over[name] = data
	clear(t.known)
}

// join is path.Join that keeps a path that leaves the repository recognisable
// ("../x") instead of cutting it off at the root.
func join(dir, name string) string { return path.Join(dir, name) }

func outside(name string) bool {
	return path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../")
}

// resolve follows symlinks and returns the path without them.
func (t *tree) resolve(name string) (string, fs.FileInfo, error) {
	if t.stopped != nil {
		if err := t.stopped(); err != nil {
			t.fail(err)
			return "", nil, err
		}
	}
	if f, ok := t.known[name]; ok {
		return f.real, f.info, f.err
	}
	real, info, err := t.walk(path.Clean(name))
	if err != nil {
		err = &fs.PathError{Op: "open", Path: name, Err: err}
		if !absent(err) {
			t.fail(err)
		}
	}
	t.known[name] = found{real, info, err}
	return real, info, err
}

// absent: the path is not there, or it is one that cannot be.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOutside) || errors.Is(err, errLinkLoop) || errors.Is(err, fs.ErrInvalid)
}

func (t *tree) fail(err error) {
	if t.fault == nil {
		t.fault = err
	}
}

func (t *tree) walk(name string) (string, fs.FileInfo, error) {
	var (
		done  []string
		links int
		last  fs.FileInfo = fileInfo{name: ".", mode: fs.ModeDir}
	)
	if path.IsAbs(name) {
		return "", nil, errOutside
	}
	for rest := strings.Split(name, "/"); len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(done) == 0 {
				return "", nil, errOutside
			}
			done = done[:len(done)-1]
			last = fileInfo{name: ".", mode: fs.ModeDir}
			continue
		}
		here := strings.Join(append(slices.Clone(done), part), "/")
		info, err := t.lstat(here)
		if err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				return "", nil, errLinkLoop
			}
			target, err := fs.ReadLink(t.fsys, here)
			if err != nil {
				return "", nil, unwrapPath(err)
			}
			if path.IsAbs(target) {
				return "", nil, fmt.Errorf("symlink %s %w", here, errOutside)
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if len(rest) > 0 && !info.IsDir() {
			return "", nil, fs.ErrNotExist
		}
		done = append(done, part)
		last = info
	}
	if len(done) == 0 {
		return ".", last, nil
	}
	return strings.Join(done, "/"), last, nil
}

func (t *tree) lstat(name string) (fs.FileInfo, error) {
	if data, ok := t.over[name]; ok {
		return fileInfo{name: path.Base(name), size: int64(len(data)), mode: 0o644}, nil
	}
	info, err := fs.Lstat(t.fsys, name)
	if err == nil {
		return info, nil
	}
	for file := range t.over {
		if strings.HasPrefix(file, name+"/") {
			return fileInfo{name: path.Base(name), mode: fs.ModeDir}, nil
		}
	}
	return nil, unwrapPath(err)
}

// unwrapPath drops the inner path of an error that gets an outer one.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (t *tree) stat(name string) (fs.FileInfo, error) {
	_, info, err := t.resolve(name)
	return info, err
}

func (t *tree) isDir(name string) bool {
	info, err := t.stat(name)
	return err == nil && info.IsDir()
}

func (t *tree) isFile(name string) bool {
	info, err := t.stat(name)
	return err == nil && info.Mode().IsRegular()
}

func (t *tree) readFile(name string) ([]byte, error) {
	real, info, err := t.resolve(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is not a regular file")}
	case info.Size() > maxFile:
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("has %d bytes; the limit is %d", info.Size(), maxFile)}
	}
	data, ok := t.over[real]
	if !ok {
		if data, err = fs.ReadFile(t.fsys, real); err != nil {
			t.fail(err)
			return nil, err
		}
	}
	if t.read += int64(len(data)); len(data) > maxFile || t.read > maxRead {
		err := &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("more than %d bytes read by one render", maxRead)}
		t.fail(err)
		return nil, err
	}
	return data, nil
}

// readDir lists the names in a folder of the repository, sorted.
func (t *tree) readDir(name string) ([]string, error) {
	real, info, err := t.resolve(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is not a directory")}
	}
	entries, err := fs.ReadDir(t.fsys, real)
	if err != nil {
		t.fail(err)
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// fileInfo describes what the repository itself does not have: its root and
// generated files.
type fileInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

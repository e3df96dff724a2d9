package cmpwire

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// nodeCost is what an entry takes in memory beyond its name and content:
// empty files are not free.
const nodeCost = 256

// ReadArchive reads a gzipped tar archive into a tree. It does not read r
// further than it must; bytes behind the archive are the caller's business.
func ReadArchive(r io.Reader, limits Limits) (*Tree, error) {
	a := &archive{limits: limits.withDefaults(), root: newDirectory()}
	decompressed, err := gzip.NewReader(r)
	if err != nil {
		return nil, readError(err)
	}
	defer func() { _ = decompressed.Close() }() // nothing to release; Read reports the checksum
	bounded := &boundedReader{r: decompressed, left: a.limits.Extracted}
	entries := tar.NewReader(bounded)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, readError(err)
		}
		if err := a.add(header, entries); err != nil {
			return nil, err
		}
	}
	// Read the padding behind the last entry, and with it gzip's own checksum.
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return nil, readError(err)
	}
	return &Tree{root: a.root}, nil
}

// archive is a tree that is being built.
type archive struct {
	limits  Limits
	root    *node
	entries int
	kept    int64
}

// readError classifies what reading the archive gave.
func readError(err error) error {
	var broken *streamError
	if errors.As(err, &broken) || errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// add takes one entry into the tree.
func (a *archive) add(header *tar.Header, content io.Reader) error {
	if a.entries++; a.entries > a.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrTooLarge, a.limits.Entries)
	}
	name := strings.TrimSuffix(strings.TrimPrefix(header.Name, "./"), "/")
	switch {
	case len(name) > a.limits.PathLength:
		return fmt.Errorf("%w: a path of %d bytes, more than %d: %q", ErrTooLarge, len(name), a.limits.PathLength, clip(name))
	case (name == "." || name == "") && header.Typeflag == tar.TypeDir:
		return nil
	case !local(name):
		return fmt.Errorf("%w: %q is not a path below the root", ErrUnsafe, clip(header.Name))
	}
	kind := header.Typeflag
	if kind != tar.TypeReg && kind != tar.TypeDir && kind != tar.TypeSymlink {
		return fmt.Errorf("%w: %q is neither file, directory nor symbolic link", ErrUnsafe, clip(name))
	}
	// A name that is no UTF-8 cannot be addressed through fs.FS; a file like
	// that must not keep the rest of the repository from being rendered.
	if git(name) || !utf8.ValidString(name) {
		return nil
	}
	if kind != tar.TypeDir && a.limits.Keep != nil && !a.limits.Keep(name) {
		return nil
	}
	switch kind {
	case tar.TypeDir:
		return a.addDirectory(name)
	case tar.TypeSymlink:
		return a.addLink(name, header.Linkname)
	default:
		return a.addFile(name, header.Size, content)
	}
}

func (a *archive) addDirectory(name string) error {
	parent, err := a.parent(name)
	if err != nil {
		return err
	}
	base := path.Base(name)
	if old, ok := parent.children[base]; ok && old.implied {
		old.implied = false
		return nil
	}
	return a.attach(parent, name, newDirectory())
}

func (a *archive) addLink(name, target string) error {
	// What keeps links inside is Tree.find, whatever they say; this refuses
	// archives that try it openly.
	if len(target) > a.limits.PathLength {
		return fmt.Errorf("%w: the target of symbolic link %q has %d bytes, more than %d", ErrTooLarge, clip(name), len(target), a.limits.PathLength)
	}
	if target == "" || path.IsAbs(target) || !inside(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("%w: symbolic link %q leads out of the tree", ErrUnsafe, clip(name))
	}
	parent, err := a.parent(name)
	if err != nil {
		return err
	}
	return a.attach(parent, name, &node{target: target})
}

func (a *archive) addFile(name string, size int64, content io.Reader) error {
	parent, err := a.parent(name)
	if err != nil {
		return err
	}
	if size > a.limits.Kept-a.kept {
		return a.tooMuchKept()
	}
	// The header may lie about the size, but not beyond what may be kept.
	data := make([]byte, size)
	if _, err := io.ReadFull(content, data); err != nil {
		return readError(fmt.Errorf("%q: %w", clip(name), err))
	}
	return a.attach(parent, name, &node{data: data})
}

// parent finds the directory of an entry and makes what is missing of it.
func (a *archive) parent(name string) (*node, error) {
	here := a.root
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		next, ok := here.children[part]
		switch {
		case !ok:
			next = newDirectory()
			next.implied = true
			if err := a.charge(part, next); err != nil {
				return nil, err
			}
			here.children[part] = next
		case next.target != "":
			return nil, fmt.Errorf("%w: %q is below a symbolic link", ErrUnsafe, clip(name))
		case next.children == nil:
			return nil, fmt.Errorf("%w: %q is below a file", ErrUnsafe, clip(name))
		}
		here = next
	}
	return here, nil
}

func (a *archive) attach(parent *node, name string, n *node) error {
	base := path.Base(name)
	if _, double := parent.children[base]; double {
		return fmt.Errorf("%w: %q occurs twice", ErrUnsafe, clip(name))
	}
	if err := a.charge(base, n); err != nil {
		return err
	}
	parent.children[base] = n
	return nil
}

// charge books a node's memory.
func (a *archive) charge(name string, n *node) error {
	a.kept += nodeCost + int64(len(name)+len(n.target)+len(n.data))
	if a.kept > a.limits.Kept {
		return a.tooMuchKept()
	}
	return nil
}

func (a *archive) tooMuchKept() error {
	return fmt.Errorf("%w: its files take more than %d MiB", ErrTooLarge, a.limits.Kept/mib)
}

// local reports whether a path is relative, clean and free of "..".
func local(name string) bool {
	return name != "" && name != "." && path.Clean(name) == name && inside(name) && !path.IsAbs(name)
}

// inside reports whether a clean relative path stays below where it starts.
func inside(name string) bool {
	return name != ".." && !strings.HasPrefix(name, "../")
}

// git reports whether a path belongs to git's own files, those of submodules
// included.
func git(name string) bool {
	return slices.Contains(strings.Split(name, "/"), ".git")
}

// clip shortens a name for a message.
func clip(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// boundedReader fails once more than a number of bytes has been read.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: decompressed, it is larger than the limit; exclude .git from what repo-server sends, or raise --max-extracted", ErrTooLarge)
	}
	return n, err
}

package gitrepo_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// tree puts a directory into a store. Keys are names; a value that is a string
// is a file, or with a leading "->" a symlink, "x:" an executable.
type dir map[string]any

func tree(t testing.TB, store *gitrepo.Store, d dir) gitrepo.Hash {
	t.Helper()
	var entries gitrepo.Tree
	for name, v := range d {
		e := gitrepo.Entry{Name: name, Mode: gitrepo.ModeFile}
		switch v := v.(type) {
		case dir:
			e.Mode, e.ID = gitrepo.ModeDir, tree(t, store, v)
		case gitrepo.Hash:
			e.Mode, e.ID = gitrepo.ModeSubmodule, v
		case string:
			content := v
			if target, ok := strings.CutPrefix(v, "->"); ok {
				e.Mode, content = gitrepo.ModeSymlink, target
			} else if body, ok := strings.CutPrefix(v, "x:"); ok {
				e.Mode, content = gitrepo.ModeExecutable, body
			}
			blob := gitrepo.NewBlob([]byte(content))
			store.Put(blob)
			e.ID = blob.ID()
		}
		entries = append(entries, e)
	}
	o, err := gitrepo.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	store.Put(o)
	return o.ID()
}

const submodule = gitrepo.Hash("1234567890123456789012345678901234567890")

func sample(t testing.TB) (*gitrepo.Store, gitrepo.Hash) {
	store := gitrepo.NewStore()
	return store, tree(t, store, dir{
		"a.yaml": "a", "run.sh": "x:run", "größe ü": "u", "a": dir{"deep": dir{"file": "deep"}}, "a-b": "sorted",
		"vendor": submodule,
		"link":   "->a.yaml", "dirlink": "->a/deep", "up": dir{"link": "->../a/./deep/file", "out": "->../../etc/passwd"},
		"chain": "->link", "loop": "->loop2", "loop2": "->loop", "abs": "->/etc/passwd", "dangling": "->nowhere", "self": "->.",
	})
}

func TestTreeFS(t *testing.T) {
	store, root := sample(t)
	fsys := gitrepo.TreeFS(store, root)
	for _, test := range []struct{ path, want string }{
		{"a.yaml", "a"},
		{"run.sh", "run"},
		{"größe ü", "u"},
		{"a/deep/file", "deep"},
		{"link", "a"},
		{"chain", "a"},
		{"dirlink/file", "deep"},
		{"up/link", "deep"},
		{"self/self/a.yaml", "a"},
	} {
		got, err := fs.ReadFile(fsys, test.path)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %q, %v, want %q", test.path, got, err, test.want)
		}
	}
	for _, path := range []string{"up/out", "abs", "loop", "loop/x", "a", "vendor", "vendor/x", "a.yaml/x", "dangling", "none", "/a.yaml", "../a", "a//deep"} {
		if got, err := fs.ReadFile(fsys, path); err == nil {
			t.Errorf("%s: read %q, want an error", path, got)
		}
	}
	for _, path := range []string{"none", "dangling", "a.yaml/x", "vendor/x"} {
		if _, err := fs.Stat(fsys, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want %v", path, err, fs.ErrNotExist)
		}
	}
}

func TestTreeFSListing(t *testing.T) {
	store, root := sample(t)
	fsys := gitrepo.TreeFS(store, root)
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Mode().String()+" "+info.Name())
	}
	want := []string{
		"drwxr-xr-x a", "-rw-r--r-- a-b", "-rw-r--r-- a.yaml", "Lrwxrwxrwx abs", "Lrwxrwxrwx chain", "Lrwxrwxrwx dangling",
		"Lrwxrwxrwx dirlink", "-rw-r--r-- größe ü", "Lrwxrwxrwx link", "Lrwxrwxrwx loop", "Lrwxrwxrwx loop2",
		"-rwxr-xr-x run.sh", "Lrwxrwxrwx self", "drwxr-xr-x up", "drwxr-xr-x vendor",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	if empty, err := fs.ReadDir(fsys, "vendor"); err != nil || len(empty) != 0 {
		t.Errorf("submodule: %v, %v", empty, err)
	}
	if target, err := fs.ReadLink(fsys, "up/link"); err != nil || target != "../a/./deep/file" {
		t.Errorf("read link: %q, %v", target, err)
	}
	if info, err := fs.Lstat(fsys, "link"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("lstat: %v, %v", info, err)
	}
}

func TestTreeFSConforms(t *testing.T) {
	store := gitrepo.NewStore()
	root := tree(t, store, dir{"a": "a", "d": dir{"x:y": "b", "e": dir{"f": "f"}}, "link": "->d/e/f", "x": "x:x"})
	if err := fstest.TestFS(gitrepo.TreeFS(store, root), "a", "d/e/f", "link", "x"); err != nil {
		t.Error(err)
	}
}

func TestTreeFSUnfetched(t *testing.T) {
	store, root := gitrepo.NewStore(), gitrepo.NewBlob([]byte("somewhere else")).ID()
	_, err := fs.Stat(gitrepo.TreeFS(store, root), "a")
	if !errors.Is(err, gitrepo.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown must not look absent: %v", err)
	}
}

func TestTreeFSSharesNothing(t *testing.T) {
	store, root := sample(t)
	fsys := gitrepo.TreeFS(store, root)
	first, err := fs.ReadFile(fsys, "a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first[0] = 'X'
	if second, err := fs.ReadFile(fsys, "a.yaml"); err != nil || string(second) != "a" {
		t.Errorf("a caller changed the object: %q, %v", second, err)
	}
}

package gitrepo_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

func TestLookup(t *testing.T) {
	store, root := sample(t)
	for _, test := range []struct {
		path string
		mode gitrepo.Mode
		err  error
	}{
		{".", gitrepo.ModeDir, nil},
		{"a/deep", gitrepo.ModeDir, nil},
		{"a/deep/file", gitrepo.ModeFile, nil},
		{"run.sh", gitrepo.ModeExecutable, nil},
		{"link", gitrepo.ModeSymlink, nil},
		{"vendor", gitrepo.ModeSubmodule, nil},
		{"dirlink/file", "", fs.ErrNotExist},
		{"vendor/x", "", fs.ErrNotExist},
		{"none", "", fs.ErrNotExist},
		{"../a", "", fs.ErrInvalid},
	} {
		t.Run(test.path, func(t *testing.T) {
			e, err := gitrepo.Lookup(store, root, test.path)
			if e.Mode != test.mode || !errors.Is(err, test.err) {
				t.Errorf("got mode %q, %v, want %q, %v", e.Mode, err, test.mode, test.err)
			}
		})
	}
	if _, err := gitrepo.Lookup(gitrepo.NewStore(), root, "a"); !errors.Is(err, gitrepo.ErrNotFound) {
		t.Errorf("unfetched: %v", err)
	}
}

func TestWriteFiles(t *testing.T) {
	store, base := sample(t)
	root, objects, err := gitrepo.WriteFiles(store, base, map[string][]byte{
		"a/deep/new":       []byte("n"),
		"run.sh":           []byte("changed"),
		"link":             []byte("a file now"),
		"a.yaml":           []byte("a"), // as it was
		".propagator/s.md": []byte("n"), // same content as a/deep/new
	})
	if err != nil {
		t.Fatal(err)
	}
	var types []gitrepo.Type
	for _, o := range objects {
		types = append(types, o.Type)
	}
	// Blobs: run.sh, link and one for the two equal files. Trees: a/deep, a,
	// .propagator, root.
	want := []gitrepo.Type{"blob", "blob", "blob", "tree", "tree", "tree", "tree"}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if objects[len(objects)-1].ID() != root {
		t.Error("the root is not the last object")
	}
	store.Put(objects...)
	for path, want := range map[string]gitrepo.Mode{
		"run.sh": gitrepo.ModeExecutable, "link": gitrepo.ModeFile, "a/deep/file": gitrepo.ModeFile, "a/deep/new": gitrepo.ModeFile,
		"chain": gitrepo.ModeSymlink, "vendor": gitrepo.ModeSubmodule,
	} {
		if e, err := gitrepo.Lookup(store, root, path); err != nil || e.Mode != want {
			t.Errorf("%s: mode %q, %v, want %q", path, e.Mode, err, want)
		}
	}
	again, none, err := gitrepo.WriteFiles(store, root, map[string][]byte{"run.sh": []byte("changed"), "a/deep/new": []byte("n")})
	if err != nil || again != root || len(none) != 0 {
		t.Errorf("writing the same again: %s, %d objects, %v", again, len(none), err)
	}
}

func TestWriteFilesRefuses(t *testing.T) {
	store, base := sample(t)
	for name, files := range map[string]map[string][]byte{
		"a directory":         {"a": nil},
		"below a file":        {"a.yaml/x": nil},
		"below a symlink":     {"dirlink/x": nil},
		"below a submodule":   {"vendor/x": nil},
		"a submodule":         {"vendor": nil},
		"file and folder":     {"new": nil, "new/x": nil},
		"climbing":            {"../x": nil},
		"absolute":            {"/x": nil},
		"the root":            {".": nil},
		"git's own directory": {"sub/.git/config": nil},
		"empty part":          {"x//y": nil},
	} {
		t.Run(name, func(t *testing.T) {
			if root, _, err := gitrepo.WriteFiles(store, base, files); err == nil {
				t.Errorf("wrote %s", root)
			}
		})
	}
}

func TestWriteFilesEmpty(t *testing.T) {
	const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	root, objects, err := gitrepo.WriteFiles(gitrepo.NewStore(), "", nil)
	if err != nil || root != emptyTree || len(objects) != 1 {
		t.Errorf("got %s, %d objects, %v", root, len(objects), err)
	}
}

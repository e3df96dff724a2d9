package pinned

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestOwnFilesAreHidden(t *testing.T) {
	w := withoutOwnFiles{fstest.MapFS{
		".propagator/snapshot.yaml": {}, ".propagatorx": {}, "a/.propagator/kept": {}, "b": {},
	}}
	if err := fstest.TestFS(w, ".propagatorx", "a/.propagator/kept", "b"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{".propagator", ".propagator/snapshot.yaml"} {
		_, stat := w.Stat(name)
		_, lstat := w.Lstat(name)
		_, open := w.Open(name)
		_, read := w.ReadFile(name)
		_, list := w.ReadDir(name)
		_, link := w.ReadLink(name)
		for _, err := range []error{stat, lstat, open, read, list, link} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

package merge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	s := newStore()
	a := files{"a": "1\n", "b/c": "2\n", "b/d": "3\n", "e": "", "l": "[l]a", "sub": commitA, "x": "[x]5\n", "twice": "6\n", "f": "7\n"}
	b := with(a, files{
		"a": "one\n", "b/c": "-", "c": "2\n", "b/d": "[x]3\n", "e": "-", "e2": "", "l": "[l]b", "sub": commitB,
		"x": "-", "dir/x": "5\n", "twice": "-", "t1": "6\n", "t2": "6\n", "f": "-", "f/g": "8\n",
	})
	got, err := merge.Diff(s, s.tree(t, a), s.tree(t, b))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"modified a", "mode b/d (100644 to 100755)", "renamed b/c to c", "renamed x to dir/x (100755 to 100644)", "removed e", "added e2",
		"removed f", "added f/g", "modified l", "modified sub", "added t1", "added t2", "removed twice",
	}
	if diff := cmp.Diff(want, stringsOf(got)); diff != "" {
		t.Errorf("diff (-want +got):\n%s", diff)
	}
	for name, pair := range map[string][2]gitrepo.Hash{"same": {s.tree(t, a), s.tree(t, a)}, "nothing": {"", ""}, "empty": {"", s.tree(t, files{})}} {
		if got, err := merge.Diff(s, pair[0], pair[1]); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := merge.Diff(s, "", s.tree(t, a)); err != nil || len(got) != len(a) {
		t.Errorf("from nothing: %v, %v", got, err)
	}
}

func TestDiffErrors(t *testing.T) {
	t.Parallel()
	s := newStore()
	a, b := s.tree(t, files{"d/a": "1\n"}), s.tree(t, files{"d/a": "2\n"})
	inner := s.tree(t, files{"a": "1\n"})
	if _, err := merge.Diff(without{s, inner}, a, b); !errors.Is(err, gitrepo.ErrNotFound) || !strings.Contains(err.Error(), `"d"`) {
		t.Errorf("missing directory: %v", err)
	}
	id := strings.Repeat("\x01", 20)
	for name, data := range map[string]string{
		"order":     "100644 b\x00" + id + "100644 a\x00" + id,
		"twice":     "100644 a\x00" + id + "100644 a\x00" + id,
		"dir, file": "100644 a\x00" + id + "100644 a-\x00" + id + "40000 a\x00" + id,
		"cut":       "100644 a\x00" + id[:5],
	} {
		o := gitrepo.Object{Type: gitrepo.TypeTree, Data: []byte(data)}
		s.Put(o)
		if got, err := merge.Diff(s, a, o.ID()); err == nil || !strings.Contains(err.Error(), "malformed tree object") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err := merge.Trees(s, a, b, o.ID(), merge.Options{}); err == nil {
			t.Errorf("%s: merged to %v", name, got)
		}
	}
	deep := s.tree(t, files{"x": "1\n"})
	for range 600 {
		o, err := gitrepo.NewTree(gitrepo.Tree{{Name: "d", Mode: gitrepo.ModeDir, ID: deep}})
		if err != nil {
			t.Fatal(err)
		}
		s.Put(o)
		deep = o.ID()
	}
	if got, err := merge.Diff(s, a, deep); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("deep: %v, %v", got, err)
	}
	if _, err := merge.Trees(s, a, b, deep, merge.Options{}); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("deep: %v", err)
	}
}

func TestPatchID(t *testing.T) {
	t.Parallel()
	s := newStore()
	patch := func(base, head files, leave ...string) string {
		t.Helper()
		id, err := merge.PatchID(s, s.tree(t, base), s.tree(t, head), leave)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	base := files{"a/f": ten, "bin": "\x00", "k": "x"}
	fix := patch(base, with(base, files{"a/f": strings.Replace(ten, "5\n", "five\n", 1), "n": "new\n"}))
	if len(fix) != 64 {
		t.Errorf("id %q", fix)
	}
	other := with(base, files{"a/f": "0\n0\n" + strings.Replace(ten, "8\n", "eight\n", 1), "k": "y", "m": "z"})
	fixed := strings.Replace(other["a/f"], "5\n", "five\n", 1)
	same := map[string]string{
		"elsewhere":         patch(other, with(other, files{"a/f": fixed, "n": "new\n"})),
		"with other space":  patch(other, with(other, files{"a/f": strings.Replace(fixed, "five", "\tf ive  ", 1), "n": "new\r\n"})),
		"left out":          patch(other, with(other, files{"a/f": fixed, "n": "new\n", ".propagator/x": "1", "k": "-"}), ".propagator", "k"),
		"and back and same": patch(base, with(base, files{"a/f": strings.Replace(ten, "5\n", "five\n", 1), "n": "new\n"})),
	}
	for name, id := range same {
		if id != fix {
			t.Errorf("%s: id %s, want %s", name, id, fix)
		}
	}
	different := map[string]string{
		"reverse":    patch(with(base, files{"a/f": fixed, "n": "new\n"}), base),
		"other path": patch(other, with(other, files{"a/f": fixed, "n2": "new\n"})),
		"other line": patch(other, with(other, files{"a/f": strings.Replace(fixed, "five", "5five", 1), "n": "new\n"})),
		"part":       patch(other, with(other, files{"a/f": fixed})),
		"more":       patch(other, with(other, files{"a/f": fixed, "n": "new\n", "bin": "\x00\x01"})),
		"mode":       patch(other, with(other, files{"a/f": "[x]" + fixed, "n": "new\n"})),
		"symlink":    patch(other, with(other, files{"a/f": fixed, "n": "[l]new\n"})),
		"binary":     patch(base, with(base, files{"bin": "\x00\x02"})),
		"submodule":  patch(base, with(base, files{"sub": commitA})),
		"other sub":  patch(base, with(base, files{"sub": commitB})),
		"nothing":    "",
	}
	seen := map[string]string{fix: "the fix"}
	for name, id := range different {
		if seen[id] != "" {
			t.Errorf("%s has the id of %s", name, seen[id])
		}
		seen[id] = name
	}
	if id := patch(base, base); id != "" {
		t.Errorf("id of nothing is %q", id)
	}
	if id := patch(base, with(base, files{".propagator/x": "1"}), ".propagator"); id != "" {
		t.Errorf("id of what is left alone is %q", id)
	}
	blob := gitrepo.NewBlob([]byte("new\n")).ID()
	if id, err := merge.PatchID(without{s, blob}, s.tree(t, base), s.tree(t, with(base, files{"n": "new\n"})), nil); !errors.Is(err, gitrepo.ErrNotFound) {
		t.Errorf("missing blob: %q, %v", id, err)
	}
}

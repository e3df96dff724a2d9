package merge_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

const (
	commitA = "[s]aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "[s]bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	commitC = "[s]cccccccccccccccccccccccccccccccccccccccc"
	ten     = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"
)

func TestTrees(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("0123456789abcde\n", 8<<16)
	start := files{"a.txt": ten, "dir/b.txt": "b\n", "dir/c.txt": "c\n", "link": "[l]a.txt", "sub": commitA, "run.sh": "[x]#!/bin/sh\n", "bin": "\x00\x01", "empty": ""}
	tests := map[string]struct {
		ours, theirs files // on top of start
		leave        []string
		want         files // on top of start
		changes      []string
		conflicts    []string
	}{
		"nothing": {},
		"theirs alone": {
			theirs: files{"dir/b.txt": "B\n", "dir/new/x.txt": "x\n", "dir/c.txt": "-"},
			want:   files{"dir/b.txt": "B\n", "dir/new/x.txt": "x\n", "dir/c.txt": "-"},
			changes: []string{
				"modified dir/b.txt", "removed dir/c.txt", "added dir/new/x.txt",
			},
		},
		"ours alone":         {ours: files{"dir/b.txt": "B\n"}, want: files{"dir/b.txt": "B\n"}},
		"both the same":      {ours: files{"dir/b.txt": "B\n", "n": "1"}, theirs: files{"dir/b.txt": "B\n", "n": "1"}, want: files{"dir/b.txt": "B\n", "n": "1"}},
		"both delete":        {ours: files{"dir/b.txt": "-"}, theirs: files{"dir/b.txt": "-"}, want: files{"dir/b.txt": "-"}},
		"lines of one file":  {ours: files{"a.txt": "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"}, theirs: files{"a.txt": "1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n"}, want: files{"a.txt": "one\n2\n3\n4\n5\n6\n7\n8\n9\nten\n"}, changes: []string{"modified a.txt"}},
		"mode and content":   {ours: files{"a.txt": "[x]" + ten}, theirs: files{"a.txt": ten + "11\n"}, want: files{"a.txt": "[x]" + ten + "11\n"}, changes: []string{"modified a.txt"}},
		"content and mode":   {ours: files{"a.txt": ten + "11\n"}, theirs: files{"a.txt": "[x]" + ten}, want: files{"a.txt": "[x]" + ten + "11\n"}, changes: []string{"mode a.txt (100644 to 100755)"}},
		"whole things alone": {theirs: files{"link": "[l]dir", "sub": commitB, "bin": "\x00\x02"}, want: files{"link": "[l]dir", "sub": commitB, "bin": "\x00\x02"}, changes: []string{"modified bin", "modified link", "modified sub"}},
		"touching lines": {
			ours: files{"a.txt": "1\n2\n3\nFOUR\n5\n6\n7\n8\n9\n10\n"}, theirs: files{"a.txt": "1\n2\n3\n4\nFIVE\n6\n7\n8\n9\n10\n"},
			want:      files{"a.txt": "1\n2\n3\nFOUR\n5\n6\n7\n8\n9\n10\n"},
			conflicts: []string{`a.txt: both sides changed the same place: shop/v1.4.0, lines 4-5: "FOUR", "5"; hotfix/pay, lines 4-5: "4", "FIVE"`},
		},
		"removed and changed lines": {
			ours: files{"a.txt": "1\n2\n3\n5\n6\n7\n8\n9\n10\n"}, theirs: files{"a.txt": "1\n2\n3\nFOUR\n5\n6\n7\n8\n9\n10\n"},
			want:      files{"a.txt": "1\n2\n3\n5\n6\n7\n8\n9\n10\n"},
			conflicts: []string{`a.txt: both sides changed the same place: shop/v1.4.0, line 4: removed "4"; hotfix/pay, line 4: "FOUR"`},
		},
		"added at the same place": {
			ours: files{"a.txt": ten + "ours\n"}, theirs: files{"a.txt": ten + "theirs\n"},
			want:      files{"a.txt": ten + "ours\n"},
			conflicts: []string{`a.txt: both sides changed the same place: shop/v1.4.0, line 11: added "ours"; hotfix/pay, line 11: added "theirs"`},
		},
		"one conflict keeps the others' changes": {
			ours: files{"a.txt": "ours\n", "dir/b.txt": "ours\n"}, theirs: files{"a.txt": "theirs\n", "dir/c.txt": "theirs\n"},
			want:      files{"a.txt": "ours\n", "dir/b.txt": "ours\n", "dir/c.txt": "theirs\n"},
			changes:   []string{"modified dir/c.txt"},
			conflicts: []string{`a.txt: both sides changed the same place: shop/v1.4.0, line 1: "ours"; hotfix/pay, line 1: "theirs"`},
		},
		"delete and change": {
			ours: files{"dir/b.txt": "-"}, theirs: files{"dir/b.txt": "B\n"}, want: files{"dir/b.txt": "-"},
			conflicts: []string{"dir/b.txt: shop/v1.4.0 removed it, hotfix/pay changed it"},
		},
		"change and delete": {
			ours: files{"dir/b.txt": "B\n"}, theirs: files{"dir/b.txt": "-"}, want: files{"dir/b.txt": "B\n"},
			conflicts: []string{"dir/b.txt: hotfix/pay removed it, shop/v1.4.0 changed it"},
		},
		"directory deleted, one file in it changed": {
			ours: files{"dir/b.txt": "B\n"}, theirs: files{"dir/b.txt": "-", "dir/c.txt": "-"}, want: files{"dir/b.txt": "B\n", "dir/c.txt": "-"},
			changes:   []string{"removed dir/c.txt"},
			conflicts: []string{"dir/b.txt: hotfix/pay removed it, shop/v1.4.0 changed it"},
		},
		"directory deleted by ours, one file added by theirs": {
			ours: files{"dir/b.txt": "-", "dir/c.txt": "-"}, theirs: files{"dir/d.txt": "d\n"}, want: files{"dir/b.txt": "-", "dir/c.txt": "-", "dir/d.txt": "d\n"},
			changes: []string{"added dir/d.txt"},
		},
		"last file of a directory goes": {
			ours: files{"dir/b.txt": "-", "a.txt": "x"}, theirs: files{"dir/c.txt": "-"}, want: files{"dir/b.txt": "-", "dir/c.txt": "-", "a.txt": "x"},
			changes: []string{"removed dir/c.txt"},
		},
		"both add": {
			ours: files{"n": "ours\n"}, theirs: files{"n": "theirs\n"}, want: files{"n": "ours\n"},
			conflicts: []string{"n: shop/v1.4.0 and hotfix/pay both added it, with different content"},
		},
		"both add with other line ends": {ours: files{"n": "x\r\n"}, theirs: files{"n": "x\n"}, want: files{"n": "x\r\n"}},
		"both add with other modes": {
			ours: files{"n": "x"}, theirs: files{"n": "[x]x"}, want: files{"n": "x"},
			conflicts: []string{"n: shop/v1.4.0 and hotfix/pay both added it, with modes 100644 and 100755"},
		},
		"both add, a file and a symlink": {
			ours: files{"n": "x"}, theirs: files{"n": "[l]x"}, want: files{"n": "x"},
			conflicts: []string{"n: shop/v1.4.0 added a file here, hotfix/pay added a symlink"},
		},
		"both add, a file and a directory": {
			ours: files{"n": "x"}, theirs: files{"n/x": "x"}, want: files{"n": "x"},
			conflicts: []string{"n: shop/v1.4.0 has a file here, hotfix/pay has a directory"},
		},
		"changed file, directory in its place": {
			ours: files{"a.txt": "x\n"}, theirs: files{"a.txt": "-", "a.txt/x": "x\n"}, want: files{"a.txt": "x\n"},
			conflicts: []string{"a.txt: shop/v1.4.0 has a file here, hotfix/pay has a directory"},
		},
		"changed directory, file in its place": {
			ours: files{"dir/b.txt": "x\n"}, theirs: files{"dir/b.txt": "-", "dir/c.txt": "-", "dir": "x\n"}, want: files{"dir/b.txt": "x\n"},
			conflicts: []string{"dir: shop/v1.4.0 has a directory here, hotfix/pay has a file"},
		},
		"directory gone, file in its place": {
			ours: files{"dir/b.txt": "-", "dir/c.txt": "-"}, theirs: files{"dir/b.txt": "-", "dir/c.txt": "-", "dir": "x\n"}, want: files{"dir/b.txt": "-", "dir/c.txt": "-", "dir": "x\n"},
			changes: []string{"added dir"},
		},
		"file gone, directory in its place": {
			ours: files{"a.txt": "-"}, theirs: files{"a.txt": "-", "a.txt/x": "x\n"}, want: files{"a.txt": "-", "a.txt/x": "x\n"},
			changes: []string{"added a.txt/x"},
		},
		"file became a directory in ours, deleted by theirs": {
			ours: files{"a.txt": "-", "a.txt/x": "x\n"}, theirs: files{"a.txt": "-"}, want: files{"a.txt": "-", "a.txt/x": "x\n"},
		},
		"symlinks": {
			ours: files{"link": "[l]x"}, theirs: files{"link": "[l]y"}, want: files{"link": "[l]x"},
			conflicts: []string{"link: base has a symlink, shop/v1.4.0 and hotfix/pay both changed it, to a symlink and a symlink"},
		},
		"submodules": {
			ours: files{"sub": commitB}, theirs: files{"sub": commitC}, want: files{"sub": commitB},
			conflicts: []string{"sub: base has a submodule, shop/v1.4.0 and hotfix/pay both changed it, to a submodule and a submodule"},
		},
		"file became a symlink": {
			ours: files{"a.txt": "[l]x"}, theirs: files{"a.txt": ten + "11\n"}, want: files{"a.txt": "[l]x"},
			conflicts: []string{"a.txt: base has a file, shop/v1.4.0 and hotfix/pay both changed it, to a symlink and a file"},
		},
		"binary": {
			ours: files{"bin": "\x00\x02"}, theirs: files{"bin": "\x00\x03"}, want: files{"bin": "\x00\x02"},
			conflicts: []string{"bin: shop/v1.4.0 and hotfix/pay both changed it, and it is merged as a whole only: binary in base"},
		},
		"too large": {
			ours: files{"empty": huge + "1\n"}, theirs: files{"empty": "2\n"}, want: files{"empty": huge + "1\n"},
			conflicts: []string{"empty: shop/v1.4.0 and hotfix/pay both changed it, and it is merged as a whole only: more than 8 MiB in shop/v1.4.0"},
		},
		"empty file filled by both": {
			ours: files{"empty": "x\n"}, theirs: files{"empty": "y\n"}, want: files{"empty": "x\n"},
			conflicts: []string{`empty: both sides changed the same place: shop/v1.4.0, line 1: added "x"; hotfix/pay, line 1: added "y"`},
		},
		"left alone": {
			leave: []string{"./dir/c.txt", "empty/", "keep"},
			ours:  files{"dir/c.txt": "ours\n"}, theirs: files{"dir/c.txt": "theirs\n", "dir/b.txt": "B\n", "empty": "x", "keep/me": "x"},
			want:    files{"dir/c.txt": "ours\n", "dir/b.txt": "B\n"},
			changes: []string{"modified dir/b.txt"},
		},
		"left alone below what theirs deletes": {
			leave: []string{"dir/c.txt"}, theirs: files{"dir/c.txt": "-", "dir/b.txt": "-", "a.txt": "-"}, want: files{"dir/b.txt": "-", "a.txt": "-"},
			changes: []string{"removed a.txt", "removed dir/b.txt"},
		},
		"left alone below what theirs adds": {
			leave: []string{"n/keep"}, theirs: files{"n/keep/x": "x", "n/y": "y"}, want: files{"n/y": "y"},
			changes: []string{"added n/y"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore()
			base, ours, theirs := s.tree(t, start), s.tree(t, with(start, tt.ours)), s.tree(t, with(start, tt.theirs))
			r := s.merged(t, base, ours, theirs, merge.Options{Leave: tt.leave, Ours: "shop/v1.4.0", Theirs: "hotfix/pay"})
			if diff := cmp.Diff(with(start, tt.want), s.read(t, r.Tree)); diff != "" {
				t.Errorf("merged tree (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.changes, stringsOf(r.Changes)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.conflicts, stringsOf(r.Conflicts)); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}

func stringsOf[T interface{ String() string }](list []T) []string {
	var out []string
	for _, x := range list {
		out = append(out, x.String())
	}
	return out
}

// Whatever the trees: a side that changed nothing does not count, and who
// merges into whom does not matter where there is no conflict.
func TestTreesLaws(t *testing.T) {
	t.Parallel()
	s := newStore()
	var trees []gitrepo.Hash
	for _, f := range []files{
		{},
		{"a": "1\n"},
		{"a": "2\n"},
		{"a": "1\n", "b": "1\n"},
		{"a/b": "1\n"},
		{"a/b": "1\n", "a/c": commitA},
		{"a": "[x]1\n", "c": "1\n"},
		{"a": "[l]1\n"},
		{"a/b/c": "1\n", "b": "2\n"},
	} {
		trees = append(trees, s.tree(t, f))
	}
	trees = append(trees, "")
	empty := s.tree(t, files{})
	named := func(id gitrepo.Hash) gitrepo.Hash {
		if id == "" {
			return empty
		}
		return id
	}
	for _, b := range trees {
		for _, x := range trees {
			for name, got := range map[string]merge.Result{
				"merge(b,x,b)": s.merged(t, b, x, b, merge.Options{}),
				"merge(b,b,x)": s.merged(t, b, b, x, merge.Options{}),
				"merge(b,x,x)": s.merged(t, b, x, x, merge.Options{}),
			} {
				if named(got.Tree) != named(x) || !got.Clean() {
					t.Errorf("%s of %v and %v = %v", name, b, x, got)
				}
			}
			for _, y := range trees {
				xy, yx := s.merged(t, b, x, y, merge.Options{}), s.merged(t, b, y, x, merge.Options{})
				if xy.Clean() != yx.Clean() || xy.Clean() && xy.Tree != yx.Tree {
					t.Errorf("merge(%v,%v,%v) = %v, the other way round %v", s.read(t, named(b)), s.read(t, named(x)), s.read(t, named(y)), xy, yx)
				}
			}
		}
	}
}

// Line ends are no changes where a merge would fail otherwise.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	crlf := func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
	one, two := strings.Replace(ten, "1\n", "one\n", 1), strings.Replace(ten, "9\n", "nine\n", 1)
	both := strings.Replace(one, "9\n", "nine\n", 1)
	for name, tt := range map[string]struct{ base, ours, theirs, want string }{
		"theirs only changed line ends":    {ten, one, crlf(ten), one},
		"ours only changed line ends":      {ten, crlf(ten), two, crlf(two)},
		"ours changed line ends and lines": {ten, crlf(one), two, crlf(both)},
		"theirs changed both":              {ten, one, crlf(two), both},
		"all have other ends":              {crlf(ten), crlf(one), crlf(two), crlf(both)},
		"the last line has no end":         {"a\nb", "a\r\nb", "a\nb\nc", "a\r\nb\r\nc"},
		"no newline at the end of theirs":  {ten, one, strings.TrimSuffix(ten, "\n"), strings.TrimSuffix(one, "\n")},
		"no newline at the end of ours":    {ten, strings.TrimSuffix(ten, "\n"), one, strings.TrimSuffix(one, "\n")},
	} {
		s := newStore()
		r := s.merged(t, s.tree(t, files{"f": tt.base}), s.tree(t, files{"f": tt.ours}), s.tree(t, files{"f": tt.theirs}), merge.Options{})
		if got := s.read(t, r.Tree)["f"]; !r.Clean() || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", name, got, r.Conflicts, tt.want)
		}
	}
}

// What was merged is contained: merging it again changes nothing.
func TestMergedIsContained(t *testing.T) {
	t.Parallel()
	base := files{"k.yaml": kustomization, "d.yaml": deployment, "a.txt": ten}
	ours := with(base, files{
		"k.yaml": edit(t, kustomization, "1.4.0", "1.5.0", "replicas: 2", "replicas: 3"),
		"d.yaml": edit(t, deployment, "shop/web:1.4.0", "shop/web:1.5.0"),
		"a.txt":  "0\n" + ten,
	})
	theirs := with(base, files{
		"k.yaml": edit(t, kustomization, "- name: shop/pay\n  newTag: 2.0.0", "- name: shop/pay\n  newTag: 2.0.1", "shop window\n", "shop window\n  newName: x\n"),
		"d.yaml": edit(t, deployment, "args: [--verbose, --port=80]", "args: []", "    one\n", "    uno\n"),
		"a.txt":  ten + "11\n", "new": "x\n",
	})
	s := newStore()
	b, h := s.tree(t, base), s.tree(t, theirs)
	r := s.merged(t, b, s.tree(t, ours), h, merge.Options{})
	if !r.Clean() || r.Empty() || len(r.Changes) != 4 {
		t.Fatalf("merge: %v %v", r.Changes, r.Conflicts)
	}
	if again := s.merged(t, b, r.Tree, h, merge.Options{}); !again.Empty() {
		t.Errorf("merged again: %v %v", again.Changes, again.Conflicts)
	}
	if own := s.merged(t, b, h, h, merge.Options{}); !own.Empty() {
		t.Errorf("into itself: %v %v", own.Changes, own.Conflicts)
	}
	reverted := s.merged(t, b, s.tree(t, with(s.read(t, r.Tree), files{"a.txt": ours["a.txt"]})), h, merge.Options{})
	if diff := cmp.Diff([]string{"modified a.txt"}, stringsOf(reverted.Changes)); diff != "" || !reverted.Clean() {
		t.Errorf("a reverted part (-want +got):\n%s%v", diff, reverted.Conflicts)
	}
}

// counting counts how often each object is read.
type counting struct {
	gitrepo.Objects
	reads map[gitrepo.Hash]int
}

func (c counting) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	c.reads[id]++
	return c.Objects.Object(id)
}

func TestTreesReadsOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	s := newStore()
	f := files{"x/a": "1\n", "y/deep/b": "1\n", "z/c": "1\n"}
	base, ours, theirs := s.tree(t, f), s.tree(t, with(f, files{"x/a": "2\n"})), s.tree(t, with(f, files{"z/c": "2\n"}))
	c := counting{s, map[gitrepo.Hash]int{}}
	r, err := merge.Trees(c, base, ours, theirs, merge.Options{})
	if err != nil || !r.Clean() {
		t.Fatal(r, err)
	}
	untouched := s.tree(t, files{"deep/b": "1\n"})
	blob := gitrepo.NewBlob([]byte("2\n")).ID()
	if c.reads[untouched] != 0 || c.reads[blob] != 0 {
		t.Errorf("an unchanged directory was read %d times, a blob that only one side has %d times", c.reads[untouched], c.reads[blob])
	}
}

func TestTreesMissingObjects(t *testing.T) {
	t.Parallel()
	s := newStore()
	base, ours, theirs := s.tree(t, files{"d/a": ten}), s.tree(t, files{"d/a": ten + "o\n"}), s.tree(t, files{"d/a": "t\n" + ten, "e/f": "x"})
	all := counting{s, map[gitrepo.Hash]int{}}
	if _, err := merge.Trees(all, base, ours, theirs, merge.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, gone := range slices.Sorted(maps.Keys(all.reads)) {
		if _, err := s.Object(gone); err != nil {
			continue // only asked whether it is there
		}
		r, err := merge.Trees(without{s, gone}, base, ours, theirs, merge.Options{})
		if !errors.Is(err, gitrepo.ErrNotFound) {
			t.Errorf("without %s: %v, %v; want ErrNotFound", gone, r, err)
		}
	}
	if _, err := merge.Trees(s, base, gitrepo.NewBlob([]byte(ten)).ID(), theirs, merge.Options{}); err == nil {
		t.Error("a blob in place of a tree was accepted")
	}
}

type without struct {
	gitrepo.Objects
	gone gitrepo.Hash
}

func (w without) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	if id == w.gone {
		return gitrepo.Object{}, gitrepo.ErrNotFound
	}
	return w.Objects.Object(id)
}

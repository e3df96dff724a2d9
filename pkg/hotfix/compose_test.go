package hotfix

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// release is a snapshot and what was cut from it.
type release struct {
	*history
	captured, base gitrepo.Hash
}

func newRelease(t *testing.T) *release {
	h := newHistory(t)
	captured := h.commit("released", files{"a.txt": ten, "b.txt": ten})
	return &release{history: h, captured: captured, base: h.commit("snapshot", files{".propagator/snapshot.yaml": "lock\n"}, captured)}
}

func (s *release) fix(name string, change files, on ...gitrepo.Hash) snapshot.Hotfix {
	s.t.Helper()
	base := append(on, s.base)[0]
	return snapshot.Hotfix{Name: name, Base: base, Head: s.commit(name, change, base)}
}

func (s *release) compose(hotfixes ...snapshot.Hotfix) Composition {
	s.t.Helper()
	r := s.client()
	s.fetch(r, s.base)
	for _, h := range hotfixes {
		s.fetch(r, h.Base, h.Head)
	}
	c, err := Compose(r, s.treeOf(s.base), "shop/v1.4.0", hotfixes)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// expect compares the composed tree with files.
func (s *release) expect(c Composition, want files) {
	s.t.Helper()
	var objects []gitrepo.Object
	if tree := build(s.t, &objects, want); tree != c.Tree {
		s.t.Errorf("the composed tree is %s, not %s", c.Tree, tree)
	}
}

func namesOf(hotfixes []snapshot.Hotfix) []string {
	var names []string
	for _, h := range hotfixes {
		names = append(names, h.Name)
	}
	return names
}

func TestComposeOrder(t *testing.T) {
	t.Parallel()
	s := newRelease(t)
	all := []snapshot.Hotfix{
		s.fix("c", files{"a.txt": line("nine", "NINE")}),
		s.fix("a", files{"a.txt": line("one", "ONE")}),
		s.fix("b", files{"new/file.txt": "b\n", "run.sh": "[x]#!/bin/sh\n"}),
	}
	want := files{
		"a.txt": strings.Replace(line("one", "ONE"), "nine", "NINE", 1), "b.txt": ten, "new/file.txt": "b\n", "run.sh": "[x]#!/bin/sh\n",
		".propagator/snapshot.yaml": "lock\n",
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		c := s.compose(all[order[0]], all[order[1]], all[order[2]])
		if got := namesOf(c.Hotfixes); !slices.Equal(got, []string{"a", "b", "c"}) || len(c.Left) > 0 {
			t.Errorf("composed of %v, without %v", got, c.Left)
		}
		s.expect(c, want)
	}
}

// TestComposeStacked: a hotfix on top of another one, whatever their names.
func TestComposeStacked(t *testing.T) {
	t.Parallel()
	s := newRelease(t)
	lower := s.fix("z-lower", files{"a.txt": line("five", "FIVE")})
	upper := s.fix("a-upper", files{"a.txt": line("five", "FIVE!")}, lower.Head)
	third := s.fix("third", files{"a.txt": line("five", "FIVE!!")}, upper.Head)
	c := s.compose(third, upper, lower)
	if got := namesOf(c.Hotfixes); !slices.Equal(got, []string{"z-lower", "a-upper", "third"}) {
		t.Errorf("composed of %v, without %v", got, c.Left)
	}
	s.expect(c, files{"a.txt": line("five", "FIVE!!"), "b.txt": ten, ".propagator/snapshot.yaml": "lock\n"})
}

// TestComposeConflictWithRelease: another one goes on without it.
func TestComposeConflictWithRelease(t *testing.T) {
	t.Parallel()
	s := newRelease(t)
	old := s.commit("older snapshot", files{"a.txt": line("five", "5")}, s.captured)
	late := s.fix("late", files{"a.txt": line("five", "V")}, old)
	good := s.fix("good", files{"b.txt": line("one", "ONE")})
	c := s.compose(good, late)
	if !slices.Equal(namesOf(c.Hotfixes), []string{"good"}) || len(c.Left) != 1 || c.Left[0].Against != "" {
		t.Fatalf("composed of %v, without %v", c.Hotfixes, c.Left)
	}
	mustContain(t, c.Left[0].String(), `conflicts with the release: a.txt: both sides changed the same place: shop/v1.4.0, line 5: "five"; hotfix/late, line 5: "V"`)
	s.expect(c, files{"a.txt": ten, "b.txt": line("one", "ONE"), ".propagator/snapshot.yaml": "lock\n"})
}

// TestComposeConflictWithHotfix: both are named, with the file and the lines.
func TestComposeConflictWithHotfix(t *testing.T) {
	t.Parallel()
	s := newRelease(t)
	first := s.fix("first", files{"a.txt": line("five", "5")})
	other := s.fix("other", files{"b.txt": line("one", "ONE")})
	second := s.fix("second", files{"a.txt": line("five", "V"), "b.txt": line("nine", "NINE")})
	third := s.fix("third", files{"a.txt": line("five", "fünf")})
	c := s.compose(third, second, other, first)
	if !slices.Equal(namesOf(c.Hotfixes), []string{"first", "other"}) || len(c.Left) != 2 {
		t.Fatalf("composed of %v, without %v", c.Hotfixes, c.Left)
	}
	mustContain(t, c.Left[0].String(), `conflicts with hotfix/first: a.txt: both sides changed the same place: hotfix/first, line 5: "5"; hotfix/second, line 5: "V"`)
	mustContain(t, c.Left[1].String(), "conflicts with hotfix/first: a.txt", "hotfix/third, line 5")
	s.expect(c, files{"a.txt": line("five", "5"), "b.txt": line("one", "ONE"), ".propagator/snapshot.yaml": "lock\n"})
}

// TestComposeWhole: what cannot be merged by lines.
func TestComposeWhole(t *testing.T) {
	t.Parallel()
	sub, other := strings.Repeat("a", 40), strings.Repeat("b", 40)
	for name, tt := range map[string]struct {
		one, two files
		want     string // in the conflict; empty for none
	}{
		"binary":                {files{"b.txt": "\x00\x01"}, files{"b.txt": "\x00\x02"}, "binary"},
		"submodules":            {files{"sub": "[s]" + sub}, files{"sub": "[s]" + other}, "sub: "},
		"one submodule":         {files{"sub": "[s]" + sub}, files{"b.txt": line("one", "1")}, ""},
		"mode and content":      {files{"b.txt": "[x]" + ten}, files{"b.txt": line("one", "1")}, ""},
		"mode alone":            {files{"b.txt": "[x]" + ten}, files{"c.txt": "1\n"}, ""},
		"removed and changed":   {files{"b.txt": "-"}, files{"b.txt": line("one", "1")}, "removed it"},
		"moved and changed":     {files{"b.txt": "-", "c.txt": ten}, files{"b.txt": line("one", "1")}, ""},
		"the same":              {files{"b.txt": line("one", "1")}, files{"b.txt": line("one", "1")}, ""},
		"line ends and content": {files{"b.txt": strings.ReplaceAll(ten, "\n", "\r\n")}, files{"b.txt": line("one", "1")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRelease(t)
			c := s.compose(s.fix("one", tt.one), s.fix("two", tt.two))
			switch {
			case tt.want == "" && len(c.Left) > 0:
				t.Errorf("left out: %v", c.Left)
			case tt.want != "" && len(c.Left) != 1:
				t.Errorf("left out: %v; want one with %q", c.Left, tt.want)
			case tt.want != "":
				mustContain(t, c.Left[0].String(), "conflicts with hotfix/one", tt.want)
			}
		})
	}
}

// TestComposeNothing: of none comes what was there.
func TestComposeNothing(t *testing.T) {
	t.Parallel()
	s := newRelease(t)
	if c := s.compose(); c.Tree != s.treeOf(s.base) || len(c.Objects) > 0 || len(c.Hotfixes) > 0 {
		t.Errorf("composed %v", c)
	}
	if _, err := Compose(s.client(), s.treeOf(s.base), "shop/v1.4.0", []snapshot.Hotfix{s.fix("a", files{"c": "1"})}); !errors.Is(err, gitrepo.ErrNotFound) {
		t.Errorf("%v where nothing was fetched", err)
	}
}

// TestCheck: a composed snapshot holds what its hotfixes come to, and nothing else.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := newRelease(t)
	since := version(t, "shop/v1.4.1")
	one, two := s.fix("one", files{"a.txt": line("one", "ONE")}), s.fix("two", files{"b.txt": line("two", "TWO")})
	one.Since, two.Since = since, since
	below := snapshot.Snapshot{ID: s.base, Tree: s.treeOf(s.base), Source: s.captured, Lock: &snapshot.Lock{Version: version(t, "shop/v1.4.0")}}
	identity := snapshot.Identity{Name: "Propagator", Email: "propagator@example.com"}
	compose := func(hotfixes ...snapshot.Hotfix) snapshot.Snapshot {
		s.fetch(s.people, s.base)
		c := s.compose(hotfixes...)
		r := gitrepo.With(s.people, c.Objects...)
		id, objects, err := snapshot.Compose(r, below, c.Tree, c.Hotfixes, identity)
		if err != nil {
			t.Fatal(err)
		}
		gitrepotest.MustPush(t, s.people, gitrepo.Push{Objects: append(c.Objects, objects...), Updates: []gitrepo.Update{{Ref: "refs/heads/composed/" + string(id), New: id}}})
		return snapshot.Snapshot{Source: id, Lock: &snapshot.Lock{
			Version: since, Hotfixes: hotfixes,
			Base: &snapshot.Base{Snapshot: below.Lock.Version, Commit: below.ID, Captured: s.captured},
		}}
	}
	sound := compose(one, two)
	// forge replaces the composition commit.
	forge := func(tree gitrepo.Hash, parents ...gitrepo.Hash) func(*snapshot.Snapshot) {
		return func(forged *snapshot.Snapshot) {
			commit, err := gitrepo.ReadCommit(s.people, sound.Source)
			if err != nil {
				t.Fatal(err)
			}
			if commit.Parents = parents; tree != "" {
				commit.Tree = tree
			}
			object := gitrepo.NewCommit(commit)
			forged.Source = object.ID()
			gitrepotest.MustPush(t, s.people, gitrepo.Push{Objects: []gitrepo.Object{object}, Updates: []gitrepo.Update{{Ref: "refs/heads/forged/" + string(object.ID()), New: object.ID()}}})
		}
	}
	evil := s.commit("evil", files{"a.txt": line("one", "ONE"), "b.txt": line("two", "TWO"), "evil.txt": "1\n"}, s.base)
	part := s.compose(one)
	gitrepotest.MustPush(t, s.people, gitrepo.Push{
		Objects: append(part.Objects, gitrepo.NewCommit(gitrepo.Commit{Tree: part.Tree})),
		Updates: []gitrepo.Update{{Ref: "refs/heads/part", New: gitrepo.NewCommit(gitrepo.Commit{Tree: part.Tree}).ID()}},
	})
	for name, tt := range map[string]struct {
		change func(*snapshot.Snapshot)
		want   string
	}{
		"sound":                      {func(*snapshot.Snapshot) {}, ""},
		"something was slipped in":   {forge(s.treeOf(evil), s.base, one.Head, two.Head), "holds something else than shop/v1.4.0 and its hotfixes; see git diff --stat " + s.base.Short()},
		"a hotfix is left out of it": {forge(part.Tree, s.base, one.Head, two.Head), "holds something else"},
		"parents in another order":   {forge("", s.base, two.Head, one.Head), "the parents of"},
		"one parent more":            {forge("", s.base, one.Head, two.Head, evil), "the parents of"},
		"one parent less":            {forge("", s.base, one.Head), "the parents of"},
		"another snapshot below":     {forge("", s.captured, one.Head, two.Head), "the parents of"},
		"the lock lacks a hotfix":    {func(f *snapshot.Snapshot) { f.Lock.Hotfixes = []snapshot.Hotfix{one} }, "the parents of"},
		"the lock has a hotfix more": {func(f *snapshot.Snapshot) {
			f.Lock.Hotfixes = append([]snapshot.Hotfix{{Name: "x", Base: s.base, Head: evil, Since: since}}, one, two)
		}, "the parents of"},
		"the lock names another base":   {func(f *snapshot.Snapshot) { f.Lock.Base.Commit = evil }, "shop/v1.4.0 is not the snapshot that shop/v1.4.1 was composed onto"},
		"the lock names another commit": {func(f *snapshot.Snapshot) { f.Lock.Base.Captured = evil }, "is not the snapshot"},
		"another base of a hotfix": {func(f *snapshot.Snapshot) {
			f.Lock.Hotfixes = []snapshot.Hotfix{{Name: "one", Base: one.Head, Head: one.Head, Since: since}, two}
		}, "holds something else"},
		"the hotfixes conflict": {func(f *snapshot.Snapshot) {
			conflicting := s.fix("two", files{"a.txt": line("one", "1")})
			conflicting.Since = since
			forge("", s.base, one.Head, conflicting.Head)(f)
			f.Lock.Hotfixes = []snapshot.Hotfix{one, conflicting}
		}, "holds something else"},
	} {
		forged := sound
		lock, base := *sound.Lock, *sound.Lock.Base
		forged.Lock, lock.Base = &lock, &base
		tt.change(&forged)
		r := s.client()
		s.fetch(r, forged.Source, s.base, one.Base, one.Head, two.Head, evil)
		for _, h := range forged.Lock.Hotfixes {
			s.fetch(r, h.Head)
		}
		err := Check(r, forged, below)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrForged) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mustContain(t, err.Error(), tt.want)
	}
	if err := Check(s.client(), sound, below); err == nil || errors.Is(err, ErrForged) {
		t.Errorf("what was not fetched is %v", err)
	}
}

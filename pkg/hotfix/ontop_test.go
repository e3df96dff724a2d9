package hotfix_test

import (
	"fmt"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// story is a history in which commits have names.
type story struct {
	t    *testing.T
	repo *gitrepo.Memory
	ids  map[string]gitrepo.Hash
}

// tell begins with a commit "base".
func tell(t *testing.T, files gitrepotest.Files) *story {
	t.Helper()
	s := &story{t, gitrepo.NewMemory("memory:shop"), map[string]gitrepo.Hash{}}
	s.commit("base", "begin", files)
	return s
}

func (s *story) commit(name, message string, files gitrepotest.Files, parents ...string) {
	s.t.Helper()
	var ids []gitrepo.Hash
	for _, parent := range parents {
		ids = append(ids, s.ids[parent])
	}
	id, objects := gitrepotest.Commit(s.t, s.repo, files, message, ids...)
	gitrepotest.MustPush(s.t, s.repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/all/" + name + string(id), New: id}}, Objects: objects})
	s.ids[name] = id
}

// debt is the hotfix from one commit to another.
func (s *story) debt(name, base, head string) snapshot.Debt {
	return snapshot.Debt{Hotfix: snapshot.Hotfix{Name: name, Base: s.ids[base], Head: s.ids[head], Since: snapshot.Version{Pipeline: "shop", Minor: 1, Patch: 1}}}
}

// compose is the message of a composition commit.
func compose(debts ...snapshot.Debt) string {
	text := "compose\n\nPropagator-Event: compose\n"
	for _, d := range debts {
		text += fmt.Sprintf("Propagator-Hotfix: %s base=%s head=%s since=%s\n", d.Name, d.Base, d.Head, d.Since)
	}
	return text
}

func (s *story) expect(d snapshot.Debt, place string, want hotfix.Answer) {
	s.t.Helper()
	client := s.repo.Client()
	gitrepotest.MustFetch(s.t, client, gitrepo.FetchOptions{Depth: 1}, s.ids[place])
	commit, err := gitrepo.ReadCommit(client, s.ids[place])
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := hotfix.Find(s.t.Context(), client, d, hotfix.Place{Name: place, Tree: commit.Tree, Commit: s.ids[place]})
	if err != nil {
		s.t.Fatal(err)
	}
	if got.Answer != want {
		s.t.Errorf("%s in %s is %s, want %s", d.Name, place, got, want)
	}
}

// TestOnTop: the lines of a fix have changed since, so the history has to tell
// whether they were changed on top of it.
func TestOnTop(t *testing.T) {
	t.Parallel()
	one := func(a string) gitrepotest.Files { return gitrepotest.Files{"a.txt": a + "\n"} }
	for name, tt := range map[string]struct {
		tell func(s *story)
		want hotfix.Answer
	}{
		"changed on top of the fix": {func(s *story) {
			s.commit("picked", "the same", one("fixed"), "base")
			s.commit("place", "go on", one("better"), "picked")
		}, hotfix.Contained},
		"reverted, and then changed": {func(s *story) {
			s.commit("picked", "the same", one("fixed"), "base")
			s.commit("reverted", "take it back", one("old"), "picked")
			s.commit("place", "something else", one("other"), "reverted")
		}, hotfix.Reverted},
		"reverted, changed, and brought again": {func(s *story) {
			s.commit("picked", "the same", one("fixed"), "base")
			s.commit("reverted", "take it back", one("old"), "picked")
			s.commit("other", "something else", one("other"), "reverted")
			s.commit("place", snapshot.BackMerge(s.debt("h", "base", "head").Hotfix, "again"), one("other and fixed"), "other")
		}, hotfix.Contained},
		"said to be in the lines as they were": {func(s *story) {
			s.commit("other", "something else", one("other"), "base")
			s.commit("said", snapshot.BackMerge(s.debt("h", "base", "head").Hotfix, "it is in there"), gitrepotest.Files{"b.txt": "b\n"}, "other")
			s.commit("place", "go on", gitrepotest.Files{"b.txt": "c\n"}, "said")
		}, hotfix.Contained},
		"said to be in the lines as they were, and elsewhere again": {func(s *story) {
			h := s.debt("h", "base", "head")
			s.commit("said", snapshot.BackMerge(h.Hotfix, "it is there"), one("better"), "base")
			s.commit("later", "go on", gitrepotest.Files{"b.txt": "b\n"}, "base")
			s.commit("again", compose(h), one("fixed"), "later", "head")
			s.commit("place", "merge", one("better"), "said", "again")
		}, hotfix.Contained},
		"merged, and the conflict resolved": {func(s *story) {
			s.commit("other", "something else", one("other"), "base")
			s.commit("place", "merge", one("other and fixed"), "other", "head")
		}, hotfix.Contained},
		"changed, and nobody says anything": {func(s *story) {
			s.commit("place", "something else", one("other"), "base")
		}, hotfix.Unknown},
		"merged, reverted, and then changed": {func(s *story) {
			s.commit("merged", "merge", one("fixed"), "base", "head")
			s.commit("reverted", "take it back", one("old"), "merged")
			s.commit("place", "something else", one("other"), "reverted")
		}, hotfix.Reverted},
		"a branch from before the fix was merged beside it": {func(s *story) {
			s.commit("picked", "the same", one("fixed"), "base")
			s.commit("aside", "work", gitrepotest.Files{"b.txt": "b\n"}, "base")
			s.commit("merged", "merge", gitrepotest.Files{"b.txt": "b\n"}, "picked", "aside")
			s.commit("place", "go on", one("better"), "merged")
		}, hotfix.Contained},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell(t, one("old"))
			s.commit("head", "fix", one("fixed"), "base")
			tt.tell(s)
			s.expect(s.debt("h", "base", "head"), "place", tt.want)
		})
	}
}

// TestPartReverted: one part of a fix was changed on top, and another is gone.
func TestPartReverted(t *testing.T) {
	t.Parallel()
	s := tell(t, gitrepotest.Files{"a.txt": "old\n", "b.txt": "old\n", "c.txt": "1\n2\n3\n4\n5\n"})
	s.commit("head", "fix", gitrepotest.Files{"a.txt": "fixed\n", "b.txt": "fixed\n"}, "base")
	s.commit("merged", "merge", gitrepotest.Files{"a.txt": "fixed\n", "b.txt": "fixed\n"}, "base", "head")
	s.commit("place", "go on", gitrepotest.Files{"a.txt": "better\n", "b.txt": "old\n"}, "merged")
	s.expect(s.debt("h", "base", "head"), "place", hotfix.Reverted)

	s.commit("head2", "fix", gitrepotest.Files{"c.txt": "one\n2\n3\n4\nfive\n"}, "base")
	s.commit("merged2", "merge", gitrepotest.Files{"c.txt": "one\n2\n3\n4\nfive\n"}, "base", "head2")
	s.commit("place2", "go on", gitrepotest.Files{"c.txt": "uno\n2\n3\n4\n5\n"}, "merged2")
	s.expect(s.debt("h2", "base", "head2"), "place2", hotfix.Reverted)
}

// TestGoneBack: a fix was made on top of another one, and a place that had both
// went back to what was there before them, or did so in one of its lines.
func TestGoneBack(t *testing.T) {
	t.Parallel()
	both := func(a, b string) gitrepotest.Files {
		return gitrepotest.Files{"a.txt": a + "\n", "b.txt": b + "\n"}
	}
	for name, tt := range map[string]struct {
		place gitrepotest.Files
		want  hotfix.Answer
	}{
		"of all lines": {both("old", "old"), hotfix.Reverted},
		"of one line":  {both("old", "second"), hotfix.Reverted},
		"of another":   {both("better", "old"), hotfix.Reverted},
		"of none":      {both("better", "better"), hotfix.Contained},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell(t, both("old", "old"))
			s.commit("first", "fix", both("first", "first"), "base")
			s.commit("second", "fix", both("second", "second"), "first")
			s.commit("place", "go on", tt.place, "second")
			s.expect(s.debt("h", "first", "second"), "place", tt.want)
		})
	}
}

// TestStackedComposition: of a hotfix that was made on top of another, a
// composition has what the second changed, and not what the first did.
func TestStackedComposition(t *testing.T) {
	t.Parallel()
	s := tell(t, gitrepotest.Files{"a.txt": "old\n", "b.txt": "old\n"})
	s.commit("first", "fix", gitrepotest.Files{"a.txt": "fixed\n"}, "base")
	s.commit("second", "fix", gitrepotest.Files{"b.txt": "fixed\n"}, "first")
	s.commit("release", "something else", gitrepotest.Files{"a.txt": "other\n"}, "base")
	s.commit("place", compose(s.debt("second", "first", "second")), gitrepotest.Files{"b.txt": "fixed\n"}, "release", "second")
	s.expect(s.debt("second", "first", "second"), "place", hotfix.Contained)
	s.expect(s.debt("first", "base", "first"), "place", hotfix.Unknown)
}

// TestTakenBackInComposition: of two hotfixes that were composed at once, one takes
// an earlier fix back and the other changes the same line.
func TestTakenBackInComposition(t *testing.T) {
	t.Parallel()
	a := func(a string) gitrepotest.Files { return gitrepotest.Files{"a.txt": a + "\n"} }
	s := tell(t, a("old"))
	s.commit("fix", "fix", a("fixed"), "base")
	s.commit("patch", compose(s.debt("fix", "base", "fix")), a("fixed"), "base", "fix")
	s.commit("back", "take it back", a("old"), "fix")
	s.commit("other", "something else", a("other"), "base")
	s.commit("better", "go on", a("better"), "fix")
	s.commit("place", compose(s.debt("back", "fix", "back"), s.debt("other", "base", "other")), a("other"), "patch", "back", "other")
	s.expect(s.debt("fix", "base", "fix"), "place", hotfix.Reverted)
	s.commit("place2", compose(s.debt("better", "fix", "better")), a("better"), "patch", "better")
	s.expect(s.debt("fix", "base", "fix"), "place2", hotfix.Contained)
}

// TestMerges: a hotfix decides about another one when one of its own commits is a
// merge with it, and not because it was made on top of it.
func TestMerges(t *testing.T) {
	t.Parallel()
	a := func(a string) gitrepotest.Files { return gitrepotest.Files{"a.txt": a + "\n"} }
	s := tell(t, a("old"))
	s.commit("first", "fix", a("fixed"), "base")
	s.commit("own", "fix", a("better"), "base")
	s.commit("merged", "merge", a("better"), "own", "first")
	s.commit("onTop", "go on", a("better"), "first")
	s.commit("later", "go on", a("best"), "merged")
	client := s.repo.Client()
	for _, tt := range []struct {
		base, head string
		want       bool
	}{{"base", "own", false}, {"base", "merged", true}, {"base", "later", true}, {"first", "merged", true}, {"first", "onTop", false}, {"merged", "later", false}} {
		gitrepotest.MustFetch(t, client, gitrepo.FetchOptions{Depth: 10}, s.ids[tt.head])
		got, err := hotfix.Merges(client, s.debt("h", tt.base, tt.head).Hotfix, s.ids["first"])
		if err != nil || got != tt.want {
			t.Errorf("%s to %s: %v, %v", tt.base, tt.head, got, err)
		}
	}
}

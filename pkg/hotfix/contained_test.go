package hotfix

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// train is a source branch with a release on it, and a hotfix of that release.
type train struct {
	*history
	released gitrepo.Hash // commit of the source branch that was captured
	debt     snapshot.Debt
}

// newTrain: the hotfix changes line five of a.txt.
func newTrain(t *testing.T) *train {
	h := newHistory(t)
	before := h.commit("before", files{"a.txt": line("five", "5"), "other.txt": "1\n"})
	s := &train{history: h, released: h.commit("released", files{"a.txt": ten}, before)}
	base := h.commit("promote", files{".propagator/snapshot.yaml": "lock\n"}, s.released)
	head := h.commit("pay: wait longer", files{"a.txt": line("five", "FIVE")}, base)
	s.debt = snapshot.Debt{Hotfix: snapshot.Hotfix{Name: "pay", Base: base, Head: head, Since: version(t, "shop/v1.4.1")}}
	return s
}

// find looks for the hotfix from a client that has fetched nothing but the place.
func (s *train) find(id gitrepo.Hash) Containment {
	s.t.Helper()
	r := s.client()
	s.fetch(r, id)
	found, err := Find(s.t.Context(), r, s.debt, s.place("main", id))
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func (s *train) expect(id gitrepo.Hash, answer Answer, evidence Evidence, commit gitrepo.Hash, words ...string) {
	s.t.Helper()
	found := s.find(id)
	if found.Answer != answer || found.Evidence != evidence || found.Commit != commit {
		s.t.Errorf("it is %s, by %q %s; want %s, by %q %s", found.Answer, found.Evidence, found.Commit.Short(), answer, evidence, commit.Short())
	}
	for _, word := range words {
		if !strings.Contains(found.String(), word) {
			s.t.Errorf("%q does not say %q", found, word)
		}
	}
}

// TestContainedMergeIsEmpty: merging the hotfix would change nothing. That alone
// decides, whatever the history is.
func TestContainedMergeIsEmpty(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]files{
		"the same change":            {"a.txt": line("five", "FIVE")},
		"the same and more":          {"a.txt": strings.Replace(line("five", "FIVE"), "nine", "9", 1), "more.txt": "1\n"},
		"in a file that was renamed": {"a.txt": "-", "b/renamed.txt": line("five", "FIVE")},
		"with other line ends":       {"a.txt": strings.ReplaceAll(line("five", "FIVE"), "\n", "\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTrain(t)
			s.expect(s.commit("main goes on", change, s.released), Contained, MergeIsEmpty, "", "contained (merge is empty)")
		})
	}
}

// TestContainedMergeWouldChange: merging the hotfix is clean and would change
// something, so it is not there. The history tells whether it was.
func TestContainedMergeWouldChange(t *testing.T) {
	t.Parallel()
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		s := newTrain(t)
		s.expect(s.commit("main goes on", files{"other.txt": "2\n"}, s.released), Missing, "", "", "missing: it would change a.txt")
	})
	t.Run("missing from a renamed file", func(t *testing.T) {
		t.Parallel()
		s := newTrain(t)
		s.expect(s.commit("rename", files{"a.txt": "-", "renamed.txt": ten}, s.released), Missing, "", "", "it would change renamed.txt")
	})
	t.Run("reverted after a merge", func(t *testing.T) {
		t.Parallel()
		s := newTrain(t)
		merged := s.commit("Merge branch hotfix/pay", files{"a.txt": line("five", "FIVE")}, s.released, s.debt.Head)
		reverted := s.commit("Revert \"pay\"", files{"a.txt": ten}, merged)
		s.expect(reverted, Reverted, Ancestor, s.debt.Head, "reverted", "it would change a.txt")
	})
	t.Run("reverted after a squash", func(t *testing.T) {
		t.Parallel()
		s := newTrain(t)
		squashed := s.commit("pay, squashed", files{"a.txt": line("five", "FIVE")}, s.released)
		s.expect(s.commit("back again", files{"a.txt": ten}, squashed), Reverted, PatchID, squashed, "reverted (patch-id "+squashed.Short())
	})
}

// TestContainedConflictWithEvidence: the place has changed the same lines, and its
// history shows that it did so on top of the fix.
func TestContainedConflictWithEvidence(t *testing.T) {
	t.Parallel()
	onTop := files{"a.txt": line("five", "FIVE, and better")}
	for name, bring := range map[string]func(*train) (gitrepo.Hash, Evidence, gitrepo.Hash){
		"ancestor": func(s *train) (gitrepo.Hash, Evidence, gitrepo.Hash) {
			return s.commit("Merge branch hotfix/pay", files{"a.txt": line("five", "FIVE")}, s.released, s.debt.Head), Ancestor, s.debt.Head
		},
		"patch id": func(s *train) (gitrepo.Hash, Evidence, gitrepo.Hash) {
			squashed := s.commit("pay, squashed", files{"a.txt": line("five", "FIVE")}, s.released)
			return squashed, PatchID, squashed
		},
		"a commit that was proven before": func(s *train) (gitrepo.Hash, Evidence, gitrepo.Hash) {
			s.debt.In = s.commit("pay, by hand", files{"a.txt": line("five", "5 five FIVE"), "more.txt": "1\n"}, s.released)
			return s.debt.In, Ancestor, s.debt.In
		},
		"a trailer": func(s *train) (gitrepo.Hash, Evidence, gitrepo.Hash) {
			id := s.commit(snapshot.BackMerge(s.debt.Hotfix, "pay"), files{"a.txt": line("five", "V"), "more.txt": "1\n"}, s.released)
			return id, Mention, id
		},
		"cherry-pick -x, with changes": func(s *train) (gitrepo.Hash, Evidence, gitrepo.Hash) {
			id := s.commit("pay\n\n(cherry picked from commit "+string(s.debt.Head)+")\n", files{"a.txt": line("five", "V")}, s.released)
			return id, Mention, id
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTrain(t)
			brought, evidence, commit := bring(s)
			s.expect(s.commit("better", onTop, brought), Contained, evidence, commit, "contained ("+string(evidence)+" "+commit.Short()+")")
		})
	}
}

// TestContainedConflictWithoutEvidence: nobody knows, and that is never contained.
func TestContainedConflictWithoutEvidence(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]files{
		"the same line":               {"a.txt": line("five", "cinq")},
		"the file is gone":            {"a.txt": "-"},
		"picked with changes, no -x":  {"a.txt": line("five", "FIVE or so")},
		"a directory in its place":    {"a.txt": "-", "a.txt/b": "1\n"},
		"binary":                      {"a.txt": "\x00\x01"},
		"the same line, with CR":      {"a.txt": strings.ReplaceAll(line("five", "cinq"), "\n", "\r\n")},
		"a submodule in its place":    {"a.txt": "[s]" + strings.Repeat("a", 40)},
		"the file moved, and changed": {"a.txt": "-", "b.txt": line("five", "cinq")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTrain(t)
			s.expect(s.commit("main goes on", change, s.released), Unknown, "", "", "unknown: ", "hotfix/pay")
		})
	}
}

// TestContainedLines: whoever has to decide is shown both sides.
func TestContainedLines(t *testing.T) {
	t.Parallel()
	s := newTrain(t)
	found := s.find(s.commit("main goes on", files{"a.txt": line("five", "cinq")}, s.released))
	mustContain(t, found.String(), `a.txt: both sides changed the same place: main, line 5: "cinq"; hotfix/pay, line 5: "FIVE"`)
}

// TestEvidenceBeforeTheHotfix: what the hotfix was made on is no evidence for it.
// Here its change is one that was there before, and was taken back.
func TestEvidenceBeforeTheHotfix(t *testing.T) {
	t.Parallel()
	s := newTrain(t)
	s.debt.Head = s.commit("five is 5 again", files{"a.txt": line("five", "5")}, s.debt.Base)
	with := s.commit("five is 5", files{"a.txt": line("five", "5")}, s.released)
	s.expect(s.commit("no, five", files{"a.txt": ten}, with), Reverted, PatchID, with)

	h := newTrain(t)
	five := h.commit("FIVE", files{"a.txt": line("five", "FIVE")}, h.released)
	h.released = h.commit("five", files{"a.txt": ten}, five)
	base := h.commit("promote", files{".propagator/snapshot.yaml": "lock\n"}, h.released)
	h.debt.Base, h.debt.Head = base, h.commit("pay", files{"a.txt": line("five", "FIVE")}, base)
	h.expect(h.commit("cinq", files{"a.txt": line("five", "cinq")}, h.released), Unknown, "", "")
}

// TestEvidenceOfAllCommits: a hotfix of several commits was brought when all of
// them were, and not when only some were.
func TestEvidenceOfAllCommits(t *testing.T) {
	t.Parallel()
	s := newTrain(t)
	first := s.debt.Head
	s.debt.Head = s.commit("pay: and log it", files{"other.txt": "logged\n"}, first)
	pick := func(of gitrepo.Hash, change files, on gitrepo.Hash) gitrepo.Hash {
		return s.commit("pay\n\n(cherry picked from commit "+string(of)+")\n", change, on)
	}
	one := pick(first, files{"a.txt": line("five", "V")}, s.released)
	s.expect(s.commit("better", files{"a.txt": line("five", "5.0")}, one), Unknown, "", "")
	both := pick(s.debt.Head, files{"other.txt": "logged\n", "x": "1\n"}, one)
	s.expect(s.commit("better", files{"a.txt": line("five", "5.0")}, both), Contained, Mention, both)
}

// TestRevertedBy: where the commit that took the fix back says so, it is named.
func TestRevertedBy(t *testing.T) {
	t.Parallel()
	s := newTrain(t)
	merged := s.commit("Merge branch hotfix/pay", files{"a.txt": line("five", "FIVE")}, s.released, s.debt.Head)
	reverted := s.commit("Revert \"Merge branch hotfix/pay\"\n\nThis reverts commit "+string(merged)+", reversing\nchanges made to "+string(s.released)+".\n", files{"a.txt": ten}, merged)
	later := s.commit("main goes on", files{"other.txt": "2\n"}, reverted)
	found := s.find(later)
	if found.Answer != Reverted || found.By != reverted {
		t.Errorf("%s, by %s", found.Answer, found.By.Short())
	}
	mustContain(t, found.String(), "reverted by "+reverted.Short(), "git revert "+reverted.Short())

	// Of a squash as well, and of one commit of the branch.
	s = newTrain(t)
	squashed := s.commit("pay, squashed", files{"a.txt": line("five", "FIVE")}, s.released)
	reverted = s.commit("Revert \"pay\"\n\nThis reverts commit "+string(squashed)+".\n", files{"a.txt": ten}, squashed)
	if found := s.find(reverted); found.By != reverted {
		t.Errorf("reverted by %q, not %s", found.By, reverted)
	}
}

// TestFindBroken: what cannot be read is an error, never an answer.
func TestFindBroken(t *testing.T) {
	t.Parallel()
	s := newTrain(t)
	r := s.client()
	main := s.commit("main goes on", files{"other.txt": "2\n"}, s.released)
	s.fetch(r, main)
	gone := s.debt
	gone.Head = gitrepo.Hash(strings.Repeat("a", 40))
	if _, err := Find(t.Context(), r, gone, s.place("main", main)); err == nil {
		t.Error("a head that nobody has was found")
	} else {
		mustContain(t, err.Error(), "hotfix pay", "aaaaaaa", "not found")
	}
	if _, err := Find(t.Context(), r, s.debt, Place{Name: "main", Tree: gone.Head, Commit: main}); err == nil {
		t.Error("a tree that nobody has was looked at")
	}
}

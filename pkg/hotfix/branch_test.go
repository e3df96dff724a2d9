package hotfix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// origin is a pipeline's repository: a source branch, a snapshot of it, and the
// ledger of an environment that runs it.
type origin struct {
	*history
	start, captured gitrepo.Hash // of the source branch
	snapshot, entry gitrepo.Hash
	source          gitrepo.Hash // tip of the source branch
	known           Known
}

func newOrigin(t *testing.T) *origin {
	h := newHistory(t)
	s := &origin{history: h}
	s.start = h.commit("start", files{"a.txt": "1\n"})
	s.captured = h.commit("released", files{"a.txt": ten}, s.start)
	s.snapshot = h.commit("snapshot", files{".propagator/snapshot.yaml": "lock\n"}, s.captured)
	opened := h.commit("open\n\nPropagator-Event: open\n", nil)
	s.entry = h.commit("promote\n\nPropagator-Event: promote\n", files{"a.txt": ten, ".propagator/snapshot.yaml": "lock\n"}, opened, s.snapshot)
	s.source = h.commit("main goes on", files{"more.txt": "1\n"}, s.captured)
	at := version(t, "shop/v1.4.0")
	s.known = Known{s.snapshot: at, s.entry: at, s.captured: at}
	return s
}

// grow adds commits to the source branch.
func (s *origin) grow(n int) {
	for i := range n {
		s.source = s.commit(fmt.Sprint("main ", i), files{"more.txt": fmt.Sprint(i)}, s.source)
	}
}

func (s *origin) open(head gitrepo.Hash) Branch {
	s.t.Helper()
	b, err := Open(s.t.Context(), s.client(), "pay", head, s.source, s.known)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	t.Parallel()
	fix := files{"a.txt": line("five", "FIVE")}
	for name, tt := range map[string]struct {
		cut   func(*origin) (head, base gitrepo.Hash)
		fault Fault
		words []string
	}{
		"from a ledger": {cut: func(s *origin) (head, base gitrepo.Hash) { return s.commit("fix", fix, s.entry), s.entry }},
		"from a tag":    {cut: func(s *origin) (head, base gitrepo.Hash) { return s.commit("fix", fix, s.snapshot), s.snapshot }},
		"from the commit that was captured": {cut: func(s *origin) (head, base gitrepo.Hash) {
			return s.commit("fix", fix, s.captured), s.captured
		}},
		"from an entry that is too old to be known": {cut: func(s *origin) (head, base gitrepo.Hash) {
			delete(s.known, s.entry)
			return s.commit("fix", fix, s.entry), s.snapshot
		}},
		"several commits": {cut: func(s *origin) (head, base gitrepo.Hash) {
			return s.commit("3", files{"b": "1"}, s.commit("2", files{"a.txt": ten}, s.commit("1", fix, s.entry))), s.entry
		}},
		"a merge of what was released since": {cut: func(s *origin) (head, base gitrepo.Hash) {
			one := s.commit("fix", fix, s.entry)
			patched := s.commit("snapshot", files{"b.txt": "1\n"}, s.snapshot)
			next := s.commit("promote", files{"b.txt": "1\n"}, s.entry, patched)
			s.known[next], s.known[patched] = version(s.t, "shop/v1.4.1"), version(s.t, "shop/v1.4.1")
			return s.commit("Merge environments/prod", files{"b.txt": "1\n"}, one, next), next
		}},
		"merged to the source branch before anybody looked": {cut: func(s *origin) (head, base gitrepo.Hash) {
			head = s.commit("fix", fix, s.entry)
			s.source = s.commit("Merge branch hotfix/pay", fix, s.source, head)
			s.grow(3)
			return head, s.entry
		}},
		"only the mode of a file": {cut: func(s *origin) (head, base gitrepo.Hash) {
			return s.commit("fix", files{"a.txt": "[x]" + ten}, s.entry), s.entry
		}},
		"nothing yet": {
			cut:   func(s *origin) (head, base gitrepo.Hash) { return s.commit("empty", nil, s.entry), s.entry },
			fault: Empty, words: []string{"nothing differs from"},
		},
		"a change that was taken back": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				return s.commit("back", files{"a.txt": ten}, s.commit("fix", fix, s.entry)), s.entry
			},
			fault: Empty, words: []string{"nothing differs from"},
		},
		"from nowhere": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				return s.commit("fix", fix, s.commit("another root", nil)), ""
			},
			fault: BaseUnknown, words: []string{"none of its commits is something that an environment has run", "git switch -c hotfix/<name> origin/environments/<environment>"},
		},
		"from the source branch": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				delete(s.known, s.captured)
				return s.commit("fix", fix, s.source), ""
			},
			fault: BaseUnknown, words: []string{"it was cut from the source branch", "git rebase --onto origin/environments/<environment>", "hotfix/pay"},
		},
		"from the source branch, long ago": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				delete(s.known, s.captured)
				head = s.commit("fix", fix, s.source)
				s.grow(100)
				return head, ""
			},
			fault: BaseUnknown, words: []string{"it was cut from the source branch"},
		},
		"from the source branch after the release": {
			cut:   func(s *origin) (head, base gitrepo.Hash) { return s.commit("fix", fix, s.source), s.captured },
			fault: HoldsSource, words: []string{"it holds commits of the source branch", "which would be released with it", "git rebase --onto"},
		},
		"a merge of the source branch": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				return s.commit("Merge branch main", files{"more.txt": "1\n"}, s.commit("fix", fix, s.entry), s.source), s.entry
			},
			fault: HoldsSource, words: []string{"it holds commits of the source branch"},
		},
		"a merge of the source branch, long ago": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				head = s.commit("Merge branch main", files{"more.txt": "1\n"}, s.commit("fix", fix, s.entry), s.source)
				s.grow(100)
				return head, s.entry
			},
			fault: HoldsSource, words: []string{"it holds commits of the source branch"},
		},
		"a merge of a source branch that had merged it": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				one := s.commit("fix", fix, s.entry)
				s.source = s.commit("Merge branch hotfix/pay", fix, s.source, one)
				return s.commit("Merge branch main", files{"more.txt": "1\n", "b": "1"}, one, s.source), s.entry
			},
			fault: HoldsSource, words: []string{"it holds commits of the source branch"},
		},
		"rebased to the source branch": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				s.grow(2)
				return s.commit("fix", fix, s.source), s.captured
			},
			fault: HoldsSource, words: []string{"git rebase --onto"},
		},
		"the lock, by hand": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				return s.commit("fix", files{".propagator/snapshot.yaml": "another\n", "a.txt": "1\n"}, s.entry), s.entry
			},
			fault: EditsLock, words: []string{"it changes .propagator/snapshot.yaml, which only Propagator writes", "git checkout", "-- .propagator, and commit"},
		},
		"the lock, gone": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				return s.commit("fix", files{".propagator/snapshot.yaml": "-", "a.txt": "1\n"}, s.entry), s.entry
			},
			fault: EditsLock, words: []string{".propagator/snapshot.yaml"},
		},
		"the lock, moved": {
			cut: func(s *origin) (head, base gitrepo.Hash) {
				return s.commit("fix", files{".propagator/snapshot.yaml": "-", "lock.yaml": "lock\n"}, s.entry), s.entry
			},
			fault: EditsLock, words: []string{".propagator/snapshot.yaml"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOrigin(t)
			head, base := tt.cut(s)
			b := s.open(head)
			if b.Fault != tt.fault || b.Base != base {
				t.Errorf("fault %q (%s) with the base %s, want %q with %s", b.Fault, b.Detail, b.Base.Short(), tt.fault, base.Short())
			}
			mustContain(t, b.Detail, tt.words...)
			if tt.fault == "" && (b.Onto != s.known[base] || b.Author != "Ada" || b.Subject == "" || b.Detail != "") {
				t.Errorf("%+v", b)
			}
		})
	}
}

// TestOpenNames: a name is written into trailers, and typed by people.
func TestOpenNames(t *testing.T) {
	t.Parallel()
	s := newOrigin(t)
	head := s.commit("fix", files{"a.txt": "1\n"}, s.entry)
	for name, good := range map[string]bool{
		"pay": true, "2024-05/pay_timeout.v2": true, strings.Repeat("a", 100): true,
		"": false, strings.Repeat("a", 101): false, "zahlung-für-später": false, "-rf": false, ".x": false, "a b": false, "a\nb": false, "pay@3f2a91c": false, "a;b": false, "$(x)": false,
	} {
		b, err := Open(t.Context(), s.client(), name, head, s.source, s.known)
		if err != nil {
			t.Fatal(err)
		}
		if good != (b.Fault == "") {
			t.Errorf("%q is %q: %s", name, b.Fault, b.Detail)
		}
		if !good {
			mustContain(t, b.Detail, "git push origin "+head.Short()+":refs/heads/hotfix/<name>", "begins with a letter or digit", "100")
			if strings.Contains(b.Detail, "\n") || strings.Contains(b.Detail, "hotfix/$(x)") {
				t.Errorf("what is to be typed is %q", b.Detail)
			}
		}
	}
}

// TestOpenHeads: a branch may name what is no commit, or nothing at all.
func TestOpenHeads(t *testing.T) {
	t.Parallel()
	s := newOrigin(t)
	tag := gitrepo.NewTag(gitrepo.Tag{Object: s.commit("fix", files{"a.txt": "1\n"}, s.entry), Type: gitrepo.TypeCommit, Name: "x", Tagger: gitrepotest.Identity(1)})
	gitrepotest.MustPush(t, s.people, gitrepo.Push{Objects: []gitrepo.Object{tag}, Updates: []gitrepo.Update{{Ref: "refs/tags/x", New: tag.ID()}}})
	for head, words := range map[gitrepo.Hash][]string{
		tag.ID():                              {"it names a tag, not a commit", "git push origin"},
		s.treeOf(s.entry):                     {"it names a tree, not a commit"},
		gitrepo.Hash(strings.Repeat("a", 40)): {"aaaaaaa", "not found", "git push"},
	} {
		b := s.open(head)
		if b.Fault != Unreadable {
			t.Errorf("%s is %q: %s", head, b.Fault, b.Detail)
		}
		mustContain(t, b.Detail, words...)
	}
}

// TestOpenCost: a branch in a straight line from what an environment runs is no
// reason to read the source branch.
func TestOpenCost(t *testing.T) {
	t.Parallel()
	s := newOrigin(t)
	head := s.commit("fix", files{"a.txt": "1\n"}, s.entry)
	r := s.client()
	before := s.people.RoundTrips()
	if b, err := Open(t.Context(), r, "pay", head, s.source, s.known); err != nil || b.Fault != "" {
		t.Fatal(b, err)
	}
	if got := s.people.RoundTrips() - before; got > 2 {
		t.Errorf("it took %d round trips", got)
	}
	if _, err := gitrepo.ReadCommit(r, s.source); err == nil {
		t.Error("the source branch was read")
	}
}

// TestOpenSeveral: many branches are fetched together.
func TestOpenSeveral(t *testing.T) {
	t.Parallel()
	s := newOrigin(t)
	heads := map[string]gitrepo.Hash{}
	for i := range 20 {
		heads[fmt.Sprintf("fix-%d", i)] = s.commit("fix", files{"a.txt": fmt.Sprint(i)}, s.entry)
	}
	heads["gone"] = gitrepo.Hash(strings.Repeat("a", 40))
	r := s.client()
	before := s.people.RoundTrips()
	branches, err := OpenAll(t.Context(), r, heads, s.source, s.known)
	if err != nil {
		t.Fatal(err)
	}
	if len(branches) != 21 {
		t.Errorf("%d branches", len(branches))
	}
	for _, b := range branches {
		if (b.Fault == "") != (b.Name != "gone") {
			t.Errorf("%s: %s %s", b.Name, b.Fault, b.Detail)
		}
	}
	t.Log(s.people.RoundTrips() - before)
	delete(heads, "gone")
	r, before = s.client(), s.people.RoundTrips()
	if _, err := OpenAll(t.Context(), r, heads, s.source, s.known); err != nil {
		t.Fatal(err)
	}
	if got := s.people.RoundTrips() - before; got > 2 {
		t.Errorf("it took %d round trips", got)
	}
}

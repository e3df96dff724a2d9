package changes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// history is a repository that is written commit by commit.
type history struct {
	t    *testing.T
	repo *gitrepo.Memory
	tree gitrepo.Hash
	n    int
}

func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{t: t, repo: gitrepo.NewMemory("memory")}
	tree, err := gitrepo.NewTree(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.tree = tree.ID()
	gitrepotest.MustPush(t, h.repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/tags/tree", New: h.tree}}, Objects: []gitrepo.Object{tree}})
	return h
}

// commit is a second younger than the one before it.
func (h *history) commit(message string, parents ...gitrepo.Hash) gitrepo.Hash {
	h.t.Helper()
	h.n++
	who := gitrepo.Signature{Name: "Ada", Email: "ada@example", When: time.Unix(1700000000+int64(h.n), 0).UTC()}
	o := gitrepo.NewCommit(gitrepo.Commit{Tree: h.tree, Parents: parents, Author: who, Committer: who, Message: message})
	gitrepotest.MustPush(h.t, h.repo, gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: fmt.Sprintf("refs/heads/c%d", h.n), New: o.ID()}}, Objects: []gitrepo.Object{o},
	})
	return o.ID()
}

// line is n commits on top of a parent.
func (h *history) line(n int, name string, parents ...gitrepo.Hash) gitrepo.Hash {
	h.t.Helper()
	for i := range n {
		parents = []gitrepo.Hash{h.commit(fmt.Sprint(name, " ", i), parents...)}
	}
	return parents[0]
}

func subjects(commits []Commit) string {
	var all []string
	for _, c := range commits {
		all = append(all, c.Subject)
	}
	return strings.Join(all, ", ")
}

func TestCommits(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	root := h.line(100, "root")
	a := h.commit("a\n\nbody", root)
	side := h.commit("side", root)
	b := h.commit("  b  ", a)
	merged := h.commit("Merge side", b, side)
	c := h.commit("c", merged)
	fix := h.commit("fix", a)
	other := h.line(3, "other") // a history of its own
	for _, test := range []struct {
		name             string
		from, to         gitrepo.Hash
		limit            int
		commits, gone    string
		more, moreGone   int
		incomplete, deep bool
	}{
		{name: "forwards, with a side branch", from: a, to: c, commits: "c, b, side"},
		{name: "bounded", from: a, to: c, limit: 2, commits: "c, b", more: 1},
		{name: "backwards", from: c, to: a, limit: 1, gone: "c", moreGone: 2},
		{name: "apart", from: fix, to: b, commits: "b", gone: "fix"},
		{name: "equal", from: a, to: a},
		{name: "deeper than the first fetch", from: gitrepoParent(t, h, root, 90), to: a, limit: 1, commits: "a", more: 90, deep: true},
		{name: "nothing in common", from: other, to: side, limit: 1, commits: "side", more: 100, gone: "other 2", moreGone: 2, deep: true},
	} {
		client := h.repo.Client()
		before := client.RoundTrips()
		got, err := Commits(t.Context(), client, test.from, test.to, test.limit)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if subjects(got.Commits) != test.commits || subjects(got.Gone) != test.gone || got.More != test.more || got.MoreGone != test.moreGone || got.Incomplete != test.incomplete {
			t.Errorf("%s: %+v", test.name, got)
		}
		if trips := client.RoundTrips() - before; trips > 2 || trips == 2 && !test.deep {
			t.Errorf("%s: %d round trips", test.name, trips)
		}
	}
	want := Commit{ID: a, Subject: "a", Author: "Ada", Date: time.Unix(1700000101, 0).UTC()}
	if got, err := Commits(t.Context(), h.repo.Client(), root, a, 0); err != nil || cmp.Diff([]Commit{want}, got.Commits) != "" {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := Commits(t.Context(), h.repo.Client(), a, gitrepo.Hash(strings.Repeat("1", 40)), 0); !errors.Is(err, gitrepo.ErrNotFound) {
		t.Errorf("a revision that is not there: %v", err)
	}
}

// gitrepoParent goes back n first parents.
func gitrepoParent(t *testing.T, h *history, tip gitrepo.Hash, n int) gitrepo.Hash {
	t.Helper()
	commits, err := gitrepo.FirstParents(h.repo, tip, n+1)
	if err != nil || len(commits) != n+1 {
		t.Fatalf("%d commits: %v", len(commits), err)
	}
	return commits[n].ID
}

// TestCommitsBounded: a history that is longer than anybody wants to read is not
// fetched to its end, and the log says so.
func TestCommitsBounded(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	from := h.commit("from")
	to := h.line(1100, "c", from)
	client := h.repo.Client()
	got, err := Commits(t.Context(), client, from, to, 10)
	if err != nil || !got.Incomplete || len(got.Commits) != 10 || got.More != 1014 {
		t.Errorf("%+v %v", got, err)
	}
}

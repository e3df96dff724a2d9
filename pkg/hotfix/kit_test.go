package hotfix

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// files are a tree, or changes to one: by slash path, "-" for a file that goes.
// A content may begin with a mode in brackets: "[x]" executable, "[s]" submodule
// (then its id).
type files = gitrepotest.Files

// history is a repository that people write to. Every commit is a minute later
// than the one before.
type history struct {
	t      testing.TB
	people *gitrepo.Memory
	trees  map[gitrepo.Hash]files
	n      int
}

func newHistory(t testing.TB) *history {
	return &history{t: t, people: gitrepo.NewMemory("https://git.example/shop.git"), trees: map[gitrepo.Hash]files{}}
}

// client has fetched nothing.
func (h *history) client() *gitrepo.Memory { return h.people.Client() }

// commit changes the tree of the first parent, or begins with nothing.
func (h *history) commit(message string, change files, parents ...gitrepo.Hash) gitrepo.Hash {
	h.t.Helper()
	tree := files{}
	if len(parents) > 0 {
		maps.Copy(tree, h.trees[parents[0]])
	}
	for path, content := range change {
		if tree[path] = content; content == "-" {
			delete(tree, path)
		}
	}
	var objects []gitrepo.Object
	root := build(h.t, &objects, tree)
	h.n++
	who := gitrepo.Signature{Name: "Ada", Email: "ada@example.com", When: time.Unix(1_780_000_000, 0).Add(time.Duration(h.n) * time.Minute).UTC()}
	object := gitrepo.NewCommit(gitrepo.Commit{Tree: root, Parents: parents, Author: who, Committer: who, Message: message})
	id := object.ID()
	gitrepotest.MustPush(h.t, h.people, gitrepo.Push{
		Objects: append(objects, object),
		Updates: []gitrepo.Update{{Ref: fmt.Sprintf("refs/heads/all/%d", h.n), New: id}},
	})
	h.trees[id] = tree
	return id
}

// build writes a tree and returns its id.
func build(t testing.TB, objects *[]gitrepo.Object, f files) gitrepo.Hash {
	t.Helper()
	below := map[string]files{}
	var tree gitrepo.Tree
	for path, content := range f {
		if dir, rest, deeper := strings.Cut(path, "/"); deeper {
			if below[dir] == nil {
				below[dir] = files{}
			}
			below[dir][rest] = content
			continue
		}
		if id, ok := strings.CutPrefix(content, "[s]"); ok {
			tree = append(tree, gitrepo.Entry{Name: path, Mode: gitrepo.ModeSubmodule, ID: gitrepo.Hash(id)})
			continue
		}
		entry := gitrepo.Entry{Name: path, Mode: gitrepo.ModeFile}
		if strings.HasPrefix(content, "[x]") {
			entry.Mode = gitrepo.ModeExecutable
		}
		blob := gitrepo.NewBlob([]byte(strings.TrimPrefix(content, "[x]")))
		entry.ID = blob.ID()
		*objects = append(*objects, blob)
		tree = append(tree, entry)
	}
	for dir, f := range below {
		tree = append(tree, gitrepo.Entry{Name: dir, Mode: gitrepo.ModeDir, ID: build(t, objects, f)})
	}
	object, err := gitrepo.NewTree(tree)
	if err != nil {
		t.Fatal(err)
	}
	*objects = append(*objects, object)
	return object.ID()
}

// place is where a commit's tree and history are looked at.
func (h *history) place(name string, id gitrepo.Hash) Place {
	h.t.Helper()
	return Place{Name: name, Tree: h.treeOf(id), Commit: id}
}

func (h *history) treeOf(id gitrepo.Hash) gitrepo.Hash {
	h.t.Helper()
	c, err := gitrepo.ReadCommit(h.people, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return c.Tree
}

// fetch makes the trees of commits readable.
func (h *history) fetch(r gitrepo.Reader, ids ...gitrepo.Hash) {
	h.t.Helper()
	gitrepotest.MustFetch(h.t, r, gitrepo.FetchOptions{Depth: 1}, ids...)
}

func version(t testing.TB, s string) snapshot.Version {
	t.Helper()
	v, err := snapshot.ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ten are lines far enough apart to be changed one by one.
const ten = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"

// line replaces a line of ten.
func line(old, now string) string { return strings.Replace(ten, old+"\n", now+"\n", 1) }

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

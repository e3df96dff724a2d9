package gitrepotest

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Files is the content of a tree by slash path.
type Files map[string]string

// Identity is the author of every commit made here, at the given second.
func Identity(second int) gitrepo.Signature {
	zone := time.FixedZone("", 3600)
	return gitrepo.Signature{Name: "Ada", Email: "ada@example.com", When: time.Unix(1700000000+int64(second), 0).In(zone)}
}

// Commit builds a commit of base's tree with the files on top. Parents may be
// empty; base is the first parent's tree, which must have been fetched. It
// returns the commit's id and all objects that the commit adds.
func Commit(t testing.TB, repo gitrepo.Objects, files Files, message string, parents ...gitrepo.Hash) (gitrepo.Hash, []gitrepo.Object) {
	t.Helper()
	var base gitrepo.Hash
	second := 0
	if len(parents) > 0 {
		c, err := gitrepo.ReadCommit(repo, parents[0])
		if err != nil {
			t.Fatal(err)
		}
		base = c.Tree
		second = int(c.Committer.When.Unix()-1700000000) + 1
	}
	content := map[string][]byte{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		content[path] = []byte(files[path])
	}
	root, objects, err := gitrepo.WriteFiles(repo, base, content)
	if err != nil {
		t.Fatal(err)
	}
	commit := gitrepo.NewCommit(gitrepo.Commit{
		Tree: root, Parents: parents, Author: Identity(second), Committer: Identity(second), Message: message + "\n",
	})
	return commit.ID(), append(objects, commit)
}

// Grow adds a commit with the files to a branch (full ref name), creating the
// branch if it is absent, and returns the commit.
func Grow(t testing.TB, repo gitrepo.Repo, branch string, files Files) gitrepo.Hash {
	t.Helper()
	refs, err := repo.Refs(t.Context(), branch)
	if err != nil {
		t.Fatal(err)
	}
	old := refs[branch]
	var parents []gitrepo.Hash
	if old != "" {
		if err := repo.Fetch(t.Context(), []gitrepo.Hash{old}, gitrepo.FetchOptions{Depth: 1}); err != nil {
			t.Fatal(err)
		}
		parents = append(parents, old)
	}
	id, objects := Commit(t, repo, files, "Grow "+branch, parents...)
	MustPush(t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: branch, Old: old, New: id}}, Objects: objects})
	return id
}

// MustPush pushes or fails the test.
func MustPush(t testing.TB, repo gitrepo.Writer, push gitrepo.Push) {
	t.Helper()
	if err := repo.Push(t.Context(), push); err != nil {
		t.Fatal(err)
	}
}

// MustFetch fetches or fails the test.
func MustFetch(t testing.TB, repo gitrepo.Reader, options gitrepo.FetchOptions, ids ...gitrepo.Hash) {
	t.Helper()
	if err := repo.Fetch(t.Context(), ids, options); err != nil {
		t.Fatal(err)
	}
}

// MustRefs lists refs or fails the test.
func MustRefs(t testing.TB, repo gitrepo.Reader, prefixes ...string) gitrepo.Refs {
	t.Helper()
	refs, err := repo.Refs(t.Context(), prefixes...)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

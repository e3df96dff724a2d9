package gitrepo_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestIDsAreGits compares our ids with those of git's own plumbing.
func TestIDsAreGits(t *testing.T) {
	repo := t.TempDir()
	gitrepotest.Git(t, repo, "", "init", "--bare", "--quiet", ".")
	content := "größe: 1\n"
	blob := gitrepo.NewBlob([]byte(content))
	if got := gitrepotest.Git(t, repo, content, "hash-object", "-w", "--stdin"); got != string(blob.ID()) {
		t.Errorf("blob: git says %s, we say %s", got, blob.ID())
	}
	entries := gitrepo.Tree{
		{Name: "a", Mode: gitrepo.ModeFile, ID: blob.ID()},
		{Name: "a b", Mode: gitrepo.ModeExecutable, ID: blob.ID()},
		{Name: "link", Mode: gitrepo.ModeSymlink, ID: blob.ID()},
		{Name: "日本", Mode: gitrepo.ModeFile, ID: blob.ID()},
	}
	inner, err := gitrepo.NewTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, e := range entries {
		lines.WriteString(string(e.Mode) + " blob " + string(e.ID) + "\t" + e.Name + "\x00")
	}
	if got := gitrepotest.Git(t, repo, lines.String(), "mktree", "-z"); got != string(inner.ID()) {
		t.Errorf("tree: git says %s, we say %s", got, inner.ID())
	}
	// A directory sorts as if its name ended in a slash: a-b, a/, a0.
	outer, err := gitrepo.NewTree(gitrepo.Tree{
		{Name: "a", Mode: gitrepo.ModeDir, ID: inner.ID()},
		{Name: "a0", Mode: gitrepo.ModeFile, ID: blob.ID()},
		{Name: "a-b", Mode: gitrepo.ModeFile, ID: blob.ID()},
	})
	if err != nil {
		t.Fatal(err)
	}
	input := "040000 tree " + string(inner.ID()) + "\ta\n100644 blob " + string(blob.ID()) + "\ta0\n100644 blob " + string(blob.ID()) + "\ta-b\n"
	if got := gitrepotest.Git(t, repo, input, "mktree"); got != string(outer.ID()) {
		t.Errorf("outer tree: git says %s, we say %s", got, outer.ID())
	}
	root := gitrepotest.Git(t, repo, "first\n", "commit-tree", string(outer.ID()))
	commit := gitrepo.Commit{Tree: outer.ID(), Author: gitrepotest.Identity(0), Committer: gitrepotest.Identity(0), Message: "first\n"}
	if got := gitrepo.NewCommit(commit).ID(); string(got) != root {
		t.Errorf("commit: git says %s, we say %s", root, got)
	}
	commit.Parents = []gitrepo.Hash{gitrepo.Hash(root)}
	commit.Message = "zweite\n\nPropagator-Event: promote\n"
	second := gitrepotest.Git(t, repo, commit.Message, "commit-tree", string(outer.ID()), "-p", root)
	if got := gitrepo.NewCommit(commit).ID(); string(got) != second {
		t.Errorf("second commit: git says %s, we say %s", second, got)
	}
	tag := gitrepo.NewTag(gitrepo.Tag{Object: gitrepo.Hash(root), Type: gitrepo.TypeCommit, Name: "v1", Tagger: gitrepotest.Identity(0), Message: "one\n"})
	gitrepotest.Git(t, repo, "", "tag", "-a", "-m", "one", "v1", root)
	if got := gitrepotest.Git(t, repo, "", "rev-parse", "v1"); got != string(tag.ID()) {
		t.Errorf("tag: git says %s, we say %s", got, tag.ID())
	}
}

func TestNewTreeRefuses(t *testing.T) {
	id := gitrepo.NewBlob(nil).ID()
	for _, entries := range []gitrepo.Tree{
		{{Name: "..", Mode: gitrepo.ModeDir, ID: id}},
		{{Name: "a/b", Mode: gitrepo.ModeFile, ID: id}},
		{{Name: ".git", Mode: gitrepo.ModeDir, ID: id}},
		{{Name: "", Mode: gitrepo.ModeFile, ID: id}},
		{{Name: "a", Mode: gitrepo.ModeFile, ID: "abc"}},
		{{Name: "a", Mode: gitrepo.ModeFile, ID: id}, {Name: "a", Mode: gitrepo.ModeDir, ID: id}},
	} {
		if _, err := gitrepo.NewTree(entries); err == nil {
			t.Errorf("accepted %v", entries)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	blob := gitrepo.NewBlob([]byte("x")).ID()
	good, err := gitrepo.NewTree(gitrepo.Tree{{Name: "a", Mode: gitrepo.ModeFile, ID: blob}, {Name: "d", Mode: gitrepo.ModeDir, ID: blob}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Data)
	f.Add([]byte("100644 ..\x0001234567890123456789"))
	f.Add([]byte("040000 a\x0001234567890123456789"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := gitrepo.ParseTree(gitrepo.Object{Type: gitrepo.TypeTree, Data: data})
		if err != nil {
			return
		}
		for _, e := range tree {
			if !fs.ValidPath(e.Name) && strings.ToValidUTF8(e.Name, "") == e.Name {
				t.Errorf("name %q leaves its directory", e.Name)
			}
			if !e.ID.Valid() {
				t.Errorf("id %q", e.ID)
			}
		}
		o, err := gitrepo.NewTree(tree)
		if err != nil {
			return // a name twice
		}
		again, err := gitrepo.ParseTree(o)
		if err != nil {
			t.Fatalf("own tree cannot be read: %v", err)
		}
		o2, err := gitrepo.NewTree(again)
		if err != nil || !bytes.Equal(o.Data, o2.Data) {
			t.Errorf("encoding is not stable: %v", err)
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	f.Add(gitrepo.NewCommit(gitrepo.Commit{
		Tree: gitrepo.NewBlob(nil).ID(), Parents: []gitrepo.Hash{gitrepo.NewBlob(nil).ID()},
		Author: gitrepotest.Identity(0), Committer: gitrepotest.Identity(1), GPGSig: "-----BEGIN\n\nx\n-----END", Message: "m\n\nA: b\n",
	}).Data)
	f.Add([]byte("tree x\nauthor >a< 1 +0000\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := gitrepo.ParseCommit(gitrepo.Object{Type: gitrepo.TypeCommit, Data: data})
		if err != nil {
			return
		}
		again, err := gitrepo.ParseCommit(gitrepo.NewCommit(c))
		if err != nil {
			return // a foreign commit may lack an author
		}
		if again.Tree != c.Tree || len(again.Parents) != len(c.Parents) {
			t.Errorf("%+v became %+v", c, again)
		}
	})
}

func FuzzParseTag(f *testing.F) {
	f.Add(gitrepo.NewTag(gitrepo.Tag{Object: gitrepo.NewBlob(nil).ID(), Type: gitrepo.TypeBlob, Name: "v1", Tagger: gitrepotest.Identity(0), Message: "m\n"}).Data)
	f.Add([]byte("object \ntagger <\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = gitrepo.ParseTag(gitrepo.Object{Type: gitrepo.TypeTag, Data: data})
	})
}

func TestCommitRoundTrip(t *testing.T) {
	want := gitrepo.Commit{
		Tree: gitrepo.NewBlob(nil).ID(), Parents: []gitrepo.Hash{gitrepo.NewBlob([]byte("p")).ID()},
		Author: gitrepotest.Identity(0), Committer: gitrepotest.Identity(7),
		GPGSig: "-----BEGIN SSH SIGNATURE-----\n\nabc\n-----END SSH SIGNATURE-----", Message: "subject\n\nbody\n",
	}
	got, err := gitrepo.ParseCommit(gitrepo.NewCommit(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commit (-want +got):\n%s", diff)
	}
}

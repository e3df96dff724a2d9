package snapshot

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

var identity = Identity{"propagator", "propagator@example.com"}

// source makes a source commit by a person with a name, a subject and a zone
// of their own.
func source(t *testing.T, files gitrepotest.Files) (gitrepo.Hash, []gitrepo.Object) {
	t.Helper()
	id, objects := gitrepotest.Commit(t, objects{}, files, "placeholder")
	commit, err := gitrepo.ReadCommit(stored(objects...), id)
	if err != nil {
		t.Fatal(err)
	}
	summer := time.Date(2025, 7, 1, 14, 30, 5, 0, time.FixedZone("", 3600))
	commit.Author = gitrepo.Signature{Name: "Ada Lovelace", Email: "ada@example.com", When: summer}
	commit.Committer = gitrepo.Signature{Name: "CI", Email: "ci@example.com", When: summer.Add(time.Minute)}
	commit.Message = "orders: v1\x1b[31m\n\nPropagator-Event: open\n"
	object := gitrepo.NewCommit(commit)
	return object.ID(), append(objects[:len(objects)-1], object)
}

func lockOf(commit gitrepo.Hash) *Lock {
	l := lock()
	l.Source.Commit = string(commit)
	return l
}

// built makes a source commit and its snapshot, and returns all their objects.
func built(t *testing.T) (Snapshot, []gitrepo.Object) {
	t.Helper()
	commit, list := source(t, gitrepotest.Files{"propagator.yaml": "kind: Pipeline\n", "envs/prod/orders/deployment.yaml": "kind: Deployment\n"})
	s, made, err := Build(stored(list...), lockOf(commit), identity)
	if err != nil {
		t.Fatal(err)
	}
	return s, append(list, made...)
}

func TestBuildAndRead(t *testing.T) {
	s, list := built(t)
	all := stored(list...)
	commit, err := gitrepo.ReadCommit(all, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := `snapshot shop/v1.4.0 of main at ` + s.Source.Short() + `

2 images, 2 renders.

Propagator-Event: snapshot
Propagator-Snapshot: shop/v1.4.0
Propagator-Source-Commit: ` + string(s.Source) + `
Argocd-reference-commit-sha: ` + string(s.Source) + `
Argocd-reference-commit-author: Ada Lovelace <ada@example.com>
Argocd-reference-commit-date: 2025-07-01T13:30:05Z
Argocd-reference-commit-subject: orders: v1 [31m
Argocd-reference-commit-repourl: https://git.example/shop.git
`
	if diff := cmp.Diff(want, commit.Message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	agreesWithGit(t, commit.Message)
	if who := commit.Committer.String(); who != "propagator <propagator@example.com> 1751376665 +0000" || commit.Author.String() != who {
		t.Errorf("author %s, committer %s", commit.Author, commit.Committer)
	}

	read, err := Read(all, s.ID, s.Lock.Version)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, read); diff != "" {
		t.Errorf("-built +read:\n%s", diff)
	}
	if _, err := Read(all, s.ID, Version{}); err != nil {
		t.Errorf("any version: %v", err)
	}

	// The tree is the source's and the lock, nothing else.
	before, _ := gitrepo.ReadCommit(all, s.Source)
	tree, err := gitrepo.ReadTree(all, s.Tree)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := gitrepo.ReadTree(all, before.Tree)
	var rest gitrepo.Tree
	for _, entry := range tree {
		if entry.Name != ".propagator" {
			rest = append(rest, entry)
		}
	}
	if diff := cmp.Diff(old, rest); diff != "" {
		t.Errorf("the source's files changed:\n%s", diff)
	}
}

// TestBuildOfTag: a capture that a person's tag asked for says so, in the lock
// and in git log, and the tag is a part of what makes the commit's id.
func TestBuildOfTag(t *testing.T) {
	plain, list := built(t)
	lock := lockOf(plain.Source)
	lock.Source.Tag = "v1.4.0"
	s, made, err := Build(stored(list...), lock, identity)
	if err != nil {
		t.Fatal(err)
	}
	all := stored(append(list, made...)...)
	commit, err := gitrepo.ReadCommit(all, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\nPropagator-Source-Tag: v1.4.0\n", "\nCaptured because a person set the tag v1.4.0, without proof of a deployment.\n"} {
		if !strings.Contains(commit.Message, line) {
			t.Errorf("the message lacks %q:\n%s", line, commit.Message)
		}
	}
	read, err := Read(all, s.ID, s.Lock.Version)
	if err != nil || read.Lock.Source.Tag != "v1.4.0" || s.ID == plain.ID {
		t.Errorf("tag %q, id %s beside %s, %v", read.Lock.Source.Tag, s.ID.Short(), plain.ID.Short(), err)
	}
	lock.Source.Tag = "v1.4.0\nPropagator-Event: open"
	if _, _, err := Build(stored(list...), lock, identity); err == nil {
		t.Error("a tag of two lines was accepted")
	}
}

// TestBuildOfSchedule: a capture at a scheduled time says for which, so that
// nobody captures for it again.
func TestBuildOfSchedule(t *testing.T) {
	plain, list := built(t)
	lock := lockOf(plain.Source)
	at := time.Date(2026, 3, 2, 16, 0, 0, 0, time.UTC)
	lock.Source.Scheduled = at
	s, made, err := Build(stored(list...), lock, identity)
	if err != nil {
		t.Fatal(err)
	}
	all := stored(append(list, made...)...)
	commit, err := gitrepo.ReadCommit(all, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(commit.Message, "\nPropagator-Scheduled: 2026-03-02T16:00:00Z\n") || !ScheduledFor(commit).Equal(at) {
		t.Errorf("scheduled for %s:\n%s", ScheduledFor(commit), commit.Message)
	}
	if read, err := Read(all, s.ID, s.Lock.Version); err != nil || !read.Lock.Source.Scheduled.Equal(at) || s.ID == plain.ID {
		t.Errorf("read: scheduled for %s, id %s beside %s, %v", read.Lock.Source.Scheduled, s.ID.Short(), plain.ID.Short(), err)
	}
	if commit, err := gitrepo.ReadCommit(stored(list...), plain.Source); err != nil || !ScheduledFor(commit).IsZero() {
		t.Errorf("another commit is scheduled for %s, %v", ScheduledFor(commit), err)
	}
	for _, bad := range []time.Time{at.Add(time.Millisecond), at.In(time.FixedZone("", 3600))} {
		lock.Source.Scheduled = bad
		if _, _, err := Build(stored(list...), lock, identity); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// TestBuildIsPure: whoever builds it, wherever and in whatever order things
// were found, it is the same commit.
func TestBuildIsPure(t *testing.T) {
	commit, list := source(t, gitrepotest.Files{"a": "1"})
	all := stored(list...)
	first, _, err := Build(all, lockOf(commit), identity)
	if err != nil {
		t.Fatal(err)
	}
	shuffled := lockOf(commit)
	shuffled.APIVersion, shuffled.Kind = "", ""
	shuffled.Images[0], shuffled.Images[1] = shuffled.Images[1], shuffled.Images[0]
	shuffled.Renders[0], shuffled.Renders[1] = shuffled.Renders[1], shuffled.Renders[0]
	// Standard time in CET is +01:00, and in summer it is +02:00: a commit that
	// says +0100 must not be moved to the machine's summer time.
	local := time.Local
	defer func() { time.Local = local }()
	if cet, err := time.LoadLocation("CET"); err == nil { // a machine without zones cannot have the fault
		time.Local = cet
	}
	second, _, err := Build(all, shuffled, identity)
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != second.ID {
		t.Errorf("%s here, %s there", first.ID, second.ID)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("-first +second:\n%s", diff)
	}
	// What was built does not change with what it was built from.
	shuffled.Images[0].Digest = "changed"
	if second.Lock.Images[0].Digest == "changed" || second.Lock.Images[1].Digest == "changed" {
		t.Error("the snapshot shares the argument's memory")
	}
}

// TestBuildTwice: a source commit that has a lock, because somebody merged a
// snapshot, gets the new one.
func TestBuildTwice(t *testing.T) {
	first, list := built(t)
	all := stored(list...)
	l := lockOf(first.ID)
	l.Version = l.Version.NextMinor()
	second, made, err := Build(all, l, identity)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Read(stored(append(list, made...)...), second.ID, l.Version)
	if err != nil || read.Lock.Version != l.Version || read.Source != first.ID {
		t.Errorf("%+v, %v", read, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	commit, list := source(t, gitrepotest.Files{"a": "1"})
	file, withFile := source(t, gitrepotest.Files{".propagator": "a file"})
	for _, test := range []struct {
		name    string
		objects objects
		lock    *Lock
		want    string
	}{
		{"unknown source", objects{}, lockOf(commit), "source commit " + commit.Short() + ": not found"},
		{"invalid lock", stored(list...), func() *Lock {
			l := lockOf(commit)
			l.Images[0].Digest = "v1"
			return l
		}(), "refusing to write an invalid lock: .propagator/snapshot.yaml:11: images[0].digest"},
		{"a file is in the way", stored(withFile...), lockOf(file), `write .propagator/snapshot.yaml: write ".propagator": it is not a directory`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, made, err := Build(test.objects, test.lock, identity)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || made != nil {
				t.Errorf("objects %d, error: %v\nwant: %s", len(made), err, test.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	s, list := built(t)
	all := stored(list...)
	add := func(o gitrepo.Object) gitrepo.Hash {
		all[o.ID()] = o
		return o.ID()
	}
	commit, err := gitrepo.ReadCommit(all, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*gitrepo.Commit)) gitrepo.Hash {
		c := commit
		change(&c)
		return add(gitrepo.NewCommit(c))
	}
	badTree, made, err := gitrepo.WriteFiles(all, s.Tree, map[string][]byte{LockFile: []byte(strings.Replace(lockText, ordersDigest, "v1", 1))})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range made {
		add(o)
	}
	tagged := add(gitrepo.NewTag(gitrepo.Tag{Object: s.ID, Type: gitrepo.TypeCommit, Name: "shop/v1.4.0", Tagger: commit.Author, Message: "release\n"}))
	const unfetched = gitrepo.Hash("9999999999999999999999999999999999999999")
	for _, test := range []struct {
		name string
		id   gitrepo.Hash
		want Version
		says string
		not  bool // ErrNoSnapshot
	}{
		{"annotated tag", tagged, s.Lock.Version, "is an annotated tag; snapshot tags are lightweight", true},
		{"tag on another snapshot", s.ID, Version{"shop", 1, 5, 0}, "tag shop/v1.5.0 names the snapshot shop/v1.4.0", true},
		{"tag of another pipeline", s.ID, Version{"web", 1, 4, 0}, "tag web/v1.4.0 names the snapshot shop/v1.4.0", true},
		{"no lock", s.Source, Version{}, "has no .propagator/snapshot.yaml", true},
		{"a ledger entry of it", with(func(c *gitrepo.Commit) { c.Parents = []gitrepo.Hash{s.ID, s.ID} }), Version{}, "does not follow the source commit " + string(s.Source), true},
		{"no parent", with(func(c *gitrepo.Commit) { c.Parents = nil }), Version{}, "does not follow the source commit " + string(s.Source), true},
		{"source second", with(func(c *gitrepo.Commit) { c.Parents = []gitrepo.Hash{s.ID, s.Source} }), Version{}, "does not follow the source commit", true},
		{"bad lock", with(func(c *gitrepo.Commit) { c.Tree = badTree }), Version{}, "images[0].digest", false},
		{"not a commit", s.Tree, Version{}, "object is a tree, not a commit", false},
		{"not fetched", unfetched, Version{}, "commit 9999999: not found", false},
		// Nobody can say that a tree without its objects holds no lock.
		{"tree not fetched", with(func(c *gitrepo.Commit) { c.Tree = unfetched }), Version{}, "not found", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(all, test.id, test.want)
			if err == nil || !strings.Contains(err.Error(), test.says) || errors.Is(err, ErrNoSnapshot) != test.not {
				t.Errorf("error: %v\nwant:  %s (ErrNoSnapshot: %v)", err, test.says, test.not)
			}
		})
	}
}

// TestGitAccepts: git finds no fault in anything that is built here, at its
// strictest, and reads from it what is meant.
func TestGitAccepts(t *testing.T) {
	s, list := built(t)
	entry := promoted()
	entry.Snapshot, entry.SourceCommit, entry.From = s.Lock.Version, s.Source, Version{}
	entry.Override = "text with a \x00 and an \x1b and \xff"
	tip, made, err := Append("", entry, s, identity)
	if err != nil {
		t.Fatal(err)
	}
	list = append(list, made...)
	entry.Event = EventDeployed
	if tip, made, err = Append(tip, entry, s, identity); err != nil {
		t.Fatal(err)
	}
	list = append(list, made...)

	dir := t.TempDir()
	gitrepotest.Git(t, dir, "", "init", "--quiet", "--bare", "--initial-branch", "environments/stage")
	for _, o := range list {
		if got := gitrepotest.Git(t, dir, string(o.Data), "hash-object", "-w", "--stdin", "-t", string(o.Type)); got != string(o.ID()) {
			t.Fatalf("%s %s is %s for git", o.Type, o.ID(), got)
		}
	}
	gitrepotest.Git(t, dir, "", "update-ref", s.Lock.Version.Ref(), string(s.ID))
	gitrepotest.Git(t, dir, "", "update-ref", "refs/heads/environments/stage", string(tip))
	if out := gitrepotest.Git(t, dir, "", "fsck", "--strict", "--full"); out != "" {
		t.Errorf("git fsck: %s", out)
	}
	// I3: anybody can check it.
	if a, b := gitrepotest.Git(t, dir, "", "rev-parse", "environments/stage^{tree}"), gitrepotest.Git(t, dir, "", "rev-parse", "shop/v1.4.0^{tree}"); a != b {
		t.Errorf("the environment's tree is %s, the snapshot's %s", a, b)
	}
	if out := gitrepotest.Git(t, dir, "", "log", "--first-parent", "--format=%s", "environments/stage"); out != "deployed shop/v1.4.0 to stage\npromote shop/v1.4.0 to stage\nopen stage" {
		t.Errorf("history:\n%s", out)
	}
	if out := gitrepotest.Git(t, dir, "", "log", "-1", "--format=%(trailers:key=Propagator-Override,valueonly)", "environments/stage"); out != "text with a and an and \uFFFD" {
		t.Errorf("reason: %q", out)
	}
}

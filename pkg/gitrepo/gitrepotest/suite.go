// Package gitrepotest is the test kit of package gitrepo: a behaviour suite
// that every implementation of the port passes, a real git server on loopback,
// a wrapper that breaks pushes, and builders of small histories.
package gitrepotest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Fixture is one empty repository under test.
type Fixture struct {
	// Client opens an independent client of the repository, which has fetched
	// nothing. Each call gives another one.
	Client func() gitrepo.Repo
	// Missing names a repository that does not exist; nil skips its test.
	Missing gitrepo.Repo
	// Reject makes the server refuse every further push with this text; nil
	// skips its test.
	Reject func(text string)
	// RoundTrips counts what reached the server so far; nil skips counting.
	RoundTrips func() int
	// Filters says that the server honours FetchOptions.CommitsOnly.
	Filters bool
}

// Suite runs the behaviour suite; newFixture is called for each test.
func Suite(t *testing.T, newFixture func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"an empty repository has no refs and no objects", testEmpty},
		{"a push is visible to others after a fetch", testPushFetch},
		{"refs are listed by prefix", testPrefixes},
		{"a stale value loses the swap", testStale},
		{"a tag is created once", testCreateOnly},
		{"a tag may name an existing commit", testTagOnly},
		{"one stale ref stops the whole push", testAtomic},
		{"of two pushers one wins", testRace},
		{"racing atomic pushes leave no half", testAtomicRace},
		{"a branch only moves forward", testForward},
		{"a push must be connected", testConnected},
		{"malformed pushes are refused", testMalformed},
		{"refs cannot nest", testNested},
		{"a hook refuses", testReject},
		{"a shallow fetch, then a deeper one", testDeepen},
		{"what is there costs no round trip", testCovered},
		{"a newer commit on top of a shallow one", testIncrement},
		{"a commit that is no tip", testNotTip},
		{"merges are fetched along all parents", testMerge},
		{"commits only, then everything", testCommitsOnly},
		{"annotated tags", testAnnotated},
		{"unknown ids are not found", testUnknown},
		{"a missing repository is not found", testMissing},
		{"a cancelled context does nothing", testCancelled},
		{"odd names and modes survive", testModes},
		{"many callers at once", testParallel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newFixture(t)) })
	}
}

const main = gitrepo.Heads + "main"

var (
	everything = gitrepo.FetchOptions{}
	tip        = gitrepo.FetchOptions{Depth: 1}
)

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func wantMoved(t *testing.T, err error, want gitrepo.RefMovedError) {
	t.Helper()
	var moved *gitrepo.RefMovedError
	if !errors.As(err, &moved) {
		t.Fatalf("got error %v, want a RefMovedError", err)
	}
	if diff := cmp.Diff(want, *moved); diff != "" {
		t.Fatalf("RefMovedError (-want +got):\n%s", diff)
	}
}

func wantRefs(t *testing.T, repo gitrepo.Reader, want gitrepo.Refs) {
	t.Helper()
	if diff := cmp.Diff(want, MustRefs(t, repo)); diff != "" {
		t.Fatalf("refs (-want +got):\n%s", diff)
	}
}

func update(ref string, old, id gitrepo.Hash) []gitrepo.Update {
	return []gitrepo.Update{{Ref: ref, Old: old, New: id}}
}

func readFile(t *testing.T, repo gitrepo.Objects, commit gitrepo.Hash, path string) string {
	t.Helper()
	c, err := gitrepo.ReadCommit(repo, commit)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(gitrepo.TreeFS(repo, c.Tree), path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func testEmpty(t *testing.T, f Fixture) {
	repo := f.Client()
	wantRefs(t, repo, gitrepo.Refs{})
	unknown := gitrepo.NewBlob([]byte("nobody has this")).ID()
	wantError(t, repo.Fetch(t.Context(), []gitrepo.Hash{unknown}, tip), gitrepo.ErrNotFound)
	if err := repo.Fetch(t.Context(), nil, tip); err != nil {
		t.Fatalf("fetching nothing: %v", err)
	}
}

func testPushFetch(t *testing.T, f Fixture) {
	alice, bob := f.Client(), f.Client()
	id, objects := Commit(t, alice, Files{"a.yaml": "a: 1\n", "deep/er/b.yaml": "b: 2\n"}, "first")
	MustPush(t, alice, gitrepo.Push{Updates: update(main, "", id), Objects: objects})
	if got := readFile(t, alice, id, "deep/er/b.yaml"); got != "b: 2\n" {
		t.Errorf("the pusher reads %q", got)
	}
	_, err := bob.Object(id)
	wantError(t, err, gitrepo.ErrNotFound)
	wantRefs(t, bob, gitrepo.Refs{main: id})
	MustFetch(t, bob, tip, id)
	if got := readFile(t, bob, id, "a.yaml"); got != "a: 1\n" {
		t.Errorf("the other reads %q", got)
	}
	for _, want := range objects {
		got, err := bob.Object(want.ID())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("object (-want +got):\n%s", diff)
		}
	}
}

func testPrefixes(t *testing.T, f Fixture) {
	repo := f.Client()
	a, objects := Commit(t, repo, Files{"a": "a"}, "a")
	MustPush(t, repo, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{
		{Ref: main, New: a}, {Ref: gitrepo.Heads + "environments/prod", New: a}, {Ref: gitrepo.Tags + "shop/v1.0.0", New: a},
	}})
	got := MustRefs(t, repo, gitrepo.Heads+"environments/", gitrepo.Tags)
	want := gitrepo.Refs{gitrepo.Heads + "environments/prod": a, gitrepo.Tags + "shop/v1.0.0": a}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
}

func testStale(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	second := Grow(t, repo, main, Files{"a": "2"})
	third, objects := Commit(t, repo, Files{"a": "3"}, "late", first)
	err := repo.Push(t.Context(), gitrepo.Push{Updates: update(main, first, third), Objects: objects})
	wantMoved(t, err, gitrepo.RefMovedError{Ref: main, Want: first, Got: second})
	err = repo.Push(t.Context(), gitrepo.Push{Updates: update(gitrepo.Heads+"gone", first, third), Objects: objects})
	wantMoved(t, err, gitrepo.RefMovedError{Ref: gitrepo.Heads + "gone", Want: first})
	wantRefs(t, repo, gitrepo.Refs{main: second})
}

func testCreateOnly(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	tag := gitrepo.Tags + "shop/v1.0.0"
	MustPush(t, repo, gitrepo.Push{Updates: update(tag, "", first)})
	second := Grow(t, repo, main, Files{"a": "2"})
	err := repo.Push(t.Context(), gitrepo.Push{Updates: update(tag, "", second)})
	wantMoved(t, err, gitrepo.RefMovedError{Ref: tag, Got: first})
	wantRefs(t, repo, gitrepo.Refs{main: second, tag: first})
}

func testTagOnly(t *testing.T, f Fixture) {
	first := Grow(t, f.Client(), main, Files{"a": "1"})
	stranger := f.Client() // has fetched nothing, sends nothing
	MustPush(t, stranger, gitrepo.Push{Updates: update(gitrepo.Tags+"v1", "", first)})
	wantRefs(t, stranger, gitrepo.Refs{main: first, gitrepo.Tags + "v1": first})
}

func testAtomic(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	second := Grow(t, repo, main, Files{"a": "2"})
	third, objects := Commit(t, repo, Files{"a": "3"}, "third", second)
	err := repo.Push(t.Context(), gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{
		{Ref: gitrepo.Tags + "v3", New: third}, {Ref: main, Old: first, New: third},
	}})
	wantMoved(t, err, gitrepo.RefMovedError{Ref: main, Want: first, Got: second})
	wantRefs(t, repo, gitrepo.Refs{main: second})
}

// race lets two clients push at the same time, several times over.
func race(t *testing.T, f Fixture, make2 func(round, who int, old, id gitrepo.Hash) []gitrepo.Update, check func(refs gitrepo.Refs, round int, winner gitrepo.Hash)) {
	t.Helper()
	clients := []gitrepo.Repo{f.Client(), f.Client()}
	old := Grow(t, clients[0], main, Files{"a": "0"})
	for round := range 6 {
		var ids [2]gitrepo.Hash
		var errs [2]error
		var pushes [2]gitrepo.Push
		for who, c := range clients {
			MustFetch(t, c, tip, old)
			var objects []gitrepo.Object
			ids[who], objects = Commit(t, c, Files{"a": fmt.Sprintf("round %d by %d", round, who)}, "race", old)
			pushes[who] = gitrepo.Push{Updates: make2(round, who, old, ids[who]), Objects: objects}
		}
		var group sync.WaitGroup
		for who, c := range clients {
			group.Go(func() { errs[who] = c.Push(t.Context(), pushes[who]) })
		}
		group.Wait()
		winner := -1
		for who, err := range errs {
			var moved *gitrepo.RefMovedError
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: both pushes succeeded", round)
			case err == nil:
				winner = who
			case !errors.As(err, &moved):
				t.Fatalf("round %d: the loser got %v, want a RefMovedError", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
		check(MustRefs(t, clients[0]), round, ids[winner])
		old = ids[winner]
	}
}

func testRace(t *testing.T, f Fixture) {
	race(t, f, func(_, _ int, old, id gitrepo.Hash) []gitrepo.Update {
		return update(main, old, id)
	}, func(refs gitrepo.Refs, round int, winner gitrepo.Hash) {
		if refs[main] != winner {
			t.Errorf("round %d: main is at %s, the winner is %s", round, refs[main], winner)
		}
	})
}

func testAtomicRace(t *testing.T, f Fixture) {
	tag := func(round, who int) string { return fmt.Sprintf("%sround-%d-by-%d", gitrepo.Tags, round, who) }
	race(t, f, func(round, who int, old, id gitrepo.Hash) []gitrepo.Update {
		return []gitrepo.Update{{Ref: tag(round, who), New: id}, {Ref: main, Old: old, New: id}}
	}, func(refs gitrepo.Refs, round int, winner gitrepo.Hash) {
		tags := 0
		for who := range 2 {
			if id, ok := refs[tag(round, who)]; ok {
				tags++
				if id != winner || refs[main] != winner {
					t.Errorf("round %d: tag at %s, main at %s, winner %s", round, id, refs[main], winner)
				}
			}
		}
		if tags != 1 {
			t.Errorf("round %d: %d tags exist, want the winner's alone", round, tags)
		}
	})
}

func testForward(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	second := Grow(t, repo, main, Files{"a": "2"})
	wantError(t, repo.Push(t.Context(), gitrepo.Push{Updates: update(main, second, first)}), gitrepo.ErrRejected)
	wantRefs(t, repo, gitrepo.Refs{main: second})
}

func testConnected(t *testing.T, f Fixture) {
	repo := f.Client()
	id, objects := Commit(t, repo, Files{"a": "1", "b": "2"}, "first")
	for i, o := range objects {
		holey := append(append([]gitrepo.Object(nil), objects[:i]...), objects[i+1:]...)
		err := repo.Push(t.Context(), gitrepo.Push{Updates: update(main, "", id), Objects: holey})
		if !errors.Is(err, gitrepo.ErrRejected) {
			t.Errorf("without its %s: got error %v, want %v", o.Type, err, gitrepo.ErrRejected)
		}
	}
	wantRefs(t, repo, gitrepo.Refs{})
}

func testMalformed(t *testing.T, f Fixture) {
	repo := f.Client()
	id, objects := Commit(t, repo, Files{"a": "1"}, "first")
	for name, updates := range map[string][]gitrepo.Update{
		"nothing":     nil,
		"no ref name": update("main", "", id),
		"dots":        update(gitrepo.Heads+"a..b", "", id),
		"newline":     update(gitrepo.Heads+"a\nb", "", id),
		"twice":       {{Ref: main, New: id}, {Ref: main, New: id}},
		"deletion":    update(main, id, ""),
		"bad id":      update(main, "", "abc"),
	} {
		if err := repo.Push(t.Context(), gitrepo.Push{Updates: updates, Objects: objects}); !errors.Is(err, gitrepo.ErrRejected) {
			t.Errorf("%s: got error %v, want %v", name, err, gitrepo.ErrRejected)
		}
	}
}

func testNested(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, gitrepo.Heads+"environments", Files{"a": "1"})
	err := repo.Push(t.Context(), gitrepo.Push{Updates: update(gitrepo.Heads+"environments/prod", "", first)})
	wantError(t, err, gitrepo.ErrRejected)
}

func testReject(t *testing.T, f Fixture) {
	if f.Reject == nil {
		t.Skip("the server has no hooks")
	}
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	f.Reject("main is protected, ask Grace")
	second, objects := Commit(t, repo, Files{"a": "2"}, "second", first)
	err := repo.Push(t.Context(), gitrepo.Push{Updates: update(main, first, second), Objects: objects})
	wantError(t, err, gitrepo.ErrRejected)
	if !strings.Contains(err.Error(), "ask Grace") {
		t.Errorf("the hook's words are missing in %q", err)
	}
	wantRefs(t, repo, gitrepo.Refs{main: first})
}

func testDeepen(t *testing.T, f Fixture) {
	writer := f.Client()
	var ids []gitrepo.Hash
	for i := range 5 {
		ids = append(ids, Grow(t, writer, main, Files{"a": fmt.Sprint(i), "same": "same"}))
	}
	repo := f.Client()
	for _, depth := range []int{1, 3, 2, 0} {
		MustFetch(t, repo, gitrepo.FetchOptions{Depth: depth}, ids[4])
		want := map[int]int{1: 1, 3: 3, 2: 3, 0: 5}[depth] // what came stays
		commits, err := gitrepo.FirstParents(repo, ids[4], 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(commits) != want {
			t.Errorf("depth %d: %d commits, want %d", depth, len(commits), want)
		}
		ancestor, err := gitrepo.IsAncestor(repo, ids[0], ids[4])
		if want == 5 && (err != nil || !ancestor) {
			t.Errorf("full history: ancestor %t, %v", ancestor, err)
		}
		if want < 5 && !errors.Is(err, gitrepo.ErrNotFound) {
			t.Errorf("depth %d: an unknown ancestry is reported as %t, %v", depth, ancestor, err)
		}
		for _, c := range commits {
			if got := readFile(t, repo, c.ID, "same"); got != "same" {
				t.Errorf("depth %d: %s has %q", depth, c.ID, got)
			}
		}
	}
	if got, err := gitrepo.IsAncestor(repo, ids[4], ids[0]); err != nil || got {
		t.Errorf("a descendant is called an ancestor: %t, %v", got, err)
	}
}

func testCovered(t *testing.T, f Fixture) {
	if f.RoundTrips == nil {
		t.Skip("the fixture does not count round trips")
	}
	writer := f.Client()
	Grow(t, writer, main, Files{"a": "1"})
	second := Grow(t, writer, main, Files{"a": "2"})
	repo := f.Client()
	MustFetch(t, repo, gitrepo.FetchOptions{}, second)
	before := f.RoundTrips()
	for _, options := range []gitrepo.FetchOptions{{}, {Depth: 1}, {Depth: 7}, {CommitsOnly: true}} {
		MustFetch(t, repo, options, second)
		MustFetch(t, writer, options, second) // pushed it all itself
	}
	if after := f.RoundTrips(); after != before {
		t.Errorf("%d round trips for what was there", after-before)
	}
}

func testIncrement(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	first := Grow(t, writer, main, Files{"a": "1", "big/one": "one", "big/two": "two"})
	MustFetch(t, repo, tip, first)
	Grow(t, writer, main, Files{"a": "2"})
	third := Grow(t, writer, main, Files{"a": "3", "big/one": "changed"})
	fourth := Grow(t, writer, main, Files{"a": "1", "big/one": "one"}) // first's tree again
	MustFetch(t, repo, tip, third)
	MustFetch(t, repo, tip, fourth)
	for id, want := range map[gitrepo.Hash]string{first: "one", third: "changed", fourth: "one"} {
		if got := readFile(t, repo, id, "big/one"); got != want {
			t.Errorf("%s: big/one is %q, want %q", id, got, want)
		}
		if got := readFile(t, repo, id, "big/two"); got != "two" {
			t.Errorf("%s: big/two is %q", id, got)
		}
	}
	MustFetch(t, repo, everything, fourth)
	if commits, err := gitrepo.FirstParents(repo, fourth, 0); err != nil || len(commits) != 4 {
		t.Errorf("the whole history has %d commits, %v", len(commits), err)
	}
}

func testNotTip(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	first := Grow(t, writer, main, Files{"a": "1"})
	second := Grow(t, writer, main, Files{"a": "2"})
	Grow(t, writer, main, Files{"a": "3"})
	MustFetch(t, repo, tip, second)
	if got := readFile(t, repo, second, "a"); got != "2" {
		t.Errorf("a is %q", got)
	}
	MustFetch(t, repo, everything, first)
	if got := readFile(t, repo, first, "a"); got != "1" {
		t.Errorf("a is %q", got)
	}
}

func testMerge(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	base := Grow(t, writer, main, Files{"a": "1"})
	left, objects := Commit(t, writer, Files{"left": "l"}, "left", base)
	MustPush(t, writer, gitrepo.Push{Updates: update(gitrepo.Heads+"left", "", left), Objects: objects})
	right, objects := Commit(t, writer, Files{"right": "r"}, "right", base)
	MustPush(t, writer, gitrepo.Push{Updates: update(gitrepo.Heads+"right", "", right), Objects: objects})
	merge, objects := Commit(t, writer, Files{"right": "r"}, "merge", left, right)
	MustPush(t, writer, gitrepo.Push{Updates: update(main, base, merge), Objects: objects})

	MustFetch(t, repo, gitrepo.FetchOptions{Depth: 2}, merge)
	for _, id := range []gitrepo.Hash{left, right} {
		if got := readFile(t, repo, id, "a"); got != "1" {
			t.Errorf("a is %q", got)
		}
	}
	_, err := repo.Object(base)
	wantError(t, err, gitrepo.ErrNotFound)
	MustFetch(t, repo, gitrepo.FetchOptions{Depth: 3}, merge)
	if ok, err := gitrepo.IsAncestor(repo, base, merge); err != nil || !ok {
		t.Errorf("base is an ancestor of the merge: %t, %v", ok, err)
	}
}

func testCommitsOnly(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	for i := range 3 {
		Grow(t, writer, main, Files{"a": fmt.Sprint(i), "dir/b": "b"})
	}
	head := MustRefs(t, repo)[main]
	MustFetch(t, repo, gitrepo.FetchOptions{CommitsOnly: true}, head)
	commits, err := gitrepo.FirstParents(repo, head, 0)
	if err != nil || len(commits) != 3 {
		t.Fatalf("%d commits, %v", len(commits), err)
	}
	if f.Filters {
		_, err := repo.Object(commits[1].Tree)
		wantError(t, err, gitrepo.ErrNotFound)
		_, err = fs.Stat(gitrepo.TreeFS(repo, commits[1].Tree), "a")
		wantError(t, err, gitrepo.ErrNotFound)
	}
	MustFetch(t, repo, tip, head)
	if got := readFile(t, repo, head, "dir/b"); got != "b" {
		t.Errorf("dir/b is %q", got)
	}
	MustFetch(t, repo, gitrepo.FetchOptions{Depth: 3}, head)
	for i, c := range commits {
		if got := readFile(t, repo, c.ID, "a"); got != fmt.Sprint(2-i) {
			t.Errorf("commit %d: a is %q", i, got)
		}
	}
}

func testAnnotated(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	Grow(t, writer, main, Files{"a": "1"})
	// Only the tag leads to this commit.
	second, objects := Commit(t, writer, Files{"a": "2"}, "tagged", MustRefs(t, writer)[main])
	tag := gitrepo.NewTag(gitrepo.Tag{Object: second, Type: gitrepo.TypeCommit, Name: "v2", Tagger: Identity(9), Message: "two\n"})
	ref := gitrepo.Tags + "v2"
	MustPush(t, writer, gitrepo.Push{Updates: update(ref, "", tag.ID()), Objects: append(objects, tag)})

	refs := MustRefs(t, repo, gitrepo.Tags)
	if diff := cmp.Diff(gitrepo.Refs{ref: tag.ID()}, refs); diff != "" {
		t.Fatalf("refs (-want +got):\n%s", diff)
	}
	MustFetch(t, repo, tip, refs[ref])
	got, err := gitrepo.ReadTag(repo, refs[ref])
	if err != nil {
		t.Fatal(err)
	}
	if got.Object != second || got.Message != "two\n" || got.Name != "v2" {
		t.Errorf("tag is %+v", got)
	}
	if got := readFile(t, repo, second, "a"); got != "2" {
		t.Errorf("a is %q", got)
	}
	// The commit by its own id works as well.
	other := f.Client()
	MustFetch(t, other, tip, second)
	if got := readFile(t, other, second, "a"); got != "2" {
		t.Errorf("a is %q", got)
	}
}

func testUnknown(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	other := f.Client()
	for _, id := range []gitrepo.Hash{gitrepo.NewBlob([]byte("nobody")).ID(), "", "abc"} {
		wantError(t, other.Fetch(t.Context(), []gitrepo.Hash{first, id}, tip), gitrepo.ErrNotFound)
	}
}

func testMissing(t *testing.T, f Fixture) {
	if f.Missing == nil {
		t.Skip("every name is a repository")
	}
	_, err := f.Missing.Refs(t.Context())
	wantError(t, err, gitrepo.ErrNotFound)
	id, objects := Commit(t, f.Missing, Files{"a": "1"}, "first")
	wantError(t, f.Missing.Fetch(t.Context(), []gitrepo.Hash{id}, tip), gitrepo.ErrNotFound)
	wantError(t, f.Missing.Push(t.Context(), gitrepo.Push{Updates: update(main, "", id), Objects: objects}), gitrepo.ErrNotFound)
}

func testCancelled(t *testing.T, f Fixture) {
	repo := f.Client()
	first := Grow(t, repo, main, Files{"a": "1"})
	second, objects := Commit(t, repo, Files{"a": "2"}, "second", first)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := repo.Refs(ctx)
	wantError(t, err, context.Canceled)
	wantError(t, f.Client().Fetch(ctx, []gitrepo.Hash{first}, tip), context.Canceled)
	wantError(t, repo.Push(ctx, gitrepo.Push{Updates: update(main, first, second), Objects: objects}), context.Canceled)
	wantRefs(t, repo, gitrepo.Refs{main: first})
}

func testModes(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	run, link, empty := gitrepo.NewBlob([]byte("#!/bin/sh\n")), gitrepo.NewBlob([]byte("run me.sh")), gitrepo.NewBlob(nil)
	tree, err := gitrepo.NewTree(gitrepo.Tree{
		{Name: "run me.sh", Mode: gitrepo.ModeExecutable, ID: run.ID()},
		{Name: "link", Mode: gitrepo.ModeSymlink, ID: link.ID()},
		{Name: "größe-日本.yaml", Mode: gitrepo.ModeFile, ID: empty.ID()},
	})
	if err != nil {
		t.Fatal(err)
	}
	commit := gitrepo.NewCommit(gitrepo.Commit{Tree: tree.ID(), Author: Identity(0), Committer: Identity(0), Message: "modes\n"})
	MustPush(t, writer, gitrepo.Push{Updates: update(main, "", commit.ID()), Objects: []gitrepo.Object{run, link, empty, tree, commit}})
	second := Grow(t, writer, main, Files{"a dir/ü": "new", "run me.sh": "#!/bin/sh\nexit\n"})
	MustFetch(t, repo, tip, second)
	c, err := gitrepo.ReadCommit(repo, second)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]gitrepo.Mode{}
	for _, path := range []string{"run me.sh", "link", "größe-日本.yaml", "a dir/ü", "a dir"} {
		e, err := gitrepo.Lookup(repo, c.Tree, path)
		if err != nil {
			t.Fatal(err)
		}
		got[path] = e.Mode
	}
	want := map[string]gitrepo.Mode{
		"run me.sh": gitrepo.ModeExecutable, "link": gitrepo.ModeSymlink, "größe-日本.yaml": gitrepo.ModeFile,
		"a dir/ü": gitrepo.ModeFile, "a dir": gitrepo.ModeDir,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
	if got := readFile(t, repo, second, "link"); got != "#!/bin/sh\nexit\n" {
		t.Errorf("through the link: %q", got)
	}
}

func testParallel(t *testing.T, f Fixture) {
	writer, repo := f.Client(), f.Client()
	var ids []gitrepo.Hash
	for i := range 3 {
		ids = append(ids, Grow(t, writer, main, Files{"a": fmt.Sprint(i)}))
	}
	errs := make([]error, 9)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			if _, err := repo.Refs(t.Context()); err != nil {
				errs[i] = err
				return
			}
			errs[i] = repo.Fetch(t.Context(), ids[i%3:i%3+1], gitrepo.FetchOptions{Depth: 1 + i/3})
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, repo, ids[2], "a"); got != "2" {
		t.Errorf("a is %q", got)
	}
}

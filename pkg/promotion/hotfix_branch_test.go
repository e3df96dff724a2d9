package promotion

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// What people do with hotfix branches.

// looked looks with a fresh engine.
func (s *shop) looked() (*Engine, *State) {
	s.t.Helper()
	e := s.engine(nil)
	state, err := e.Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return e, state
}

// branch makes a hotfix branch with one commit on top of another one.
func (s *shop) branch(name string, at gitrepo.Hash, files gitrepotest.Files) gitrepo.Hash {
	s.t.Helper()
	s.server.Set("refs/heads/hotfix/"+name, at)
	return s.fix(name, files)
}

// note is a harmless change of one file of Prod.
func note(text string) gitrepotest.Files {
	return gitrepotest.Files{"envs/prod/jobs/cache.yaml": noted(text)}
}

func noted(text string) string {
	return strings.Replace(deployment("cache", "redis:7.4"), "{name: cache}", fmt.Sprintf("{name: cache, annotations: {note: %q}}", text), 1)
}

func (s *shop) says(w Wait, parts ...string) {
	s.t.Helper()
	for _, part := range parts {
		if !strings.Contains(w.String(), part) {
			s.t.Errorf("%q does not say %q", w, part)
		}
	}
}

// commitOn makes a commit with any parents, and the files of the first.
func (s *shop) commitOn(message string, files gitrepotest.Files, parents ...gitrepo.Hash) gitrepo.Hash {
	s.t.Helper()
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, parents...)
	id, objects := gitrepotest.Commit(s.t, s.people, files, message, parents...)
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: "refs/heads/some/" + string(id), New: id}}})
	return id
}

// TestUnusableBranches: none of them becomes anything, each says why and what to
// type, and none of them holds up another one.
func TestUnusableBranches(t *testing.T) {
	s := newShop(t)
	s.run()
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	prod := s.refs()["refs/heads/environments/prod"]
	source := s.refs()["refs/heads/main"]
	s.commit(everywhere("jobs/another.yaml", deployment("another", "redis:7.4")))

	s.branch("nowhere", s.commitOn("another root", note("x")), note("nowhere"))
	s.branch("of-main", source, note("of main"))
	merged := s.branch("merges-main", prod, note("merges main"))
	s.server.Set("refs/heads/hotfix/merges-main", s.commitOn("Merge main", note("merged"), merged, source))
	s.branch("lock", prod, gitrepotest.Files{snapshot.LockFile: "x: 1\n"})
	s.cut("empty", "prod")
	s.branch(strings.Repeat("a", 101), prod, note("long"))
	s.branch("für-später", prod, note("unicode"))
	tag := gitrepo.NewTag(gitrepo.Tag{Object: prod, Type: gitrepo.TypeCommit, Name: "x", Tagger: gitrepotest.Identity(1)})
	gitrepotest.MustPush(t, s.people, gitrepo.Push{Objects: []gitrepo.Object{tag}, Updates: []gitrepo.Update{{Ref: "refs/tags/x", New: tag.ID()}}})
	s.server.Set("refs/heads/hotfix/tag", tag.ID())
	s.server.Set("refs/heads/hotfix/gone", gitrepo.Hash(strings.Repeat("a", 40)))
	s.server.Set("refs/heads/hotfix/", prod)
	s.branch("good", prod, note("good"))
	s.run()
	s.runs("prod", "shop/v0.2.1")
	if got := s.show("refs/tags/shop/v0.1.1", "envs/prod/jobs/cache.yaml"); !strings.Contains(got, "good") {
		t.Errorf("the good one is not there:\n%s", got)
	}
	e, state := s.looked()
	d, err := e.Plan(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][]string{
		"nowhere":                {"HOTFIX_BASE_UNKNOWN", "none of its commits is something that an environment has run", "git switch -c hotfix/<name> origin/environments/<environment>"},
		"of-main":                {"HOTFIX_BASE_UNKNOWN", "cut from the source branch", "git rebase --onto origin/environments/<environment> " + source.Short() + " hotfix/of-main"},
		"merges-main":            {"HOTFIX_HOLDS_SOURCE", source.Short(), "git rebase --onto " + prod.Short() + " " + source.Short() + " hotfix/merges-main"},
		"lock":                   {"HOTFIX_EDITS_LOCK", snapshot.LockFile, "git checkout " + prod.Short() + " -- .propagator"},
		strings.Repeat("a", 101): {"HOTFIX_NAME", "at most 100", "git push origin"},
		"für-später":             {"HOTFIX_NAME", "letter", "git push origin"},
		"":                       {"HOTFIX_NAME", "git push origin"},
		"tag":                    {"HOTFIX_UNREADABLE", "names a tag, not a commit", "git push origin"},
		"gone":                   {"HOTFIX_UNREADABLE", "aaaaaaa", "push the branch again"},
	} {
		i := slices.IndexFunc(d.Waits, func(w Wait) bool { return w.Environment == "hotfix/"+name })
		if i < 0 {
			t.Errorf("nothing is said about hotfix/%s", name)
			continue
		}
		s.says(d.Waits[i], append(parts, string(HotfixUnusable))...)
	}
	if slices.ContainsFunc(d.Waits, func(w Wait) bool { return w.Environment == "hotfix/empty" || w.Environment == "hotfix/good" }) {
		t.Errorf("there is something about a good one: %v", d.Waits)
	}
	// By hand each of them is refused with the same words.
	for name, part := range map[string]string{"nowhere": "HOTFIX_BASE_UNKNOWN", "empty": "there is no commit on top of shop/v0.1.0 yet", "lock": "HOTFIX_EDITS_LOCK"} {
		_, err := PlanCompose(state, name)
		mustContain(t, err, part)
		_, err = PlanMergeBack(state, name, false)
		mustContain(t, err, part)
	}
	// What cannot be recorded is not recorded, or no ledger could be read again.
	_, err = PlanClose(state, "für-später", true, "not wanted")
	mustContain(t, err, "HOTFIX_NAME")
}

// TestRebasedHotfix: before it was composed a branch may become anything; what
// was composed stays, and the author is told how to go on.
func TestRebasedHotfix(t *testing.T) {
	s := newShop(t, peopleRelease)
	s.run()
	s.toProd("shop/v0.1.0")
	prod := s.refs()["refs/heads/environments/prod"]
	s.branch("pay", prod, note("first"))
	s.branch("pay", prod, note("amended")) // force-pushed before anybody looked
	s.run()
	s.runs("stage", "shop/v0.1.1")
	if got := s.show("refs/tags/shop/v0.1.1", "envs/prod/jobs/cache.yaml"); !strings.Contains(got, "amended") {
		t.Errorf("composed of something else:\n%s", got)
	}
	composed := s.refs()["refs/heads/hotfix/pay"]

	// Force-pushed afterwards, with another content of the same line.
	s.branch("pay", prod, note("amended again"))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	w := s.waitFor(HotfixConflict)
	s.says(w, "hotfix/pay", "shop/v0.1.1", "envs/prod/jobs/cache.yaml", "line", "amended again", "the branch was rewritten", "git rebase --onto "+composed.Short()+" "+prod.Short()+" hotfix/pay")
	// Its author does so.
	s.branch("pay", composed, note("amended again"))
	s.run()
	s.runs("stage", "shop/v0.1.2")
	names := []string{}
	for _, d := range s.entry("stage").Hotfixes {
		names = append(names, d.Name+" "+d.Since.Number())
	}
	if !slices.Equal(names, []string{"pay v0.1.1", "pay v0.1.2"}) {
		t.Errorf("the debts are %v", names)
	}
	// Two of the same name: a person has to say which.
	_, state := s.looked()
	_, err := PlanClose(state, "pay", false, "r")
	mustContain(t, err, "several", "pay@"+composed.Short())

	// Rebased to what was released since, with no change of its own: nothing is due.
	s.server.Set("refs/heads/hotfix/pay", s.refs()["refs/heads/environments/stage"])
	s.run()
	s.runs("stage", "shop/v0.1.2")
}

// TestDeletedHotfix: before it was composed it is gone; afterwards the branch is
// not needed any more, and the debt stays.
func TestDeletedHotfix(t *testing.T) {
	s := newShop(t, peopleRelease)
	s.run()
	s.toProd("shop/v0.1.0")
	s.cut("thought-better", "prod")
	s.fix("thought-better", note("no"))
	s.server.Set("refs/heads/hotfix/thought-better", "")
	s.run()
	s.runs("stage", "shop/v0.1.0")
	if _, state := s.looked(); len(state.Hotfixes) > 0 {
		t.Errorf("there is %v", state.Hotfixes)
	}

	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	step := s.due(Compose)
	if err := s.engineFor(step); err != nil {
		t.Fatal(err)
	}
	s.server.Set("refs/heads/hotfix/pay", "") // composed, and in no environment
	s.run()
	s.runs("stage", "shop/v0.1.1")
	s.toProd("shop/v0.1.1")
	if found := s.hotfix("pay"); found.Open || !slices.Equal(found.Owed, []string{"stage", "prod"}) {
		t.Errorf("open %v, owed by %v", found.Open, found.Owed)
	}
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	s.runs("stage", "shop/v0.1.1") // the next release lacks it, although there is no branch
	s.says(s.waitFor(HotfixLost), "stage", "shop/v0.2.0", "pay", "it would change envs/prod/jobs/cache.yaml")
}

// due returns the step of a kind that a fresh plan has.
func (s *shop) due(kind Kind) Step {
	s.t.Helper()
	e, state := s.looked()
	d, err := e.Plan(s.t.Context(), state)
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(d.Steps, func(step Step) bool { return step.Kind == kind })
	if i < 0 {
		s.t.Fatalf("no %s is due: %v, %v", kind, d.Steps, d.Waits)
	}
	return d.Steps[i]
}

// engineFor carries out a step with a fresh engine.
func (s *shop) engineFor(step Step) error {
	s.t.Helper()
	e, state := s.looked()
	return e.Execute(s.t.Context(), state, step)
}

// TestTwoHundredHotfixes: many branches are looked at together, and become one
// patch.
func TestTwoHundredHotfixes(t *testing.T) {
	s := newShop(t)
	s.run()
	prod := s.refs()["refs/heads/environments/prod"]
	gitrepotest.MustFetch(t, s.people, gitrepo.FetchOptions{Depth: 2}, prod)
	push := gitrepo.Push{}
	for i := range 200 {
		files := gitrepotest.Files{fmt.Sprintf("envs/prod/jobs/note-%03d.yaml", i): deployment(fmt.Sprintf("note-%03d", i), "redis:7.4")}
		id, objects := gitrepotest.Commit(t, s.people, files, "note", prod)
		push.Objects = append(push.Objects, objects...)
		push.Updates = append(push.Updates, gitrepo.Update{Ref: fmt.Sprintf("refs/heads/hotfix/note-%03d", i), New: id})
	}
	gitrepotest.MustPush(t, s.people, push)
	s.argo.follow(t)
	before := s.server.RoundTrips()
	e, state := s.looked()
	if trips := s.server.RoundTrips() - before; trips > 20 {
		t.Errorf("a look took %d round trips", trips)
	}
	before = s.server.RoundTrips()
	if _, err := e.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trips := s.server.RoundTrips() - before; trips > 1 {
		t.Errorf("the second look took %d round trips", trips)
	}
	if len(state.Compositions) != 1 || len(state.Compositions[0].Hotfixes) != 200 {
		t.Fatalf("%d compositions", len(state.Compositions))
	}
	s.run()
	s.runs("prod", "shop/v0.1.1")
	if got := len(s.entry("prod").Hotfixes); got != 200 {
		t.Errorf("%d debts", got)
	}
}

// TestSameHotfixTwice: two branches at the same commit are one hotfix.
func TestSameHotfixTwice(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("one", "prod")
	head := s.fix("one", note("one"))
	s.ref("refs/heads/hotfix/two", head)
	s.run()
	s.runs("prod", "shop/v0.1.1")
	if got := s.entry("prod").Hotfixes; len(got) != 1 || got[0].Name != "one" {
		t.Errorf("the debts are %v", got)
	}
	repo := s.server.Client()
	id := s.refs()["refs/tags/shop/v0.1.1"]
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{Depth: 2}, id)
	patch, err := snapshot.Read(repo, id, version(t, "shop/v0.1.1"))
	if err != nil {
		t.Fatal(err)
	}
	composed, err := gitrepo.ReadCommit(repo, patch.Source)
	if err != nil || len(composed.Parents) != 2 {
		t.Errorf("the parents are %v, %v", composed.Parents, err)
	}
}

// TestNewViewOfRepository: an engine that lives long gets a new view of its
// repository now and then, and remembers what it found out with the old one.
func TestNewViewOfRepository(t *testing.T) {
	s := newShop(t, gitrepotest.Files{config.File: configuration + "hotfixes: {compose: manual}\n"})
	s.run()
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	e := s.engine(nil)
	for range 3 {
		state, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(state.Compositions) != 1 {
			t.Fatalf("%d compositions are due", len(state.Compositions))
		}
		e.Repo = s.server.Client()
	}
}

// TestDamagedPatch: a tag that somebody set by mistake does not stop hotfixes of
// the line.
func TestDamagedPatch(t *testing.T) {
	s := newShop(t)
	s.run()
	s.ref("refs/tags/shop/v0.1.7", s.refs()["refs/heads/main"])
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	s.run()
	s.runs("prod", "shop/v0.1.8")
}

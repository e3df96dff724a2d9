package promotion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// From a hotfix branch to what runs, and to the source branch.

// shipped is a shop in which the hotfix pay is in Stage and Prod.
func shipped(t *testing.T) (*shop, snapshot.Debt) {
	t.Helper()
	s := newShop(t)
	s.run()
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	s.run()
	s.runs("prod", "shop/v0.1.1")
	return s, s.entry("prod").Hotfixes[0]
}

// growMain commits to main with a message, on top of what is there.
func (s *shop) growMain(message string, files gitrepotest.Files, also ...gitrepo.Hash) gitrepo.Hash {
	s.t.Helper()
	tip := s.refs()["refs/heads/main"]
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, tip)
	id, objects := gitrepotest.Commit(s.t, s.people, files, message, append([]gitrepo.Hash{tip}, also...)...)
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: "refs/heads/main", Old: tip, New: id}}})
	return id
}

// TestMergedBack: however people bring a hotfix to the source branch, the next
// release goes through, and the ledger says in which commit it is proven.
func TestMergedBack(t *testing.T) {
	for name, bring := range map[string]func(*shop, snapshot.Debt){
		"merge":  func(s *shop, d snapshot.Debt) { s.growMain("Merge branch hotfix/pay", note("pay"), d.Head) },
		"squash": func(s *shop, _ snapshot.Debt) { s.growMain("pay, squashed (#12)", note("pay")) },
		"cherry-pick -x": func(s *shop, d snapshot.Debt) {
			s.growMain("pay\n\n(cherry picked from commit "+string(d.Head)+")\n", note("pay"))
		},
		"cherry-pick": func(s *shop, _ snapshot.Debt) { s.growMain("pay", note("pay")) },
		"picked, then improved": func(s *shop, _ snapshot.Debt) {
			s.growMain("pay", note("pay"))
			s.growMain("better", note("pay better"))
		},
		"-x, with changes": func(s *shop, d snapshot.Debt) {
			s.growMain("pay\n\n(cherry picked from commit "+string(d.Head)+")\n", note("pay, otherwise"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, debt := shipped(t)
			bring(s, debt)
			s.run()
			s.runs("prod", "shop/v0.2.0")
			if got := s.entry("prod").Hotfixes; len(got) != 1 || got[0].In != s.refs()["refs/heads/main"] {
				t.Errorf("the debt is %+v", got)
			}
		})
	}
}

// TestPickedWithChanges: nobody can know that this is the hotfix, until a person
// says so.
func TestPickedWithChanges(t *testing.T) {
	s, _ := shipped(t)
	s.growMain("something about paying", note("pay, otherwise"))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	w := s.waitFor(HotfixLost)
	s.says(w, "stage", "shop/v0.2.0", "pay", "came to stage and prod with shop/v0.1.1", "unknown", "envs/prod/jobs/cache.yaml", "line", "pay, otherwise")
	if !strings.Contains(w.Reason.Help(), "propagator hotfix close <name> --reason") {
		t.Errorf("the help is %q", w.Reason.Help())
	}
	e, state := s.looked()
	step, err := PlanClose(state, "pay", false, "it is in main, done otherwise")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.run()
	s.runs("prod", "shop/v0.2.0")
	s.growMain("main goes on", everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	s.runs("prod", "shop/v0.3.0") // it stays closed
}

// TestRevertedLater: a hotfix that was merged back, released and then reverted is
// owed again, and the commit that did it is named.
func TestRevertedLater(t *testing.T) {
	s, debt := shipped(t)
	merged := s.growMain("Merge branch hotfix/pay", note("pay"), debt.Head)
	s.run()
	s.runs("prod", "shop/v0.2.0")
	reverted := s.growMain("Revert \"Merge branch hotfix/pay\"\n\nThis reverts commit "+string(merged)+".\n", gitrepotest.Files{"envs/prod/jobs/cache.yaml": deployment("cache", "redis:7.4")})
	s.run()
	s.runs("stage", "shop/v0.2.0")
	s.says(s.waitFor(HotfixLost), "stage", "shop/v0.3.0", "pay", "reverted by "+reverted.Short(), "it would change envs/prod/jobs/cache.yaml", "git revert "+reverted.Short())
}

// TestRenamedOnMain: the source branch has moved the file that the hotfix changes.
func TestRenamedOnMain(t *testing.T) {
	s, _ := shipped(t)
	gitrepotest.MustFetch(t, s.people, gitrepo.FetchOptions{Depth: 1}, s.refs()["refs/heads/main"])
	moved := func(content string, parents ...gitrepo.Hash) gitrepo.Hash {
		return s.move("envs/prod/jobs/cache.yaml", "envs/prod/jobs/redis.yaml", content, parents...)
	}
	s.server.Set("refs/heads/main", moved(deployment("cache", "redis:7.4"), s.refs()["refs/heads/main"]))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	s.says(s.waitFor(HotfixLost), "pay", "missing: it would change envs/prod/jobs/redis.yaml")
	e, state := s.looked()
	step, err := PlanMergeBack(state, "pay", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.run()
	s.runs("prod", "shop/v0.3.0")
	if got := s.show("refs/heads/main", "envs/prod/jobs/redis.yaml"); got != noted("pay") {
		t.Errorf("main has\n%s", got)
	}
}

// move makes a commit in which a file has another name.
func (s *shop) move(from, to, content string, parents ...gitrepo.Hash) gitrepo.Hash {
	s.t.Helper()
	id, objects := gitrepotest.Commit(s.t, s.people, gitrepotest.Files{to: content}, "move", parents...)
	r := gitrepo.With(s.people, objects...)
	commit, err := gitrepo.ReadCommit(r, id)
	if err != nil {
		s.t.Fatal(err)
	}
	trees := []gitrepo.Object{}
	commit.Tree = without(s.t, r, commit.Tree, strings.Split(from, "/"), &trees)
	object := gitrepo.NewCommit(commit)
	objects = append(append(objects, trees...), object)
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: "refs/heads/some/" + string(object.ID()), New: object.ID()}}})
	return object.ID()
}

// without removes a path from a tree.
func without(t *testing.T, r gitrepo.Objects, tree gitrepo.Hash, path []string, objects *[]gitrepo.Object) gitrepo.Hash {
	t.Helper()
	entries, err := gitrepo.ReadTree(r, tree)
	if err != nil {
		t.Fatal(err)
	}
	var kept gitrepo.Tree
	for _, entry := range entries {
		switch {
		case entry.Name != path[0]:
		case len(path) == 1:
			continue
		default:
			entry.ID = without(t, r, entry.ID, path[1:], objects)
		}
		kept = append(kept, entry)
	}
	object, err := gitrepo.NewTree(kept)
	if err != nil {
		t.Fatal(err)
	}
	*objects = append(*objects, object)
	return object.ID()
}

// TestHotfixContents: whatever a hotfix changes goes along.
func TestHotfixContents(t *testing.T) {
	binary, crlf := "\x00\x01\x02", strings.ReplaceAll(noted("crlf"), "\n", "\r\n")
	for name, tt := range map[string]struct {
		files gitrepotest.Files
		gone  string
	}{
		"binary":                   {files: gitrepotest.Files{"docs/logo.png": binary}},
		"line ends":                {files: gitrepotest.Files{"envs/prod/jobs/cache.yaml": crlf}},
		"a new application":        {files: everywhere("pay/deployment.yaml", deployment("pay", "redis:7.4"))},
		"an application less":      {files: gitrepotest.Files{"docs/why.md": "gone\n"}, gone: "envs/prod/orders/deployment.yaml"},
		"the folder of Dev alone":  {files: gitrepotest.Files{"envs/dev/jobs/cache.yaml": noted("dev")}},
		"nothing that is deployed": {files: gitrepotest.Files{"README.md": "read me\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.run()
			s.cut("pay", "prod")
			s.fix("pay", tt.files)
			if tt.gone != "" {
				s.server.Set("refs/heads/hotfix/pay", s.move(tt.gone, "docs/orders.yaml", "moved\n", s.refs()["refs/heads/hotfix/pay"]))
			}
			s.settleWith(tt.gone == "" && !strings.Contains(name, "application"))
			s.runs("stage", "shop/v0.1.1")
			for path, content := range tt.files {
				if got := s.show("refs/tags/shop/v0.1.1", path); got != content {
					t.Errorf("%s is %q", path, got)
				}
			}
		})
	}
}

// settleWith lets Argo CD follow; where applications come or go it has others than
// the kit's, and Stage is as far as it gets.
func (s *shop) settleWith(usual bool) {
	s.t.Helper()
	if s.run(); usual {
		s.runs("prod", "shop/v0.1.1")
	}
}

// TestHotfixModesAndSubmodules: what is no content of a file.
func TestHotfixModesAndSubmodules(t *testing.T) {
	for name, entry := range map[string]gitrepo.Entry{
		"executable": {Name: config.File, Mode: gitrepo.ModeExecutable},
		"submodule":  {Name: "charts", Mode: gitrepo.ModeSubmodule, ID: gitrepo.Hash(strings.Repeat("a", 40))},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.run()
			base := s.refs()["refs/heads/environments/prod"]
			gitrepotest.MustFetch(t, s.people, gitrepo.FetchOptions{Depth: 1}, base)
			commit, err := gitrepo.ReadCommit(s.people, base)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := gitrepo.ReadTree(s.people, commit.Tree)
			if err != nil {
				t.Fatal(err)
			}
			if old, ok := tree.Find(entry.Name); ok {
				entry.ID = old.ID
			}
			root, err := gitrepo.NewTree(tree.With(entry))
			if err != nil {
				t.Fatal(err)
			}
			head := gitrepo.NewCommit(gitrepo.Commit{Tree: root.ID(), Parents: []gitrepo.Hash{base}, Author: commit.Author, Committer: commit.Committer, Message: "pay"})
			gitrepotest.MustPush(t, s.people, gitrepo.Push{Objects: []gitrepo.Object{root, head}, Updates: []gitrepo.Update{{Ref: "refs/heads/hotfix/pay", New: head.ID()}}})
			s.run()
			s.runs("prod", "shop/v0.1.1")
			id := s.refs()["refs/tags/shop/v0.1.1"]
			gitrepotest.MustFetch(t, s.people, gitrepo.FetchOptions{Depth: 1}, id)
			if commit, err = gitrepo.ReadCommit(s.people, id); err != nil {
				t.Fatal(err)
			}
			if got, err := gitrepo.Lookup(s.people, commit.Tree, entry.Name); err != nil || got != entry {
				t.Errorf("%+v, %v; want %+v", got, err, entry)
			}
		})
	}
}

// TestHotfixRemovesGate: what lets a promotion pass is decided by the source
// branch, never by what is promoted.
func TestHotfixRemovesGate(t *testing.T) {
	gated := strings.Replace(configuration, "registry: prod, promote: auto", "registry: prod, promote: auto, gates: [{approval: {count: 1}}]", 1)
	s := newShop(t, gitrepotest.Files{config.File: gated})
	s.run()
	mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.0")}), string(ApprovalMissing))
	s.cut("no-gate", "stage")
	s.fix("no-gate", gitrepotest.Files{config.File: configuration})
	s.run()
	s.runs("stage", "shop/v0.1.1")
	if got := s.entry("prod"); !got.Snapshot.IsZero() {
		t.Fatalf("prod runs %s", got.Snapshot)
	}
	s.says(s.waitFor(ApprovalMissing), "prod", "shop/v0.1.1", "approve/prod/shop/v0.1.1")
	mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.1")}), string(ApprovalMissing))
	// Neither does a configuration that is broken on the source branch make it count.
	s.commit(gitrepotest.Files{config.File: "no: configuration\n"})
	s.run()
	if got := s.entry("prod"); !got.Snapshot.IsZero() {
		t.Fatalf("with a broken configuration prod runs %s", got.Snapshot)
	}
}

// TestHotfixBreaksConfiguration: it is told by name, and another one goes on.
func TestHotfixBreaksConfiguration(t *testing.T) {
	for name, files := range map[string]gitrepotest.Files{
		"configuration": {config.File: "no: configuration\n"},
		"manifests":     {"envs/prod/jobs/kustomization.yaml": "resources: [nothing.yaml]\n"},
		"an image":      {"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:never-built")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.run()
			s.cut("a-bad", "prod")
			s.cut("good", "prod")
			s.fix("a-bad", files)
			s.fix("good", note("good"))
			var err error
			for range 8 {
				s.argo.follow(t)
				_, err = s.engine(nil).Reconcile(t.Context())
			}
			s.runs("prod", "shop/v0.1.1")
			if got := s.entry("prod").Hotfixes; len(got) != 1 || got[0].Name != "good" {
				t.Errorf("prod has %v", got)
			}
			mustContain(t, err, "compose shop/v0.1.2 of shop/v0.1.1 and a-bad")
			if name == "an image" {
				mustContain(t, err, "IMAGE_MISSING", "dev.example/shop/orders:never-built", "prod/orders", s.refs()["refs/heads/hotfix/a-bad"].Short())
				s.push("orders", "never-built") // CI is done
				s.run()
				s.runs("prod", "shop/v0.1.2")
			}
		})
	}
}

// TestComposeWithoutRegistry: the registry is down, and comes back.
func TestComposeWithoutRegistry(t *testing.T) {
	s := newShop(t)
	s.run()
	s.push("orders", "v1-fix")
	dev := s.registries["dev"]
	s.cut("pay", "prod")
	s.fix("pay", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-fix")})
	s.registries["dev"] = registrytest.Faulty(down{dev.Registry})
	s.argo.follow(t)
	_, err := s.engine(nil).Reconcile(t.Context())
	mustContain(t, err, "compose shop/v0.1.1", "pay", "orders:v1-fix", "connection refused")
	s.runs("prod", "shop/v0.1.0")
	if s.refs()["refs/tags/shop/v0.1.1"] != "" {
		t.Error("there is a tag")
	}
	s.registries["dev"] = dev
	s.run()
	s.runs("prod", "shop/v0.1.1")
}

// TestComposeKilled: between the images and the tag, with the answer lost or the
// push.
func TestComposeKilled(t *testing.T) {
	for name, breaks := range map[string]func(*gitrepotest.Faults){
		"the push is lost":   func(f *gitrepotest.Faults) { f.LosePush(1) },
		"the answer is lost": func(f *gitrepotest.Faults) { f.LoseAnswer(1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.run()
			s.push("orders", "v1-fix")
			s.cut("pay", "prod")
			s.fix("pay", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-fix")})
			faulty := gitrepotest.Faulty(s.server.Client())
			breaks(faulty)
			if _, err := s.engine(faulty).Reconcile(t.Context()); err == nil {
				t.Fatal("nothing broke")
			}
			s.run()
			s.runs("prod", "shop/v0.1.1")
			if tags := s.refs(); tags["refs/tags/shop/v0.1.2"] != "" {
				t.Error("it was composed twice")
			}
		})
	}
}

// TestComposeAtOnce: two engines come to the same commit, and the second one finds
// it done.
func TestComposeAtOnce(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("pay", "prod")
	s.cut("more", "prod")
	s.fix("pay", note("pay"))
	s.fix("more", gitrepotest.Files{"more.txt": "1\n"})
	step := s.due(Compose)
	slow, state := s.looked()
	slow.Actor = "another"
	var ids []gitrepo.Hash
	for _, e := range []*Engine{s.engine(nil), slow} {
		captured, err := e.prepareComposition(t.Context(), state, step)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, captured.Snapshot.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("they made %v", ids)
	}
	if err := s.engineFor(step); err != nil {
		t.Fatal(err)
	}
	err := slow.Execute(t.Context(), state, step)
	var moved *gitrepo.RefMovedError
	if !errors.As(err, &moved) || moved.Ref != "refs/tags/shop/v0.1.1" {
		t.Errorf("the second one: %v", err)
	}
	if s.refs()["refs/tags/shop/v0.1.1"] != ids[0] {
		t.Error("the tag names something else")
	}
	s.run()
	s.runs("prod", "shop/v0.1.1")
}

// TestSourceGoesOn: the source branch changes the very lines while the hotfix is
// on its way to Prod.
func TestSourceGoesOn(t *testing.T) {
	s := newShop(t, peopleRelease)
	s.run()
	s.toProd("shop/v0.1.0")
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	s.growMain("something else", note("else"))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	s.growMain("and more", note("more"))
	s.toProd("shop/v0.1.1")
	s.runs("prod", "shop/v0.1.1")
	s.runs("stage", "shop/v0.1.1")
	s.says(s.waitFor(ReleaseInProgress), "stage", "the environment returns to v0.2, which it left for shop/v0.1.1")
	s.says(s.waitFor(HotfixConflict), "hotfix/pay", "shop/v0.2.0", "envs/prod/jobs/cache.yaml", "line 3", "pay", "else")
	e, state := s.looked()
	step, err := PlanMergeBack(state, "pay", false)
	if err != nil {
		t.Fatal(err)
	}
	mustContain(t, e.Execute(t.Context(), state, step), string(HotfixConflict), "hotfix/pay", "envs/prod/jobs/cache.yaml")
	// Its author merges the release, as the help says, and pushes.
	head, tag := s.refs()["refs/heads/hotfix/pay"], s.refs()["refs/tags/shop/v0.2.0"]
	s.server.Set("refs/heads/hotfix/pay", s.commitOn("Merge shop/v0.2.0", note("pay and else"), tag, head))
	s.run()
	s.runs("stage", "shop/v0.2.1")
	s.toProd("shop/v0.2.1")
	if got := s.show("refs/tags/shop/v0.2.1", "envs/prod/jobs/cache.yaml"); got != noted("pay and else") {
		t.Errorf("v0.2.1 has\n%s", got)
	}
}

// TestFixInNewerImage: the source branch has another image than the hotfix, built
// from code that has the fix. Its repository proves it.
func TestFixInNewerImage(t *testing.T) {
	s := newShop(t)
	s.run()
	code := gitrepo.NewMemory("https://git.example/orders.git")
	fix := gitrepotest.Grow(t, code, "refs/heads/main", gitrepotest.Files{"main.go": "fixed"})
	later := gitrepotest.Grow(t, code, "refs/heads/main", gitrepotest.Files{"main.go": "fixed, and more"})
	s.pushFrom("orders", "v1-fix", string(fix))
	s.pushFrom("orders", "v2", string(later))
	s.cut("pay", "prod")
	s.fix("pay", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-fix")})
	s.run()
	s.runs("prod", "shop/v0.1.1")
	s.growMain("orders v2", everywhere("orders/deployment.yaml", deployment("orders", "dev.example/shop/orders:v2")))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	s.says(s.waitFor(HotfixLost), "pay", "unknown", "orders:v2", "orders:v1-fix")

	s.services = func(*config.Pipeline, string) (gitrepo.Reader, error) { return nil, gitrepo.ErrUnreachable }
	s.run() // it stops nothing
	s.says(s.waitFor(HotfixLost), "the repository of dev.example/shop/orders could not be asked: unreachable")

	s.services = func(p *config.Pipeline, image string) (gitrepo.Reader, error) {
		if p.Name != "shop" || image != "dev.example/shop/orders" {
			return nil, nil
		}
		return code.Client(), nil
	}
	s.run()
	s.runs("prod", "shop/v0.2.0")
	if got := s.entry("prod").Hotfixes; len(got) != 1 || got[0].In == "" {
		t.Errorf("the debts are %+v", got)
	}
}

// TestForgedComposition: whoever can push a tag cannot slip anything in.
func TestForgedComposition(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("pay", "prod")
	s.fix("pay", note("pay"))
	step := s.due(Compose)
	e, state := s.looked()
	captured, err := e.prepareComposition(t.Context(), state, step)
	if err != nil {
		t.Fatal(err)
	}
	r := gitrepo.With(e.Repo, captured.objects...)
	composed, err := gitrepo.ReadCommit(r, captured.Snapshot.Source)
	if err != nil {
		t.Fatal(err)
	}
	tree, objects, err := gitrepo.WriteFiles(r, composed.Tree, map[string][]byte{"envs/prod/jobs/evil.yaml": []byte(deployment("evil", "redis:7.4"))})
	if err != nil {
		t.Fatal(err)
	}
	composed.Tree = tree
	commit := gitrepo.NewCommit(composed)
	lock := *captured.Snapshot.Lock
	lock.Source.Commit = string(commit.ID())
	forged, more, err := snapshot.Build(gitrepo.With(r, append(objects, commit)...), &lock, e.identity(state.Pipeline))
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(captured.objects, objects, []gitrepo.Object{commit}, more)
	gitrepotest.MustPush(t, s.people, gitrepo.Push{Objects: all, Updates: []gitrepo.Update{{Ref: "refs/tags/shop/v0.1.1", New: forged.ID}}})
	s.argo.follow(t)
	s.says(s.waitFor(DamagedSnapshot), "shop/v0.1.1", "forged composition", "holds something else than shop/v0.1.0 and its hotfixes", "git diff --stat")
	mustContain(t, s.byHand(Request{Environment: "stage", Version: version(t, "shop/v0.1.1")}), "forged composition")
	s.run()
	s.runs("prod", "shop/v0.1.2") // composed onto what is sound
	if got := maps.Keys(s.tree("refs/tags/shop/v0.1.2")); slices.Contains(slices.Collect(got), "envs/prod/jobs/evil.yaml") {
		t.Error("it was slipped in")
	}
}

// tree lists the files of the jobs of Prod.
func (s *shop) tree(ref string) map[string]bool {
	s.t.Helper()
	repo, id := s.server.Client(), s.refs()[ref]
	gitrepotest.MustFetch(s.t, repo, gitrepo.FetchOptions{Depth: 1}, id)
	commit, err := gitrepo.ReadCommit(repo, id)
	if err != nil {
		s.t.Fatal(err)
	}
	entry, err := gitrepo.Lookup(repo, commit.Tree, "envs/prod/jobs")
	if err != nil {
		s.t.Fatal(err)
	}
	entries, err := gitrepo.ReadTree(repo, entry.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		found["envs/prod/jobs/"+e.Name] = true
	}
	return found
}

// down is a registry that nobody can reach.
type down struct{ registry.Registry }

func (down) Resolve(context.Context, string, string) (registry.Descriptor, error) {
	return registry.Descriptor{}, fmt.Errorf("%w: connection refused", registry.ErrUnreachable)
}

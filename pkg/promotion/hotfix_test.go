package promotion

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// peopleRelease is the configuration with a Prod that people promote to, and a Stage
// that keeps releases.
var peopleRelease = gitrepotest.Files{config.File: strings.Replace(strings.Replace(configuration,
	"registry: prod, promote: auto", "registry: prod, promote: manual", 1),
	"registry: stage, promote: auto", "registry: stage, promote: auto, admit: release", 1)}

// cut begins a hotfix branch at what an environment runs.
func (s *shop) cut(name, environment string) {
	s.t.Helper()
	s.ref("refs/heads/hotfix/"+name, s.refs()["refs/heads/environments/"+environment])
}

func (s *shop) ref(name string, at gitrepo.Hash) {
	s.t.Helper()
	update := gitrepo.Update{Ref: name, Old: s.refs()[name], New: at}
	if err := s.people.Push(s.t.Context(), gitrepo.Push{Updates: []gitrepo.Update{update}}); err != nil {
		s.t.Fatal(err)
	}
}

// fix commits to a hotfix branch.
func (s *shop) fix(name string, files gitrepotest.Files) gitrepo.Hash {
	s.t.Helper()
	ref := "refs/heads/hotfix/" + name
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 2}, s.refs()[ref])
	gitrepotest.Grow(s.t, s.people, ref, files)
	return s.refs()[ref]
}

// everywhere gives the same content to the file of all environments.
func everywhere(file, content string) gitrepotest.Files {
	files := gitrepotest.Files{}
	for _, env := range []string{"dev", "stage", "prod"} {
		files["envs/"+env+"/"+file] = content
	}
	return files
}

func (s *shop) run() { s.settle(func() *Engine { return s.engine(nil) }) }

// toProd promotes a snapshot to Prod by hand.
func (s *shop) toProd(v string) {
	s.t.Helper()
	if err := s.byHand(Request{Environment: "prod", Version: version(s.t, v)}); err != nil {
		s.t.Fatal(err)
	}
	s.run()
}

// runs checks what an environment points at.
func (s *shop) runs(environment, v string) {
	s.t.Helper()
	if got := s.entry(environment); got.Snapshot.String() != v {
		s.t.Fatalf("%s runs %s (%s), not %s", environment, got.Snapshot, got.Event, v)
	}
}

// waitFor returns the wait with a reason, of a fresh plan.
func (s *shop) waitFor(reason Reason) Wait {
	s.t.Helper()
	e := s.engine(nil)
	state, err := e.Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := e.Plan(s.t.Context(), state)
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(d.Waits, func(w Wait) bool { return w.Reason == reason })
	if i < 0 {
		s.t.Fatalf("nothing waits with %s: %v", reason, d.Waits)
	}
	return d.Waits[i]
}

// show reads a file of what a ref names.
func (s *shop) show(ref, path string) string {
	s.t.Helper()
	repo := s.server.Client()
	id := s.refs()[ref]
	gitrepotest.MustFetch(s.t, repo, gitrepo.FetchOptions{Depth: 1}, id)
	commit, err := gitrepo.ReadCommit(repo, id)
	if err != nil {
		s.t.Fatal(err)
	}
	entry, err := gitrepo.Lookup(repo, commit.Tree, path)
	if err != nil {
		s.t.Fatal(err)
	}
	object, err := repo.Object(entry.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(object.Data)
}

// TestHotfix: what people push to a hotfix branch becomes a patch that goes
// through Stage to Prod, with the digests of the release for all that it does
// not touch, although the tags and the Dev registry have gone on.
func TestHotfix(t *testing.T) {
	s := newShop(t)
	s.run()
	s.runs("prod", "shop/v0.1.0")
	s.push("worker", "latest") // moves the tag
	s.push("orders", "v1-fix")
	s.cut("pay-timeout", "prod")
	s.run()
	s.runs("prod", "shop/v0.1.0") // an empty branch is nothing
	head := s.fix("pay-timeout", everywhere("orders/deployment.yaml", deployment("orders", "dev.example/shop/orders:v1-fix")))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	s.runs("prod", "shop/v0.1.1")

	repo := s.server.Client()
	id := s.refs()["refs/tags/shop/v0.1.1"]
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{Depth: 3}, id)
	patch, err := snapshot.Read(repo, id, version(t, "shop/v0.1.1"))
	if err != nil {
		t.Fatal(err)
	}
	composed, err := gitrepo.ReadCommit(repo, patch.Source)
	if err != nil {
		t.Fatal(err)
	}
	if want := []gitrepo.Hash{s.refs()["refs/tags/shop/v0.1.0"], head}; !slices.Equal(composed.Parents, want) {
		t.Errorf("composed of %v, not %v", composed.Parents, want)
	}
	below, err := snapshot.Read(repo, s.refs()["refs/tags/shop/v0.1.0"], version(t, "shop/v0.1.0"))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := patch.Lock.Lookup("dev.example/shop/worker:latest"); got == "" || got != must(below.Lock.Lookup("dev.example/shop/worker:latest")) {
		t.Error("the worker was resolved again")
	}
	if got, want := must(patch.Lock.Lookup("dev.example/shop/orders:v1-fix")), s.built["orders:v1-fix"].Manifest.Descriptor().Digest; got != want {
		t.Errorf("orders is %s, not %s", got, want)
	}
	entry := s.entry("prod")
	if len(entry.Hotfixes) != 1 || entry.Hotfixes[0].Name != "pay-timeout" || entry.Hotfixes[0].Head != head || entry.Hotfixes[0].Since != version(t, "shop/v0.1.1") {
		t.Errorf("the debts of prod: %v", entry.Hotfixes)
	}
}

func must(s string, _ bool) string { return s }

// TestHotfixWithoutDevRegistry: everything but the fix is long gone from Dev's
// registry.
func TestHotfixWithoutDevRegistry(t *testing.T) {
	s := newShop(t)
	s.run()
	s.registries["dev"] = registrytest.Faulty(registry.NewMemory("dev.example/shop"))
	s.push("orders", "v1-fix")
	s.cut("pay-timeout", "prod")
	s.fix("pay-timeout", everywhere("orders/deployment.yaml", deployment("orders", "dev.example/shop/orders:v1-fix")))
	s.run()
	s.runs("prod", "shop/v0.1.1")
}

// TestHotfixLane: Stage tests a newer release while Prod needs a patch.
func TestHotfixLane(t *testing.T) {
	s := newShop(t, peopleRelease)
	s.run()
	s.toProd("shop/v0.1.0")
	s.push("orders", "v2")
	s.commit(everywhere("orders/deployment.yaml", deployment("orders", "dev.example/shop/orders:v2")))
	s.run()
	s.runs("stage", "shop/v0.2.0")

	s.cut("less-memory", "prod")
	s.fix("less-memory", everywhere("jobs/cache.yaml", deployment("cache", "redis:7.4")+"# less memory\n"))
	s.run()
	s.runs("stage", "shop/v0.1.1") // the lane
	s.runs("prod", "shop/v0.1.0")
	if w := s.waitFor(ReleaseInProgress); w.Environment != "stage" || !strings.Contains(w.Detail, "v0.1.1 is not in prod yet") {
		t.Errorf("stage waits for %s", w)
	}
	// Prod says first what somebody can do now, not that v0.2.1 is not tested yet.
	if w := s.waitFor(ManualPromotion); w.Environment != "prod" || w.Version != "shop/v0.1.1" {
		t.Errorf("prod waits for %s", w)
	}
	// What comes from Dev meanwhile does not push in.
	s.commit(everywhere("jobs/more.yaml", deployment("more", "redis:7.4")))
	s.run()
	s.runs("stage", "shop/v0.1.1")

	s.toProd("shop/v0.1.1")
	s.runs("prod", "shop/v0.1.1")
	s.runs("stage", "shop/v0.2.1") // and back, with the fix
	if got := s.show("refs/tags/shop/v0.2.1", "envs/prod/jobs/cache.yaml"); !strings.Contains(got, "less memory") {
		t.Errorf("the fix is not in the release in test:\n%s", got)
	}
	if got := s.show("refs/tags/shop/v0.2.1", "envs/prod/orders/deployment.yaml"); !strings.Contains(got, "orders:v2") {
		t.Errorf("the release is not in its patch:\n%s", got)
	}
	s.toProd("shop/v0.2.1")
	s.runs("prod", "shop/v0.2.1")
	// The next candidate lacks the fix: nobody has merged it back.
	if w := s.waitFor(HotfixLost); w.Environment != "stage" || w.Version != "shop/v0.3.0" || !strings.Contains(w.Detail, "less-memory") || !strings.Contains(w.Detail, "shop/v0.1.1") {
		t.Errorf("stage waits for %s", w)
	}
	s.runs("stage", "shop/v0.2.1")

	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanMergeBack(state, "less-memory", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.run()
	s.runs("stage", "shop/v0.4.0")
	if got := s.entry("stage").Hotfixes; len(got) != 1 || got[0].In == "" {
		t.Errorf("the debt of stage is not settled: %v", got)
	}
}

// TestHotfixConflict: of three hotfixes two go together, and the third, which
// changes the same line as one of them, is left out and named.
func TestHotfixConflict(t *testing.T) {
	s := newShop(t)
	s.push("orders", "v1-a")
	s.push("orders", "v1-b")
	s.run()
	for _, name := range []string{"a", "b", "c"} {
		s.cut(name, "prod")
	}
	s.fix("a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-a")})
	s.fix("b", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-b")})
	s.fix("c", gitrepotest.Files{"envs/prod/jobs/cache.yaml": deployment("cache", "redis:7.4") + "# c\n"})
	s.run()
	s.runs("prod", "shop/v0.1.1")
	names := []string{}
	for _, d := range s.entry("prod").Hotfixes {
		names = append(names, d.Name)
	}
	if !slices.Equal(names, []string{"a", "c"}) {
		t.Errorf("composed of %v", names)
	}
	if w := s.waitFor(HotfixConflict); w.Environment != "hotfix/b" || !strings.Contains(w.Detail, "envs/prod/orders/deployment.yaml") || !strings.Contains(w.Detail, "conflicts with hotfix/a") {
		t.Errorf("it says %s", w)
	}
	// Its author merges what was released, and pushes.
	gitrepotest.MustFetch(t, s.people, gitrepo.FetchOptions{Depth: 2}, s.refs()["refs/heads/environments/prod"])
	s.ref("refs/heads/hotfix/b2", s.refs()["refs/heads/environments/prod"])
	s.fix("b2", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1-b")})
	s.run()
	s.runs("prod", "shop/v0.1.2")
}

// TestSkipStage: in an emergency a person goes past Stage, Prod's own gates hold,
// and the ledger says so.
func TestSkipStage(t *testing.T) {
	s := newShop(t, peopleRelease)
	s.run()
	s.toProd("shop/v0.1.0")
	s.argo.broken = map[string]bool{"stage-jobs": true, "stage-orders": true}
	s.cut("now", "prod")
	s.fix("now", everywhere("jobs/cache.yaml", deployment("cache", "redis:7.4")+"# now\n"))
	for range 5 {
		s.argo.follow(t)
		if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.runs("stage", "shop/v0.1.1")
	mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.1")}), "NOT_VALIDATED")
	mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.1"), Skip: []string{"stage"}}), "--reason")
	mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.1"), Skip: []string{"dev"}, Reason: "r"}), "there is stage")
	if err := s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.1"), Skip: []string{"stage"}, Reason: "customers cannot pay"}); err != nil {
		t.Fatal(err)
	}
	entry := s.entry("prod")
	if entry.Snapshot != version(t, "shop/v0.1.1") || entry.Override != "customers cannot pay" ||
		!slices.ContainsFunc(entry.Gates, func(v snapshot.Verdict) bool { return v.Gate == "stage" && v.Result == "skip" }) {
		t.Errorf("the ledger says %s, %q, %v", entry.Snapshot, entry.Override, entry.Gates)
	}
}

// TestDroppedHotfix: a hotfix that is not wanted any more is left out of the next
// patch, and the others stay.
func TestDroppedHotfix(t *testing.T) {
	s := newShop(t)
	s.run()
	s.cut("bad", "prod")
	s.cut("good", "stage")
	s.fix("bad", gitrepotest.Files{"envs/prod/jobs/worker.yaml": deployment("worker", "dev.example/shop/worker:latest") + "# bad\n"})
	s.fix("good", gitrepotest.Files{"envs/prod/jobs/cache.yaml": deployment("cache", "redis:7.4") + "# good\n"})
	s.run()
	s.runs("prod", "shop/v0.1.1")
	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PlanClose(state, "bad", true, " "); err == nil {
		t.Error("no reason was asked for")
	}
	step, err := PlanClose(state, "bad", true, "it made things worse")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(time.Minute)
	s.run()
	s.runs("prod", "shop/v0.1.2")
	if got := s.show("refs/tags/shop/v0.1.2", "envs/prod/jobs/worker.yaml"); strings.Contains(got, "bad") {
		t.Errorf("it is still there:\n%s", got)
	}
	if got := s.show("refs/tags/shop/v0.1.2", "envs/prod/jobs/cache.yaml"); !strings.Contains(got, "good") {
		t.Errorf("the other one is gone:\n%s", got)
	}
}

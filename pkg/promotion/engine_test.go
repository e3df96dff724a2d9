package promotion

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// TestTrain follows two versions from Dev to Prod.
func TestTrain(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	for _, env := range []string{"stage", "prod"} {
		entry := s.entry(env)
		if entry.Event != snapshot.EventDeployed || entry.Snapshot != version(t, "shop/v0.1.0") {
			t.Errorf("%s: %s %s", env, entry.Event, entry.Snapshot)
		}
		if len(entry.Applications) != 2 {
			t.Errorf("%s: evidence of %d Applications", env, len(entry.Applications))
		}
	}
	first := s.refs()["refs/tags/shop/v0.1.0"]

	s.push("orders", "v2")
	s.commit(gitrepotest.Files{
		"envs/dev/orders/deployment.yaml":   deployment("orders", "dev.example/shop/orders:v2"),
		"envs/stage/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v2"),
		"envs/prod/orders/deployment.yaml":  deployment("orders", "dev.example/shop/orders:v2"),
	})
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("prod").Snapshot.String(); got != "shop/v0.2.0" {
		t.Errorf("prod runs %s", got)
	}
	if s.refs()["refs/tags/shop/v0.1.0"] != first {
		t.Error("the first tag moved")
	}
	// I3: one tree everywhere.
	repo := s.server.Client()
	refs := s.refs()
	trees := map[gitrepo.Hash]bool{}
	for _, ref := range []string{"refs/tags/shop/v0.2.0", "refs/heads/environments/stage", "refs/heads/environments/prod"} {
		gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{Depth: 1}, refs[ref])
		commit, err := gitrepo.ReadCommit(repo, refs[ref])
		if err != nil {
			t.Fatal(err)
		}
		trees[commit.Tree] = true
	}
	if len(trees) != 1 {
		t.Errorf("%d different trees", len(trees))
	}
}

// TestSnapshotIsDeterministic: two workers that capture the same thing make
// the same commit.
func TestSnapshotIsDeterministic(t *testing.T) {
	s := newShop(t)
	tip := s.refs()["refs/heads/main"]
	a, err := s.engine(nil).Prepare(t.Context(), Step{Commit: tip, Version: version(t, "shop/v0.1.0")})
	if err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(1e12)
	b, err := s.engine(nil).Prepare(t.Context(), Step{Commit: tip, Version: version(t, "shop/v0.1.0")})
	if err != nil {
		t.Fatal(err)
	}
	if a.Snapshot.ID != b.Snapshot.ID {
		t.Errorf("%s and %s:\n%s", a.Snapshot.ID, b.Snapshot.ID, cmp.Diff(a.Snapshot.Lock, b.Snapshot.Lock))
	}
	lock := a.Snapshot.Lock
	if len(lock.Images) != 3 || len(lock.Renders) != 4 {
		t.Errorf("%d images, %d renders", len(lock.Images), len(lock.Renders))
	}
	orders, ok := lock.Image("dev.example/shop/orders:v1")
	if !ok || orders.Digest != s.built["orders:v1"].Digest() || len(orders.Platforms) != 2 || orders.Origin == nil || orders.Origin.Revision != "v1-0" {
		t.Errorf("orders: %+v", orders)
	}
	if diff := cmp.Diff([]string{"dev/orders", "prod/orders", "stage/orders"}, orders.UsedBy); diff != "" {
		t.Error(diff)
	}
}

// TestProdNeedsStageOnly: Dev's registry may be gone once Stage has a snapshot
// (I5), even for third-party images.
func TestProdNeedsStageOnly(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.settle(func() *Engine { return s.engine(nil) })
	gone := newShop(t)
	s.registries["dev"], s.upstream = gone.registries["dev"], nil
	s.registries["dev"].Registry = nil // any use would panic
	if err := s.byHand(Request{Environment: "prod"}); err != nil {
		t.Fatal(err)
	}
	if got := s.entry("prod").Snapshot.String(); got != "shop/v0.1.0" {
		t.Errorf("prod runs %q", got)
	}
}

// TestMissingImage: the message names application, reference and commit, and
// nothing was written.
func TestMissingImage(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"envs/stage/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v9")})
	s.argo.follow(t)
	before := s.refs()
	result, err := s.engine(nil).Reconcile(t.Context())
	mustContain(t, err, "IMAGE_MISSING", "dev.example/shop/orders:v9", "stage/orders", s.refs()["refs/heads/main"].Short(), "not found")
	if i := slices.IndexFunc(result.Waits, func(w Wait) bool { return w.Reason == ImageMissing }); i < 0 ||
		result.Waits[i].Environment != "dev" || result.Waits[i].Version != "shop/v0.1.0" || !strings.HasPrefix(result.Waits[i].Detail, "image dev.example/shop/orders:v9 of stage/orders") {
		t.Errorf("waits: %v", result.Waits)
	}
	if diff := cmp.Diff(before, s.refs()); diff != "" {
		t.Error(diff)
	}
	if n := s.registries["stage"].Writes(); n != 0 {
		t.Errorf("%d writes to the stage registry", n)
	}
}

// TestBrokenFolder: the message names the file and its line.
func TestBrokenFolder(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"envs/prod/orders/deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: [\n"})
	s.argo.follow(t)
	_, err := s.engine(nil).Reconcile(t.Context())
	mustContain(t, err, "environment prod", "envs/prod/orders/deployment.yaml:")
	if len(s.refs()) != 1 {
		t.Errorf("refs: %v", s.refs())
	}
}

// TestUnhealthyStage: what is not healthy in Stage does not reach Prod.
func TestUnhealthyStage(t *testing.T) {
	s := newShop(t)
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.settle(func() *Engine { return s.engine(nil) })
	if entry := s.entry("stage"); entry.Event != snapshot.EventPromote {
		t.Errorf("stage: %s", entry.Event)
	}
	if s.entry("prod").Event != "" {
		t.Error("prod was promoted")
	}
	result, err := s.engine(nil).Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !hasWait(result.Waits, "stage", HealthUnknown) || !hasWait(result.Waits, "prod", NotValidated) {
		t.Errorf("waits: %v", result.Waits)
	}
}

// TestArgoUnreachable: unknown is not the same as none (I7).
func TestArgoUnreachable(t *testing.T) {
	s := newShop(t)
	s.argo.err = errDown
	_, err := s.engine(nil).Reconcile(t.Context())
	mustContain(t, err, "argo cd", errDown.Error())
	if len(s.refs()) != 1 {
		t.Errorf("refs: %v", s.refs())
	}
}

// TestRollback: back to what was proven, on hold, until a person goes forward.
func TestRollback(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	s.push("worker", "latest")
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	mustContain(t, s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.0")}), "OLDER_THAN_CURRENT")
	mustContain(t, s.byHand(Request{Environment: "prod", Rollback: true}), "--reason")
	if err := s.byHand(Request{Environment: "prod", Rollback: true, Reason: "it leaks"}); err != nil {
		t.Fatal(err)
	}
	s.settle(func() *Engine { return s.engine(nil) })
	entry := s.entry("prod")
	if entry.Snapshot != version(t, "shop/v0.1.0") || entry.Hold == "" || entry.Event != snapshot.EventDeployed {
		t.Errorf("after the rollback: %+v", entry)
	}
	result, err := s.engine(nil).Reconcile(t.Context())
	if err != nil || !hasWait(result.Waits, "prod", EnvOnHold) {
		t.Errorf("waits: %v, %v", result.Waits, err)
	}
	if err := s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.2.0")}); err != nil {
		t.Fatal(err)
	}
	if entry := s.entry("prod"); entry.Hold != "" || entry.Snapshot != version(t, "shop/v0.2.0") {
		t.Errorf("after going forward: %+v", entry)
	}
}

// TestStageRolledBack: what Stage was rolled back from does not go on to Prod.
func TestStageRolledBack(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.settle(func() *Engine { return s.engine(nil) })
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanRequest(state, Request{Environment: "stage", Rollback: true, Reason: "tests fail"})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	if state, err = e.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = PlanRequest(state, Request{Environment: "prod", Version: version(t, "shop/v0.2.0")})
	mustContain(t, err, "NOT_VALIDATED", "rolled back")
	if step, err = PlanRequest(state, Request{Environment: "prod"}); err != nil || step.Version != version(t, "shop/v0.1.0") {
		t.Errorf("newest for prod: %v, %v", step, err)
	}
}

// TestPoke: an environment that somebody else moved is exposed as well.
func TestPoke(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	s.argo.pokes = 0
	if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.argo.pokes != 0 {
		t.Error("poked although nothing changed")
	}
	delete(s.argo.applications, "prod-orders")
	if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.argo.pokes != 1 {
		t.Errorf("%d pokes for a missing Application", s.argo.pokes)
	}
}

// TestStrangerOnTheLedger: a commit that Propagator did not write stops work
// on that environment, and is named.
func TestStrangerOnTheLedger(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	gitrepotest.Grow(t, s.server.Client(), "refs/heads/environments/prod", gitrepotest.Files{"x": "y"})
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	result, err := s.engine(nil).Reconcile(t.Context())
	if err != nil || !hasWait(result.Waits, "prod", LedgerUnavailable) {
		t.Errorf("waits: %v, %v", result.Waits, err)
	}
	if got := s.entry("stage").Snapshot.String(); got != "shop/v0.2.0" {
		t.Errorf("stage stopped as well: %s", got)
	}
}

// TestRecordBeforeCapture: evidence that can be had is written before the next
// snapshot takes its place.
func TestRecordBeforeCapture(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.argo.follow(t)
	if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.argo.follow(t) // Stage is healthy now, and nobody has noticed
	s.commit(gitrepotest.Files{"note": "2"})
	s.argo.follow(t)
	s.settle(func() *Engine { return s.engine(nil) })
	state, err := s.engine(nil).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stage, _ := state.Environment("stage")
	if !stage.proven(version(t, "shop/v0.1.0")) {
		t.Error("v0.1.0 was healthy in Stage and was never recorded")
	}
}

// TestStageRolledBackMeanwhile: Stage goes back while Prod's images are copied;
// Prod must not follow what Stage has just left.
func TestStageRolledBackMeanwhile(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.settle(func() *Engine { return s.engine(nil) })
	s.push("orders", "v1") // other bytes, so that there is something to copy
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanRequest(state, Request{Environment: "prod", Version: version(t, "shop/v0.2.0")})
	if err != nil {
		t.Fatal(err)
	}
	rolledBack := false
	e.Progress = func(string, mirror.Progress) {
		if rolledBack {
			return
		}
		rolledBack = true
		if err := s.byHand(Request{Environment: "stage", Rollback: true, Reason: "it leaks"}); err != nil {
			t.Error(err)
		}
	}
	mustContain(t, e.Execute(t.Context(), state, step), "NOT_VALIDATED")
	if !rolledBack {
		t.Fatal("nothing was copied")
	}
	if s.entry("prod").Event != "" {
		t.Error("prod was promoted")
	}
}

// TestMovedTag: what Stage tested is a tree, not a name.
func TestMovedTag(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.settle(func() *Engine { return s.engine(nil) })
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	moved := s.moveFirstTag()
	e := s.engine(moved)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanRequest(state, Request{Environment: "prod", Version: version(t, "shop/v0.1.0")})
	if err != nil {
		t.Fatal(err)
	}
	mustContain(t, e.Execute(t.Context(), state, step), "NOT_VALIDATED", "the tag was moved")
}

// TestRollbackToMovedTag: a rollback asks no gate, so what it goes back to has to
// be what the environment ran, not what has its name by now.
func TestRollbackToMovedTag(t *testing.T) {
	s := newShop(t)
	s.run()
	s.next("v2")
	s.runs("prod", "shop/v0.2.0")
	e := s.engine(s.moveFirstTag())
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step, err := PlanRequest(state, Request{Environment: "prod", Rollback: true, Reason: "it leaks"})
	if err != nil || step.Version != version(t, "shop/v0.1.0") {
		t.Fatal(step, err)
	}
	mustContain(t, e.Execute(t.Context(), state, step), "NOT_VALIDATED", "prod ran another tree under this name", "the tag was moved")
	s.runs("prod", "shop/v0.2.0")
}

// moveFirstTag is somebody with the right to do so who moves v0.1.0 to another
// real snapshot.
func (s *shop) moveFirstTag() movedTag {
	s.t.Helper()
	main := s.refs()["refs/heads/main"]
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, main)
	side, sideObjects := gitrepotest.Commit(s.t, s.people, gitrepotest.Files{"evil": "1"}, "side", main)
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/side", New: side}}, Objects: sideObjects})
	captured, err := s.engine(nil).Prepare(s.t.Context(), Step{Commit: side, Version: version(s.t, "shop/v0.1.0")})
	if err != nil {
		s.t.Fatal(err)
	}
	gitrepotest.MustPush(s.t, s.server.Client(), gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: "refs/tags/elsewhere", New: captured.Snapshot.ID}}, Objects: captured.objects,
	})
	return movedTag{Repo: s.server.Client(), from: "refs/tags/shop/v0.1.0", to: captured.Snapshot.ID}
}

// movedTag shows a ref elsewhere than it is.
type movedTag struct {
	gitrepo.Repo
	from string
	to   gitrepo.Hash
}

func (m movedTag) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	refs, err := m.Repo.Refs(ctx, prefixes...)
	refs[m.from] = m.to
	return refs, err
}

// TestNewEnvironment: an environment that only the newest configuration knows is
// not given a snapshot that does not know it.
func TestNewEnvironment(t *testing.T) {
	s := newShop(t)
	s.argo.follow(t) // Dev runs the first commit
	qa := strings.Replace(configuration, "- {name: prod,", "- {name: qa, after: [dev], path: envs/qa, registry: stage, promote: auto}\n- {name: prod,", 1)
	s.commit(gitrepotest.Files{config.File: qa, "envs/qa/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1")})
	if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.entry("stage").Snapshot.IsZero() {
		t.Error("stage was not promoted")
	}
	if s.entry("qa").Event != "" {
		t.Errorf("qa got %s", s.entry("qa").Snapshot)
	}
}

// TestBrokenConfigOnMain: nothing new is captured, and a rollback still works.
func TestBrokenConfigOnMain(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	s.commit(gitrepotest.Files{config.File: configuration + "\nsurprise: 1\n"})
	s.argo.follow(t)
	result, err := s.engine(nil).Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !hasWait(result.Waits, "dev", InvalidConfig) || len(result.Done) > 0 {
		t.Errorf("done %v, waits %v", result.Done, result.Waits)
	}
	if err := s.byHand(Request{Environment: "prod", Rollback: true, Reason: "it leaks"}); err != nil {
		t.Fatal(err)
	}
	if got := s.entry("prod").Snapshot.String(); got != "shop/v0.1.0" {
		t.Errorf("prod runs %s", got)
	}
}

// TestTwoApplicationsOfOnePath: every one of them has to be healthy.
func TestTwoApplicationsOfOnePath(t *testing.T) {
	s := newShop(t)
	s.argo.follow(t)
	second := s.argo.applications["dev-orders"]
	second.Name, second.Health, second.Path = "dev-orders-2", "Degraded", "envs/dev/orders/"
	s.argo.applications["dev-orders-2"] = second
	for range 10 {
		state, err := s.engine(nil).Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if state.Candidate != nil {
			t.Fatal("captured although an Application is degraded")
		}
	}
}

// TestForgedSnapshot: a tag with more in it than the source commit and a lock
// is not promoted, does not stop the others, and keeps its name.
func TestForgedSnapshot(t *testing.T) {
	s := newShop(t)
	s.settle(func() *Engine { return s.engine(nil) })
	repo := s.server.Client()
	e := s.engine(repo)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lock := *state.Newest.Lock
	lock.Version = version(t, "shop/v0.2.0")
	forged, objects, err := snapshot.Build(repo, &lock, snapshot.Identity{Name: "x", Email: "x@example"})
	if err != nil {
		t.Fatal(err)
	}
	tree, more, err := gitrepo.WriteFiles(withObjects(objects), forged.Tree, map[string][]byte{"evil.yaml": []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	commit, err := gitrepo.ParseCommit(objects[len(objects)-1])
	if err != nil {
		t.Fatal(err)
	}
	commit.Tree = tree
	evil := gitrepo.NewCommit(commit)
	gitrepotest.MustPush(t, repo, gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: "refs/tags/shop/v0.2.0", New: evil.ID()}}, Objects: append(append(objects, more...), evil),
	})
	s.commit(gitrepotest.Files{"note": "2"})
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("prod").Snapshot.String(); got != "shop/v0.3.0" {
		t.Errorf("prod runs %s", got)
	}
	if s.refs()["refs/tags/shop/v0.2.0"] != evil.ID() {
		t.Error("the forged tag was moved")
	}
	if state, err = s.engine(nil).Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	step := Step{Kind: Promote, Environment: "prod", Version: version(t, "shop/v0.2.0"), by: personByName}
	mustContain(t, s.engine(nil).Execute(t.Context(), state, step), "forged snapshot")
}

type objectsByID map[gitrepo.Hash]gitrepo.Object

func withObjects(list []gitrepo.Object) objectsByID {
	all := objectsByID{}
	for _, o := range list {
		all[o.ID()] = o
	}
	return all
}

func (o objectsByID) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	if found, ok := o[id]; ok {
		return found, nil
	}
	return gitrepo.Object{}, gitrepo.ErrNotFound
}

func hasWait(waits []Wait, environment string, reason Reason) bool {
	for _, w := range waits {
		if w.Environment == environment && w.Reason == reason {
			return true
		}
	}
	return false
}

// manualProd is the configuration with a Prod that people promote.
const manualProd = `
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  stage: {url: stage.example/shop}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: stage, after: [dev], path: envs/stage, registry: stage, promote: auto}
- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: manual}
`

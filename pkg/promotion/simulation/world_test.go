package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const repoURL = "https://git.example/shop.git"

// options are what a schedule is played with beside its seed.
type options struct {
	// drop are steps that are left out, and limit is how many there are at most;
	// zero for as many as the seed says.
	drop  map[int]bool
	limit int
	// mutation is a known fault of the world, that the checks have to find.
	mutation mutation
	// trace hears of every event.
	trace func(string)
}

// traits are what the seed says about a world as a whole.
type traits struct {
	replicas int
	apps     int
	// tags: people's tags are captured, and not what Dev runs.
	tags bool
	// admit is stage's admission, and gate prod's.
	admit     string
	gate      string
	stageMode string
	prodMode  string
	// faults is how many of a thousand calls are broken.
	faults int
	// indexes: images have two platforms and a signature.
	indexes     bool
	noReferrers bool
	settle      time.Duration
	steps       int
	skewed      bool
	// meddling: people only ever sync other revisions by hand.
	meddling bool
}

func (t traits) config() string {
	source := ""
	if t.tags {
		source = "source: {capture: tag, tags: \"v*\"}\n"
	}
	return fmt.Sprintf(`apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
%sregistries:
  dev: {url: dev.example/shop, retention: ephemeral}
  stage: {url: stage.example/shop}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: stage, after: [dev], path: envs/stage, registry: stage, promote: %s, admit: %s}
- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: %s%s}
`, source, t.stageMode, t.admit, t.prodMode, t.gate)
}

// The gates of prod.
const (
	noGate       = ""
	approvalGate = ", gates: [{approval: {count: 1}}]"
	soakGate     = ", gates: [{soak: 10m}]"
)

// choose rolls the traits of a seed.
func choose(d dice) traits {
	t := traits{
		replicas: 1 + d.IntN(3), apps: 1 + d.IntN(10)/7, tags: d.chance(250),
		admit: "latest", gate: noGate, stageMode: "auto", prodMode: "auto",
		faults: pick(d, []int{0, 20, 50, 100, 150}), indexes: d.chance(150), noReferrers: d.chance(100),
		settle: pick(d, []time.Duration{0, 50 * time.Millisecond, 50 * time.Millisecond, 5 * time.Second}),
		steps:  120 + d.IntN(280), skewed: d.chance(600),
	}
	if d.chance(150) {
		t.admit = "release"
	}
	switch d.IntN(6) {
	case 0:
		t.gate = approvalGate
	case 1:
		t.gate = soakGate
	}
	if d.chance(100) {
		t.stageMode = "manual"
	}
	if d.chance(100) {
		t.prodMode = "manual"
	}
	return t
}

// delayed is an effect that takes place later.
type delayed struct {
	what   string
	effect func()
}

// world is everything around the engine.
type world struct {
	scheduler
	traits
	options
	dice dice
	step int
	// calm: no faults, no people, and calls need not wait for anybody.
	calm bool

	ctx        context.Context
	now        time.Time
	people     *gitrepo.Memory
	registries map[string]*registry.Memory
	pretended  map[string]registry.Manifest
	argo       *argo
	audit      *audit
	nodes      []*node
	engines    []*promotion.Engine
	late       []delayed
	counts     counts
	// changes counts what has happened but calls.
	changes int

	apps []string
	// built counts the images of each app, tags the versions that people set.
	built   map[string]int
	files   map[string]string
	sources map[gitrepo.Hash]map[string]string
	tagged  int
	// tagOf is the commit of the tag that a person set last.
	tagOf      gitrepo.Hash
	tagVersion string
	contents   map[string]string

	mu       sync.Mutex // guards broken: an engine may notice a violation in any of its goroutines
	broken   string
	brokenAt int
}

// fail notes the first violation of a promise.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == "" {
		w.broken, w.brokenAt = fmt.Sprintf(format, args...), w.step
	}
}

func (w *world) count(kind string) { w.counts[kind]++ }

func (w *world) tracef(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%4d %s  %s", w.step, w.now.Format("15:04:05.000"), fmt.Sprintf(format, args...)))
	}
}

// newWorld founds the company of a seed.
func newWorld(ctx context.Context, seed uint64, o options) *world {
	w := &world{
		options: o, dice: newDice(), ctx: ctx, now: time.Date(2026, 3, 1, 12, 0, 0, 300e6, time.UTC), registries: map[string]*registry.Memory{},
		pretended: map[string]registry.Manifest{}, counts: counts{}, built: map[string]int{}, files: map[string]string{},
		sources: map[gitrepo.Hash]map[string]string{}, contents: map[string]string{},
	}
	w.dice.roll(seed, -1)
	w.traits = choose(w.dice)
	o.mutation.adjust(&w.traits)
	if o.limit > 0 {
		w.steps = min(w.steps, o.limit)
	}
	w.apps = []string{"orders", "worker"}[:w.traits.apps]
	w.people = gitrepo.NewMemory(repoURL)
	w.audit = newAudit(w)
	for _, name := range []string{"dev", "stage", "prod"} {
		w.registries[name] = registry.NewMemory(name + ".example/shop")
		w.registries[name].SetReferrersAPI(!w.noReferrers)
	}
	w.argo = &argo{world: w}
	if w.skewed {
		w.argo.skew = time.Duration(w.dice.IntN(120_000)-60_000) * time.Millisecond
	}
	w.files[config.File] = w.config()
	for _, app := range w.apps {
		w.buildImage(app)
	}
	w.commit("begin")
	for _, app := range w.apps {
		w.argo.find("dev", app).target = "main"
		w.argo.find("stage", app)
		w.argo.find("prod", app)
	}
	for range w.replicas {
		w.nodes, w.engines = append(w.nodes, nil), append(w.engines, nil)
		w.replace(len(w.nodes) - 1)
	}
	w.tracef("%+v", w.traits)
	return w
}

// newNode is a process that has just started.
func (w *world) newNode(name string) *node {
	n := &node{world: w, name: name, git: w.people.Client(), gates: map[string]*gate{}, opened: map[string]bool{}}
	for name, r := range w.registries {
		n.gates[name] = &gate{node: n, name: name, real: r}
		if w.mutation == pretendsToStore && name == "stage" {
			n.gates[name].pretended = w.pretended
		}
	}
	if w.skewed {
		n.skew = time.Duration(w.dice.IntN(120_000)-60_000) * time.Millisecond
	}
	return n
}

func (w *world) engine(n *node) *promotion.Engine {
	e := &promotion.Engine{
		Repo: n, Registries: n, Applications: n, Actor: n.name, Settle: w.settle, Concurrency: 1,
		Now: func() time.Time { return w.now.Add(n.skew) },
	}
	if w.mutation == leaks {
		e.Actor = secret
	}
	return e
}

// automation is what replicas are called in the ledgers.
const automation = "propagator"

// replace puts a new process in the place of a replica.
func (w *world) replace(i int) {
	w.nodes[i] = w.newNode(automation)
	w.engines[i] = w.engine(w.nodes[i])
}

// images by application and number; the same in every world.
var images sync.Map

type imageKey struct {
	app    string
	number int
	index  bool
}

func (w *world) image(app string, number int) imagebuild.Built {
	key := imageKey{app, number, w.indexes}
	if known, ok := images.Load(key); ok {
		return known.(imagebuild.Built)
	}
	spec := imagebuild.Spec{Files: imagebuild.Files{"app": fmt.Sprintf("%s %d", app, number)}}
	build := imagebuild.Image
	if w.indexes {
		spec.Platforms = []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
		build = imagebuild.Index
	}
	built, err := build(spec)
	if err != nil {
		panic(err) // the paths are fine
	}
	if w.indexes {
		built = built.Refer(imagebuild.Signature(built.Manifest.Descriptor(), "ci"))
	}
	images.Store(key, built)
	return built
}

// buildImage is CI: a new image in Dev's registry, and its tag in the manifests.
// Sometimes the tag is one that moves.
func (w *world) buildImage(app string) {
	w.built[app]++
	number := w.built[app]
	tag := fmt.Sprintf("b%d", number)
	if w.dice.chance(200) {
		tag = "latest"
	}
	for _, env := range []string{"dev", "stage", "prod"} {
		w.files["envs/"+env+"/"+app+"/app.yaml"] = fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec: {containers: [{name: main, image: "dev.example/shop/%s:%s"}]}
`, app, app, tag)
	}
	w.pushImage(app, number, tag)
}

func (w *world) pushImage(app string, number int, tag string) {
	built := w.image(app, number)
	if err := imagebuild.Push(w.ctx, w.registries["dev"], app, built, tag); err != nil {
		w.fail("the world: push an image: %v", err)
	}
	w.audit.pushedImage(app, tag, built)
}

// commit pushes the files to main. Whatever they name is in Dev's registry, for
// CI builds it again if need be.
func (w *world) commit(message string) {
	w.restore()
	old := w.audit.refs["refs/heads/main"]
	content := map[string][]byte{}
	for path, text := range w.files {
		content[path] = []byte(text)
	}
	root, objects, err := gitrepo.WriteFiles(w.people, "", content)
	if err != nil {
		w.fail("the world: %v", err)
		return
	}
	who := gitrepo.Signature{Name: "Ada", Email: "ada@example.com", When: w.now.Truncate(time.Second)}
	c := gitrepo.Commit{Tree: root, Author: who, Committer: who, Message: message + "\n"}
	if old != "" {
		c.Parents = []gitrepo.Hash{old}
	}
	object := gitrepo.NewCommit(c)
	w.sources[object.ID()] = maps.Clone(w.files)
	w.pushByPeople(gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/main", Old: old, New: object.ID()}}, Objects: append(objects, object)})
}

// restore pushes again what the manifests name and Dev's registry has lost.
func (w *world) restore() {
	for _, app := range w.apps {
		tag := imageTag(w.files["envs/dev/"+app+"/app.yaml"])
		if _, err := w.registries["dev"].Resolve(w.ctx, app, tag); err != nil {
			w.pushImage(app, w.built[app], tag)
		}
	}
}

// imageTag finds the tag in a manifest of the world.
func imageTag(manifest string) string {
	_, rest, _ := strings.Cut(manifest, "dev.example/shop/")
	_, rest, _ = strings.Cut(rest, ":")
	tag, _, _ := strings.Cut(rest, `"`)
	return tag
}

func (w *world) pushByPeople(push gitrepo.Push) {
	if err := w.people.Push(w.ctx, push); err != nil {
		w.fail("the world: %v", err)
		return
	}
	w.audit.look(nil, nil)
}

// retention deletes from Dev's registry what was captured, and is not in main
// any more or, sometimes, even then.
func (w *world) retention() {
	keep := map[string]bool{}
	needs := func(files map[string]string) {
		for _, app := range w.apps {
			if d, err := w.registries["dev"].Resolve(w.ctx, app, imageTag(files["envs/dev/"+app+"/app.yaml"])); err == nil {
				keep[d.Digest] = true
			}
		}
	}
	if !w.audit.captured(w.audit.refs["refs/heads/main"]) {
		needs(w.files)
	}
	if _, captured := w.audit.locks["shop/"+w.tagVersion]; w.tagOf != "" && !captured {
		needs(w.sources[w.tagOf])
	}
	locked := map[string]bool{}
	for _, snap := range w.audit.locks {
		for _, image := range snap.Lock.Images {
			locked[image.Digest] = true
		}
	}
	for _, app := range w.apps {
		for _, built := range w.audit.images[app] {
			if locked[built.Digest()] && !keep[built.Digest()] {
				deleteImage(w.registries["dev"], app, built)
			}
		}
	}
}

func deleteImage(r *registry.Memory, repo string, built imagebuild.Built) {
	for _, part := range slices.Concat(built.Children, built.Referrers) {
		r.DeleteManifest(repo, part.Digest())
	}
	r.DeleteManifest(repo, built.Digest())
}

// content is what an application consists of at a commit.
func (w *world) content(commit gitrepo.Hash, env, app string) string {
	if files, ok := w.sources[commit]; ok {
		return files["envs/"+env+"/"+app+"/app.yaml"]
	}
	key := string(commit) + " " + env + " " + app
	if known, ok := w.contents[key]; ok {
		return known
	}
	snap, err := w.audit.snapshot(commit)
	if err != nil {
		w.fail("commit %s that something points at: %v", commit.Short(), err)
		return ""
	}
	for _, r := range snap.Lock.RendersOf(env) {
		w.contents[string(commit)+" "+env+" "+r.Application] = r.SHA256
	}
	return w.contents[key]
}

// tag is a person who releases main.
func (w *world) tag() {
	w.restore()
	w.tagged++
	w.tagVersion, w.tagOf = fmt.Sprintf("v1.%d.0", w.tagged), w.audit.refs["refs/heads/main"]
	push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/tags/" + w.tagVersion, New: w.tagOf}}}
	if w.dice.chance(300) {
		object := gitrepo.NewTag(gitrepo.Tag{Object: w.tagOf, Type: gitrepo.TypeCommit, Name: w.tagVersion, Tagger: w.signature("ada"), Message: "release\n"})
		push.Updates[0].New, push.Objects = object.ID(), []gitrepo.Object{object}
	}
	w.pushByPeople(push)
}

func (w *world) signature(who string) gitrepo.Signature {
	return gitrepo.Signature{Name: who, Email: who + "@example.com", When: w.now.Truncate(time.Second)}
}

// approve sets the tag with which a person agrees to a promotion to prod.
func (w *world) approve(version, who string) {
	name := "approve/prod/" + version + "/" + who
	commit := w.audit.refs["refs/tags/"+version]
	if commit == "" || w.audit.refs["refs/tags/"+name] != "" {
		return
	}
	object := gitrepo.NewTag(gitrepo.Tag{Object: commit, Type: gitrepo.TypeCommit, Name: name, Tagger: w.signature(who), Message: "ok\n"})
	w.pushByPeople(gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/tags/" + name, New: object.ID()}}, Objects: []gitrepo.Object{object}})
}

// byHand is the command line in the hands of a person.
func (w *world) byHand(n *node, env string, kind int, version string) func(context.Context) (string, error) {
	e := w.engine(n)
	return func(ctx context.Context) (string, error) {
		state, err := e.Observe(ctx)
		if err != nil {
			return "", err
		}
		var step promotion.Step
		switch kind {
		case 0:
			step, err = e.PlanRequest(ctx, state, promotion.Request{Environment: env})
		case 1:
			v, _ := snapshot.ParseVersion(version)
			step, err = e.PlanRequest(ctx, state, promotion.Request{Environment: env, Version: v})
		case 2:
			step, err = e.PlanRequest(ctx, state, promotion.Request{Environment: env, Rollback: true, Reason: "it is slow"})
		case 3:
			step, err = promotion.PlanNote(state, env, promotion.Note{Event: snapshot.EventHold, Reason: "wait for marketing"})
		default:
			step, err = promotion.PlanNote(state, env, promotion.Note{Event: snapshot.EventResume, Reason: "go on"})
		}
		if err != nil {
			return "", err
		}
		return step.String(), e.Execute(ctx, state, step)
	}
}

// play is the schedule: steps in which anything may happen, one thing at a time.
func (w *world) play(seed uint64) {
	for w.step = range w.steps {
		w.dice.roll(seed, w.step)
		w.act()
		if w.broken != "" {
			break
		}
	}
	w.end()
}

// act is one step: a call of a run, or something else in the world.
func (w *world) act() {
	d := w.dice
	waiting := w.waiting()
	var kind, what string
	if len(waiting) > 0 && d.chance(800) {
		kind, what = w.letThrough(waiting)
	} else {
		kind, what = w.happen()
	}
	if kind != "" {
		if kind != "call" && kind != "reconcile" {
			w.changes++
		}
		w.count(kind)
		w.tracef("%s %s", kind, what)
	}
	synctest.Wait()
	w.reap()
	w.replaceDead()
}

// letThrough grants one of the calls, or breaks it. One run is chosen first, so
// that one with many calls is not faster.
func (w *world) letThrough(waiting []*call) (kind, what string) {
	d := w.dice
	var runs []*run
	for _, c := range waiting {
		if !slices.Contains(runs, c.run) {
			runs = append(runs, c.run)
		}
	}
	r := pick(d, runs)
	mine := slices.DeleteFunc(waiting, func(c *call) bool { return c.run != r })
	c := pick(d, mine)
	rate := w.faults
	if strings.HasPrefix(c.what, "git push") {
		rate *= 5 // they are few, and what everything depends on
	}
	f, broken := none, d.chance(rate)
	if chosen := pick(d, c.faults); broken && !w.drop[w.step] {
		f = chosen
	}
	kind = "call"
	if f != none {
		kind = strings.Fields(c.what)[0] + ": " + f.String()
		if verb := strings.Fields(c.what); verb[0] == "git" {
			kind = "git " + verb[1] + ": " + f.String()
		}
	}
	// The dice are thrown again inside, by whoever needs them.
	w.grant(c, f)
	return kind, fmt.Sprintf("run %d (%s) %s", r.id, r.node.name, c.what)
}

// replaceDead gives killed replicas a successor and tells of runs that ended.
func (w *world) replaceDead() {
	for i, n := range w.nodes {
		if r := n.run; r != nil && r.over {
			w.tracef("run %d ends: %s %v", r.id, r.did, r.err)
			n.run = nil
			if r.dead.Load() {
				w.replace(i)
			}
		}
	}
}

// happen is something other than a call.
func (w *world) happen() (kind, what string) {
	d := w.dice
	dropped := w.drop[w.step]
	roll := d.IntN(100)
	if dropped {
		return "", ""
	}
	switch {
	case roll < 16:
		if kind, what = w.wake(); kind != "" {
			return kind, what
		}
	case roll < 18:
		if len(w.runs) > 0 {
			r := pick(d, w.runs)
			w.kill(r)
			return "process killed between calls", fmt.Sprintf("run %d", r.id)
		}
	case roll < 26:
		if a := pick(d, w.argo.all); a.env == "dev" || w.audit.current(a.env) != "" {
			return w.argo.disturb(a, d)
		}
	case roll < 33:
		return w.passTime()
	case roll < 37:
		app := pick(d, w.apps)
		if d.chance(850) {
			w.buildImage(app)
		} else {
			w.files["README.md"] = fmt.Sprint(w.step)
		}
		w.commit(fmt.Sprintf("commit in step %d", w.step))
		return "commit to main", w.audit.refs["refs/heads/main"].Short()
	case roll < 39:
		w.retention()
		return "retention in dev", ""
	case roll < 44 && w.tags:
		w.tag()
		return "tag of a person", w.tagVersion
	case roll < 47:
		if versions := w.audit.versions(); len(versions) > 0 && w.gate == approvalGate {
			version := pick(d, versions[max(0, len(versions)-3):])
			w.approve(version, pick(d, []string{"ada", "bob"}))
			return "approval", version
		}
	case roll < 52:
		if kind, what = w.person(); kind != "" {
			return kind, what
		}
	case roll < 58:
		if len(w.late) > 0 {
			i := d.IntN(len(w.late))
			l := w.late[i]
			w.late = slices.Delete(w.late, i, i+1)
			l.effect()
			return "late arrival", l.what
		}
	case roll < 59:
		w.pushImage(w.apps[0], w.built[w.apps[0]], "latest")
		return "tag moves in dev", ""
	}
	if a := w.argo.busy(d); a != nil {
		return "argo cd", a.name() + " " + w.argo.follow(a)
	}
	return w.wake()
}

// wake lets an idle replica reconcile.
func (w *world) wake() (kind, what string) {
	i := w.dice.IntN(len(w.nodes))
	n, e := w.nodes[i], w.engines[i]
	// A look at a world in which nothing has happened costs most and tells least.
	if n.run != nil || n.looked == w.changes && !w.dice.chance(100) {
		return "", ""
	}
	n.looked = w.changes
	ctx := w.ctx
	if w.dice.chance(500) {
		ctx = promotion.Glance(ctx)
	}
	r := w.start(ctx, n, func(ctx context.Context) (string, error) {
		result, err := e.Reconcile(ctx)
		return fmt.Sprint(result.Done), err
	})
	return "reconcile", fmt.Sprintf("run %d of replica %d", r.id, i)
}

// passTime lets the world's clock go on, and now and then lets a replica's jump.
func (w *world) passTime() (kind, what string) {
	d := w.dice
	by := pick(d, []time.Duration{300 * time.Millisecond, 700 * time.Millisecond, 2 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute})
	w.now = w.now.Add(by)
	if w.skewed && d.chance(150) {
		n := pick(d, w.nodes)
		n.skew = time.Duration(d.IntN(240_000)-120_000) * time.Millisecond
		return "clock jumps", n.skew.String()
	}
	return "time passes", by.String()
}

// person asks for something by hand; one at a time.
func (w *world) person() (kind, what string) {
	d := w.dice
	for _, r := range w.runs {
		if r.node.name != automation {
			return "", ""
		}
	}
	versions := w.audit.versions()
	if len(versions) == 0 {
		return "", ""
	}
	env, version := pick(d, []string{"stage", "prod"}), pick(d, versions)
	of := pick(d, []int{0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 4})
	n := w.newNode("ada")
	r := w.start(w.ctx, n, w.byHand(n, env, of, version))
	kind = []string{"promotion by hand", "promotion by name", "rollback", "hold", "resume"}[of]
	return kind, fmt.Sprintf("run %d in %s %s", r.id, env, version)
}

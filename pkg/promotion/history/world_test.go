package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

const repoURL = "https://git.example/shop.git"

// options are what a history is played with beside its seed.
type options struct {
	// drop are actions that are left out, limit is how many there are at most; zero
	// for as many as the seed says.
	drop  map[int]bool
	limit int
	// trace hears of everything that happens.
	trace func(string)
}

// traits are what the seed says about a history as a whole.
type traits struct {
	// four: there is an environment between Dev and Stage.
	four      bool
	admit     string
	prodMode  string
	backMerge string
	compose   string
	actions   int
}

func (t traits) config() string {
	qa, after := "", "dev"
	if t.four {
		qa, after = "\n- {name: qa, after: [dev], path: envs/qa, registry: qa, promote: auto}", "qa"
	}
	return fmt.Sprintf(`apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
hotfixes: {compose: %s, backMerge: "%s"}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  qa: {url: qa.example/shop}
  stage: {url: stage.example/shop}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}%s
- {name: stage, after: [%s], path: envs/stage, registry: stage, promote: auto, admit: %s}
- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: %s}
`, t.compose, t.backMerge, qa, after, t.admit, t.prodMode)
}

func choose(d dice) traits {
	return traits{
		four: d.chance(150), admit: pick(d, []string{"latest", "release"}), prodMode: pick(d, []string{"auto", "manual"}),
		backMerge: pick(d, []string{"off", "off", "branch", "push"}), compose: pick(d, []string{"auto", "auto", "auto", "auto", "manual"}),
		actions: 6 + d.IntN(11),
	}
}

type dice struct {
	*rand.Rand
	source *rand.PCG
}

func newDice() dice {
	source := rand.NewPCG(0, 0)
	return dice{rand.New(source), source} //nolint:gosec // a history has to be repeatable, not unpredictable
}

func (d dice) roll(seed uint64, step int) { d.source.Seed(seed, uint64(step)+1) }

// chance is true in so many of a thousand cases.
func (d dice) chance(perMille int) bool { return d.IntN(1000) < perMille }

func pick[T any](d dice, of []T) T { return of[d.IntN(len(of))] }

// world is everything around the engines.
type world struct {
	traits
	options
	dice dice
	step int
	envs []string

	ctx        context.Context
	now        time.Time
	people     *gitrepo.Memory
	registries map[string]*registry.Memory
	argo       []promotion.Application
	sick       map[string]bool
	// engines are two replicas of the hook.
	engines []*promotion.Engine
	nodes   []*node
	// ada is the command line of everybody.
	ada *promotion.Engine
	// racing: others are at work in the middle of a step.
	racing bool

	company
	oracle
	counts counts
	broken string
}

// fail notes the first violation of a promise.
func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
		w.tracef("%s", w.broken)
	}
}

func (w *world) count(kind string) { w.counts[kind]++ }

func (w *world) tracef(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%3d  %s", w.step, fmt.Sprintf(format, args...)))
	}
}

func (w *world) refs() gitrepo.Refs {
	refs, err := w.people.Refs(w.ctx)
	if err != nil {
		w.fail("the world: %v", err)
	}
	return refs
}

// newWorld founds the company of a seed.
func newWorld(ctx context.Context, seed uint64, o options) *world {
	w := &world{
		options: o, dice: newDice(), ctx: ctx, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), people: gitrepo.NewMemory(repoURL),
		registries: map[string]*registry.Memory{}, sick: map[string]bool{}, counts: counts{}, company: newCompany(), oracle: newOracle(),
	}
	w.dice.roll(seed, -1)
	w.traits = choose(w.dice)
	if w.limit > 0 {
		w.actions = min(w.actions, w.limit)
	}
	w.envs = []string{"stage", "prod"}
	if w.four {
		w.envs = []string{"qa", "stage", "prod"}
	}
	for _, env := range w.envs {
		w.ledgers[env] = &ledger{since: map[int]line{}}
	}
	for _, name := range []string{"dev", "qa", "stage", "prod"} {
		w.registries[name] = registry.NewMemory(name + ".example/shop")
	}
	var first values
	for s := range extraKey {
		first[s] = w.newValue()
	}
	w.pushImage(first[imageTag])
	content := map[string][]byte{config.File: []byte(w.config())}
	for s := range extraKey {
		for _, path := range w.filesOf(s) {
			content[path] = []byte(text(path, first))
		}
	}
	root, objects, err := gitrepo.WriteFiles(w.people, "", content)
	if err != nil {
		w.fail("the world: %v", err)
		return w
	}
	w.commit(root, objects, nil, "refs/heads/main", "begin", nil, 0)
	for range 2 {
		n := &node{Memory: w.people.Client(), world: w}
		w.nodes = append(w.nodes, n)
		w.engines = append(w.engines, w.engine(n, "propagator"))
	}
	w.ada = w.person()
	w.tracef("%+v", w.traits)
	return w
}

func (w *world) engine(n *node, actor string) *promotion.Engine {
	return &promotion.Engine{
		Repo: n, Registries: n, Applications: n, Actor: actor, Concurrency: 1, Now: func() time.Time { return w.now },
	}
}

// person is the command line in the hands of a person.
func (w *world) person() *promotion.Engine {
	return w.engine(&node{Memory: w.people.Client(), world: w}, "ada")
}

// builds are a few images, the same in every world. What matters here is how they
// are called.
var builds = sync.OnceValue(func() []imagebuild.Built {
	var all []imagebuild.Built
	for i := range 3 {
		built, err := imagebuild.Image(imagebuild.Spec{Files: imagebuild.Files{"app": fmt.Sprint(i)}})
		if err != nil {
			panic(err) // the paths are fine
		}
		all = append(all, built)
	}
	return all
})

func (w *world) pushImage(tag string) {
	if err := imagebuild.Push(w.ctx, w.registries["dev"], "app", builds()[len(w.made)%3], tag); err != nil {
		w.fail("the world: push an image: %v", err)
	}
}

// play is the history: actions of people, and engines that follow.
func (w *world) play(seed uint64) {
	w.settle(3)
	for w.step = range w.actions {
		w.dice.roll(seed, w.step)
		if w.drop[w.step] {
			continue
		}
		w.act()
		if w.broken != "" {
			return
		}
	}
	w.step = w.actions
	w.end()
}

// settle lets Argo CD follow and an engine look, so many times.
func (w *world) settle(rounds int) {
	for range rounds {
		w.follow()
		if did := w.reconcile(0); did == 0 || w.broken != "" {
			return
		}
	}
}

func (w *world) reconcile(i int) (did int) {
	result, err := w.engines[i].Reconcile(w.ctx)
	for _, step := range result.Done {
		w.count("step: " + string(step.Kind))
	}
	seen := map[promotion.Reason]bool{}
	for _, wait := range result.Waits {
		if !seen[wait.Reason] {
			w.count("waits: " + string(wait.Reason))
		}
		seen[wait.Reason] = true
	}
	if err != nil {
		w.tracef("engine %d: %v", i, err)
		if !w.racing {
			w.fail("an engine fails: %v", err)
		}
	}
	return len(result.Done)
}

// short is a version without its pipeline.
func short(v fmt.Stringer) string { return strings.TrimPrefix(v.String(), "shop/") }

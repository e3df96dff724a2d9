package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// nodes plays the cluster: for each Application that runs, the Pods that its
// manifests ask for.
type nodes struct {
	shop *shop

	mu sync.Mutex // guards the fields below
	// change turns a Pod into another before it is listed.
	change func(*Pod)
	err    map[string]error
	asked  []string
}

// see gives an Argo CD of the tests' shop Pods to look at: of orders, one of a
// Deployment.
func (s *shop) see(change func(*Pod)) *nodes {
	n := &nodes{shop: s, change: change, err: map[string]error{}}
	s.argo.workloads = func(a Application) []Workload {
		if !strings.HasSuffix(a.Path, "/orders") {
			return nil
		}
		return []Workload{{Group: "apps", Kind: "Deployment", Namespace: cmp.Or(a.DestNamespace, "shop-dev"), Name: "orders"}}
	}
	return n
}

func (n *nodes) Pods(_ context.Context, namespace string) ([]Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, namespace)
	if err := n.err[namespace]; err != nil {
		return nil, err
	}
	environment := strings.TrimPrefix(namespace, "shop-")
	image := "dev.example/shop/orders:v1"
	digest := n.shop.built["orders:v1"].Manifest.Digest()
	id := "dev.example/shop/orders@" + digest
	if environment != "dev" {
		image = environment + ".example/shop/orders@" + digest
		id = image
	}
	pod := Pod{
		Namespace: namespace, Name: "orders-7d4b9c-x2x", TemplateHash: "7d4b9c", Created: n.shop.clock,
		Owner:      Workload{Group: "apps", Kind: "ReplicaSet", Namespace: namespace, Name: "orders-7d4b9c"},
		Containers: []Container{{Name: "main", Image: image, ImageID: id}, {Name: "mesh", Image: "mesh.example/proxy:1", ImageID: "mesh.example/proxy@sha256:" + strings.Repeat("7", 64)}},
	}
	if n.change != nil {
		n.change(&pod)
	}
	return []Pod{pod}, nil
}

// sighted is an engine that sees Pods.
func (s *shop) sighted(n *nodes) func() *Engine {
	return func() *Engine {
		e := s.engine(nil)
		e.Live = n
		return e
	}
}

// other is an image that nobody locked; the environment's registry has it.
func (s *shop) other(registryName, content string) string {
	s.t.Helper()
	image := registrytest.MustIndex(s.t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": content}})
	registrytest.MustPush(s.t, s.registries[registryName].Registry, "orders", image, "other")
	return image.Manifest.Digest()
}

// TestLiveDigests: what the Pods of Stage run decides whether Stage counts as
// deployed, where it can be seen.
func TestLiveDigests(t *testing.T) {
	nobody := "sha256:" + strings.Repeat("9", 64)
	main := func(change func(*Container)) func(*shop) func(*Pod) {
		return func(*shop) func(*Pod) { return func(p *Pod) { change(&p.Containers[0]) } }
	}
	for _, test := range []struct {
		name     string
		change   func(*shop) func(*Pod) // of Stage's Pods
		evidence string
		missing  []string // of the wait; empty when it counts as deployed
	}{
		{"as locked", main(func(*Container) {}), "pods=1 digests=1", nil},
		{"Docker's form", main(func(c *Container) { c.ImageID = "docker-pullable://" + c.ImageID }), "pods=1 digests=1", nil},
		{"another registry, same digest", main(func(c *Container) { c.ImageID = strings.Replace(c.ImageID, "stage.", "dev.", 1) }), "pods=1 digests=1", nil},
		{"a runtime that says nothing", main(func(c *Container) { c.ImageID = "" }), "pods=1 digests=0", nil},
		{"a runtime that talks nonsense", main(func(c *Container) { c.ImageID = "kwok-image" }), "pods=1 digests=0", nil},
		{"a digest of who knows what", main(func(c *Container) { c.ImageID = nobody }), "pods=1 digests=0", nil},
		{"an image of the mesh only", func(*shop) func(*Pod) { return func(p *Pod) { p.Containers = p.Containers[1:] } }, "pods=1 digests=0", nil},
		{"the platform's manifest", func(s *shop) func(*Pod) {
			child := s.built["orders:v1"].Children[1].Manifest.Digest()
			return func(p *Pod) { p.Containers[0].ImageID = "stage.example/shop/orders@" + child }
		}, "pods=1 digests=1", nil},
		{"the platform's configuration", func(s *shop) func(*Pod) {
			parts, err := s.built["orders:v1"].Children[0].Manifest.Parse()
			if err != nil {
				s.t.Fatal(err)
			}
			return func(p *Pod) { p.Containers[0].ImageID = parts.Config.Digest }
		}, "pods=1 digests=1", nil},
		{"an index around the same image, from Dev", func(s *shop) func(*Pod) {
			built := s.built["orders:v1"]
			index := registry.Manifest{MediaType: built.Manifest.MediaType, Raw: []byte(strings.Replace(string(built.Manifest.Raw), "{", `{"annotations":{"built":"again"},`, 1))}
			if err := s.registries["dev"].PutManifest(t.Context(), "orders", index, "again"); err != nil {
				s.t.Fatal(err)
			}
			return func(p *Pod) { p.Containers[0].ImageID = "dev.example/shop/orders@" + index.Digest() }
		}, "pods=1 digests=1", nil},
		{"an index from Dev that is gone", main(func(c *Container) { c.ImageID = "dev.example/shop/orders@" + nobody }), "pods=1 digests=0", nil},
		{"an image from a registry that is none of ours", main(func(c *Container) { c.ImageID = "elsewhere.example/orders@" + nobody }), "pods=1 digests=0", nil},
		{"stopping Pods run what they ran", func(*shop) func(*Pod) {
			return func(p *Pod) { p.Terminating, p.Containers[0].Image = true, "stage.example/shop/orders@"+nobody }
		}, "", nil},
		{"ended Pods, too", func(*shop) func(*Pod) {
			return func(p *Pod) { p.Finished, p.Containers[0].Image = true, "stage.example/shop/orders@"+nobody }
		}, "", nil},
		{"somebody else's Pod", func(*shop) func(*Pod) {
			return func(p *Pod) {
				p.Owner.Name, p.Containers[0].Image = "debug-7d4b9c", "stage.example/shop/orders@"+nobody
			}
		}, "", nil},

		{"an index with the same image for one platform and another for the other", func(s *shop) func(*Pod) {
			mixed := s.mixed("stage")
			return func(p *Pod) { p.Containers[0].ImageID = "stage.example/shop/orders@" + mixed }
		}, "", []string{"HEALTH_UNKNOWN", "has what the snapshot has for one platform only"}},
		{"told to run another digest", main(func(c *Container) { c.Image = "stage.example/shop/orders@" + nobody }), "", []string{"DIGEST_MISMATCH", "is told to run stage.example/shop/orders@sha256:999", "the snapshot has sha256:"}},
		{"told to run a tag", main(func(c *Container) { c.Image = "stage.example/shop/orders:v1" }), "", []string{"DIGEST_MISMATCH", "is told to run stage.example/shop/orders:v1"}},
		{"runs another image of Stage", func(s *shop) func(*Pod) {
			digest := s.other("stage", "other")
			return func(p *Pod) { p.Containers[0].ImageID = "stage.example/shop/orders@" + digest }
		}, "", []string{"DIGEST_MISMATCH", "Pod orders-7d4b9c-x2x runs stage.example/shop/orders@sha256:"}},
		{"runs another image of Dev", func(s *shop) func(*Pod) {
			digest := s.other("dev", "other")
			return func(p *Pod) { p.Containers[0].ImageID = "dev.example/shop/orders@" + digest }
		}, "", []string{"DIGEST_MISMATCH"}},
		{"runs what Stage's registry does not have", main(func(c *Container) { c.ImageID = "stage.example/shop/orders@" + nobody }), "", []string{"DIGEST_MISMATCH"}},
		{"an init container, too", func(*shop) func(*Pod) {
			return func(p *Pod) {
				p.Containers = append([]Container{{Name: "init", Image: "stage.example/shop/orders@" + nobody}}, p.Containers...)
			}
		}, "", []string{"DIGEST_MISMATCH"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShop(t)
			change := test.change(s)
			n := s.see(func(p *Pod) {
				if p.Namespace == "shop-stage" {
					change(p)
				}
			})
			s.settle(s.sighted(n))
			entry := s.entry("stage")
			if len(test.missing) == 0 {
				if entry.Event != "deployed" {
					t.Fatalf("stage: %s", s.wait(n, "stage"))
				}
				line := ""
				for _, e := range entry.Applications {
					if e.Application == "orders" && e.Pods > 0 {
						line = fmt.Sprintf("pods=%d digests=%d", e.Pods, e.Digests)
					}
				}
				if line != test.evidence {
					t.Errorf("evidence %q, want %q", line, test.evidence)
				}
				return
			}
			wait := s.wait(n, "stage").String()
			for _, part := range test.missing {
				if !strings.Contains(wait, part) {
					t.Errorf("%s\nlacks %q", wait, part)
				}
			}
			if entry.Event != "promote" || s.entry("prod").Event != "" {
				t.Errorf("stage: %s, prod: %s", entry.Subject(), s.entry("prod").Subject())
			}
			// It is looked at anew each time, and goes on as soon as it is right.
			n.mu.Lock()
			n.change = nil
			n.mu.Unlock()
			s.settle(s.sighted(n))
			if entry := s.entry("prod"); entry.Event != "deployed" {
				t.Errorf("prod: %s", entry.Subject())
			}
		})
	}
}

// wait is the first thing that an environment waits for.
func (s *shop) wait(n *nodes, environment string) Wait {
	s.t.Helper()
	result, err := s.sighted(n)().Reconcile(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, w := range result.Waits {
		if w.Environment == environment {
			return w
		}
	}
	return Wait{}
}

// TestPodsNotVisible: no right is no fault, and said once; an answer that does
// not come is unknown.
func TestPodsNotVisible(t *testing.T) {
	s := newShop(t)
	n := s.see(nil)
	var log strings.Builder
	engine := s.sighted(n)()
	engine.Log = slog.New(slog.NewTextHandler(&log, nil))
	n.err["shop-stage"] = fmt.Errorf("%w: pods is forbidden", ErrNotVisible)
	n.err["shop-prod"] = errors.New("etcd is away at https://ada:secret@etcd.example")
	s.settle(func() *Engine { return engine })
	if entry := s.entry("stage"); entry.Event != "deployed" || entry.Applications[0].Pods != 0 {
		t.Errorf("stage: %s, %+v", entry.Subject(), entry.Applications)
	}
	if n := strings.Count(log.String(), "Pods are not visible"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	if entry := s.entry("prod"); entry.Event != "promote" {
		t.Errorf("prod counts as deployed although its Pods could not be read: %s", entry.Subject())
	}
	wait := s.wait(n, "prod")
	if wait.Reason != HealthUnknown || !strings.Contains(wait.Detail, "what its Pods run cannot be told: etcd is away at https://etcd.example") {
		t.Errorf("prod: %s", wait)
	}
	// A registry that does not say what belongs to a digest leaves it unknown.
	delete(n.err, "shop-prod")
	other := s.other("prod", "other")
	n.change = func(p *Pod) { p.Containers[0].ImageID = "prod.example/shop/orders@" + other }
	s.registries["prod"] = registrytest.Faulty(mute{s.registries["prod"].Registry})
	if wait := s.wait(n, "prod"); wait.Reason != HealthUnknown || !strings.Contains(wait.Detail, errDown.Error()) {
		t.Errorf("prod: %s", wait)
	}
}

// TestPodsSeldomRead: only where they decide or explain something.
func TestPodsSeldomRead(t *testing.T) {
	s := newShop(t)
	n := s.see(nil)
	s.settle(s.sighted(n))
	n.asked = nil
	engine := s.sighted(n)()
	for range 3 {
		if _, err := engine.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Dev's are, since its images have tags that may move, but not each time.
	if !slices.Equal(n.asked, []string{"shop-dev"}) {
		t.Errorf("read %v", n.asked)
	}
	s.clock = s.clock.Add(warningPeriod)
	if _, err := engine.Reconcile(t.Context()); err != nil || len(n.asked) != 2 {
		t.Errorf("read %v, %v", n.asked, err)
	}
	s.argo.mu.Lock()
	maps.DeleteFunc(s.argo.applications, func(name string, _ Application) bool { return strings.HasPrefix(name, "dev") })
	s.argo.mu.Unlock()
	n.asked = nil
	if _, err := engine.Reconcile(t.Context()); err != nil || len(n.asked) > 0 {
		t.Errorf("read %v, %v", n.asked, err)
	}
}

// TestDevRunsAnother: what Dev's Pods run and the snapshot does not have is a
// warning, and holds nothing up (S33).
func TestDevRunsAnother(t *testing.T) {
	s := newShop(t)
	other := s.other("dev", "pulled before")
	n := s.see(func(p *Pod) {
		if p.Namespace == "shop-dev" {
			p.Containers[0].ImageID = "dev.example/shop/orders@" + other
		}
	})
	s.settle(s.sighted(n))
	if entry := s.entry("prod"); entry.Event != "deployed" {
		t.Errorf("prod: %s", entry.Subject())
	}
	result, err := s.sighted(n)().Reconcile(t.Context())
	if err != nil || len(result.Warnings) != 1 {
		t.Fatalf("%v, warnings: %v", err, result.Warnings)
	}
	want := "dev shop/v0.1.0: DIGEST_MISMATCH: Pod orders-7d4b9c-x2x runs dev.example/shop/orders:v1 as dev.example/shop/orders@" + other
	if got := result.Warnings[0].String(); !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant %s…", got, want)
	}
	n.change = nil
	if result, err := s.sighted(n)().Reconcile(t.Context()); err != nil || len(result.Warnings) != 0 {
		t.Errorf("%v, warnings: %v", err, result.Warnings)
	}
}

// mute is a registry that does not say what it has.
type mute struct{ registry.Registry }

func (mute) Manifest(context.Context, string, string) (registry.Manifest, error) {
	return registry.Manifest{}, errDown
}

func TestOwns(t *testing.T) {
	const ns = "shop"
	app := Application{Workloads: []Workload{
		{"apps", "Deployment", ns, "orders"},
		{"apps", "StatefulSet", ns, "db"},
		{"apps", "DaemonSet", ns, "agent"},
		{"batch", "Job", ns, "migrate-2"},
		{"batch", "CronJob", ns, "report"},
		{"", "Pod", ns, "bare"},
		{"argoproj.io", "Rollout", ns, "web"},
		{"example.org", "Database", ns, "big"},
	}}
	for _, test := range []struct {
		name, namespace string
		owner           Workload
		hash            string
		want            bool
	}{
		{"Deployment", ns, Workload{"apps", "ReplicaSet", ns, "orders-7d4b9c"}, "7d4b9c", true},
		{"Rollout", ns, Workload{"apps", "ReplicaSet", ns, "web-7d4b9c"}, "7d4b9c", true},
		{"StatefulSet", ns, Workload{"apps", "StatefulSet", ns, "db"}, "", true},
		{"DaemonSet", ns, Workload{"apps", "DaemonSet", ns, "agent"}, "", true},
		{"Job", ns, Workload{"batch", "Job", ns, "migrate-2"}, "", true},
		{"CronJob", ns, Workload{"batch", "Job", ns, "report-29123456"}, "", true},
		{"an operator's", ns, Workload{"example.org", "Database", ns, "big"}, "", true},
		{"bare", ns, Workload{}, "", true},
		{"another namespace", "web", Workload{"apps", "StatefulSet", "web", "db"}, "", false},
		{"another Deployment whose name begins alike", ns, Workload{"apps", "ReplicaSet", ns, "orders-api-7d4b9c"}, "7d4b9c", false},
		{"ReplicaSet without a hash", ns, Workload{"apps", "ReplicaSet", ns, "orders-7d4b9c"}, "", false},
		{"another group", ns, Workload{"example.org", "StatefulSet", ns, "db"}, "", false},
		{"a Job of the same name as a CronJob", ns, Workload{"batch", "Job", ns, "report"}, "", false},
		{"a Job that no CronJob made", ns, Workload{"batch", "Job", ns, "report-x"}, "", false},
		{"an operator's other", ns, Workload{"example.org", "Database", ns, "small"}, "", false},
	} {
		name := "bare"
		if test.owner.Kind != "" {
			name = "x"
		}
		if got := app.owns(Pod{Namespace: test.namespace, Name: name, Owner: test.owner, TemplateHash: test.hash}); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if app.owns(Pod{Namespace: ns, Name: "another"}) {
		t.Error("owns a Pod that nobody made")
	}
}

// TestScheduled: what a CronJob began before the sync may run what was there
// before; what it begins after may not.
func TestScheduled(t *testing.T) {
	finished := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	app := Application{FinishedAt: finished, Workloads: []Workload{{"batch", "CronJob", "shop", "report"}, {"batch", "Job", "shop", "migrate-2"}}}
	at := func(after time.Duration) string { return fmt.Sprintf("report-%d", finished.Add(after).Unix()/60) }
	for _, test := range []struct {
		name, job string
		created   time.Duration // after the sync
		want      bool
	}{
		{"before", at(-time.Minute), -time.Minute, false},
		{"in the same second", at(0), 0, false},
		{"after", at(time.Minute), time.Minute, true},
		{"a new Pod of a Job from before", at(-time.Hour), time.Minute, false},
		{"a new Pod of a Job from after", at(time.Minute), time.Hour, true},
		{"a Job by hand, before", "report-3", -time.Minute, false},
		{"a Job by hand, after", "report-3", time.Minute, true},
		{"a Job with more digits than a time has", "report-99999999999999999999", time.Minute, true},
		{"a Job that Argo CD manages", "migrate-2", -time.Minute, true},
	} {
		pod := Pod{Namespace: "shop", Owner: Workload{"batch", "Job", "shop", test.job}, Created: finished.Add(test.created)}
		if got := len(app.running([]Pod{pod})) == 1; got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func FuzzImageID(f *testing.F) {
	for _, id := range []string{"", "docker-pullable://a/b@sha256:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("a", 64), "a:5000/b:c@sha256:x", "@", "://@sha256:"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		repository, digest, ok := imageID(id)
		if ok != registry.IsDigest(digest) || strings.Contains(repository, "@") {
			t.Errorf("%q: %q %q %v", id, repository, digest, ok)
		}
	})
}

// TestContentsAskedOnce: what belongs to a digest does not change.
func TestContentsAskedOnce(t *testing.T) {
	s := newShop(t)
	built := s.built["orders:v1"]
	counted := &counting{Registry: s.registries["dev"].Registry}
	var m memory
	for range 3 {
		found, err := m.inquire(time.Minute).contentsOf(t.Context(), counted, "dev", "orders", built.Digest())
		// The index, two platforms, two configurations.
		if err != nil || len(found.all) != 5 || len(found.platforms) != 2 {
			t.Fatalf("%v, %v", found, err)
		}
	}
	if counted.manifests != 3 {
		t.Errorf("asked for %d manifests, want 3", counted.manifests)
	}
	// What is missing may come, but not during one inquiry.
	q := m.inquire(time.Minute)
	for range 3 {
		if _, err := q.contentsOf(t.Context(), counted, "dev", "orders", "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("unknown digest: %v", err)
		}
	}
	if counted.manifests != 4 {
		t.Errorf("asked for %d manifests, want 4", counted.manifests)
	}
}

// hanging is a registry that never answers.
type hanging struct {
	registry.Registry
	asked *atomic.Int32
}

func (h hanging) Manifest(ctx context.Context, _, _ string) (registry.Manifest, error) {
	h.asked.Add(1)
	<-ctx.Done()
	return registry.Manifest{}, ctx.Err()
}

// TestInquiryIsBounded: registries that do not answer cost an inquiry's budget,
// whatever there is to ask.
func TestInquiryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var m memory
		q := m.inquire(time.Minute)
		begin := time.Now()
		for i := range 100 {
			_, err := q.contentsOf(t.Context(), hanging{nil, &asked}, "dev", "orders", fmt.Sprintf("sha256:%064d", i/2))
			if err == nil || i > 1 && !errors.Is(err, errNoTimeLeft) {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != time.Minute || asked.Load() != 1 {
			t.Errorf("asked %d times in %s", asked.Load(), took)
		}
	})
}

// crowd has many Pods where nodes have one.
type crowd struct {
	*nodes
	size int
}

func (c crowd) Pods(ctx context.Context, namespace string) ([]Pod, error) {
	one, err := c.nodes.Pods(ctx, namespace)
	return slices.Repeat(one, c.size), err
}

// TestDevRegistryGone: a warning is not worth waiting for a registry that does
// not answer, and least of all once for every Pod and look.
func TestDevRegistryGone(t *testing.T) {
	s := newShop(t)
	other := s.other("dev", "pulled before")
	n := s.see(func(p *Pod) {
		if p.Namespace == "shop-dev" {
			p.Containers[0].ImageID = "dev.example/shop/orders@" + other
		}
	})
	s.settle(func() *Engine { return s.engine(nil) })
	var asked atomic.Int32
	s.registries["dev"] = registrytest.Faulty(hanging{s.registries["dev"].Registry, &asked})
	synctest.Test(t, func(t *testing.T) {
		e := s.sighted(n)()
		e.Live = crowd{n, 200}
		begin := time.Now()
		for range 20 {
			s.argo.mu.Lock()
			for name, a := range s.argo.applications {
				a.HealthSince = a.HealthSince.Add(time.Second) // it flaps
				s.argo.applications[name] = a
			}
			s.argo.mu.Unlock()
			if _, err := e.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > warningBudget || asked.Load() != 1 {
			t.Errorf("asked %d times, for %s", asked.Load(), took)
		}
		s.clock = s.clock.Add(warningPeriod)
		if _, err := e.Reconcile(t.Context()); err != nil || asked.Load() != 2 {
			t.Errorf("later: asked %d times, %v", asked.Load(), err)
		}
	})
}

// TestDevImageGone: what was cleaned up in Dev tells nothing.
func TestDevImageGone(t *testing.T) {
	s := newShop(t)
	n := s.see(func(p *Pod) {
		if p.Namespace == "shop-dev" {
			p.Containers[0].ImageID = "dev.example/shop/orders@sha256:" + strings.Repeat("9", 64)
		}
	})
	s.settle(s.sighted(n))
	if result, err := s.sighted(n)().Reconcile(t.Context()); err != nil || len(result.Warnings) != 0 {
		t.Errorf("%v, warnings: %v", err, result.Warnings)
	}
}

// TestSoakAsksPods: an environment whose Pods came to run something else does
// not pass a gate for how long it was well.
func TestSoakAsksPods(t *testing.T) {
	s := newShop(t, gitrepotest.Files{config.File: strings.Replace(configuration, "registry: prod, promote", "registry: prod, gates: [{soak: 30m}], promote", 1)})
	n := s.see(nil)
	s.settle(s.sighted(n))
	n.mu.Lock()
	n.change = func(p *Pod) {
		if p.Namespace == "shop-stage" {
			p.Containers[0].Image = "stage.example/shop/orders@sha256:" + strings.Repeat("9", 64)
		}
	}
	n.mu.Unlock()
	s.clock = s.clock.Add(31 * time.Minute)
	wait := s.wait(n, "prod").String()
	if !strings.Contains(wait, "SOAK_NOT_REACHED") || !strings.Contains(wait, "is told to run stage.example/shop/orders@sha256:999") || s.entry("prod").Event != "" {
		t.Errorf("prod: %s, %s", wait, s.entry("prod").Subject())
	}
	n.mu.Lock()
	n.change = nil
	n.mu.Unlock()
	if _, err := s.sighted(n)().Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.settle(s.sighted(n))
	if entry := s.entry("prod"); entry.Event != "deployed" {
		t.Errorf("prod: %s", entry.Subject())
	}
	n.asked = nil
	if _, err := s.sighted(n)().Reconcile(t.Context()); err != nil || slices.Contains(n.asked, "shop-stage") {
		t.Errorf("read although nobody waits: %v, %v", n.asked, err)
	}
}

// mixed is an index with the locked image for one platform and another for the
// other; the registry has it.
func (s *shop) mixed(registryName string) string {
	s.t.Helper()
	locked := s.built["orders:v1"]
	r := s.registries[registryName].Registry
	other := registrytest.MustIndex(s.t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": "mixed"}})
	registrytest.MustPush(s.t, r, "orders", other, "other")
	registrytest.MustPush(s.t, r, "orders", locked, "locked")
	mine, foreign := locked.Children[0].Manifest, other.Children[0].Manifest
	raw := strings.ReplaceAll(string(locked.Manifest.Raw), mine.Digest(), foreign.Digest())
	raw = strings.Replace(raw, fmt.Sprintf(`"size":%d`, len(mine.Raw)), fmt.Sprintf(`"size":%d`, len(foreign.Raw)), 1)
	mixed := registry.Manifest{MediaType: locked.Manifest.MediaType, Raw: []byte(raw)}
	if err := r.PutManifest(s.t.Context(), "orders", mixed, "mixed"); err != nil {
		s.t.Fatal(err)
	}
	return mixed.Digest()
}

func TestContentsMeet(t *testing.T) {
	set := func(digests ...string) map[string]bool {
		m := map[string]bool{}
		for _, d := range digests {
			m[d] = true
		}
		return m
	}
	image := func(manifest, config string) contents { return contents{all: set(manifest, config)} }
	index := func(digest string, platforms ...string) contents { // "amd64=a", its configuration is "ca"
		c := contents{all: set(digest)}
		for _, p := range platforms {
			platform, d, _ := strings.Cut(p, "=")
			c.add(platform, d)
			c.add(platform, "c"+d)
		}
		return c
	}
	own := index("i", "amd64=a", "arm64=b")
	for _, test := range []struct {
		name  string
		other contents
		want  sameness
	}{
		{"all platforms", index("j", "amd64=a", "arm64=b"), equal},
		{"one more", index("j", "amd64=a", "arm64=b", "s390x=s"), equal},
		{"one less", index("j", "amd64=a"), equal},
		{"one is another", index("j", "amd64=a", "arm64=x"), unverifiable},
		{"all are others", index("j", "amd64=x", "arm64=y"), different},
		{"swapped", index("j", "amd64=b", "arm64=a"), different},
		{"none in common", index("j", "s390x=s"), different},
		{"an image of it", image("b", "cb"), equal},
		{"its program in another manifest", image("z", "cb"), equal},
		{"another image", image("z", "cz"), different},
	} {
		if got := own.meet(test.other); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
	if image("a", "ca").meet(own) != equal || image("a", "ca").meet(image("b", "cb")) != different {
		t.Error("a single image")
	}
}

type counting struct {
	registry.Registry
	manifests int
}

func (c *counting) Manifest(ctx context.Context, repo, digest string) (registry.Manifest, error) {
	c.manifests++
	return c.Registry.Manifest(ctx, repo, digest)
}

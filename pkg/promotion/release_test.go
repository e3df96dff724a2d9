package promotion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// TestReleaseTagIsTaken: a tag that names another image stays where it is; it
// is reported and stops nothing.
func TestReleaseTagIsTaken(t *testing.T) {
	s := tagShop(t)
	other := registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": "another product"}})
	registrytest.MustPush(t, s.registries["stage"].Registry, "orders", other, "v1.5.0")
	s.tag("v1.5.0", s.tip())
	var logged bytes.Buffer
	s.settle(func() *Engine {
		e := s.engine(nil)
		e.Log = slog.New(slog.NewTextHandler(&logged, nil))
		return e
	})
	for env, want := range map[string]string{"stage": other.Digest(), "prod": s.built["orders:v1"].Digest()} {
		if d, err := s.registries[env].Resolve(t.Context(), "orders", "v1.5.0"); err != nil || d.Digest != want {
			t.Errorf("%s: v1.5.0 names %s, %v; want %s", env, d.Digest, err, want)
		}
	}
	if got := s.entry("prod").Snapshot.Number(); got != "v1.5.0" {
		t.Errorf("prod runs %q", got)
	}
	for _, part := range []string{"it names another image", "registry=stage.example/shop", "repository=orders", "tag=v1.5.0", other.Digest()} {
		if !strings.Contains(logged.String(), part) {
			t.Errorf("the log does not say %q:\n%s", part, logged.String())
		}
	}
}

// ruled is a registry in which only some people may set a tag, in one
// repository.
type ruled struct {
	registry.Registry
	repo, tag string
}

func (r ruled) PutManifest(ctx context.Context, repo string, m registry.Manifest, tags ...string) error {
	if repo == r.repo && slices.Contains(tags, r.tag) {
		return errors.New("403 Forbidden: release managers only")
	}
	return r.Registry.PutManifest(ctx, repo, m, tags...)
}

// TestReleaseTagIsRefused: the name for people is missing, which is reported;
// other images have theirs, and every environment gets the release.
func TestReleaseTagIsRefused(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	for _, env := range []string{"stage", "prod"} {
		s.registries[env] = registrytest.Faulty(ruled{s.registries[env].Registry, "orders", "v1.5.0"})
	}
	var logged bytes.Buffer
	s.settle(func() *Engine {
		e := s.engine(nil)
		e.Log = slog.New(slog.NewTextHandler(&logged, nil))
		return e
	})
	for _, env := range []string{"stage", "prod"} {
		if d, err := s.registries[env].Resolve(t.Context(), "worker", "v1.5.0"); err != nil || d.Digest != s.built["worker:latest"].Digest() {
			t.Errorf("%s: the worker's v1.5.0 names %s, %v", env, d.Digest, err)
		}
		if entry := s.entry(env); entry.Event != snapshot.EventDeployed || entry.Snapshot.Number() != "v1.5.0" {
			t.Errorf("%s: %s %s", env, entry.Event, entry.Snapshot)
		}
		for _, part := range []string{"level=WARN", "registry=" + env + ".example/shop repository=orders", "release managers only"} {
			if !strings.Contains(logged.String(), part) {
				t.Errorf("the log does not say %q:\n%s", part, logged.String())
			}
		}
	}
}

// TestReleaseIsInterrupted: a worker that is stopped sets no tag and moves
// nothing.
func TestReleaseIsInterrupted(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	ctx, stop := context.WithCancel(t.Context())
	s.registries["stage"] = registrytest.Faulty(stopping{s.registries["stage"].Registry, stop})
	if _, err := s.engine(nil).Reconcile(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(s.snapshots()) > 0 {
		t.Errorf("snapshots %v", s.snapshots())
	}
}

// stopping ends the run when a release tag is to be set.
type stopping struct {
	registry.Registry
	stop func()
}

func (r stopping) PutManifest(ctx context.Context, repo string, m registry.Manifest, tags ...string) error {
	if slices.Contains(tags, "v1.5.0") {
		r.stop()
		return ctx.Err()
	}
	return r.Registry.PutManifest(ctx, repo, m, tags...)
}

// TestReleaseTagIsAmbiguous: Stage needs two images of one repository, so the
// tag names neither there; Prod needs one.
func TestReleaseTagIsAmbiguous(t *testing.T) {
	s := tagShop(t, gitrepotest.Files{"envs/stage/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v2")})
	s.push("orders", "v2")
	s.tag("v1.5.0", s.tip())
	s.settle(func() *Engine { return s.engine(nil) })
	if d, err := s.registries["stage"].Resolve(t.Context(), "orders", "v1.5.0"); err == nil {
		t.Errorf("stage: v1.5.0 names %s", d.Digest)
	}
	if d, err := s.registries["prod"].Resolve(t.Context(), "orders", "v1.5.0"); err != nil || d.Digest != s.built["orders:v1"].Digest() {
		t.Errorf("prod: v1.5.0 names %s, %v", d.Digest, err)
	}
}

// TestReleaseTagComesBack: whoever mirrors by hand repairs it as well.
func TestReleaseTagComesBack(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	s.settle(func() *Engine { return s.engine(nil) })
	s.registries["prod"] = registrytest.Faulty(newShop(t).registries["prod"].Registry)
	e := s.engine(nil)
	state := s.observe()
	prod, _ := state.Environment("prod")
	if _, err := e.Mirror(t.Context(), state.Pipeline, prod.Snapshot.Lock, prod.Environment); err != nil {
		t.Fatal(err)
	}
	if d, err := s.registries["prod"].Resolve(t.Context(), "orders", "v1.5.0"); err != nil || d.Digest != s.built["orders:v1"].Digest() {
		t.Errorf("v1.5.0 names %s, %v", d.Digest, err)
	}
}

// TestEveryWriteOfARelease is the write table for a train that a tag started:
// each write is once lost and once done without an answer, and the outcome is
// the same.
func TestEveryWriteOfARelease(t *testing.T) {
	start := func(t *testing.T) *shop {
		s := tagShop(t)
		s.tag("v1.5.0", s.tip())
		s.grow("after the release")
		return s
	}
	clean := start(t)
	faults := gitrepotest.Faulty(clean.server.Client())
	clean.settle(func() *Engine { return clean.engine(faults) })
	wantRefs, wantContents := clean.refs(), clean.contents()
	writes := map[string]int{"git": faults.Calls().Push, "stage": clean.registries["stage"].Writes(), "prod": clean.registries["prod"].Writes()}
	for side, count := range maps.All(writes) {
		for n := range everyWrite(count) {
			for _, fault := range []registrytest.Fault{registrytest.Lost, registrytest.Unanswered} {
				t.Run(fmt.Sprintf("%s/%d/%s", side, n, fault), func(t *testing.T) {
					s := start(t)
					repo := gitrepotest.Faulty(s.server.Client())
					switch {
					case side != "git":
						s.registries[side].FailAt(n, fault)
					case fault == registrytest.Lost:
						repo.LosePush(n)
					default:
						repo.LoseAnswer(n)
					}
					s.settle(func() *Engine { return s.engine(repo) })
					s.checkImages(t)
					if diff := cmp.Diff(wantRefs, s.refs()); diff != "" {
						t.Errorf("refs differ: %s", diff)
					}
					if diff := cmp.Diff(wantContents, s.contents()); diff != "" {
						t.Errorf("registries differ: %s", diff)
					}
				})
			}
		}
	}
}

// TestTwoWorkersOneTag: two engines at once do the same as one.
func TestTwoWorkersOneTag(t *testing.T) {
	start := func() *shop {
		s := tagShop(t)
		s.annotate("v1.5.0", s.tip())
		return s
	}
	clean := start()
	clean.settle(func() *Engine { return clean.engine(nil) })
	s := start()
	for range 8 {
		s.argo.follow(t)
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := s.engine(nil).Reconcile(t.Context())
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	if diff := cmp.Diff(clean.refs(), s.refs()); diff != "" {
		t.Errorf("refs differ: %s", diff)
	}
	if diff := cmp.Diff(clean.contents(), s.contents()); diff != "" {
		t.Errorf("registries differ: %s", diff)
	}
}

package mirror_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// TestAddTags: a free tag is set, a right one is left alone, a taken one is
// reported, and no bytes but manifests travel.
func TestAddTags(t *testing.T) {
	memory := registry.NewMemory("stage.example/shop")
	dst := registrytest.Faulty(memory)
	image := func(content string) imagebuild.Built {
		return registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": content}})
	}
	orders, older, web := image("orders"), image("older"), image("web")
	registrytest.MustPush(t, memory, "orders", orders, "kept")
	registrytest.MustPush(t, memory, "orders", older, "taken")
	registrytest.MustPush(t, memory, "web", web)
	images := []mirror.Image{
		{Reference: "dev.example/orders:1", TargetRepo: "orders", Digest: orders.Digest(), Tags: []string{"taken", "kept", "v1.5.0"}},
		{Reference: "dev.example/web:1", TargetRepo: "web", Digest: web.Digest(), Tags: []string{"v1.5.0"}},
	}
	add := func() []mirror.Taken {
		taken, err := mirror.AddTags(t.Context(), dst, images, mirror.Options{Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	want := []mirror.Taken{{Image: images[0], Tag: "taken", Digest: older.Digest()}}
	if diff := cmp.Diff(want, add()); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	if dst.Writes() != 2 {
		t.Errorf("writes: %v", dst.Log())
	}
	for _, row := range []struct{ repo, tag, digest string }{
		{"orders", "taken", older.Digest()},
		{"orders", "kept", orders.Digest()},
		{"orders", "v1.5.0", orders.Digest()},
		{"web", "v1.5.0", web.Digest()},
	} {
		if d, err := memory.Resolve(t.Context(), row.repo, row.tag); err != nil || d.Digest != row.digest {
			t.Errorf("%s:%s names %s, %v; want %s", row.repo, row.tag, d.Digest, err, row.digest)
		}
	}
	if diff := cmp.Diff(want, add()); diff != "" || dst.Writes() != 2 {
		t.Errorf("again: %d writes, taken (-want +got):\n%s", dst.Writes(), diff)
	}
}

// TestAddTagsFails: an image that is not there cannot be named, and a registry
// that refuses is an error with the image's name.
func TestAddTagsFails(t *testing.T) {
	memory := registry.NewMemory("stage.example/shop")
	dst := registrytest.Faulty(memory)
	built := registrytest.MustIndex(t, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": "orders"}})
	image := mirror.Image{Reference: "dev.example/orders:1", TargetRepo: "orders", Digest: built.Digest(), Tags: []string{"v1.5.0"}}
	_, err := mirror.AddTags(t.Context(), dst, []mirror.Image{image}, mirror.Options{})
	var failed *mirror.Error
	if !errors.Is(err, registry.ErrNotFound) || !errors.As(err, &failed) || failed.Side != mirror.SideDestination {
		t.Errorf("not there: %v", err)
	}
	registrytest.MustPush(t, memory, "orders", built)
	dst.FailAt(1, registrytest.Lost)
	_, err = mirror.AddTags(t.Context(), dst, []mirror.Image{image}, mirror.Options{})
	if !errors.Is(err, registrytest.ErrInjected) || !errors.As(err, &failed) || failed.Reference != image.Reference {
		t.Errorf("refused: %v", err)
	}
}

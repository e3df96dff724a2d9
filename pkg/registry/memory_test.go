package registry_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

func TestMemory(t *testing.T) {
	registrytest.Suite(t, func(*testing.T) registry.Registry { return registry.NewMemory("dev.example/shop") })
}

func TestMemoryWithoutReferrersAPI(t *testing.T) {
	open := func(*testing.T) registry.Registry {
		m := registry.NewMemory("dev.example/shop")
		m.SetReferrersAPI(false)
		return m
	}
	registrytest.Suite(t, open)

	m := open(t)
	image := registrytest.MustImage(t, imagebuild.Spec{})
	registrytest.MustPush(t, m, "orders", image.Refer(imagebuild.Signature(image.Manifest.Descriptor(), "s")), "1.0")
	tags, err := m.Tags(t.Context(), "orders")
	if diff := cmp.Diff([]string{"1.0", registry.ReferrersTag(image.Digest())}, tags); diff != "" || err != nil {
		t.Errorf("tags (-want +got):\n%s%v", diff, err)
	}
	if !registry.IsReferrersTag(tags[1]) || registry.IsReferrersTag(tags[0]) || registry.IsReferrersTag(tags[1]+".sig") {
		t.Error("IsReferrersTag is wrong")
	}
}

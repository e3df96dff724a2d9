package examples_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// TestShopRenders renders all applications of all environments and checks
// that each asks for the same images everywhere.
func TestShopRenders(t *testing.T) {
	p := pipeline(t)
	want := map[string][]string{
		"cache":   {"redis:7.4-alpine"},
		"catalog": {"dev.registry.example/shop/catalog:7d40be2"},
		"gateway": {"dev.registry.example/shop/gateway:c81e72f"},
		"jobs":    {"dev.registry.example/shop/worker:latest"},
		"orders":  {"dev.registry.example/shop/orders:3f2a9c1"},
	}
	for _, environment := range p.Environments {
		t.Run(environment.Name, func(t *testing.T) {
			applications, err := render.Discover(examples.Shop(), environment)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for _, application := range applications {
				out, err := render.Render(t.Context(), render.Input{
					FS: examples.Shop(), Application: application,
					Namespace:    environment.Destinations[0].Namespace,
					Capabilities: environment.Capabilities,
				})
				if err != nil {
					t.Fatal(err)
				}
				images, err := out.Images()
				if err != nil {
					t.Fatal(err)
				}
				var references []string
				for _, image := range images {
					references = append(references, image.Reference)
				}
				slices.Sort(references)
				got[application.Name] = slices.Compact(references)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
		})
	}
}

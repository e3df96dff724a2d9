package cli_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// lose replaces an environment's registry by an empty one.
func (w *world) lose(environment string) {
	w.t.Helper()
	w.registries[environment] = registrytest.NewServer(w.t, registrytest.Options{Referrers: true})
	w.endpoints[environment+".registry.example"] = w.registries[environment].URL
	for i, assignment := range w.env {
		if strings.HasPrefix(assignment, "PROPAGATOR_REGISTRY_ENDPOINT=") {
			w.env[i] = "PROPAGATOR_REGISTRY_ENDPOINT=" + joined(w.endpoints)
		}
	}
}

// TestRecover: Prod's registry is lost, later Stage's; each time the images come
// back from whichever registry has them, and only when no registry has them they
// are lost (I10).
func TestRecover(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.0"))
	w.must("recover")
	w.must("snapshot", "create")
	w.deployed()
	w.approve("shop/v0.1.0")
	w.must("promote", "prod")
	w.deployed()
	w.must("recover")

	// A registry that does not let us in has lost nothing, as far as anybody knows.
	w.registries["prod"].Deny(func(*http.Request) bool { return true })
	w.fails(1, []string{"recover"}, "prod.registry.example/shop", "hint: docker login prod.registry.example")
	w.fails(1, []string{"recover", "--dry-run"}, "prod.registry.example/shop")

	w.lose("prod")
	w.fails(4, []string{"recover", "--dry-run"}, "3 of 3 images not complete in prod.registry.example/shop", "hint: propagator recover")
	if n := w.writes(); n < 0 {
		t.Fatal(n)
	}
	w.must("recover")
	w.must("mirror", "verify", "prod", "v0.1.0")

	w.lose("stage")
	w.lose("dev")
	w.must("recover") // from prod
	w.must("mirror", "verify", "stage", "v0.1.0")

	w.lose("stage")
	w.lose("prod")
	w.fails(4, []string{"recover"}, "shop/v0.1.0 cannot be deployed to stage again")
	w.golden("recover.txt")
}

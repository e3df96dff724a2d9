package config

import "testing"

// TestServiceOf: the longest image wins, and short names of docker.io are the
// long ones.
func TestServiceOf(t *testing.T) {
	p := &Pipeline{Services: []Service{
		{Image: "dev.registry.example/shop/*", Repository: "all"},
		{Image: "dev.registry.example/shop/orders", Repository: "orders"},
		{Image: "dev.registry.example/shop/team/*", Repository: "team"},
		{Image: "redis", Repository: "redis"},
	}}
	for image, want := range map[string]string{
		"dev.registry.example/shop/web:1.0":       "all",
		"dev.registry.example/shop/orders:1.0":    "orders",
		"dev.registry.example/shop/orders-db:1.0": "all",
		"dev.registry.example/shop/team/a/b":      "team",
		"dev.registry.example/shop/team":          "all",
		"dev.registry.example/shopping:1":         "",
		"docker.io/library/redis@" + digestA:      "redis",
		"redis:7":                                 "redis",
		"postgres:17":                             "",
		"not an image":                            "",
	} {
		got, ok := p.ServiceOf(image)
		if got.Repository != want || ok != (want != "") {
			t.Errorf("%s is built in %q (%v), want %q", image, got.Repository, ok, want)
		}
	}
}

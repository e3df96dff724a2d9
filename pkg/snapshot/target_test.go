package snapshot

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
)

func TestTargets(t *testing.T) {
	eu, us := config.Destination{Cluster: "prod-eu", Namespace: "shop"}, config.Destination{Server: "https://us.example:6443", Namespace: "shop"}
	pipeline := &config.Pipeline{Name: "shop", Environments: []config.Environment{
		{Name: "stage", Destinations: []config.Destination{{Cluster: "in-cluster", Namespace: "shop-stage"}}},
		{
			Name: "prod", Destinations: []config.Destination{eu, us},
			Applications: []config.Application{{Name: "jobs", Namespace: "batch"}, {Name: "orders"}},
		},
	}}
	targets, err := Targets(pipeline, lock(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	batch := func(d config.Destination) config.Destination {
		d.Namespace = "batch"
		return d
	}
	want := []Target{
		{"prod", "jobs", "envs/prod/jobs", batch(eu)},
		{"prod", "jobs", "envs/prod/jobs", batch(us)},
		{"prod", "orders", "envs/prod/orders", eu},
		{"prod", "orders", "envs/prod/orders", us},
	}
	if diff := cmp.Diff(want, targets); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := targets[0].String() + " " + targets[3].String(); got != "jobs@prod-eu/batch orders@https://us.example:6443/shop" {
		t.Errorf("names: %s", got)
	}
	// The lock lists nothing for it: no targets, and no error.
	if targets, err := Targets(pipeline, lock(), "stage"); err != nil || len(targets) != 0 {
		t.Errorf("stage: %v, %v", targets, err)
	}
	if _, err := Targets(pipeline, lock(), "prd"); err == nil || err.Error() != `snapshot shop/v1.4.0 has no environment "prd"` {
		t.Errorf("error: %v", err)
	}
}

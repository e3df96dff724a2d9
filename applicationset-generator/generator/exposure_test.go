package generator

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// TestDistinction: an Application's name follows from its destination, so that
// a second one does not rename the first.
func TestDistinction(t *testing.T) {
	p := &config.Pipeline{Name: "shop"}
	for _, test := range []struct {
		name        string
		destination config.Destination
		want        string
	}{
		{"the default", config.Destination{Cluster: "in-cluster", Namespace: "shop-prod"}, ""},
		{"the default by its address", config.Destination{Server: "https://kubernetes.default.svc", Namespace: "shop-prod"}, ""},
		{"another cluster", config.Destination{Cluster: "prod-eu", Namespace: "shop-prod"}, "prod-eu"},
		{"another namespace", config.Destination{Cluster: "in-cluster", Namespace: "web"}, "web"},
		{"both, by address", config.Destination{Server: "https://eu.example:6443", Namespace: "web"}, "eu.example:6443 web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(distinction(p, "prod", test.destination), " "); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

package snapshot

import (
	"cmp"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// Target is one Application that must exist for an environment: an
// application of the snapshot at one destination.
type Target struct {
	Environment string
	Application string
	// Path of the application's folder in the snapshot.
	Path string
	// Destination with its defaults filled in; Namespace is the application's
	// own where the configuration gives it one.
	Destination config.Destination
}

// String names the target for messages: orders@in-cluster/shop-stage.
func (t Target) String() string {
	return t.Application + "@" + cmp.Or(t.Destination.Cluster, t.Destination.Server) + "/" + t.Destination.Namespace
}

// Targets lists what a snapshot deploys to an environment, in the lock's
// order, destinations in the order of the configuration. pipeline is the
// snapshot's own configuration ([ReadConfig]).
func Targets(pipeline *config.Pipeline, lock *Lock, environment string) ([]Target, error) {
	env, ok := pipeline.Environment(environment)
	if !ok {
		return nil, fmt.Errorf("snapshot %s has no environment %q", lock.Version, environment)
	}
	var targets []Target
	for _, r := range lock.RendersOf(environment) {
		for _, destination := range env.Destinations {
			for _, application := range env.Applications {
				if application.Name == r.Application && application.Namespace != "" {
					destination.Namespace = application.Namespace
				}
			}
			targets = append(targets, Target{
				Environment: environment,
				Application: r.Application,
				Path:        r.Path,
				Destination: destination,
			})
		}
	}
	return targets, nil
}

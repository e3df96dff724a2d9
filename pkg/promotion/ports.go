package promotion

import (
	"context"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// exactly is the key of [Exact].
type exactly struct{}

// Exact makes reads with the context show what is there at the time of the call, at
// whatever price. Something is about to be written that rests on them.
func Exact(ctx context.Context) context.Context { return context.WithValue(ctx, exactly{}, true) }

// IsExact reports whether the context was made by [Exact].
func IsExact(ctx context.Context) bool { return ctx.Value(exactly{}) != nil }

// glancing is the key of [Glance].
type glancing struct{}

// Glance lets a [Engine.Reconcile] with the context look at refs that were listed up
// to two seconds ago. Argo CD reports every step of a sync, several times a second,
// and none of that changes a ref. What is written rests on a new list all the same,
// and when nothing is, [Result] says when to look without a Glance.
func Glance(ctx context.Context) context.Context { return context.WithValue(ctx, glancing{}, true) }

// isGlance reports whether the context was made by [Glance], and not by [Exact] later.
func isGlance(ctx context.Context) bool { return ctx.Value(glancing{}) != nil && !IsExact(ctx) }

// Applications is what the engine sees of Argo CD.
type Applications interface {
	// List returns every Application of the pipeline that is visible from
	// here, as the API server has it: not older than what was returned before, and
	// where the context is [Exact] not older than the call. An error means unknown,
	// never "none".
	List(ctx context.Context, pipeline string) ([]Application, error)
	// Poke asks for the pipeline's ApplicationSets to be generated anew. It is
	// a courtesy that saves time; a failure loses nothing.
	Poke(ctx context.Context, pipeline string) error
	// Refresh asks for an Application to be compared again, and a hard one for
	// its manifests to be rendered whatever the caches have. It is a courtesy as
	// well.
	Refresh(ctx context.Context, a Application, hard bool) error
	// Terminate gives up the Application's operation if it still is the automated
	// one of that revision and waits to be tried again, and does nothing
	// otherwise. It never ends one that is at work, or a person's.
	Terminate(ctx context.Context, a Application, revision gitrepo.Hash) error
}

// Registries opens the registries of a pipeline.
type Registries interface {
	// Open returns a registry of the configuration.
	Open(config.Registry) (registry.Registry, error)
	// Upstream returns a third-party registry by host (docker.io).
	// The endpoint is empty when the host is to be reached directly.
	Upstream(host, endpoint string) (registry.Reader, error)
}

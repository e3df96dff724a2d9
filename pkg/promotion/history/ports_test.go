package history

import (
	"context"
	"fmt"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// node is git and everything else as one engine sees it.
type node struct {
	*gitrepo.Memory
	world *world
	// before, when set, takes place before the next list of refs or push, once: it
	// is what others do while the engine is at work.
	before func()
	// skip is how many calls go by before it.
	skip int
}

var (
	_ gitrepo.Repo           = (*node)(nil)
	_ promotion.Registries   = (*node)(nil)
	_ promotion.Applications = (*node)(nil)
)

func (n *node) interrupt() {
	if n.before == nil {
		return
	}
	if n.skip--; n.skip >= 0 {
		return
	}
	others := n.before
	n.before = nil
	others()
}

// Refs implements [gitrepo.Reader].
func (n *node) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	n.interrupt()
	return n.Memory.Refs(ctx, prefixes...)
}

// Push implements [gitrepo.Writer].
func (n *node) Push(ctx context.Context, push gitrepo.Push) error {
	n.interrupt()
	err := n.Memory.Push(ctx, push)
	if err == nil {
		n.world.look()
	}
	return err
}

// Open implements [promotion.Registries].
func (n *node) Open(r config.Registry) (registry.Registry, error) {
	return n.world.registries[r.Name], nil
}

// Upstream implements [promotion.Registries].
func (n *node) Upstream(host, _ string) (registry.Reader, error) {
	return nil, fmt.Errorf("no upstream %s", host)
}

// List implements [promotion.Applications]: Argo CD as it was when it last
// followed.
func (n *node) List(context.Context, string) ([]promotion.Application, error) {
	return n.world.argo, nil
}

// Poke implements [promotion.Applications].
func (n *node) Poke(context.Context, string) error { return nil }

// Refresh implements [promotion.Applications].
func (n *node) Refresh(context.Context, promotion.Application, bool) error { return nil }

// Terminate implements [promotion.Applications].
func (n *node) Terminate(context.Context, promotion.Application, gitrepo.Hash) error { return nil }

// follow lets Argo CD sync everything to where it belongs now.
func (w *world) follow() {
	w.now = w.now.Add(time.Minute)
	refs := w.refs()
	w.argo = []promotion.Application{w.application("dev", "main", refs["refs/heads/main"])}
	for _, env := range w.envs {
		if at := w.ledgers[env].current(); !at.IsZero() {
			a := w.application(env, at.Ref(), refs[at.Ref()])
			a.Environment, a.Application = env, "app"
			w.argo = append(w.argo, a)
		}
	}
}

func (w *world) application(env, target string, revision gitrepo.Hash) promotion.Application {
	a := promotion.Application{
		Namespace: "argocd", Name: env + "-app", RepoURL: repoURL, Path: "envs/" + env + "/app", TargetRevision: target,
		Cluster: "in-cluster", DestNamespace: "shop-" + env, Phase: "Succeeded", FinishedAt: w.now, SyncedRevision: revision,
		SyncedTarget: target, SyncStatus: "Synced", ComparedRevision: revision, ReconciledAt: w.now, Health: "Healthy", HealthSince: w.now,
	}
	if w.sick[env] {
		a.Health = "Degraded"
	}
	return a
}

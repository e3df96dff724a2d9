package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// secret is in every error of the world outside. It must not get into git (I9).
const secret = "hunter2-cafe"

// errKilled is what a run sees after its end; nobody sees the run any more.
var errKilled = fmt.Errorf("the process is gone: %w", context.Canceled)

// node is the world as one process sees it: a client of git, the registries and
// Argo CD, each call of which the schedule has to let through.
type node struct {
	world *world
	name  string
	git   *gitrepo.Memory
	run   *run
	// seen is what Argo CD was like when the node last asked.
	seen  []application
	gates map[string]*gate
	// skew of its clock.
	skew time.Duration
	// looked is how much had happened when it last began to look.
	looked int

	mu sync.Mutex // guards opened
	// opened are the registries that were used since it last read git's refs.
	opened map[string]bool
}

var (
	_ gitrepo.Repo           = (*node)(nil)
	_ promotion.Registries   = (*node)(nil)
	_ promotion.Applications = (*node)(nil)
)

// through lets an effect take place, or what the schedule makes of it.
func through[T any](ctx context.Context, n *node, what string, faults []fault, unreachable, unauthorized error, effect func(fault) (T, error)) (T, error) {
	var zero T
	w := n.world
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	if w.calm {
		return effect(none)
	}
	r := n.run
	f := w.ask(r, what, faults)
	broken := func(cause error) error {
		return fmt.Errorf("POST https://robot:%s@host.example/?token=%s (%s): %w", secret, secret, what, cause)
	}
	switch f {
	case killedBefore:
		r.dead.Store(true)
		r.cancel()
		return zero, errKilled
	case lost:
		return zero, broken(unreachable)
	case refused:
		return zero, broken(unauthorized)
	case late:
		w.late = append(w.late, delayed{what, func() { _, _ = effect(f) }})
		return zero, broken(unreachable)
	}
	got, err := effect(f)
	switch f {
	case killedAfter:
		r.dead.Store(true)
		r.cancel()
		return zero, errKilled
	case cancelled:
		r.cancel()
	case unanswered:
		return zero, errors.Join(err, broken(unreachable))
	}
	return got, err
}

// URL implements [gitrepo.Reader].
func (n *node) URL() string { return n.git.URL() }

// Object implements [gitrepo.Reader].
func (n *node) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	o, err := n.git.Object(id)
	if n.world.mutation == blindToHolds && err == nil && o.Type == gitrepo.TypeCommit {
		o.Data = withoutHold(o.Data)
	}
	return o, err
}

// Refs implements [gitrepo.Reader].
func (n *node) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	n.mu.Lock()
	clear(n.opened)
	n.mu.Unlock()
	return through(ctx, n, "git refs", refsFaults, gitrepo.ErrUnreachable, gitrepo.ErrUnauthorized, func(f fault) (gitrepo.Refs, error) {
		w := n.world
		if past := w.audit.past; f == stale && len(past) > 0 {
			return past[len(past)-1-w.dice.IntN(min(4, len(past)))].Filter(prefixes...), nil
		}
		return n.git.Refs(ctx, prefixes...)
	})
}

// Fetch implements [gitrepo.Reader].
func (n *node) Fetch(ctx context.Context, ids []gitrepo.Hash, options gitrepo.FetchOptions) error {
	_, err := through(ctx, n, "git fetch", readFaults, gitrepo.ErrUnreachable, gitrepo.ErrUnauthorized, func(fault) (struct{}, error) {
		return struct{}{}, n.git.Fetch(ctx, ids, options)
	})
	return err
}

// Push implements [gitrepo.Writer].
func (n *node) Push(ctx context.Context, push gitrepo.Push) error {
	seen := n.seen
	var names []string
	for _, u := range push.Updates {
		names = append(names, strings.TrimPrefix(u.Ref, "refs/"))
	}
	_, err := through(ctx, n, "git push "+strings.Join(names, " "), lateFaults, gitrepo.ErrUnreachable, gitrepo.ErrRejected, func(fault) (struct{}, error) {
		// The connection of a push that was sent is not the process any more.
		ctx := context.WithoutCancel(ctx)
		switch n.world.mutation {
		case ignoresOld:
			refs, _ := n.git.Refs(ctx)
			for i, u := range push.Updates {
				push.Updates[i].Old = refs[u.Ref]
			}
		case tornPush:
			return struct{}{}, n.pushOneByOne(ctx, push, seen)
		}
		err := n.git.Push(ctx, push)
		if err == nil {
			n.world.audit.look(n, seen)
		}
		return struct{}{}, err
	})
	return err
}

// pushOneByOne is a push that is not atomic: the ledgers first, and the tag only
// if the schedule likes it.
func (n *node) pushOneByOne(ctx context.Context, push gitrepo.Push, seen []application) error {
	for i := len(push.Updates) - 1; i >= 0; i-- {
		one := gitrepo.Push{Updates: push.Updates[i : i+1], Objects: push.Objects}
		if err := n.git.Push(ctx, one); err != nil {
			return err
		}
		n.world.audit.look(n, seen)
		if i > 0 && n.world.dice.chance(200) {
			return gitrepo.ErrUnreachable
		}
	}
	return nil
}

// List implements [promotion.Applications].
func (n *node) List(ctx context.Context, _ string) ([]promotion.Application, error) {
	return through(ctx, n, "argo list", readFaults, errors.New("the API server is down"), errors.New("forbidden"), func(fault) ([]promotion.Application, error) {
		n.seen = n.world.argo.copy()
		return n.world.argo.report(), nil
	})
}

// courtesy is a call on whose success nothing depends.
func (n *node) courtesy(ctx context.Context, what string, effect func()) error {
	_, err := through(ctx, n, "argo "+what, readFaults, errors.New("the API server is down"), errors.New("forbidden"), func(fault) (struct{}, error) {
		effect()
		return struct{}{}, nil
	})
	return err
}

// Poke implements [promotion.Applications].
func (n *node) Poke(ctx context.Context, _ string) error {
	return n.courtesy(ctx, "poke", n.world.argo.generate)
}

// Refresh implements [promotion.Applications].
func (n *node) Refresh(ctx context.Context, a promotion.Application, _ bool) error {
	return n.courtesy(ctx, "refresh "+a.Name, func() { n.world.argo.refreshNamed(a.Name) })
}

// Terminate implements [promotion.Applications].
func (n *node) Terminate(ctx context.Context, a promotion.Application, _ gitrepo.Hash) error {
	return n.courtesy(ctx, "terminate "+a.Name, func() {})
}

// Open implements [promotion.Registries].
func (n *node) Open(r config.Registry) (registry.Registry, error) {
	return n.registry(r.Name), nil
}

// Upstream implements [promotion.Registries].
func (n *node) Upstream(host, _ string) (registry.Reader, error) {
	return nil, fmt.Errorf("no upstream %s", host)
}

// registry returns the same value for the same name, as mirrors expect of what
// they use as a key.
func (n *node) registry(name string) *gate { return n.gates[name] }

// gate is a registry behind the schedule.
type gate struct {
	node *node
	name string
	real *registry.Memory
	// pretended is what a lying registry claims to have.
	pretended map[string]registry.Manifest
}

var _ registry.Registry = (*gate)(nil)

func (g *gate) enter() {
	g.node.mu.Lock()
	defer g.node.mu.Unlock()
	g.node.opened[g.name] = true
	g.node.world.audit.opened(g.node.opened)
}

func gated[T any](ctx context.Context, g *gate, what string, faults []fault, effect func(fault) (T, error)) (T, error) {
	return through(ctx, g.node, g.name+" "+what, faults, registry.ErrUnreachable, registry.ErrUnauthorized, func(f fault) (T, error) {
		if f != late { // what arrives late belongs to a step that is over
			g.enter()
		}
		return effect(f)
	})
}

func short(digest string) string {
	if registry.IsDigest(digest) {
		return digest[7:15]
	}
	return digest
}

// source is where content is read; a mutation takes Stage's from Dev.
func (g *gate) source() *registry.Memory {
	if g.node.world.mutation != shortCut || g.name != "stage" {
		return g.real
	}
	dev := g.node.registry("dev")
	dev.enter()
	return dev.real
}

// Name implements [registry.Reader].
func (g *gate) Name() string { return g.real.Name() }

// Resolve implements [registry.Reader].
func (g *gate) Resolve(ctx context.Context, repo, reference string) (registry.Descriptor, error) {
	return gated(ctx, g, "resolve "+repo+" "+short(reference), readFaults, func(fault) (registry.Descriptor, error) {
		if m, ok := g.pretended[repo+" "+reference]; ok {
			return m.Descriptor(), nil
		}
		return g.real.Resolve(ctx, repo, reference)
	})
}

// Manifest implements [registry.Reader].
func (g *gate) Manifest(ctx context.Context, repo, digest string) (registry.Manifest, error) {
	return gated(ctx, g, "manifest "+repo+" "+short(digest), readFaults, func(fault) (registry.Manifest, error) {
		if m, ok := g.pretended[repo+" "+digest]; ok {
			return m, nil
		}
		return g.source().Manifest(ctx, repo, digest)
	})
}

// Blob implements [registry.Reader].
func (g *gate) Blob(ctx context.Context, repo, digest string) (io.ReadCloser, error) {
	return gated(ctx, g, "blob "+repo+" "+short(digest), blobFaults, func(f fault) (io.ReadCloser, error) {
		content, err := g.source().Blob(ctx, repo, digest)
		if err != nil || f != cut && f != corrupt {
			return content, err
		}
		text, err := io.ReadAll(content)
		if err != nil {
			return nil, err
		}
		if f == corrupt {
			text[0] ^= 1
			return registry.Verify(io.NopCloser(bytes.NewReader(text)), digest, int64(len(text))), nil
		}
		return io.NopCloser(io.MultiReader(bytes.NewReader(text[:len(text)/2]), brokenReader{})), nil
	})
}

// brokenReader is a connection after its end.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("connection of %s reset: %w", secret, registry.ErrUnreachable)
}

// HasBlob implements [registry.Reader].
func (g *gate) HasBlob(ctx context.Context, repo, digest string) (bool, error) {
	return gated(ctx, g, "has "+repo+" "+short(digest), readFaults, func(fault) (bool, error) {
		if g.pretended != nil {
			return true, nil
		}
		return g.real.HasBlob(ctx, repo, digest)
	})
}

// Referrers implements [registry.Reader].
func (g *gate) Referrers(ctx context.Context, repo, digest string) ([]registry.Descriptor, error) {
	return gated(ctx, g, "referrers "+repo+" "+short(digest), readFaults, func(fault) ([]registry.Descriptor, error) {
		return g.real.Referrers(ctx, repo, digest)
	})
}

// Tags implements [registry.Reader].
func (g *gate) Tags(ctx context.Context, repo string) ([]string, error) {
	return gated(ctx, g, "tags "+repo, readFaults, func(fault) ([]string, error) { return g.real.Tags(ctx, repo) })
}

// PutBlob implements [registry.Writer].
func (g *gate) PutBlob(ctx context.Context, repo string, blob registry.Descriptor, open func() (io.ReadCloser, error)) error {
	_, err := gated(ctx, g, "put blob "+repo+" "+short(blob.Digest), writeFaults, func(fault) (struct{}, error) {
		if g.pretended != nil {
			return struct{}{}, nil
		}
		err := g.real.PutBlob(ctx, repo, blob, open)
		if g.node.run != nil && g.node.run.dead.Load() {
			err = errKilled
		}
		return struct{}{}, err
	})
	return err
}

// MountBlob implements [registry.Writer].
func (g *gate) MountBlob(ctx context.Context, repo, from, digest string) (bool, error) {
	return gated(ctx, g, "mount "+repo+" "+short(digest), writeFaults, func(fault) (bool, error) { return g.real.MountBlob(ctx, repo, from, digest) })
}

// PutManifest implements [registry.Writer].
func (g *gate) PutManifest(ctx context.Context, repo string, manifest registry.Manifest, tags ...string) error {
	_, err := gated(ctx, g, "put manifest "+repo+" "+short(manifest.Digest())+" "+strings.Join(tags, " "), lateFaults, func(fault) (struct{}, error) {
		if g.pretended != nil {
			for _, name := range append(tags, manifest.Digest()) {
				g.pretended[repo+" "+name] = manifest
			}
			return struct{}{}, nil
		}
		return struct{}{}, g.real.PutManifest(context.WithoutCancel(ctx), repo, manifest, tags...)
	})
	return err
}

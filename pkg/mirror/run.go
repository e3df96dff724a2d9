package mirror

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Bounds against hostile registries. A real image has a few dozen manifests in
// two or three levels.
const (
	maxDepth     = 16
	maxManifests = 5_000 // per image, referrers included
)

// at names content in a repository of a registry: a digest, a tag, or nothing
// for the repository itself.
type at struct {
	side       string
	registry   registry.Reader
	repo, what string
}

// on is other content of the same repository.
func (w at) on(what string) at {
	w.what = what
	return w
}

// run is one Copy or Verify.
type run struct {
	dst     registry.Reader
	writer  registry.Writer // nil when only looking
	options Options
	// checking: nothing is written, what is missing is what is asked for.
	// Changed only between the phases.
	checking bool
	slots    chan struct{} // one per request or transfer under way

	manifests memo[at, *registry.Manifest]    // nil: not there
	resolved  memo[at, registry.Descriptor]   // zero when not there
	referrers memo[at, []registry.Descriptor] // by subject
	tags      memo[at, map[string]bool]       // by repository
	blobs     memo[at, bool]

	placed memo[at, struct{}] // blobs made sure of at the destination
	put    memo[at, struct{}] // manifests written
	homes  map[string]*home   // by blob; written only between the phases

	sent, mounted, written atomic.Int64
	bytes                  atomic.Int64
	refusedMounts          atomic.Int64

	progressMu sync.Mutex // guards progress
	progress   Progress
}

func newRun(dst registry.Reader, writer registry.Writer, options Options) *run {
	if options.Concurrency <= 0 {
		options.Concurrency = 8
	}
	return &run{dst: dst, writer: writer, options: options, slots: make(chan struct{}, options.Concurrency), homes: map[string]*home{}}
}

// slot waits for its turn to make a request.
func (r *run) slot(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case r.slots <- struct{}{}:
		return func() { <-r.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// each does work for every index below n, in order as far as the number of
// workers allows. It stops at the first error.
func (r *run) each(n int, work func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(r.options.Concurrency)
	for i := range n {
		group.Go(func() error { return work(i) })
	}
	return group.Wait()
}

// fail says on which side something went wrong.
func (r *run) fail(where at, digest string, err error) error {
	var p *problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return &problem{side: where.side, registry: where.registry.Name(), repository: where.repo, digest: digest, err: err}
}

// manifest reads a manifest, once; nil when it is not there.
func (r *run) manifest(ctx context.Context, where at) (*registry.Manifest, error) {
	return r.manifests.do(ctx, where, func() (*registry.Manifest, error) {
		release, err := r.slot(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		m, err := where.registry.Manifest(ctx, where.repo, where.what)
		switch {
		case errors.Is(err, registry.ErrNotFound):
			return nil, nil // nil is "not there"
		case err != nil:
			return nil, r.fail(where, where.what, err)
		case m.Digest() != where.what:
			return nil, r.fail(where, where.what, registry.ErrDigestMismatch)
		}
		return &m, nil
	})
}

// resolve asks what a tag or digest names, once; zero when it names nothing.
func (r *run) resolve(ctx context.Context, where at) (registry.Descriptor, error) {
	return r.resolved.do(ctx, where, func() (registry.Descriptor, error) {
		release, err := r.slot(ctx)
		if err != nil {
			return registry.Descriptor{}, err
		}
		defer release()
		d, err := where.registry.Resolve(ctx, where.repo, where.what)
		if errors.Is(err, registry.ErrNotFound) {
			return registry.Descriptor{}, nil
		}
		return d, r.fail(where, "", err)
	})
}

// hasBlob looks a blob up, once.
func (r *run) hasBlob(ctx context.Context, where at) (bool, error) {
	return r.blobs.do(ctx, where, func() (bool, error) {
		release, err := r.slot(ctx)
		if err != nil {
			return false, err
		}
		defer release()
		has, err := where.registry.HasBlob(ctx, where.repo, where.what)
		return has, r.fail(where, where.what, err)
	})
}

// tagsOf lists the tags of a repository, once.
func (r *run) tagsOf(ctx context.Context, where at) (map[string]bool, error) {
	return r.tags.do(ctx, where.on(""), func() (map[string]bool, error) {
		release, err := r.slot(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		list, err := where.registry.Tags(ctx, where.repo)
		if err != nil {
			return nil, r.fail(where, "", err)
		}
		tags := make(map[string]bool, len(list))
		for _, tag := range list {
			tags[tag] = true
		}
		return tags, nil
	})
}

// referrersOf asks who refers to a manifest, once. Where the list of tags says
// that nobody does, nobody is asked.
func (r *run) referrersOf(ctx context.Context, where at) ([]registry.Descriptor, error) {
	return r.referrers.do(ctx, where, func() ([]registry.Descriptor, error) {
		if api, ok := where.registry.(registry.ReferrersAPI); ok && where.side == SideSource && api.LacksReferrersAPI(where.repo) {
			tags, err := r.tagsOf(ctx, where)
			if err != nil || !tags[registry.ReferrersTag(where.what)] {
				return nil, err
			}
		}
		release, err := r.slot(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		list, err := where.registry.Referrers(ctx, where.repo, where.what)
		return list, r.fail(where, where.what, err)
	})
}

// forget drops what was not there, so that it is looked up again.
func (r *run) forget() {
	r.manifests.keep(func(m *registry.Manifest) bool { return m != nil })
	r.blobs.keep(func(has bool) bool { return has })
	r.resolved.keep(func(registry.Descriptor) bool { return false })
	// The referrers of a source stay: they are what was to be copied. Those of
	// the destination are asked for again.
	r.referrers.mu.Lock()
	defer r.referrers.mu.Unlock()
	for where := range r.referrers.known {
		if where.side == SideDestination {
			delete(r.referrers.known, where)
		}
	}
}

// tell reports progress.
func (r *run) tell(change func(*Progress)) {
	if r.options.Progress == nil {
		return
	}
	r.progressMu.Lock()
	change(&r.progress)
	now := r.progress
	r.progressMu.Unlock()
	r.options.Progress(now)
}

package cli

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// journal is a layer over the repository and the registries of an engine. It
// notes what was written, and refuses to write when it is read-only.
type journal struct {
	gitrepo.Repo
	registries promotion.Registries
	readOnly   bool

	mu     sync.Mutex // guards the rest
	opened map[registry.Registry]*noted
	pushed []gitrepo.Update
}

var (
	_ gitrepo.Repo         = (*journal)(nil)
	_ promotion.Registries = (*journal)(nil)
)

// errReadOnly cannot happen as long as a dry run only looks.
var errReadOnly = errors.New("this run may not write anything")

// Push implements gitrepo.Writer.
func (j *journal) Push(ctx context.Context, push gitrepo.Push) error {
	if j.readOnly {
		return errReadOnly
	}
	if err := j.Repo.Push(ctx, push); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pushed = append(j.pushed, push.Updates...)
	return nil
}

// moved returns how the run moved a branch.
func (j *journal) moved(branch string) gitrepo.Update {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, update := range j.pushed {
		if update.Ref == gitrepo.Heads+branch {
			return update
		}
	}
	return gitrepo.Update{}
}

// Open implements promotion.Registries.
func (j *journal) Open(r config.Registry) (registry.Registry, error) { return j.open(r) }

// Upstream implements promotion.Registries; a Reader cannot be written to.
func (j *journal) Upstream(host, endpoint string) (registry.Reader, error) {
	return j.registries.Upstream(host, endpoint)
}

// open gives one registry the same layer each time.
func (j *journal) open(r config.Registry) (*noted, error) {
	inner, err := j.registries.Open(r)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	n, ok := j.opened[inner]
	if !ok {
		if j.opened == nil {
			j.opened = map[registry.Registry]*noted{}
		}
		n = &noted{Registry: inner, readOnly: j.readOnly, manifests: map[string]bool{}, there: map[string]bool{}}
		j.opened[inner] = n
	}
	return n, nil
}

// noted is the layer over one registry.
type noted struct {
	registry.Registry
	readOnly bool

	blobs, mounted, bytes atomic.Int64

	mu        sync.Mutex      // guards the rest
	manifests map[string]bool // repository@digest of what was written and new
	there     map[string]bool // and of what was found there before
}

var (
	_ registry.Registry      = (*noted)(nil)
	_ registry.ReferrersAPI  = (*noted)(nil)
	_ registry.SourceMounter = (*noted)(nil)
)

// PutBlob implements registry.Writer.
func (n *noted) PutBlob(ctx context.Context, repo string, blob registry.Descriptor, open func() (io.ReadCloser, error)) error {
	if n.readOnly {
		return errReadOnly
	}
	var read atomic.Bool // a blob that is there already is not read
	err := n.Registry.PutBlob(ctx, repo, blob, func() (io.ReadCloser, error) {
		read.Store(true)
		return open()
	})
	if err == nil && read.Load() {
		n.blobs.Add(1)
		n.bytes.Add(blob.Size)
	}
	return err
}

// MountBlob implements registry.Writer.
func (n *noted) MountBlob(ctx context.Context, repo, from, digest string) (bool, error) {
	if n.readOnly {
		return false, errReadOnly
	}
	mounted, err := n.Registry.MountBlob(ctx, repo, from, digest)
	if mounted {
		n.mounted.Add(1)
	}
	return mounted, err
}

// PutManifest implements registry.Writer.
func (n *noted) PutManifest(ctx context.Context, repo string, manifest registry.Manifest, tags ...string) error {
	if n.readOnly {
		return errReadOnly
	}
	if err := n.Registry.PutManifest(ctx, repo, manifest, tags...); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if key := repo + "@" + manifest.Digest(); !n.there[key] {
		n.manifests[key] = true
	}
	return nil
}

// Manifest implements registry.Reader. What is read before it is written was
// there: writing it again only gives it a tag.
func (n *noted) Manifest(ctx context.Context, repo, digest string) (registry.Manifest, error) {
	m, err := n.Registry.Manifest(ctx, repo, digest)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		if key := repo + "@" + digest; !n.manifests[key] {
			n.there[key] = true
		}
	}
	return m, err
}

// MountSource implements registry.SourceMounter. The registry below wants to
// see the source without this layer.
func (n *noted) MountSource(ctx context.Context, repo string, source registry.Reader, sourceRepo, digest string) (bool, error) {
	mounter, ok := n.Registry.(registry.SourceMounter)
	if !ok {
		return false, nil
	}
	if n.readOnly {
		return false, errReadOnly
	}
	if layer, ok := source.(*noted); ok {
		source = layer.Registry
	}
	mounted, err := mounter.MountSource(ctx, repo, source, sourceRepo, digest)
	if mounted {
		n.mounted.Add(1)
	}
	return mounted, err
}

// LacksReferrersAPI implements registry.ReferrersAPI.
func (n *noted) LacksReferrersAPI(repo string) bool {
	api, ok := n.Registry.(registry.ReferrersAPI)
	return ok && api.LacksReferrersAPI(repo)
}

// wrote reports whether a manifest was written that had not been there.
func (n *noted) wrote(repo, digest string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.manifests[repo+"@"+digest]
}

// count is the number of such manifests.
func (n *noted) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.manifests)
}

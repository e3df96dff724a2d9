package promotion

import (
	"context"
	"errors"
	"time"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// contents are the digests under which a runtime may report what an image's
// digest stands for: itself, the manifests of its platforms, and their
// configurations. Two images with one of the last two in common are the same
// program: builders write a new index around an unchanged image whenever they
// attest a build anew.
type contents map[string]bool

func (c contents) meet(other contents) bool {
	for digest := range other {
		if c[digest] {
			return true
		}
	}
	return false
}

// Bounds of asking a registry what belongs to a digest. It happens only where a
// runtime reports something else than the reference says, and never twice, for
// what a digest names does not change.
const (
	contentsTimeout = 10 * time.Second
	maxContents     = 2000
	maxPlatforms    = 64
)

// contentsOf asks a registry, unless it is known already. The error wraps
// registry.ErrNotFound when the repository does not have the digest.
func (m *memory) contentsOf(ctx context.Context, r registry.Reader, repo, digest string) (contents, error) {
	m.mu.Lock()
	known, ok := m.contents[digest]
	m.mu.Unlock()
	if ok {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, contentsTimeout)
	defer cancel()
	found := contents{digest: true}
	if err := found.read(ctx, r, repo, digest, true); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contents == nil || len(m.contents) >= maxContents {
		m.contents = map[string]contents{}
	}
	m.contents[digest] = found
	return found, nil
}

func (c contents) read(ctx context.Context, r registry.Reader, repo, digest string, top bool) error {
	manifest, err := r.Manifest(ctx, repo, digest)
	if err != nil {
		return err
	}
	parts, err := manifest.Parse()
	if err != nil {
		return err
	}
	if parts.Config != nil {
		c[parts.Config.Digest] = true
	}
	if !top {
		return nil
	}
	for i, child := range parts.Children {
		// Attestations hang in the index as manifests of an unknown platform.
		if i >= maxPlatforms || child.Platform == nil || child.Platform.OS == "" || child.Platform.OS == "unknown" || registry.IsIndex(child.MediaType) {
			continue
		}
		c[child.Digest] = true
		if err := c.read(ctx, r, repo, child.Digest, false); err != nil && !errors.Is(err, registry.ErrNotFound) {
			return err
		}
	}
	return nil
}

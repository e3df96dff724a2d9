package promotion

import (
	"context"
	"errors"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// contents are the digests under which a runtime may report what an image's
// digest stands for: itself, the manifests of its platforms, and their
// configurations.
type contents struct {
	all map[string]bool
	// platforms are the manifests and configurations by platform; of an index
	// only.
	platforms map[string]map[string]bool
}

// meet compares two images of different digests. Those with a manifest or a
// configuration in common are the same program: builders write a new index
// around an unchanged image whenever they attest a build anew. Where two
// indexes have it in common for one platform and not for another, what a node
// runs depends on the node: unverifiable.
func (c contents) meet(other contents) sameness {
	if c.platforms == nil || other.platforms == nil {
		if share(c.all, other.all) {
			return equal
		}
		return different
	}
	same, differ := 0, 0
	for platform, digests := range other.platforms {
		switch own, common := c.platforms[platform]; {
		case !common:
		case share(own, digests):
			same++
		default:
			differ++
		}
	}
	switch {
	case same == 0:
		return different
	case differ > 0:
		return unverifiable
	}
	return equal
}

func share(a, b map[string]bool) bool {
	for digest := range b {
		if a[digest] {
			return true
		}
	}
	return false
}

// Bounds of what belongs to a digest.
const (
	maxContents  = 2000
	maxPlatforms = 64
)

// readContents asks a registry what belongs to a digest.
func readContents(ctx context.Context, r registry.Reader, repo, digest string) (contents, error) {
	found := contents{all: map[string]bool{digest: true}}
	parts, err := found.read(ctx, r, repo, digest, "")
	if err != nil {
		return contents{}, err
	}
	for i, child := range parts.Children {
		// Attestations hang in the index as manifests of an unknown platform.
		if i >= maxPlatforms || child.Platform == nil || child.Platform.OS == "" || child.Platform.OS == "unknown" || registry.IsIndex(child.MediaType) {
			continue
		}
		platform := child.Platform.String()
		found.add(platform, child.Digest)
		if _, err := found.read(ctx, r, repo, child.Digest, platform); err != nil && !errors.Is(err, registry.ErrNotFound) {
			return contents{}, err
		}
	}
	return found, nil
}

func (c *contents) read(ctx context.Context, r registry.Reader, repo, digest, platform string) (registry.Parts, error) {
	manifest, err := r.Manifest(ctx, repo, digest)
	if err != nil {
		return registry.Parts{}, err
	}
	parts, err := manifest.Parse()
	if err == nil && parts.Config != nil {
		c.add(platform, parts.Config.Digest)
	}
	return parts, err
}

// add notes a digest, and for which platform of an index it is.
func (c *contents) add(platform, digest string) {
	c.all[digest] = true
	if platform == "" {
		return
	}
	if c.platforms == nil {
		c.platforms = map[string]map[string]bool{}
	}
	if c.platforms[platform] == nil {
		c.platforms[platform] = map[string]bool{}
	}
	c.platforms[platform][digest] = true
}

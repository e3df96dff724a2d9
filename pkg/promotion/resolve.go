package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// resolveConcurrency bounds parallel look-ups; each is a request or three.
const resolveConcurrency = 8

// maxImageConfig bounds an image's configuration blob.
const maxImageConfig = 4 << 20

// MissingImageError names an image that the manifests want and that could not
// be had: it does not exist (registry.ErrNotFound in the chain), or its registry
// cannot be asked.
type MissingImageError struct {
	Reference string
	// UsedBy lists environment/application.
	UsedBy []string
	// In says what was captured or composed: commit 3f2a91c.
	In  string
	Err error
}

func (e *MissingImageError) Error() string {
	text := fmt.Sprintf("image %s of %s (%s): %v", e.Reference, strings.Join(e.UsedBy, ", "), e.In, e.Err)
	if errors.Is(e.Err, registry.ErrNotFound) {
		return string(ImageMissing) + ": " + text
	}
	return text
}

func (e *MissingImageError) Unwrap() error { return e.Err }

// uses maps image references to the environment/application pairs that have
// them in their manifests.
type uses map[string][]string

func (u uses) add(reference, environment, application string) {
	use := environment + "/" + application
	if !slices.Contains(u[reference], use) {
		u[reference] = append(u[reference], use)
	}
}

// resolve turns every reference into a digest, as the registries answer now.
// All failures are reported, not only the first.
// What a snapshot below has already is not resolved again.
func (e *Engine) resolve(ctx context.Context, p *config.Pipeline, used uses, below *snapshot.Snapshot, in string) ([]snapshot.Image, error) {
	var (
		mu     sync.Mutex
		images []snapshot.Image
		errs   []error
	)
	var group errgroup.Group
	group.SetLimit(resolveConcurrency)
	for reference, by := range used {
		group.Go(func() error {
			image, err := e.resolveKnown(ctx, p, reference, below)
			image.UsedBy = slices.Sorted(slices.Values(by))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, &MissingImageError{Reference: reference, UsedBy: image.UsedBy, In: in, Err: err})
				return nil
			}
			images = append(images, image)
			return nil
		})
	}
	_ = group.Wait() // the functions collect their errors themselves
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	slices.SortFunc(images, func(a, b snapshot.Image) int { return strings.Compare(a.Requested, b.Requested) })
	return images, errors.Join(errs...)
}

func (e *Engine) resolveKnown(ctx context.Context, p *config.Pipeline, reference string, below *snapshot.Snapshot) (snapshot.Image, error) {
	if below != nil {
		if image, ok := below.Lock.Image(reference); ok {
			return image, nil
		}
	}
	return e.resolveOne(ctx, p, reference)
}

func (e *Engine) resolveOne(ctx context.Context, p *config.Pipeline, reference string) (snapshot.Image, error) {
	image := snapshot.Image{Requested: reference}
	location, err := p.Locate(reference)
	if err != nil {
		return image, err
	}
	source, err := e.openLocation(p, location)
	if err != nil {
		return image, err
	}
	wanted := location.Digest
	if wanted == "" {
		wanted = location.Tag
	}
	descriptor, err := source.Resolve(ctx, location.Repo, wanted)
	if err != nil {
		return image, err
	}
	image.Digest, image.MediaType, image.Size = descriptor.Digest, descriptor.MediaType, descriptor.Size
	err = describe(ctx, source, location.Repo, &image)
	return image, err
}

// openLocation opens the registry in which a reference lives.
func (e *Engine) openLocation(p *config.Pipeline, location config.Location) (registry.Reader, error) {
	if location.Registry != "" {
		return e.Registries.Open(p.Registries[location.Registry])
	}
	endpoint := ""
	for _, u := range p.Upstreams {
		if u.Host == location.Upstream {
			endpoint = u.Endpoint
		}
	}
	return e.Registries.Upstream(location.Upstream, endpoint)
}

// describe fills in platforms and origin from the image's own metadata.
func describe(ctx context.Context, r registry.Reader, repo string, image *snapshot.Image) error {
	manifest, err := r.Manifest(ctx, repo, image.Digest)
	if err != nil {
		return err
	}
	parts, err := manifest.Parse()
	if err != nil {
		return err
	}
	image.MediaType, image.Size = manifest.MediaType, int64(len(manifest.Raw))
	if registry.IsIndex(manifest.MediaType) {
		for _, child := range parts.Children {
			// Build tools list attestations as children of an unknown platform.
			if child.Platform != nil && child.Platform.OS != "unknown" {
				image.Platforms = append(image.Platforms, child.Platform.String())
			}
		}
		slices.Sort(image.Platforms)
		if len(parts.Children) == 0 {
			return nil
		}
		child, err := r.Manifest(ctx, repo, parts.Children[0].Digest)
		if err != nil {
			return err
		}
		if parts, err = child.Parse(); err != nil {
			return err
		}
	}
	if parts.Config == nil {
		return nil
	}
	return readImageConfig(ctx, r, repo, *parts.Config, image)
}

func readImageConfig(ctx context.Context, r registry.Reader, repo string, blob registry.Descriptor, image *snapshot.Image) error {
	content, err := r.Blob(ctx, repo, blob.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	text, err := io.ReadAll(io.LimitReader(content, maxImageConfig))
	if err != nil {
		return err
	}
	var c struct {
		registry.Platform
		Config struct {
			Labels map[string]string
		} `json:"config"`
	}
	if json.Unmarshal(text, &c) != nil {
		// Artifacts other than container images have configurations of their
		// own; there is nothing to learn from them.
		return nil
	}
	if len(image.Platforms) == 0 && c.OS != "" {
		image.Platforms = []string{c.Platform.String()}
	}
	origin := snapshot.Origin{
		Source:   withoutUserinfo(c.Config.Labels["org.opencontainers.image.source"]),
		Revision: c.Config.Labels["org.opencontainers.image.revision"],
	}
	if origin != (snapshot.Origin{}) {
		image.Origin = &origin
	}
	return nil
}

// withoutUserinfo removes credentials, which build tools like to leave in the
// label, from a URL.
func withoutUserinfo(source string) string {
	if u, err := url.Parse(source); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	return source
}

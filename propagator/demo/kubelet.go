package demo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"

	"github.com/fleeting-taas/propagator/pkg/registry"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// kubelet plays a node: it pulls images completely, for its platform, from the
// registry that the reference names and from nowhere else. Like a node it
// keeps what it pulled by digest.
type kubelet struct {
	registries *registryremote.Set

	mu   sync.Mutex // guards have
	have map[string]bool
}

// platform of the node.
var platform = registry.Platform{OS: "linux", Architecture: "amd64"}

// pull fetches manifest, configuration and layers, all checked.
func (k *kubelet) pull(ctx context.Context, image string) error {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return err
	}
	host, repo, _ := strings.Cut(named.Name(), "/")
	source, err := k.registries.Upstream(host, "")
	if err != nil {
		return err
	}
	wanted := "latest"
	if digested, ok := named.(reference.Digested); ok {
		wanted = digested.Digest().String()
	} else if tagged, ok := named.(reference.Tagged); ok {
		wanted = tagged.Tag()
	}
	if k.has(host + "/" + repo + "@" + wanted) {
		return nil
	}
	descriptor, err := source.Resolve(ctx, repo, wanted)
	if err != nil {
		return err
	}
	manifest, err := source.Manifest(ctx, repo, descriptor.Digest)
	if err != nil {
		return err
	}
	parts, err := manifest.Parse()
	if err != nil {
		return err
	}
	if registry.IsIndex(manifest.MediaType) {
		i := slices.IndexFunc(parts.Children, func(d registry.Descriptor) bool { return d.Platform != nil && *d.Platform == platform })
		if i < 0 {
			return fmt.Errorf("no image for %s", platform)
		}
		if manifest, err = source.Manifest(ctx, repo, parts.Children[i].Digest); err != nil {
			return err
		}
		if parts, err = manifest.Parse(); err != nil {
			return err
		}
	}
	for _, blob := range parts.Blobs {
		if err := readBlob(ctx, source, repo, blob.Digest); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.have[host+"/"+repo+"@"+descriptor.Digest] = true
	return nil
}

func (k *kubelet) has(image string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.have[image]
}

// readBlob reads a blob to its end, which checks it.
func readBlob(ctx context.Context, source registry.Reader, repo, digest string) error {
	content, err := source.Blob(ctx, repo, digest)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, content)
	if e := content.Close(); err == nil {
		err = e
	}
	return err
}

// imagesOf lists the image references of manifests, each once.
func imagesOf(manifests []string) ([]string, error) {
	out, err := render.Parse([]byte(strings.Join(manifests, "\n---\n")), nil)
	if err != nil {
		return nil, err
	}
	found, err := out.Images()
	if err != nil {
		return nil, err
	}
	images := make([]string, 0, len(found))
	for _, image := range found {
		images = append(images, image.Reference)
	}
	slices.Sort(images)
	return slices.Compact(images), nil
}

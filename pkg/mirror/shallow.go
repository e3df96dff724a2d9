package mirror

import (
	"context"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// glanceAt reports whether an image's root, tags and referrers are at the
// destination, without looking below.
func (r *run) glanceAt(ctx context.Context, image Image, seen *ImageReport) (bool, error) {
	dst := at{side: SideDestination, registry: r.dst, repo: image.TargetRepo}
	src := at{side: SideSource, registry: image.Source, repo: image.SourceRepo}
	names := image.Tags
	if len(names) == 0 {
		names = []string{image.Digest}
	}
	var root registry.Descriptor
	for _, name := range names {
		var err error
		if root, err = r.resolve(ctx, dst.on(name)); err != nil || root.Digest != image.Digest {
			return false, err
		}
	}
	tree, err := r.treeAt(ctx, dst, root, 0)
	seen.Manifests = len(tree)
	if err != nil || tree == nil || image.Source == nil {
		return tree != nil, err
	}
	for len(tree) > 0 && seen.Manifests <= maxManifests {
		found, complete, err := r.glanceReferrers(ctx, dst, src, tree[0])
		if err != nil || !complete {
			return false, err
		}
		tree = append(tree[1:], found...)
		seen.Manifests += len(found)
		seen.Referrers += len(found)
	}
	return len(tree) == 0, nil
}

// treeAt lists a manifest and its children; nil when an index is not there.
func (r *run) treeAt(ctx context.Context, dst at, d registry.Descriptor, depth int) ([]string, error) {
	tree := []string{d.Digest}
	if !registry.IsIndex(d.MediaType) {
		return tree, nil
	}
	if depth > maxDepth {
		return nil, nil
	}
	m, err := r.manifest(ctx, dst.on(d.Digest))
	if err != nil || m == nil {
		return nil, err
	}
	parts, err := m.Parse()
	if err != nil {
		return nil, err
	}
	for _, child := range parts.Children {
		below, err := r.treeAt(ctx, dst, child, depth+1)
		if err != nil || below == nil || len(tree) > maxManifests {
			return nil, err
		}
		tree = append(tree, below...)
	}
	return tree, nil
}

// glanceReferrers lists what refers to a manifest at the source, and reports
// whether the destination says the same.
func (r *run) glanceReferrers(ctx context.Context, dst, src at, digest string) ([]string, bool, error) {
	var found []string
	list, err := r.referrersOf(ctx, src.on(digest))
	if err != nil {
		return nil, false, err
	}
	if len(list) > 0 {
		there, err := r.referrersOf(ctx, dst.on(digest))
		if err != nil {
			return nil, false, err
		}
		listed := map[string]bool{}
		for _, d := range there {
			listed[d.Digest] = true
		}
		for _, d := range list {
			if !listed[d.Digest] {
				return nil, false, nil
			}
			found = append(found, d.Digest)
		}
	}
	tags, err := r.tagsOf(ctx, src)
	if err != nil {
		return nil, false, err
	}
	for _, suffix := range legacySuffixes {
		tag := registry.ReferrersTag(digest) + suffix
		if !tags[tag] {
			continue
		}
		want, err := r.resolve(ctx, src.on(tag))
		if err != nil {
			return nil, false, err
		}
		have, err := r.resolve(ctx, dst.on(tag))
		if err != nil || want.Digest != have.Digest {
			return nil, false, err
		}
		found = append(found, want.Digest)
	}
	return found, true, nil
}

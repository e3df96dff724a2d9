package mirror

import (
	"context"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Taken is a tag that names something else at the destination than it should.
type Taken struct {
	Image Image
	Tag   string
	// Digest is what the tag names.
	Digest string
}

// AddTags names images at the destination, which must hold them: each by its
// Tags, as far as those are free. A tag that names something else is never
// moved but reported, in the order of the images. What is there already costs
// one request a tag. The first failure ends it, as an *[Error]; what was named
// stays named, and running again continues.
//
// Registries cannot create a tag only if it is free, so of two writers that
// name different images at the same moment the later one wins.
func AddTags(ctx context.Context, dst registry.Registry, images []Image, options Options) ([]Taken, error) {
	r := newRun(dst, dst, options)
	found := make([][]Taken, len(images))
	err := r.each(len(images), func(i int) error {
		var err error
		found[i], err = r.addTags(ctx, images[i])
		if err != nil {
			return images[i].fail(dst.Name(), err)
		}
		return nil
	})
	var taken []Taken
	for _, some := range found {
		taken = append(taken, some...)
	}
	return taken, err
}

func (r *run) addTags(ctx context.Context, image Image) ([]Taken, error) {
	dst := at{side: SideDestination, registry: r.dst, repo: image.TargetRepo}
	var (
		taken []Taken
		free  []string
	)
	for _, tag := range image.Tags {
		named, err := r.resolve(ctx, dst.on(tag))
		switch {
		case err != nil:
			return nil, err
		case named.Digest == "":
			free = append(free, tag)
		case named.Digest != image.Digest:
			taken = append(taken, Taken{Image: image, Tag: tag, Digest: named.Digest})
		}
	}
	if len(free) == 0 {
		return taken, nil
	}
	m, err := r.manifest(ctx, dst.on(image.Digest))
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, r.fail(dst, image.Digest, registry.ErrNotFound)
	}
	release, err := r.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return taken, r.fail(dst, image.Digest, r.writer.PutManifest(ctx, image.TargetRepo, *m, free...))
}

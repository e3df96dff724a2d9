package imagebuild

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Push stores what was built, bottom up: blobs, children, the manifest under
// its digest and tags, then its referrers.
func Push(ctx context.Context, w registry.Writer, repo string, b Built, tags ...string) error {
	for _, child := range b.Children {
		if err := Push(ctx, w, repo, child); err != nil {
			return err
		}
	}
	parts, err := b.Manifest.Parse()
	if err != nil {
		return err
	}
	sizes := map[string]registry.Descriptor{}
	for _, d := range parts.Blobs {
		sizes[d.Digest] = d
	}
	for _, digest := range slices.Sorted(maps.Keys(b.Blobs)) {
		err := w.PutBlob(ctx, repo, sizes[digest], func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Blobs[digest])), nil
		})
		if err != nil {
			return err
		}
	}
	if err := w.PutManifest(ctx, repo, b.Manifest, tags...); err != nil {
		return err
	}
	for _, referrer := range b.Referrers {
		if err := Push(ctx, w, repo, referrer); err != nil {
			return err
		}
	}
	return nil
}

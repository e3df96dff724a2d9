package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// mirrored is what happened to a snapshot's images in one registry.
type mirrored struct {
	Registry string          `json:"registry"`
	Images   []mirroredImage `json:"images"`
	// What was written; zero in a dry run.
	Manifests int   `json:"manifests"`
	Blobs     int64 `json:"blobs"`
	Mounted   int64 `json:"mounted"`
	Bytes     int64 `json:"bytes"`
}

type mirroredImage struct {
	Reference  string `json:"reference"`
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	// Copied: it was, or in a dry run would be, copied. Otherwise it was there.
	Copied bool `json:"copied"`
}

// mirrored reports what the session wrote for the snapshot's images.
func (s *session) mirrored(p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (mirrored, error) {
	target, err := s.journal.open(p.Registries[environment.Registry])
	if err != nil {
		return mirrored{}, err
	}
	result := mirrored{
		Registry: target.Name(), Images: []mirroredImage{}, Manifests: target.count(),
		Blobs: target.blobs.Load(), Mounted: target.mounted.Load(), Bytes: target.bytes.Load(),
	}
	images, err := targets(p, lock, environment)
	for _, image := range images {
		result.Images = append(result.Images, mirroredImage{image.Reference, image.TargetRepo, image.Digest, target.wrote(image.TargetRepo, image.Digest)})
	}
	return result, err
}

// wouldMirror looks which images the environment's registry lacks.
func (s *session) wouldMirror(ctx context.Context, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (mirrored, error) {
	target, err := s.journal.open(p.Registries[environment.Registry])
	if err != nil {
		return mirrored{}, err
	}
	images, err := targets(p, lock, environment)
	if err != nil {
		return mirrored{}, err
	}
	// The error only repeats what the report has image by image.
	report, _ := mirror.Verify(ctx, target, images, mirror.Options{})
	result := mirrored{Registry: target.Name(), Images: []mirroredImage{}}
	for _, image := range report.Images {
		if failure := image.Err(); failure != nil && !errors.Is(failure, registry.ErrNotFound) {
			return result, failure
		}
		result.Images = append(result.Images, mirroredImage{image.Reference, image.Repository, image.Digest, image.Err() != nil})
	}
	return result, ctx.Err()
}

// targets lists the images that the environment, or one after it, uses, by
// where they belong in its registry. Tags are left out: setting one again is
// not copying.
func targets(p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) ([]mirror.Image, error) {
	var images []mirror.Image
	for _, image := range lock.ImagesOf(p.Downstream(environment.Name)...) {
		location, err := p.Locate(image.Requested)
		if err != nil {
			return nil, err
		}
		images = append(images, mirror.Image{Reference: image.Requested, TargetRepo: location.TargetRepo(), Digest: image.Digest})
	}
	return images, nil
}

func (m mirrored) copied() int {
	n := 0
	for _, image := range m.Images {
		if image.Copied {
			n++
		}
	}
	return n
}

func (m mirrored) summary(dryRun bool) string {
	n := m.copied()
	if dryRun {
		return fmt.Sprintf("%s: %d to copy, %d already there", m.Registry, n, len(m.Images)-n)
	}
	text := fmt.Sprintf("%s: %d mirrored, %d already there", m.Registry, n, len(m.Images)-n)
	if m.Manifests > 0 || m.Blobs > 0 || m.Mounted > 0 {
		text += fmt.Sprintf(" (%s, %s, %d mounted, %s)", plural(m.Manifests, "manifest"), plural(int(m.Blobs), "blob"), m.Mounted, size(m.Bytes))
	}
	return text
}

func (m mirrored) listMissing(w io.Writer) {
	for _, image := range m.Images {
		if image.Copied {
			_, _ = fmt.Fprintf(w, "  would copy %s %s\n", printable(image.Reference), shortDigest(image.Digest))
		}
	}
}

package promotion

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// freshness says which images are read from where the manifests name them; nil
// is none. All others come from the registry of the environment before.
type freshness func(snapshot.Image) bool

// allFresh: every image of a capture is.
func allFresh(snapshot.Image) bool { return true }

// mirrorInto makes every image that the environment, or one after it, uses
// complete in the environment's registry. At capture the images come from
// where the manifests found them; later from the registry of the environment
// before, and never again from the first one's (I5).
func (e *Engine) mirrorInto(ctx context.Context, step string, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment, fresh freshness) (mirror.Report, error) {
	target := p.Registries[environment.Registry]
	dst, err := e.Registries.Open(target)
	if err != nil {
		return mirror.Report{}, stepError(step, sideRegistry, err)
	}
	images, err := e.mirrorList(p, lock, environment, fresh)
	if err != nil {
		return mirror.Report{}, stepError(step, sideRegistry, err)
	}
	options := mirror.Options{Concurrency: e.Concurrency}
	if e.Progress != nil {
		options.Progress = func(progress mirror.Progress) { e.Progress(step, progress) }
	}
	report, err := mirror.Copy(ctx, dst, images, options)
	if err != nil {
		return report, stepError(step, sideRegistry, fmt.Errorf("%s: %w", MirrorIncomplete, err))
	}
	return report, nil
}

// mirrorList says where each image of the environment comes from and goes to.
func (e *Engine) mirrorList(p *config.Pipeline, lock *snapshot.Lock, environment config.Environment, fresh freshness) ([]mirror.Image, error) {
	var images []mirror.Image
	for _, image := range lock.ImagesOf(p.Downstream(environment.Name)...) {
		location, err := p.Locate(image.Requested)
		if err != nil {
			return nil, err
		}
		source, repo, err := e.mirrorSource(p, environment, location, fresh != nil && fresh(image))
		if err != nil {
			return nil, err
		}
		tags := []string{retentionTag(p, lock, environment, image)}
		if commitTag.MatchString(location.Tag) {
			tags = append(tags, location.Tag)
		}
		images = append(images, mirror.Image{
			Reference:  image.Requested,
			Source:     source,
			SourceRepo: repo,
			TargetRepo: location.TargetRepo(),
			Digest:     image.Digest,
			Tags:       tags,
		})
	}
	return images, nil
}

// mirrorSource is where an image is read from.
func (e *Engine) mirrorSource(p *config.Pipeline, environment config.Environment, location config.Location, capture bool) (registry.Reader, string, error) {
	if capture {
		source, err := e.openLocation(p, location)
		return source, location.Repo, err
	}
	source, err := e.Registries.Open(p.Registries[sourceOf(p, environment).Registry])
	return source, location.TargetRepo(), err
}

// sourceOf is the environment from whose registry an environment takes its
// images. The snapshot's tag proves that its images are safe in the registry of
// whoever follows the first environment, so that one is its own source.
func sourceOf(p *config.Pipeline, e config.Environment) config.Environment {
	for _, before := range e.After {
		if b, ok := p.Environment(before); ok && !b.First() {
			return b
		}
	}
	return e
}

// retentionTag is what an image is called at its destination, so that clean-ups
// which delete what has no tag spare it. It ends in the digest: whatever else is
// mirrored later, by this pipeline, another one or a worker that lost a race,
// no other image can take the name away.
func retentionTag(p *config.Pipeline, lock *snapshot.Lock, environment config.Environment, image snapshot.Image) string {
	digest := strings.TrimPrefix(image.Digest, "sha256:")
	return strings.Join([]string{environment.Name, p.Name, lock.Version.Number(), digest[:12]}, "-")
}

// commitTag is a tag that names the commit an image was built from: seven to
// forty hexadecimal digits. Only such a tag goes along with the image (S38);
// others move, or mean something else at the destination.
var commitTag = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// VerifyImages checks that everything a snapshot needs in the environment is
// complete in the environment's registry. It writes nothing and reads nothing
// but that registry.
func (e *Engine) VerifyImages(ctx context.Context, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (mirror.Report, error) {
	home, err := e.Registries.Open(p.Registries[environment.Registry])
	if err != nil {
		return mirror.Report{}, err
	}
	images, err := e.mirrorList(p, lock, environment, nil)
	if err != nil {
		return mirror.Report{}, err
	}
	for i := range images {
		// As its own source the registry is also asked which signatures and
		// attestations belong to an image, and whether they are complete.
		images[i].Source, images[i].SourceRepo = home, images[i].TargetRepo
	}
	report, err := mirror.Verify(ctx, home, images, mirror.Options{Concurrency: e.Concurrency})
	if err != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%s: %w", MirrorIncomplete, err)
	}
	return report, err
}

// Restore makes a snapshot's images complete in the environment's registry again,
// when that has lost them: from the registry of the environment before, or else
// from whichever registry of the pipeline still has them, which by their digests
// are the same. It returns the name of the registry that gave them; empty when
// nothing was missing.
func (e *Engine) Restore(ctx context.Context, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (from string, report mirror.Report, err error) {
	report, incomplete := e.VerifyImages(ctx, p, lock, environment)
	if incomplete == nil || ctx.Err() != nil {
		return "", report, incomplete
	}
	home, err := e.Registries.Open(p.Registries[environment.Registry])
	if err != nil {
		return "", report, err
	}
	images, err := e.mirrorList(p, lock, environment, nil)
	if err != nil {
		return "", report, err
	}
	sources := sourcesFor(p, environment)
	if len(sources) == 0 {
		return "", report, fmt.Errorf("%s, and no other registry keeps them: %w", MirrorIncomplete, incomplete)
	}
	var failed []error
	for _, name := range sources {
		source, err := e.Registries.Open(p.Registries[name])
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for i := range images {
			images[i].Source, images[i].SourceRepo = source, images[i].TargetRepo
		}
		copied, err := mirror.Copy(ctx, home, images, mirror.Options{Concurrency: e.Concurrency})
		if err == nil {
			return name, copied, nil
		}
		report = copied
		failed = append(failed, fmt.Errorf("from %s: %w", name, err))
		if ctx.Err() != nil {
			break
		}
	}
	return "", report, fmt.Errorf("%s: %w", MirrorIncomplete, errors.Join(failed...))
}

// sourcesFor are the registries from which an environment's images can be had,
// the most likely one first.
func sourcesFor(p *config.Pipeline, environment config.Environment) []string {
	names := []string{sourceOf(p, environment).Registry}
	for _, other := range p.Environments {
		if !other.First() {
			names = append(names, other.Registry)
		}
	}
	var sources []string
	for _, name := range names {
		if name != environment.Registry && !slices.Contains(sources, name) {
			sources = append(sources, name)
		}
	}
	return sources
}

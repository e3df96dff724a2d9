package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// release gives the pipeline's own images in the environment's registry the
// tag for which they were captured (S38); without one there is nothing to do.
// It comes after the mirror. A tag that is taken stays where it is, and neither
// that nor a registry that refuses the tag stops anything: what keeps an image
// is its retention tag, what names it its digest.
func (e *Engine) release(ctx context.Context, step string, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) error {
	tag := lock.Source.Tag
	if tag == "" {
		return nil
	}
	images, ambiguous, err := releaseList(p, lock, environment)
	if err != nil {
		return stepError(step, sideRegistry, err)
	}
	for _, repo := range ambiguous {
		e.log().WarnContext(ctx, "release tag not set: the repository has several images in this snapshot",
			"step", step, "registry", p.Registries[environment.Registry].URL, "repository", repo, "tag", tag)
	}
	dst, err := e.Registries.Open(p.Registries[environment.Registry])
	if err != nil {
		return stepError(step, sideRegistry, err)
	}
	options := mirror.Options{Concurrency: e.Concurrency}
	taken, err := mirror.AddTags(ctx, dst, images, options)
	if err != nil && ctx.Err() == nil {
		taken = e.releaseEach(ctx, step, dst, images, options)
	}
	if err := ctx.Err(); err != nil {
		return stepError(step, sideRegistry, err)
	}
	for _, t := range taken {
		e.log().WarnContext(ctx, "release tag not set: it names another image",
			"step", step, "registry", dst.Name(), "repository", t.Image.TargetRepo, "tag", t.Tag, "names", t.Digest, "want", t.Image.Digest)
	}
	return nil
}

// releaseEach tries again, each image by itself: nobody would come back for a
// tag that was lost on the way, and one that is refused must not keep the others
// from theirs. What does not work is logged.
func (e *Engine) releaseEach(ctx context.Context, step string, dst registry.Registry, images []mirror.Image, options mirror.Options) []mirror.Taken {
	var taken []mirror.Taken
	for _, image := range images {
		found, err := mirror.AddTags(ctx, dst, []mirror.Image{image}, options)
		taken = append(taken, found...)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return taken
		}
		e.log().WarnContext(ctx, "release tag not set", "step", step, "registry", dst.Name(), "repository", image.TargetRepo, "error", err)
		if errors.Is(err, registry.ErrUnreachable) {
			return taken // the others would only wait for it as well
		}
	}
	return taken
}

// releaseCapture gives a captured tag to the images, once it is certain that it
// still names the commit.
func (e *Engine) releaseCapture(ctx context.Context, s *State, step Step, captured *Captured) error {
	if err := e.checkTag(ctx, s, step); err != nil {
		return err
	}
	for _, environment := range captured.Pipeline.Environments {
		if !directlyAfterFirst(captured.Pipeline, environment) {
			continue
		}
		name := fmt.Sprintf("%s: release to %s", step, environment.Name)
		if err := e.release(ctx, name, captured.Pipeline, captured.Snapshot.Lock, environment); err != nil {
			return err
		}
	}
	return nil
}

// releaseList lists the images that get the release tag, and the repositories
// in which it would have to name two. Third-party images are left out: on them
// it would read like a version of theirs.
func releaseList(p *config.Pipeline, lock *snapshot.Lock, environment config.Environment) (images []mirror.Image, ambiguous []string, err error) {
	digests := map[string][]string{}
	var all []mirror.Image
	for _, image := range lock.ImagesOf(p.Downstream(environment.Name)...) {
		location, err := p.Locate(image.Requested)
		if err != nil {
			return nil, nil, err
		}
		repo := location.TargetRepo()
		if location.Registry == "" || slices.Contains(digests[repo], image.Digest) {
			continue
		}
		digests[repo] = append(digests[repo], image.Digest)
		all = append(all, mirror.Image{
			Reference: image.Requested, TargetRepo: repo, Digest: image.Digest, Tags: []string{lock.Source.Tag},
		})
	}
	for _, image := range all {
		switch {
		case len(digests[image.TargetRepo]) == 1:
			images = append(images, image)
		case !slices.Contains(ambiguous, image.TargetRepo):
			ambiguous = append(ambiguous, image.TargetRepo)
		}
	}
	return images, ambiguous, nil
}

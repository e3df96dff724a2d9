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

// explainImages says whether the snapshot's images are complete in the
// environment's registry, and if not, whether a promotion can bring them there.
// It reads the two registries for at most evidenceBudget.
func (e *Engine) explainImages(ctx context.Context, p *config.Pipeline, lock *snapshot.Lock, environment config.Environment, current bool) Finding {
	const name = "images"
	ctx, cancel := context.WithTimeout(ctx, evidenceBudget)
	defer cancel()
	report, err := e.VerifyImages(ctx, p, lock, environment)
	home := p.Registries[environment.Registry].URL
	if err == nil {
		return passes(name, "%d complete in %s", len(report.Images), home)
	}
	lacking, first, err := incomplete(ctx, report, err)
	if err != nil {
		return unknownYet(name, err)
	}
	source := sourceOf(p, environment)
	if source.Name == environment.Name {
		// The tag promises that they are here.
		return waits(name, MirrorIncomplete, "%d of %d are not complete: %s", len(lacking), len(report.Images), brief(first.Error()))
	}
	images, err := e.mirrorList(p, lock, environment, nil)
	if err != nil {
		return unknownYet(name, err)
	}
	from := p.Registries[source.Registry].URL
	wanted := slices.DeleteFunc(slices.Clone(images), func(i mirror.Image) bool { return !lacking[i.Digest] })
	report, err = e.verifyAt(ctx, p.Registries[source.Registry], wanted)
	if err != nil {
		gone, first, err := incomplete(ctx, report, err)
		if err != nil {
			return unknownYet(name, err)
		}
		return waits(name, ImageMissing, "%d of %d are not complete in %s, where %s takes them from: %s", len(gone), len(images), from, environment.Name, brief(first.Error()))
	}
	if current || len(wanted) < len(images) {
		// What is complete has the retention tag of this snapshot, so a copy began.
		return waits(name, MirrorIncomplete, "%d of %d are not complete in %s: %s; %s has them", len(lacking), len(images), home, brief(first.Error()), from)
	}
	return passes(name, "%d of %d are copied from %s on the way", len(lacking), len(images), from)
}

// incomplete lists the images that a verification found incomplete, by digest,
// and the first one's fault. It is an error when a registry could not be asked.
func incomplete(ctx context.Context, report mirror.Report, err error) (lacking map[string]bool, first, failure error) {
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("%w after %s", errNoTimeLeft, evidenceBudget)
	}
	lacking = map[string]bool{}
	for _, image := range report.Images {
		fault := image.Err()
		switch {
		case fault == nil:
			continue
		case !errors.Is(fault, registry.ErrNotFound) && !errors.Is(fault, registry.ErrDigestMismatch):
			return nil, nil, fault
		case first == nil:
			first = fault
		}
		lacking[image.Digest] = true
	}
	if first == nil {
		return nil, nil, err // before the first image
	}
	return lacking, first, nil
}

// verifyAt checks images in a registry of the pipeline that others take them
// from.
func (e *Engine) verifyAt(ctx context.Context, at config.Registry, images []mirror.Image) (mirror.Report, error) {
	source, err := e.Registries.Open(at)
	if err != nil {
		return mirror.Report{}, err
	}
	for i := range images {
		images[i].Source, images[i].SourceRepo, images[i].Tags = source, images[i].TargetRepo, nil
	}
	return mirror.Verify(ctx, source, images, mirror.Options{Concurrency: e.Concurrency})
}

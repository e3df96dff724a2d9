package mirror

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Copy makes every image complete in dst and verifies it there (see [Verify]).
// One image's failure does not stop the others; the error joins all failures
// (*Error each), and the report says which images are complete.
//
// A source that is unreachable is no failure for an image that is complete at
// the destination and has its tags there, which are set last and so prove that a
// copy was finished; one that refuses (401, 403) is. When ctx ends, nothing more
// is written. Readers must be usable as map keys, as pointers are.
func Copy(ctx context.Context, dst registry.Registry, images []Image, options Options) (Report, error) {
	r := newRun(dst, dst, options)
	if options.Shallow {
		if report, ok := r.glance(ctx, images); ok {
			return report, nil
		}
	}
	plans, errs := r.planAll(ctx, images)
	r.settle(plans)
	there := make([]bool, len(images))
	_ = r.each(len(images), func(i int) error { // the errors are kept per image
		if errs[i] != nil {
			return nil
		}
		if there[i] = plans[i].complete(); !there[i] {
			errs[i] = plans[i].blame(r.writeImage(ctx, plans[i]))
		}
		return nil
	})
	r.checking = true
	r.forget()
	_ = r.each(len(images), func(i int) error { // the errors are kept per image
		if errs[i] != nil || there[i] {
			return nil
		}
		p, err := r.plan(ctx, images[i])
		if err == nil {
			err = p.lacks()
		}
		errs[i] = err
		return nil
	})
	report := r.report(images, plans, errs)
	for i := range report.Images {
		report.Images[i].AlreadyThere = there[i]
	}
	return report, report.join()
}

// Verify checks that every image is complete in dst: the manifest and all its
// children are there with the right bytes, every blob exists, tags name the
// digest, and, for images with a Source that can be read, every referrer of
// the source is there too. Nothing is written. A source that is unreachable is
// left out (see [ImageReport].SourceUnreachable); one that refuses (401, 403)
// fails its images.
func Verify(ctx context.Context, dst registry.Reader, images []Image, options Options) (Report, error) {
	r := newRun(dst, nil, options)
	r.checking = true
	plans, errs := r.planAll(ctx, images)
	for i, p := range plans {
		if errs[i] == nil {
			errs[i] = p.lacks()
		}
	}
	report := r.report(images, plans, errs)
	for i := range report.Images {
		report.Images[i].AlreadyThere = errs[i] == nil
	}
	return report, report.join()
}

func (r *run) planAll(ctx context.Context, images []Image) ([]*plan, []error) {
	plans, errs := make([]*plan, len(images)), make([]error, len(images))
	_ = r.each(len(images), func(i int) error { // the errors are kept per image
		plans[i], errs[i] = r.plan(ctx, images[i])
		return nil
	})
	return plans, errs
}

// writeImage brings what is missing; the tags come last.
func (r *run) writeImage(ctx context.Context, p *plan) error {
	n := p.root
	if !n.present && len(n.referrers)+len(n.legacy) == 0 {
		return r.write(ctx, p, n, p.missingTags...)
	}
	if err := r.write(ctx, p, n); err != nil || len(p.missingTags) == 0 {
		return err
	}
	return r.putManifest(ctx, p, n, p.missingTags)
}

// write brings a manifest and what belongs to it.
func (r *run) write(ctx context.Context, p *plan, n *node, tags ...string) error {
	err := r.each(len(n.children), func(i int) error { return r.write(ctx, p, n.children[i]) })
	if err != nil {
		return err
	}
	err = r.each(len(n.blobs), func(i int) error {
		if !n.missing[n.blobs[i].Digest] {
			return nil
		}
		return r.place(ctx, p.dst, p.src, n.blobs[i])
	})
	if err != nil {
		return err
	}
	if !n.present || n.unlisted || len(tags) > 0 {
		if err := r.putManifest(ctx, p, n, tags); err != nil {
			return err
		}
	}
	err = r.each(len(n.referrers), func(i int) error { return r.write(ctx, p, n.referrers[i]) })
	if err != nil {
		return err
	}
	return r.each(len(n.legacy), func(i int) error {
		l := n.legacy[i]
		if l.set {
			if l.node.present {
				return r.write(ctx, p, l.node)
			}
			return nil // the destination's own tag says more
		}
		return r.write(ctx, p, l.node, l.tag)
	})
}

func (r *run) putManifest(ctx context.Context, p *plan, n *node, tags []string) error {
	key := p.dst.on(strings.Join(append([]string{n.digest}, tags...), " "))
	_, err := r.put.do(ctx, key, func() (struct{}, error) {
		release, err := r.slot(ctx)
		if err != nil {
			return struct{}{}, err
		}
		defer release()
		if err := r.writer.PutManifest(ctx, p.dst.repo, n.manifest, tags...); err != nil {
			return struct{}{}, r.fail(p.dst, n.digest, err)
		}
		r.written.Add(1)
		if !n.present {
			r.tell(func(now *Progress) { now.Manifests = min(now.Manifests+1, now.ManifestsTotal) })
		}
		return struct{}{}, nil
	})
	return err
}

func (r *run) report(images []Image, plans []*plan, errs []error) Report {
	report := Report{
		Manifests: int(r.written.Load()), Blobs: int(r.sent.Load()), Mounted: int(r.mounted.Load()), Bytes: r.bytes.Load(),
	}
	for i, image := range images {
		one := ImageReport{Reference: image.Reference, Repository: image.TargetRepo, Digest: image.Digest}
		if p := plans[i]; p != nil {
			one.Manifests, one.Referrers = int(p.manifests.Load()), int(p.referrers.Load())
			one.SourceUnreachable = p.unreachable != nil
		}
		if errs[i] != nil {
			one.err = image.fail(r.dst.Name(), errs[i])
			one.Error = one.err.Error()
		}
		report.Images = append(report.Images, one)
	}
	return report
}

func (r Report) join() error {
	var errs []error
	for _, image := range r.Images {
		if image.err != nil {
			errs = append(errs, image.err)
		}
	}
	return errors.Join(errs...)
}

// glance looks at the roots only and reports whether nothing is missing.
func (r *run) glance(ctx context.Context, images []Image) (Report, bool) {
	report := Report{Images: make([]ImageReport, len(images))}
	var missing atomic.Bool
	_ = r.each(len(images), func(i int) error {
		seen := &ImageReport{Reference: images[i].Reference, Repository: images[i].TargetRepo, Digest: images[i].Digest, AlreadyThere: true}
		// A failure is met again, and reported, by the full look that follows.
		if complete, err := r.glanceAt(ctx, images[i], seen); err != nil || !complete {
			missing.Store(true)
		}
		report.Images[i] = *seen
		return nil
	})
	return report, !missing.Load()
}

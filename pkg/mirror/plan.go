package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// plan is what one image consists of and what of it the destination lacks.
type plan struct {
	image    Image
	dst, src at // src.registry is nil when there is no source to ask
	root     *node
	// missingTags do not name the image at the destination.
	missingTags []string
	// unreachable is why the source could not be asked, if so.
	unreachable error
	manifests   atomic.Int64
	referrers   atomic.Int64
}

// node is a manifest in an image's tree.
type node struct {
	digest   string
	manifest registry.Manifest
	parts    registry.Parts
	// present at the destination, with the right bytes.
	present bool
	// blobs a registry must hold for it; missing are those not seen there.
	blobs   []registry.Descriptor
	missing map[string]bool

	children  []*node
	referrers []*node
	// unlisted: a referrer that the destination does not list for its subject.
	unlisted bool
	legacy   []legacy
}

// legacy is a signature that cosign keeps under a tag.
type legacy struct {
	tag  string
	node *node
	// set: the tag names it at the destination.
	set bool
}

// legacySuffixes of the tags that cosign made before referrers existed.
var legacySuffixes = []string{".sig", ".att", ".sbom"}

func (r *run) plan(ctx context.Context, image Image) (*plan, error) {
	p := &plan{
		image: image,
		dst:   at{side: SideDestination, registry: r.dst, repo: image.TargetRepo},
		src:   at{side: SideSource, registry: image.Source, repo: image.SourceRepo},
	}
	if !registry.IsDigest(image.Digest) {
		return nil, fmt.Errorf("%q is not a sha256 digest", image.Digest)
	}
	if image.Source != nil {
		// The tags are needed for signatures; they also tell whether the
		// source can be asked at all.
		if _, err := r.tagsOf(ctx, p.src); errors.Is(err, registry.ErrUnreachable) {
			p.unreachable, p.src.registry = err, nil
		} else if err != nil {
			return nil, err
		} else if _, err := r.referrersOf(ctx, p.src.on(image.Digest)); err != nil {
			// Asked before those of its children, so that one question finds out
			// whether the source has the referrers API.
			return nil, err
		}
	}
	root, err := r.walk(ctx, p, step{digest: image.Digest})
	if err != nil {
		return nil, err
	}
	p.root = root
	for _, tag := range image.Tags {
		named := registry.Descriptor{}
		if root.present {
			if named, err = r.resolve(ctx, p.dst.on(tag)); err != nil {
				return nil, err
			}
		}
		if named.Digest != image.Digest {
			p.missingTags = append(p.missingTags, tag)
		}
	}
	if p.unreachable != nil && len(p.missingTags) > 0 {
		// Tags are set last. Without them a copy may have ended between the image
		// and its signatures, and nobody can say whether there are any.
		return nil, p.unreachable
	}
	return p, nil
}

// step is one manifest to walk to.
type step struct {
	digest string
	depth  int
	// subject that the manifest must have, empty for any.
	subject string
	// absent: what it hangs on is not at the destination, so it is not looked
	// for there either.
	absent bool
}

// walk reads a manifest, from the destination if it is there, and everything
// that belongs to it. A referrer that is nowhere, or refers to something else,
// is nil: lists of referrers may be out of date.
func (r *run) walk(ctx context.Context, p *plan, s step) (*node, error) {
	if s.depth > maxDepth {
		return nil, r.fail(p.dst, s.digest, fmt.Errorf("manifests are nested deeper than %d", maxDepth))
	}
	if p.manifests.Add(1) > maxManifests {
		return nil, r.fail(p.dst, s.digest, fmt.Errorf("more than %d manifests belong to it", maxManifests))
	}
	n, err := r.find(ctx, p, s)
	if err != nil {
		return nil, err
	}
	if n == nil {
		p.manifests.Add(-1)
		return nil, r.stillThere(ctx, p, s.subject) // nil is "no referrer"
	}
	if n.manifest.Raw == nil {
		return n, nil // not there, and only that was the question
	}
	if n.parts, err = n.manifest.Parse(); err != nil {
		return nil, r.fail(p.dst, s.digest, err)
	}
	if s.subject != "" && !refersTo(n.manifest, s.subject) {
		p.manifests.Add(-1)
		return nil, nil // nil is "no referrer"
	}
	if err := r.findBlobs(ctx, p, n); err != nil {
		return nil, err
	}
	n.children = make([]*node, len(n.parts.Children))
	err = r.each(len(n.children), func(i int) error {
		child, err := r.walk(ctx, p, step{digest: n.parts.Children[i].Digest, depth: s.depth + 1, absent: r.skips(n)})
		n.children[i] = child
		return err
	})
	if err != nil || p.src.registry == nil {
		return n, err
	}
	if err := r.findReferrers(ctx, p, n, s.depth); err != nil {
		return nil, err
	}
	return n, r.findLegacy(ctx, p, n, s.depth)
}

// skips reports whether what hangs on n need not be looked for.
func (r *run) skips(n *node) bool { return !n.present && !r.checking }

// find reads a manifest where it is.
func (r *run) find(ctx context.Context, p *plan, s step) (*node, error) {
	n := &node{digest: s.digest, missing: map[string]bool{}}
	if !s.absent {
		m, err := r.manifest(ctx, p.dst.on(s.digest))
		if err != nil && (r.checking || !errors.Is(err, registry.ErrDigestMismatch)) {
			return nil, err
		}
		if m != nil {
			n.manifest, n.present = *m, true
			return n, nil
		}
	}
	if r.checking {
		return n, nil
	}
	if p.src.registry == nil {
		if p.unreachable != nil {
			return nil, p.unreachable
		}
		return nil, r.fail(p.dst, s.digest, fmt.Errorf("manifest %s: %w, and there is no source to copy it from", s.digest, registry.ErrNotFound))
	}
	m, err := r.manifest(ctx, p.src.on(s.digest))
	switch {
	case err != nil:
		return nil, err
	case m == nil && s.subject != "":
		return nil, nil // nil is "no referrer"
	case m == nil:
		return nil, r.fail(p.src, s.digest, fmt.Errorf("manifest %s: %w", s.digest, registry.ErrNotFound))
	}
	n.manifest = *m
	return n, nil
}

// findBlobs lists the blobs of n and looks up those that should be there.
func (r *run) findBlobs(ctx context.Context, p *plan, n *node) error {
	seen := map[string]bool{}
	for _, d := range n.parts.Blobs {
		if seen[d.Digest] || strings.Contains(d.MediaType, "nondistributable") || strings.Contains(d.MediaType, ".foreign.") {
			continue
		}
		seen[d.Digest] = true
		if len(d.URLs) > 0 {
			// It may be kept elsewhere; whoever keeps it here, too, wants it copied.
			if r.checking || p.src.registry == nil {
				continue
			}
			if has, err := r.hasBlob(ctx, p.src.on(d.Digest)); err != nil {
				return err
			} else if !has {
				continue
			}
		}
		n.blobs = append(n.blobs, d)
	}
	if !n.present {
		for _, d := range n.blobs {
			n.missing[d.Digest] = true
		}
		return nil
	}
	has := make([]bool, len(n.blobs))
	err := r.each(len(n.blobs), func(i int) error {
		var err error
		has[i], err = r.hasBlob(ctx, p.dst.on(n.blobs[i].Digest))
		return err
	})
	for i, d := range n.blobs {
		if !has[i] {
			n.missing[d.Digest] = true
		}
	}
	return err
}

// findReferrers walks to what refers to n at the source.
func (r *run) findReferrers(ctx context.Context, p *plan, n *node, depth int) error {
	list, err := r.referrersOf(ctx, p.src.on(n.digest))
	if err != nil || len(list) == 0 {
		return err
	}
	listed := map[string]bool{}
	if !r.skips(n) {
		there, err := r.referrersOf(ctx, p.dst.on(n.digest))
		if err != nil {
			return err
		}
		for _, d := range there {
			listed[d.Digest] = true
		}
	}
	found := make([]*node, len(list))
	err = r.each(len(list), func(i int) error {
		var err error
		found[i], err = r.walk(ctx, p, step{digest: list[i].Digest, depth: depth + 1, subject: n.digest, absent: r.skips(n)})
		return err
	})
	if err != nil {
		return err
	}
	if r.checking {
		if err := r.dropDangling(ctx, p, n.digest, found); err != nil {
			return err
		}
	}
	n.referrers = slices.DeleteFunc(found, func(f *node) bool { return f == nil })
	p.referrers.Add(int64(len(n.referrers)))
	for _, f := range n.referrers {
		f.unlisted = !listed[f.digest]
	}
	return nil
}

// dropDangling removes referrers that the source lists but does not have, or
// that refer to something else: they are not missing at the destination.
func (r *run) dropDangling(ctx context.Context, p *plan, subject string, found []*node) error {
	for i, f := range found {
		if f == nil || f.present {
			continue
		}
		m, err := r.manifest(ctx, p.src.on(f.digest))
		if err != nil {
			return err
		}
		if m == nil {
			if err := r.stillThere(ctx, p, subject); err != nil {
				return err
			}
		}
		if m == nil || !refersTo(*m, subject) {
			found[i] = nil
			p.manifests.Add(-1)
		}
	}
	return nil
}

// stillThere makes sure that what a referrer refers to is still at the source,
// when the source lists the referrer and does not have it. If it is not, somebody
// deletes both while they are read, and what was listed may be a signature that
// would be lost. It does not use what was found out before.
func (r *run) stillThere(ctx context.Context, p *plan, subject string) error {
	release, err := r.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	where := p.src.on(subject)
	_, err = where.registry.Resolve(ctx, where.repo, subject)
	if errors.Is(err, registry.ErrNotFound) {
		err = fmt.Errorf("it was deleted while it was read, and with it what refers to it: %w", err)
	}
	return r.fail(where, subject, err)
}

func refersTo(m registry.Manifest, subject string) bool {
	parts, err := m.Parse()
	return err == nil && parts.Subject != nil && parts.Subject.Digest == subject
}

// findLegacy walks to the signatures that the source keeps under tags.
func (r *run) findLegacy(ctx context.Context, p *plan, n *node, depth int) error {
	tags, err := r.tagsOf(ctx, p.src)
	if err != nil {
		return err
	}
	for _, suffix := range legacySuffixes {
		tag := registry.ReferrersTag(n.digest) + suffix
		if !tags[tag] {
			continue
		}
		d, err := r.resolve(ctx, p.src.on(tag))
		if err != nil {
			return err
		}
		if d.Digest == "" {
			continue // deleted since
		}
		found, err := r.walk(ctx, p, step{digest: d.Digest, depth: depth + 1, absent: r.skips(n)})
		if err != nil {
			return err
		}
		l := legacy{tag: tag, node: found}
		if !r.skips(n) {
			if l.set, err = r.isSet(ctx, p, l); err != nil {
				return err
			}
		}
		n.legacy = append(n.legacy, l)
		p.referrers.Add(1)
	}
	return nil
}

// isSet reports whether the destination's tag serves for the source's
// signatures: it names the same, or something with the same layers and more,
// for signatures may be added at the destination, too.
func (r *run) isSet(ctx context.Context, p *plan, l legacy) (bool, error) {
	d, err := r.resolve(ctx, p.dst.on(l.tag))
	if err != nil || d.Digest == "" || d.Digest == l.node.digest {
		return d.Digest == l.node.digest, err
	}
	theirs, err := r.manifest(ctx, p.dst.on(d.Digest))
	if err != nil || theirs == nil {
		return false, err
	}
	ours := l.node.manifest
	if ours.Raw == nil {
		m, err := r.manifest(ctx, p.src.on(l.node.digest))
		if err != nil || m == nil {
			return false, err
		}
		ours = *m
	}
	have, err := layers(*theirs)
	if err != nil {
		return false, r.fail(p.dst, d.Digest, err)
	}
	want, err := layers(ours)
	if err != nil {
		return false, r.fail(p.src, l.node.digest, err)
	}
	switch {
	case contains(have, want):
		return true, nil
	case contains(want, have):
		return false, nil
	}
	return false, r.fail(p.dst, d.Digest, fmt.Errorf("tag %s names signatures that the source lacks, and lacks some that the source has; copying would lose some: sign again at the destination, or delete its tag", l.tag))
}

func layers(m registry.Manifest) (map[string]bool, error) {
	parts, err := m.Parse()
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, d := range parts.Blobs {
		if parts.Config == nil || d.Digest != parts.Config.Digest {
			// One payload may carry several signatures, as annotations.
			set[d.Digest+" "+d.Annotations["dev.cosignproject.cosign/signature"]] = true
		}
	}
	return set, nil
}

func contains(all, some map[string]bool) bool {
	for key := range some {
		if !all[key] {
			return false
		}
	}
	return true
}

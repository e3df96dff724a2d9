package mirror

import (
	"errors"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// complete reports whether the destination lacks nothing of the image.
func (p *plan) complete() bool { return p.lacks() == nil }

// lacks returns the first thing that the destination lacks, and how many more
// there are.
func (p *plan) lacks() error {
	var first error
	more := -1
	missing := func(digest, format string, args ...any) {
		more++
		if first == nil {
			first = &problem{
				side: SideDestination, registry: p.dst.registry.Name(), repository: p.dst.repo, digest: digest,
				err: fmt.Errorf(format, args...),
			}
		}
	}
	p.root.each(func(n *node) {
		if !n.present {
			missing(n.digest, "manifest %s: %w", n.digest, registry.ErrNotFound)
			return
		}
		for _, d := range n.blobs {
			if n.missing[d.Digest] {
				missing(d.Digest, "blob %s of manifest %s: %w", d.Digest, n.digest, registry.ErrNotFound)
			}
		}
		for _, f := range n.referrers {
			if f.present && f.unlisted {
				missing(f.digest, "manifest %s is not listed as a referrer of %s: %w", f.digest, n.digest, registry.ErrNotFound)
			}
		}
		for _, l := range n.legacy {
			if !l.set {
				missing(l.node.digest, "tag %s does not name %s: %w", l.tag, l.node.digest, registry.ErrNotFound)
			}
		}
	})
	for _, tag := range p.missingTags {
		missing(p.root.digest, "tag %s does not name %s: %w", tag, p.root.digest, registry.ErrNotFound)
	}
	if more > 0 {
		return fmt.Errorf("%w (and %d more missing)", first, more)
	}
	return first
}

// each calls visit for the node and everything that belongs to it, in the order
// in which they are written.
func (n *node) each(visit func(*node)) {
	for _, child := range n.children {
		child.each(visit)
	}
	visit(n)
	for _, referrer := range n.referrers {
		referrer.each(visit)
	}
	for _, l := range n.legacy {
		// A tag that says more than the source's is served by another manifest.
		if !l.set || l.node.present {
			l.node.each(visit)
		}
	}
}

// blame gives an unreachable source as the cause of what could not be brought
// without it.
func (p *plan) blame(err error) error {
	if p.unreachable == nil || !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w (which the destination lacks: %w)", p.unreachable, err)
}

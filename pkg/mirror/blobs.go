package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// home is the repository of the destination that gets a blob first, and from
// which the others mount it.
type home struct {
	repo string
	// known: the blob was seen there.
	known bool
	// from is where the content comes from otherwise.
	from at
}

const (
	// lookupSize is the size in bytes from which a blob is looked up before it
	// is sent; below, sending costs no more than asking.
	lookupSize = 64 << 10
	// patience is how many refusals in a row end the mounting in a run.
	patience = 3
)

// settle chooses the homes, in the order of the images, so that a run that
// follows a killed one looks in the same places; and counts what is to do.
func (r *run) settle(plans []*plan) {
	var total Progress
	counted := map[at]bool{}
	for _, p := range plans {
		if p == nil {
			continue
		}
		p.root.each(func(n *node) {
			if !n.present && !counted[p.dst.on(n.digest)] {
				counted[p.dst.on(n.digest)] = true
				total.ManifestsTotal++
			}
			for _, d := range n.blobs {
				h := r.homes[d.Digest]
				here := !n.missing[d.Digest]
				if h == nil {
					h = &home{repo: p.dst.repo, known: here, from: p.src}
					r.homes[d.Digest] = h
					if !here {
						total.BytesTotal += d.Size
					}
				} else if here && !h.known {
					h.repo, h.known = p.dst.repo, true
					total.BytesTotal -= d.Size
				}
				if !here && !counted[p.dst.on(d.Digest)] {
					counted[p.dst.on(d.Digest)] = true
					total.BlobsTotal++
				}
			}
		})
	}
	r.tell(func(now *Progress) { *now = total })
}

// place makes sure that a repository has a blob, once.
func (r *run) place(ctx context.Context, dst, src at, d registry.Descriptor) error {
	_, err := r.placed.do(ctx, dst.on(d.Digest), func() (struct{}, error) {
		err := r.bring(ctx, dst, src, d)
		if err == nil {
			r.tell(func(now *Progress) { now.Blobs++ })
		}
		return struct{}{}, err
	})
	return err
}

func (r *run) bring(ctx context.Context, dst, src at, d registry.Descriptor) error {
	h := r.homes[d.Digest]
	if src.registry != nil {
		if mounted, err := r.mountSource(ctx, dst, src, d.Digest); mounted || err != nil {
			return err
		}
	}
	if h.repo != dst.repo {
		if !h.known && r.place(ctx, dst.inRepo(h.repo), h.from, d) != nil {
			// Its image fails and says so; this one has its own source.
			return r.send(ctx, dst, src, d)
		}
		if mounted, err := r.mount(ctx, dst, h.repo, d.Digest); mounted || err != nil {
			return err
		}
	}
	if d.Size >= lookupSize || h.repo != dst.repo {
		// Registries that refuse mounts may show a blob everywhere.
		has, err := r.hasBlob(ctx, dst.on(d.Digest))
		if err != nil {
			return err
		}
		if has {
			return nil
		}
	}
	return r.send(ctx, dst, src, d)
}

func (w at) inRepo(repo string) at {
	w.repo = repo
	return w
}

// mountSource mounts from the source's own repository, where source and
// destination are one registry.
func (r *run) mountSource(ctx context.Context, dst, src at, digest string) (bool, error) {
	mount := func() (bool, error) {
		if m, ok := r.writer.(registry.SourceMounter); ok {
			return m.MountSource(ctx, dst.repo, src.registry, src.repo, digest)
		}
		if src.registry.Name() != r.dst.Name() || src.repo == dst.repo {
			return false, nil
		}
		return r.writer.MountBlob(ctx, dst.repo, src.repo, digest)
	}
	return r.mountBy(ctx, dst, digest, mount)
}

func (r *run) mount(ctx context.Context, dst at, from, digest string) (bool, error) {
	if r.refusedMounts.Load() >= patience {
		return false, nil
	}
	mounted, err := r.mountBy(ctx, dst, digest, func() (bool, error) {
		return r.writer.MountBlob(ctx, dst.repo, from, digest)
	})
	if mounted {
		r.refusedMounts.Store(0)
	} else if err == nil {
		r.refusedMounts.Add(1)
	}
	return mounted, err
}

func (r *run) mountBy(ctx context.Context, dst at, digest string, mount func() (bool, error)) (bool, error) {
	release, err := r.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	mounted, err := mount()
	if mounted {
		r.mounted.Add(1)
	}
	return mounted, r.fail(dst, digest, err)
}

// send streams a blob from the source.
func (r *run) send(ctx context.Context, dst, src at, d registry.Descriptor) error {
	if src.registry == nil {
		return r.fail(dst, d.Digest, fmt.Errorf("blob %s: %w, and there is no source to copy it from", d.Digest, registry.ErrNotFound))
	}
	release, err := r.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	err = r.writer.PutBlob(ctx, dst.repo, d, func() (io.ReadCloser, error) {
		content, err := src.registry.Blob(ctx, src.repo, d.Digest)
		if err != nil {
			return nil, &sourceError{err}
		}
		return &stream{ReadCloser: content, run: r}, nil
	})
	var fromSource *sourceError
	if errors.As(err, &fromSource) {
		return r.fail(src, d.Digest, fromSource.error)
	}
	if err == nil {
		r.sent.Add(1)
	}
	return r.fail(dst, d.Digest, err)
}

// stream is a blob on its way.
type stream struct {
	io.ReadCloser
	run *run
}

// VerifiedDigest passes on that the source checks itself, so that nobody
// hashes twice.
func (s *stream) VerifiedDigest() string {
	if v, ok := s.ReadCloser.(registry.Verified); ok {
		return v.VerifiedDigest()
	}
	return ""
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 {
		s.run.bytes.Add(int64(n))
		s.run.tell(func(now *Progress) { now.Bytes += int64(n) })
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err}
	}
	return n, err
}

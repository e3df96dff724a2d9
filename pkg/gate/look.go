package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/sigstore"
)

// look is the search for a signature of one image.
type look struct {
	gate  *Signatures
	image Image

	// who signed; empty until a valid signature was found.
	who string
	// wrong is what is the matter with the first signature that is not.
	wrong error
	read  int
}

// everywhere looks where cosign puts signatures, until one is valid. An error
// means that the registry did not say all, or has more than is read.
func (l *look) everywhere(ctx context.Context) error {
	if err := l.referrers(ctx); err != nil || l.who != "" {
		return err
	}
	return l.tag(ctx)
}

func (l *look) referrers(ctx context.Context) error {
	r, repo := l.gate.Registry, l.image.Repo
	list, err := r.Referrers(ctx, repo, l.image.Digest)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(d registry.Descriptor) bool { return !mayBeSignature(d.ArtifactType) })
	// The annotation proves nothing, but who wrote it had no reason to hide a
	// signature behind statements.
	slices.SortStableFunc(list, func(a, b registry.Descriptor) int { return likelihood(b) - likelihood(a) })
	for _, d := range list {
		if err := l.artifact(ctx, d.Digest); err != nil || l.who != "" {
			return err
		}
	}
	return nil
}

// mayBeSignature reports whether an artifact of a type is worth a look. Some
// registries show the type of the configuration in its place, which is that of
// nothing (go-containerregistry's does).
func mayBeSignature(artifactType string) bool {
	switch artifactType {
	case sigstore.SimpleArtifactType, "", "application/vnd.oci.empty.v1+json":
		return true
	}
	return strings.HasPrefix(artifactType, sigstore.BundleType)
}

func likelihood(d registry.Descriptor) int {
	switch d.Annotations["dev.sigstore.bundle.predicateType"] {
	case "":
		return 1
	case "https://sigstore.dev/cosign/sign/v1":
		return 2
	}
	return 0
}

// tag looks at the image that is named after the digest.
func (l *look) tag(ctx context.Context) error {
	d, err := l.gate.Registry.Resolve(ctx, l.image.Repo, registry.ReferrersTag(l.image.Digest)+".sig")
	if errors.Is(err, registry.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.artifact(ctx, d.Digest)
}

// artifact verifies what is in one manifest.
func (l *look) artifact(ctx context.Context, digest string) error {
	if err := l.count(); err != nil {
		return err
	}
	m, err := l.gate.Registry.Manifest(ctx, l.image.Repo, digest)
	if err != nil {
		return l.damaged(err)
	}
	parts, err := m.Parse()
	if err != nil {
		return l.damaged(fmt.Errorf("%w: %w", errUnusable, err))
	}
	for _, blob := range parts.Blobs {
		bundle := strings.HasPrefix(blob.MediaType, sigstore.BundleType)
		if !bundle && blob.MediaType != sigstore.SimpleType {
			continue
		}
		if err := l.count(); err != nil {
			return err
		}
		text, err := l.blob(ctx, blob)
		if err != nil {
			if err := l.damaged(err); err != nil {
				return err
			}
			continue
		}
		if l.verify(bundle, text, blob.Annotations); l.who != "" {
			return nil
		}
	}
	return nil
}

func (l *look) verify(bundle bool, text []byte, annotations map[string]string) {
	var err error
	if bundle {
		l.who, err = l.gate.Policy.VerifyBundle(text, l.image.Digest)
	} else {
		l.who, err = l.gate.Policy.VerifySimple(text, annotations, l.image.Digest)
	}
	if err != nil && !errors.Is(err, sigstore.ErrNotSignature) && l.wrong == nil {
		l.wrong = err
	}
}

// count keeps the search within bounds. A signature might be among what is not
// read, so that is no answer.
func (l *look) count() error {
	if l.read++; l.read > 2*maxSignatures {
		return fmt.Errorf("it has more than %d signatures and statements; take away those that nobody needs", maxSignatures)
	}
	return nil
}

// errUnusable: the registry gave what it has, and that is no signature.
var errUnusable = errors.New("a signature cannot be used")

// damaged notes a signature that is not whole although the registry answers. Any
// other error is returned: another answer may come later.
func (l *look) damaged(err error) error {
	for _, known := range []error{errUnusable, registry.ErrNotFound, registry.ErrDigestMismatch} {
		if errors.Is(err, known) {
			if l.wrong == nil {
				l.wrong = err
			}
			return nil
		}
	}
	return err
}

// blob reads a blob of bounded size.
func (l *look) blob(ctx context.Context, d registry.Descriptor) ([]byte, error) {
	if d.Size > sigstore.MaxSize {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", errUnusable, sigstore.MaxSize)
	}
	content, err := l.gate.Registry.Blob(ctx, l.image.Repo, d.Digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, sigstore.MaxSize+1))
	if err == nil && len(text) > sigstore.MaxSize {
		err = fmt.Errorf("%w: it is larger than %d bytes", errUnusable, sigstore.MaxSize)
	}
	return text, err
}

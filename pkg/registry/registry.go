// Package registry is the port through which Propagator reads and fills OCI
// registries, at the level of the distribution protocol: manifests, blobs,
// tags and referrers. Content is named by digest and checked against it
// wherever it passes, so a registry can withhold bytes but not change them.
//
// A [Registry] is bound to one place: a host and an optional path prefix
// ("stage.registry.example/shop"). Repository names given to its methods are
// relative to it ("orders", "docker.io/library/redis").
//
// Implementations: [Memory] here, and package remote beside this one
// (go-containerregistry) for real registries. Package registrytest holds the
// behaviour suite that both pass.
//
// All methods are safe for concurrent use.
package registry

import (
	"context"
	"errors"
	"io"
)

// Reader reads one registry.
type Reader interface {
	// Name is host and prefix as they appear in image references, without a
	// scheme or credentials.
	Name() string

	// Resolve returns the descriptor of the manifest that a tag or digest
	// names. It transfers no content. ErrNotFound when there is none.
	Resolve(ctx context.Context, repo, reference string) (Descriptor, error)

	// Manifest returns a manifest by digest, checked against it.
	// ErrNotFound, ErrDigestMismatch.
	Manifest(ctx context.Context, repo, digest string) (Manifest, error)

	// Blob opens a blob by digest. Reading it to the end checks size and
	// digest; a mismatch is reported as ErrDigestMismatch in place of io.EOF.
	// The caller closes it.
	Blob(ctx context.Context, repo, digest string) (io.ReadCloser, error)

	// HasBlob reports whether the repository has the blob.
	HasBlob(ctx context.Context, repo, digest string) (bool, error)

	// Referrers lists the manifests whose subject is the digest: by the
	// referrers API where the registry has it, otherwise by the fallback tag
	// (OCI distribution 1.1, "Listing Referrers"). Neither present is an empty
	// list; a refusal (401, 403) is an error and never "none".
	Referrers(ctx context.Context, repo, digest string) ([]Descriptor, error)

	// Tags lists the tags of a repository, sorted; a repository that does not
	// exist has none.
	Tags(ctx context.Context, repo string) ([]string, error)
}

// Writer fills one registry.
type Writer interface {
	// PutBlob stores a blob whose content open returns; the content is
	// checked against the descriptor before it becomes visible. open may be
	// called again when an upload has to be repeated. A blob that is there
	// already is not an error and may not be read at all.
	PutBlob(ctx context.Context, repo string, blob Descriptor, open func() (io.ReadCloser, error)) error

	// MountBlob makes a blob of another repository of the same registry
	// visible in repo without transfer. It reports false when the registry
	// did not; the caller then uses PutBlob.
	MountBlob(ctx context.Context, repo, from, digest string) (bool, error)

	// PutManifest stores a manifest by its digest, and under the tags. Its
	// children and blobs must be there. If it has a subject, it is listed by
	// Referrers afterwards (through the fallback tag where the registry has no
	// referrers API). Repeating it changes nothing.
	PutManifest(ctx context.Context, repo string, manifest Manifest, tags ...string) error
}

// Registry is one registry, or a part of one under a prefix.
type Registry interface {
	Reader
	Writer
}

// ReferrersAPI is implemented by registries that learn whether a repository
// has the referrers API. LacksReferrersAPI makes no request and reports true
// once it is known that it has not: then the list of tags says which digests
// have referrers (see [ReferrersTag]), and nobody need ask for each.
type ReferrersAPI interface {
	LacksReferrersAPI(repo string) bool
}

// SourceMounter is implemented by registries that can mount a blob from
// another Reader of the same host, whatever its prefix. It reports false when
// source lives elsewhere or the registry did not mount.
type SourceMounter interface {
	MountSource(ctx context.Context, repo string, source Reader, sourceRepo, digest string) (bool, error)
}

// The errors a caller branches on. Implementations wrap them with registry,
// repository and cause.
var (
	// ErrNotFound: no such manifest or blob; from PutManifest: something that
	// the manifest refers to is missing.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: credentials are missing, wrong or lack the right.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnreachable: no connection, or the registry is overloaded or broken
	// (429, 5xx) after all retries; trying again later may help.
	ErrUnreachable = errors.New("unreachable")
	// ErrDigestMismatch: the content is not what its digest promises.
	ErrDigestMismatch = errors.New("digest mismatch")
)

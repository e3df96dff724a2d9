// Package mirror copies images between registries by digest, complete and
// verified: indexes with every child, and everything that refers to them
// (signatures, attestations, SBOMs), whether listed by the referrers API, by
// its fallback tag or by cosign's older tags.
//
// The registries are the only state. A run that was killed is repeated; what
// is there is not sent again.
//
// A copy is planned as a whole, then done. The plan walks each image's tree:
// what the destination has is read there and checked, what it lacks is read at
// the source; who refers to an image is always asked at the source, because an
// image that is there says nothing about its signatures. Then every missing blob
// travels once, to the first repository that wants it (its home); the others
// mount it from there, and between repositories of one registry nothing travels
// at all. Manifests follow their blobs, indexes their children, referrers their
// subject, and tags come last: a tag at the destination means that everything
// below it was complete once. At last everything that was missing is looked up
// again.
//
// The cost of a run with nothing to do is one request per manifest and blob
// of each repository, because content can be lost below a root that is there,
// and a copy repairs that. Where about one request per image is all that may be
// spent, [Options].Shallow trusts roots that carry their tags.
//
// Nothing is converted or filtered: other bytes would have other digests.
// Layers that a registry may not hold (foreign, non-distributable) stay out.
package mirror

import (
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Image is one image to copy.
type Image struct {
	// Reference as people know it, for messages.
	Reference string
	// Source registry and repository. A nil Source means that only the
	// destination is looked at: nothing can be copied from nowhere.
	Source     registry.Reader
	SourceRepo string
	// Target repository in the destination registry.
	TargetRepo string
	// Digest of the manifest or index.
	Digest string
	// Tags to set on it at the destination, so that clean-ups keep it.
	Tags []string
}

// Options tune a copy. The zero value is usable.
type Options struct {
	// Concurrency is the number of requests and transfers at once. Default: 8.
	// With 1, writes happen one after another in a fixed order.
	Concurrency int
	// Shallow ends a Copy after one look at each root, its tags and its
	// referrers, if none is missing: what was lost below them since they were
	// copied stays unnoticed. Without it, or when anything is missing, every
	// manifest is read and every blob looked up. Verify ignores it.
	Shallow bool
	// Progress, when set, is told of every finished step; it may be called
	// from several goroutines at once.
	Progress func(Progress)
}

// Progress is how far a copy is. Totals grow while the plan becomes known.
type Progress struct {
	Manifests, ManifestsTotal int
	Blobs, BlobsTotal         int
	Bytes, BytesTotal         int64
}

// Report says what a copy did.
type Report struct {
	Images []ImageReport `json:"images"`
	// Manifests and Blobs count what was written, Mounted the blobs that
	// needed no transfer, Bytes what was sent.
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Mounted   int   `json:"mounted"`
	Bytes     int64 `json:"bytes"`
}

// ImageReport is one image's part of a Report or verification.
type ImageReport struct {
	Reference  string `json:"reference"`
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	// Manifests in its tree: itself, children, referrers.
	Manifests int `json:"manifests"`
	Referrers int `json:"referrers"`
	// AlreadyThere: nothing had to be written.
	AlreadyThere bool `json:"alreadyThere"`
	// SourceUnreachable: the image was only looked at in the destination, so
	// that referrers added at the source since the last copy are unknown.
	SourceUnreachable bool `json:"sourceUnreachable,omitempty"`
	// Error is empty when the image is complete at the destination.
	Error string `json:"error,omitempty"`

	err error
}

// Err is the image's failure, nil when it is complete. It wraps an *[Error].
func (r ImageReport) Err() error { return r.err }

package snapshot

import "time"

// LockFile is where a snapshot's tree keeps its lock.
const LockFile = ".propagator/snapshot.yaml"

// The lock's apiVersion and kind.
const (
	LockAPIVersion = "propagator/v1alpha1"
	LockKind       = "Snapshot"
)

// Lock says what a snapshot consists of: the source commit and every image of
// every environment, resolved to a digest. It is environment-neutral: digests
// are the same everywhere, only the registry in front of them differs.
type Lock struct {
	APIVersion string  `yaml:"apiVersion" json:"apiVersion"`
	Kind       string  `yaml:"kind" json:"kind"`
	Version    Version `yaml:"version" json:"version"`
	Source     Source  `yaml:"source" json:"source"`
	// Base is set where hotfixes were composed onto an earlier snapshot, and nil
	// where a commit of the source branch was captured. Hotfixes are all that
	// have been composed since that capture.
	Base     *Base    `yaml:"base,omitempty" json:"base,omitempty"`
	Hotfixes []Hotfix `yaml:"hotfixes,omitempty" json:"hotfixes,omitempty"`

	Images  []Image  `yaml:"images" json:"images"`
	Renders []Render `yaml:"renders" json:"renders"`
	Tools   Tools    `yaml:"tools" json:"tools"`
}

// Source is the commit that was captured. For a composed snapshot it is the
// composition, a commit of nobody's branch.
type Source struct {
	// Repository without credentials.
	Repository string `yaml:"repository" json:"repository"`
	Branch     string `yaml:"branch" json:"branch"`
	Commit     string `yaml:"commit" json:"commit"`
	// Tag that a person set on the commit, if that is why it was captured:
	// nobody asked then whether the first environment ran it.
	Tag string `yaml:"tag,omitempty" json:"tag,omitempty"`
	// Scheduled is the scheduled time for which the commit was captured, in UTC and
	// whole seconds; zero if that is not why. No later snapshot is made for it.
	Scheduled time.Time `yaml:"scheduled,omitempty" json:"scheduled,omitzero"`
}

// Image is one image reference as the manifests write it, and what it meant at
// the moment of capture.
type Image struct {
	// Requested is the reference as written in the manifests.
	Requested string `yaml:"requested" json:"requested"`
	// Digest of the manifest or index, sha256:….
	Digest    string `yaml:"digest" json:"digest"`
	MediaType string `yaml:"mediaType" json:"mediaType"`
	// Size of the manifest in bytes.
	Size int64 `yaml:"size" json:"size"`
	// Platforms as os/architecture[/variant], sorted; empty for a single
	// image whose configuration names none.
	Platforms []string `yaml:"platforms,omitempty" json:"platforms,omitempty"`
	// Origin is where the image was built from, by its OCI labels.
	Origin *Origin `yaml:"origin,omitempty" json:"origin,omitempty"`
	// UsedBy lists environment/application, sorted.
	UsedBy []string `yaml:"usedBy" json:"usedBy"`
}

// Origin is what org.opencontainers.image.source and .revision say.
type Origin struct {
	Source   string `yaml:"source,omitempty" json:"source,omitempty"`
	Revision string `yaml:"revision,omitempty" json:"revision,omitempty"`
}

// Render is what rendering one application of one environment gave at capture.
type Render struct {
	Environment string `yaml:"environment" json:"environment"`
	Application string `yaml:"application" json:"application"`
	// Path of the application's folder from the repository's root.
	Path string `yaml:"path" json:"path"`
	// SHA256 of the rendered, pinned output: sha256:….
	SHA256 string `yaml:"sha256" json:"sha256"`
	// ClusterDependent: templates ask for the cluster's capabilities and the
	// environment does not fix them, so the hash holds for the built-in
	// defaults only and is not compared at sync.
	ClusterDependent bool `yaml:"clusterDependent,omitempty" json:"clusterDependent,omitempty"`
	// Empty: the application has no objects, and that is meant.
	Empty bool `yaml:"empty,omitempty" json:"empty,omitempty"`
}

// Tools names what rendered, so that a differing hash can be explained.
type Tools struct {
	Kustomize string `yaml:"kustomize" json:"kustomize"`
	Helm      string `yaml:"helm" json:"helm"`
}

// Identity authors snapshot commits.
type Identity struct {
	Name  string
	Email string
}

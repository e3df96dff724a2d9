package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Media types of manifests (OCI image spec 1.1 and Docker image manifest V2).
const (
	MediaTypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Platform says what an image runs on.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// String returns os/architecture[/variant].
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Descriptor names content: what it is, its digest and its size in bytes.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	// URLs name blobs that are kept elsewhere ("foreign layers"); registries
	// need not hold them.
	URLs []string `json:"urls,omitempty"`
}

// Manifest is a manifest's exact bytes; their digest is its name.
type Manifest struct {
	MediaType string
	Raw       []byte
}

// Digest returns "sha256:" and the hash of the bytes.
func (m Manifest) Digest() string { return Digest(m.Raw) }

// Descriptor names the manifest.
func (m Manifest) Descriptor() Descriptor {
	return Descriptor{MediaType: m.MediaType, Digest: m.Digest(), Size: int64(len(m.Raw))}
}

// Digest returns the sha256 digest of content in the form "sha256:<hex>".
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// IsDigest reports whether s is a well-formed sha256 digest, the only
// algorithm Propagator accepts.
func IsDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != 2*sha256.Size {
		return false
	}
	return strings.Trim(digits, "0123456789abcdef") == ""
}

// Parts is what a manifest refers to.
type Parts struct {
	// Children are the manifests of an index.
	Children []Descriptor
	// Blobs are the config and the layers of an image or artifact.
	Blobs []Descriptor
	// Config is the image's configuration blob, nil for an index.
	Config *Descriptor
	// Subject is what a signature, attestation or SBOM is about; nil for none.
	Subject *Descriptor
	// ArtifactType as a referrers list shows it (the config's media type when
	// the manifest names none).
	ArtifactType string
	Annotations  map[string]string
}

// Parse decodes a manifest. Bytes that are no manifest, or name something by
// anything but a sha256 digest, are an error.
func (m Manifest) Parse() (Parts, error) {
	var raw struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Manifests     []Descriptor      `json:"manifests"`
		Config        *Descriptor       `json:"config"`
		Layers        []Descriptor      `json:"layers"`
		Subject       *Descriptor       `json:"subject"`
		Annotations   map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(m.Raw, &raw); err != nil {
		return Parts{}, fmt.Errorf("malformed manifest: %w", err)
	}
	if raw.SchemaVersion != 2 {
		return Parts{}, fmt.Errorf("manifest has schemaVersion %d; only 2 can be copied unchanged", raw.SchemaVersion)
	}
	if raw.Manifests != nil && (raw.Config != nil || raw.Layers != nil) {
		// Tools would disagree about what it is (CVE-2021-41190).
		return Parts{}, errors.New("manifest is an image and an index at once")
	}
	p := Parts{Children: raw.Manifests, Config: raw.Config, Subject: raw.Subject, ArtifactType: raw.ArtifactType, Annotations: raw.Annotations}
	if raw.Config != nil {
		p.Blobs = append(p.Blobs, *raw.Config)
		if p.ArtifactType == "" {
			p.ArtifactType = raw.Config.MediaType
		}
	}
	p.Blobs = append(p.Blobs, raw.Layers...)
	for _, d := range slices.Concat(p.Children, p.Blobs) {
		if !IsDigest(d.Digest) {
			return Parts{}, fmt.Errorf("manifest refers to %q, which is not a sha256 digest", d.Digest)
		}
		if d.Size < 0 {
			return Parts{}, fmt.Errorf("manifest gives %s a negative size", d.Digest)
		}
	}
	if p.Subject != nil && !IsDigest(p.Subject.Digest) {
		return Parts{}, fmt.Errorf("manifest's subject %q is not a sha256 digest", p.Subject.Digest)
	}
	return p, nil
}

// IsIndex reports whether the media type is that of a list of manifests.
func IsIndex(mediaType string) bool {
	return mediaType == MediaTypeOCIIndex || mediaType == MediaTypeDockerList
}

// ReferrersTag is the tag under which a registry without the referrers API
// keeps the referrers of a digest (OCI distribution 1.1, "Referrers Tag Schema").
func ReferrersTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

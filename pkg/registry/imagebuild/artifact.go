package imagebuild

import (
	"strings"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Media types of signatures as cosign writes them.
const (
	ArtifactTypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	mediaTypeSimple    = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaTypeEmpty     = "application/vnd.oci.empty.v1+json"
)

// Signature builds an artifact in the shape of a sigstore bundle whose subject
// is another manifest: an OCI 1.1 referrer. It signs nothing. Different
// payloads give different signatures.
func Signature(subject registry.Descriptor, payload string) Built {
	return Artifact(subject, ArtifactTypeBundle, []byte(payload), map[string]string{
		"dev.sigstore.bundle.content": "dsse-envelope",
	})
}

// Artifact builds a referrer of any type with one layer.
func Artifact(subject registry.Descriptor, artifactType string, content []byte, annotations map[string]string) Built {
	subject = registry.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	b := Built{Blobs: map[string][]byte{}}
	b.Manifest = registry.Manifest{MediaType: registry.MediaTypeOCIManifest, Raw: encode(manifest{
		SchemaVersion: 2,
		MediaType:     registry.MediaTypeOCIManifest,
		ArtifactType:  artifactType,
		Config:        b.add(mediaTypeEmpty, []byte("{}")),
		Layers:        []registry.Descriptor{b.add(artifactType, content)},
		Subject:       &subject,
		Annotations:   annotations,
	})}
	return b
}

// LegacySignature builds an image as older cosign writes signatures, one layer
// a payload, and the tag under which it belongs ("sha256-<hex>.sig").
func LegacySignature(subject registry.Descriptor, payloads ...string) (Built, string) {
	b := Built{Blobs: map[string][]byte{}}
	var layers []registry.Descriptor
	for _, payload := range payloads {
		d := b.add(mediaTypeSimple, []byte(payload))
		d.Annotations = map[string]string{"dev.cosignproject.cosign/signature": registry.Digest([]byte("signed " + payload))}
		layers = append(layers, d)
	}
	configuration := b.add("application/vnd.oci.image.config.v1+json",
		encode(config{Created: "0001-01-01T00:00:00Z", RootFS: rootFS{Type: "layers", DiffIDs: []string{}}}))
	b.Manifest = registry.Manifest{MediaType: registry.MediaTypeOCIManifest, Raw: encode(manifest{
		SchemaVersion: 2, MediaType: registry.MediaTypeOCIManifest, Config: configuration, Layers: layers,
	})}
	return b, strings.Replace(subject.Digest, ":", "-", 1) + ".sig"
}

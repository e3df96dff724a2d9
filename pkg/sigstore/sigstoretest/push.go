package sigstoretest

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// BundleType is the artifact type of what PushBundle pushes.
const BundleType = imagebuild.ArtifactTypeBundle

// PushBundle attaches a bundle to an image.
func PushBundle(t testing.TB, w registry.Writer, repo string, image registry.Descriptor, bundle []byte) {
	t.Helper()
	registrytest.MustPush(t, w, repo, imagebuild.Artifact(image, BundleType, bundle, nil))
}

// PushSimple gives an image a signature in the older form, under its tag; each
// pair of payload and annotations is a layer.
func PushSimple(t testing.TB, w registry.Writer, repo, digest string, layers ...SimpleLayer) {
	t.Helper()
	built := imagebuild.Built{Blobs: map[string][]byte{}}
	blob := func(mediaType string, content []byte, annotations map[string]string) map[string]any {
		built.Blobs[registry.Digest(content)] = content
		return map[string]any{"mediaType": mediaType, "digest": registry.Digest(content), "size": len(content), "annotations": annotations}
	}
	list := []any{}
	for _, l := range layers {
		list = append(list, blob("application/vnd.dev.cosign.simplesigning.v1+json", l.Payload, l.Annotations))
	}
	built.Manifest = registry.Manifest{MediaType: registry.MediaTypeOCIManifest, Raw: encode(map[string]any{
		"schemaVersion": 2, "mediaType": registry.MediaTypeOCIManifest, "layers": list,
		"config": blob("application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}`), nil),
	})}
	registrytest.MustPush(t, w, repo, built, strings.Replace(digest, ":", "-", 1)+".sig")
}

// SimpleLayer is what [Signer.Simple] makes.
type SimpleLayer struct {
	Payload     []byte
	Annotations map[string]string
}

// SimpleBy is the layer by a signer.
func SimpleBy(s *Signer, digest string) SimpleLayer {
	payload, annotations := s.Simple(digest)
	return SimpleLayer{payload, annotations}
}

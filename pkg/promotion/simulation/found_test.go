package simulation

import (
	"context"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// vanishing is a registry whose retention comes in the middle of a copy: after
// the referrers were listed, and before they are read.
type vanishing struct {
	*registry.Memory
	image imagebuild.Built
}

// Manifest implements [registry.Reader].
func (v *vanishing) Manifest(ctx context.Context, repo, digest string) (registry.Manifest, error) {
	for _, referrer := range v.image.Referrers {
		if digest == referrer.Digest() {
			deleteImage(v.Memory, repo, v.image)
		}
	}
	return v.Memory.Manifest(ctx, repo, digest)
}

// TestRetentionDuringMirror is the end of a schedule in which Dev's registry
// deleted an image while it was captured: the snapshot got a tag, and Stage's
// registry the image without its signature (I2). In schedules retention spares
// what is not captured yet.
func TestRetentionDuringMirror(t *testing.T) {
	image := registrytest.MustImage(t, imagebuild.Spec{})
	image = image.Refer(imagebuild.Signature(image.Manifest.Descriptor(), "ci"))
	source, target := registry.NewMemory("dev.example/shop"), registry.NewMemory("stage.example/shop")
	registrytest.MustPush(t, source, "orders", image, "b1")
	_, err := mirror.Copy(t.Context(), target, []mirror.Image{{
		Reference: "dev.example/shop/orders:b1", Source: &vanishing{source, image}, SourceRepo: "orders", TargetRepo: "orders", Digest: image.Digest(),
	}}, mirror.Options{Concurrency: 1})
	listed, listErr := target.Referrers(t.Context(), "orders", image.Digest())
	if listErr != nil {
		t.Fatal(listErr)
	}
	if err == nil && len(listed) == 0 {
		t.Error("the copy is called complete, and the signature is lost")
	}
}

package mirror_test

import (
	"context"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

func ExampleCopy() {
	ctx := context.Background()
	dev, stage := registry.NewMemory("dev.example/shop"), registry.NewMemory("stage.example/shop")
	image, err := imagebuild.Image(imagebuild.Spec{Files: imagebuild.Files{"version": "1.4.0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	image = image.Refer(imagebuild.Signature(image.Manifest.Descriptor(), "signed"))
	if err := imagebuild.Push(ctx, dev, "orders", image, "1.4.0"); err != nil {
		fmt.Println(err)
		return
	}
	images := []mirror.Image{{
		Reference: "dev.example/shop/orders:1.4.0",
		Source:    dev, SourceRepo: "orders", TargetRepo: "orders",
		Digest: image.Digest(), Tags: []string{"stage-shop-v1.4.0"},
	}}
	report, err := mirror.Copy(ctx, stage, images, mirror.Options{})
	fmt.Println(report.Images[0].Manifests, "manifests,", report.Images[0].Referrers, "of them referring to others,", err)
	report, err = mirror.Copy(ctx, stage, images, mirror.Options{})
	fmt.Println("already there:", report.Images[0].AlreadyThere, err)
	// Output:
	// 2 manifests, 1 of them referring to others, <nil>
	// already there: true <nil>
}

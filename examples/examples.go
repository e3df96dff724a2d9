// Package examples holds GitOps repositories to learn from. They are also what
// the demo plays with and what end-to-end tests deploy.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed all:shop
var shop embed.FS

// Shop is the repository of an imaginary web shop: five applications in three
// environments, packaged in all the ways that Propagator renders. Its root
// holds propagator.yaml and README.md.
func Shop() fs.FS {
	root, err := fs.Sub(shop, "shop")
	if err != nil {
		panic(err) // unreachable: "shop" is a valid path
	}
	return root
}

// Service is one of the shop's own services, whose images CI builds.
type Service struct {
	// Name of the service and of its repository in the registry:
	// dev.registry.example/shop/<Name>.
	Name string
	// Tag that the manifests ask for.
	Tag string
	// File is where the CI of the service writes the tag, on the only line
	// that has it, in quotes. Empty for a service that is always latest.
	File string
}

// ShopServices lists the services of [Shop], sorted by name.
func ShopServices() []Service {
	return []Service{
		{Name: "catalog", Tag: "7d40be2", File: "charts/catalog/values.yaml"},
		{Name: "gateway", Tag: "c81e72f", File: "base/gateway/kustomization.yaml"},
		{Name: "orders", Tag: "3f2a9c1", File: "base/orders/kustomization.yaml"},
		{Name: "worker", Tag: "latest"},
	}
}

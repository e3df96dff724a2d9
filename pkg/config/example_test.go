package config_test

import (
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/config"
)

func ExampleParse() {
	p, err := config.Parse([]byte(`
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev:  {url: dev.registry.example/shop, retention: ephemeral}
  prod: {url: prod.registry.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: prod, after: [dev], path: envs/prod, registry: prod}
`), "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range p.Environments {
		fmt.Println(e.Name, "runs from", p.Registries[e.Registry].URL)
	}
	// Output:
	// dev runs from dev.registry.example/shop
	// prod runs from prod.registry.example/shop
}

func ExampleParse_faults() {
	_, err := config.Parse([]byte(`
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  all: {url: https://registry.example/shop}
environments:
- {name: dev, path: envs/dev, regsitry: all}
- {name: prod, after: [def], path: envs/prod, registry: all}
`), "")
	fmt.Println(err)
	// Output:
	// propagator.yaml:6: registries.all.url: has a scheme; write "registry.example/shop" and, if https is not right, set endpoint
	// propagator.yaml:8: environments[0].regsitry: unknown field; did you mean registry?
	// propagator.yaml:9: environments[1].after[0]: there is no environment "def"; did you mean dev?
}

func ExamplePipeline_Locate() {
	p, err := config.Parse(config.Starter("shop", nil, nil), "")
	if err != nil {
		fmt.Println(err)
		return
	}
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, image := range []string{"dev.registry.example/shop/orders:3f2a9c1", "redis:7.4-alpine"} {
		location, err := p.Locate(image)
		if err != nil {
			fmt.Println(err)
			return
		}
		pinned, err := p.Pinned("prod", location, digest)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(pinned)
	}
	// Output:
	// prod.registry.example/shop/orders@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
	// prod.registry.example/shop/docker.io/library/redis@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
}

package shop

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing/fstest"

	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/config"
)

// Content is what a GitOps repository begins with.
type Content struct {
	// Files by their slash-separated paths, propagator.yaml among them.
	Files map[string][]byte
	// Services are those whose images the company's CI builds. Every other
	// image in the manifests is a third party's.
	Services []examples.Service
}

// Shop returns examples/shop.
func Shop() (Content, error) {
	content := Content{Files: map[string][]byte{}, Services: examples.ShopServices()}
	files := examples.Shop()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			content.Files[name], err = fs.ReadFile(files, name)
		}
		return err
	})
	if err != nil {
		return Content{}, fmt.Errorf("content of the shop: %w", err)
	}
	return content, nil
}

// maxFleet keeps the names of a fleet's applications at three digits.
const maxFleet = 999

// Fleet returns a repository with n applications in each of two environments,
// dev and stage, every application with a service of its own. Names are
// app-001, app-002 and so on.
func Fleet(n int) (Content, error) {
	if n < 1 || n > maxFleet {
		return Content{}, fmt.Errorf("content of a fleet: %d applications; there can be 1 to %d", n, maxFleet)
	}
	content := Content{Files: map[string][]byte{config.File: []byte(fleetPipeline)}}
	for i := range n {
		name, tag := fmt.Sprintf("app-%03d", i+1), fmt.Sprintf("%07x", 0x1000001+i)
		content.Services = append(content.Services, examples.Service{Name: name, Tag: tag, File: "base/" + name + "/kustomization.yaml"})
		content.Files["base/"+name+"/kustomization.yaml"] = fmt.Appendf(nil, fleetBase, name, tag)
		content.Files["base/"+name+"/deployment.yaml"] = fmt.Appendf(nil, fleetDeployment, name)
		for _, environment := range []string{"dev", "stage"} {
			content.Files["envs/"+environment+"/"+name+"/kustomization.yaml"] = fmt.Appendf(nil, fleetOverlay, name, environment)
		}
	}
	return content, nil
}

const fleetPipeline = `apiVersion: propagator/v1alpha1
kind: Pipeline
metadata:
  name: fleet
registries:
  dev:
    url: dev.registry.example/fleet
    retention: ephemeral
  stage:
    url: stage.registry.example/fleet
environments:
- name: dev
  path: envs/dev
  registry: dev
- name: stage
  after: [dev]
  path: envs/stage
  registry: stage
  promote: auto
`

const fleetBase = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- deployment.yaml
images:
- name: dev.registry.example/fleet/%[1]s
  newTag: "%[2]s"
`

const fleetDeployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  labels:
    app.kubernetes.io/name: %[1]s
spec:
  replicas: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: %[1]s
  template:
    metadata:
      labels:
        app.kubernetes.io/name: %[1]s
    spec:
      automountServiceAccountToken: false
      containers:
      - name: %[1]s
        image: dev.registry.example/fleet/%[1]s
`

const fleetOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- ../../../base/%[1]s
labels:
- pairs:
    fleet.example/environment: %[2]s
`

// fs returns the content as a file system.
func (c Content) fs() fs.FS {
	files := fstest.MapFS{}
	for name, content := range c.Files {
		files[name] = &fstest.MapFile{Data: content, Mode: 0o644}
	}
	return files
}

// pipeline reads the content's propagator.yaml.
func (c Content) pipeline() (*config.Pipeline, error) {
	return config.Parse(c.Files[config.File], "")
}

// names lists the services.
func (c Content) names() []string {
	names := map[string]bool{}
	for _, service := range c.Services {
		names[service.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

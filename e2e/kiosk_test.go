//go:build e2e

package e2e

import (
	"cmp"
	"fmt"

	"github.com/fleeting-taas/propagator/e2e/internal/realnode"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/examples"
)

// kiosk describes a small company: the same few applications in dev, stage and
// prod, one service each. Its applications are called web-1, web-2 and so on,
// and so are their services.
type kiosk struct {
	name string
	// applications in each environment; 1 when zero.
	applications int
	// gated wants one approval before prod.
	gated bool
	// captureOnTag: what Dev runs leads nowhere until a person sets a tag.
	captureOnTag bool
	// byHand: hotfixes are composed by a person.
	byHand bool
	// pods: its applications are Deployments, whose Pods have to become ready.
	// Otherwise they are CronJobs that nobody lives to see, which are healthy as
	// soon as they are there: most stories are not about Pods, and each takes a
	// dozen requests and more of the machine.
	pods bool
	// deadline in seconds until Kubernetes calls a Deployment hopeless; 600 when
	// zero.
	deadline int
	// real runs stage's and prod's Pods on the real node; for pods only.
	real bool
}

// content is the kiosk's GitOps repository.
func (k kiosk) content() shop.Content {
	n := max(k.applications, 1)
	gate, source := "", ""
	if k.captureOnTag {
		source = "  capture: tag\n"
	}
	if k.gated {
		gate = "  gates:\n  - approval: {count: 1}\n"
	}
	hotfixes := ""
	if k.byHand {
		hotfixes = "hotfixes: {compose: manual}\n"
	}
	content := shop.Content{Files: map[string][]byte{
		"propagator.yaml": fmt.Appendf(nil, kioskPipeline, k.name, source, gate, hotfixes),
	}}
	for i := range n {
		name, tag := fmt.Sprintf("web-%d", i+1), fmt.Sprintf("%07x", 0x2000001+i)
		content.Services = append(content.Services, examples.Service{Name: name, Tag: tag, File: "base/" + name + "/kustomization.yaml"})
		workload, manifest := "cronjob", fmt.Appendf(nil, kioskCronJob, k.name, name)
		if k.pods {
			workload, manifest = "deployment", fmt.Appendf(nil, kioskDeployment, k.name, name, cmp.Or(k.deadline, 600))
		}
		content.Files["base/"+name+"/kustomization.yaml"] = fmt.Appendf(nil, kioskBase, k.name, name, tag, workload)
		content.Files["base/"+name+"/"+workload+".yaml"] = manifest
		for _, environment := range []string{"dev", "stage", "prod"} {
			node := ""
			if k.real && environment != "dev" {
				node = fmt.Sprintf(kioskNode, realnode.Label, realnode.Value, realnode.Taint)
			}
			content.Files["envs/"+environment+"/"+name+"/kustomization.yaml"] = fmt.Appendf(nil, kioskOverlay, name, environment, node)
		}
	}
	return content
}

const kioskPipeline = `apiVersion: propagator/v1alpha1
kind: Pipeline
metadata:
  name: %[1]s
source:
  branch: main
%[2]s%[4]sregistries:
  dev: {url: dev.registry.example/%[1]s, retention: ephemeral}
  stage: {url: stage.registry.example/%[1]s}
  prod: {url: prod.registry.example/%[1]s}
environments:
- name: dev
  path: envs/dev
  registry: dev
  destinations:
  - {cluster: in-cluster, namespace: %[1]s-dev}
- name: stage
  after: [dev]
  path: envs/stage
  registry: stage
  promote: auto
  destinations:
  - {cluster: in-cluster, namespace: %[1]s-stage}
- name: prod
  after: [stage]
  path: envs/prod
  registry: prod
  promote: auto
%[3]s  destinations:
  - {cluster: in-cluster, namespace: %[1]s-prod}
`

const kioskBase = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- %[4]s.yaml
images:
- name: dev.registry.example/%[1]s/%[2]s
  newTag: "%[3]s"
`

const kioskDeployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[2]s
  labels:
    app.kubernetes.io/name: %[2]s
spec:
  replicas: 1
  progressDeadlineSeconds: %[3]d
  selector:
    matchLabels:
      app.kubernetes.io/name: %[2]s
  template:
    metadata:
      labels:
        app.kubernetes.io/name: %[2]s
    spec:
      automountServiceAccountToken: false
      containers:
      - name: %[2]s
        image: dev.registry.example/%[1]s/%[2]s
`

const kioskCronJob = `apiVersion: batch/v1
kind: CronJob
metadata:
  name: %[2]s
  labels:
    app.kubernetes.io/name: %[2]s
spec:
  schedule: "0 0 29 2 *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          containers:
          - name: %[2]s
            image: dev.registry.example/%[1]s/%[2]s
`

const kioskOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- ../../../base/%[1]s
labels:
- pairs:
    kiosk.example/environment: %[2]s
%[3]s`

const kioskNode = `patches:
- target: {kind: Deployment}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: any}
    spec:
      template:
        spec:
          nodeSelector: {%[1]s: %[2]s}
          tolerations: [{key: %[3]s, operator: Exists}]
`

package shop

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

func shop(t *testing.T) Content {
	t.Helper()
	content, err := Shop()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestArtifactsOfTheShop(t *testing.T) {
	found, err := shop(t).artifacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []artifact{
		{"catalog", "dev.registry.example", "shop/catalog", "7d40be2"},
		{"gateway", "dev.registry.example", "shop/gateway", "c81e72f"},
		{"orders", "dev.registry.example", "shop/orders", "3f2a9c1"},
		{"worker", "dev.registry.example", "shop/worker", "latest"},
		{"", "docker.io", "library/redis", "7.4-alpine"},
	}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(artifact{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFleet: as many applications and images as asked for, in both
// environments, and every service's tag can be bumped.
func TestFleet(t *testing.T) {
	content, err := Fleet(60)
	if err != nil {
		t.Fatal(err)
	}
	pipeline, err := content.pipeline()
	if err != nil {
		t.Fatal(err)
	}
	for _, environment := range pipeline.Environments {
		applications, err := render.Discover(content.fs(), environment)
		if err != nil || len(applications) != 60 {
			t.Errorf("%s has %d applications, %v", environment.Name, len(applications), err)
		}
	}
	found, err := content.artifacts(t.Context())
	if err != nil || len(found) != 60 {
		t.Fatalf("%d images, %v", len(found), err)
	}
	for i, service := range content.Services {
		if found[i].service != service.Name || found[i].tag != service.Tag {
			t.Errorf("service %+v, image %+v", service, found[i])
		}
		if _, err := bump(string(content.Files[service.File]), "abcdef0"); err != nil {
			t.Errorf("%s: %v", service.File, err)
		}
	}
	for _, n := range []int{-1, 0, 1000} {
		if _, err := Fleet(n); err == nil {
			t.Errorf("a fleet of %d", n)
		}
	}
}

// TestBump: CI's edit changes one line of the shop's files and nothing else.
func TestBump(t *testing.T) {
	content := shop(t)
	for _, service := range examples.ShopServices() {
		if service.File == "" {
			continue
		}
		t.Run(service.Name, func(t *testing.T) {
			before := string(content.Files[service.File])
			after, err := bump(before, "1234567")
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(before, `"`+service.Tag+`"`, `"1234567"`, 1); after != want {
				t.Errorf("(-want +got):\n%s", cmp.Diff(want, after))
			}
		})
	}
	for name, text := range map[string]string{
		"none": "images:\n- name: x\n", "two": "tag: \"a\"\nnewTag: \"b\"\n", "open": "tag: \"a\n", "number": "tag: 1234567\n",
	} {
		if after, err := bump(text, "1234567"); err == nil {
			t.Errorf("%s: gives %q", name, after)
		}
	}
}

// TestNeverReady: the annotation gets to the Pods, and away again.
func TestNeverReady(t *testing.T) {
	content := shop(t)
	const file = "envs/stage/orders/kustomization.yaml"
	ready := content.Files[file]
	never, err := neverReady(ready, true)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := neverReady(never, true); err != nil || string(twice) != string(never) {
		t.Errorf("twice: %v\n%s", err, cmp.Diff(string(never), string(twice)))
	}
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{"before": {ready, ""}, "never": {never, "true"}} {
		t.Run(name, func(t *testing.T) {
			content.Files[file] = test.content
			if got := annotation(t, content); got != test.want {
				t.Errorf("the Pods of orders have %q, want %q", got, test.want)
			}
		})
	}
	again, err := neverReady(never, false)
	if err != nil {
		t.Fatal(err)
	}
	var was, is any
	if err := yaml.Unmarshal(ready, &was); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(again, &is); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(was, is); diff != "" {
		t.Errorf("afterwards (-before +after):\n%s", diff)
	}
}

// annotation renders Stage's orders and returns what its Pods are told.
func annotation(t *testing.T, content Content) string {
	t.Helper()
	pipeline, err := content.pipeline()
	if err != nil {
		t.Fatal(err)
	}
	stage, _ := pipeline.Environment("stage")
	applications, err := render.Discover(content.fs(), stage)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(applications, func(a config.Application) bool { return a.Name == "orders" })
	out, err := render.Render(t.Context(), render.Input{FS: content.fs(), Application: applications[i], Capabilities: stage.Capabilities})
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(out.YAML))
	for {
		var object struct {
			Kind string
			Spec struct {
				Replicas int
				Template struct {
					Metadata struct{ Annotations map[string]string }
				}
			}
		}
		if err := decoder.Decode(&object); err != nil {
			t.Fatalf("no Deployment: %v", err)
		}
		if object.Kind == "Deployment" {
			if object.Spec.Replicas != 2 {
				t.Errorf("%d replicas: another patch is lost", object.Spec.Replicas)
			}
			return object.Spec.Template.Metadata.Annotations[cluster.NeverReadyKey]
		}
	}
}

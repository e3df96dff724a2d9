package examples_test

import (
	"io/fs"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/fleeting-taas/propagator/examples"
)

// TestShopBuildsWithKustomize: what is plain kustomize builds with kustomize
// itself, so the repository also works without Propagator.
func TestShopBuildsWithKustomize(t *testing.T) {
	memory := filesys.MakeFsInMemory()
	err := fs.WalkDir(examples.Shop(), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(examples.Shop(), file)
		if err != nil {
			return err
		}
		return memory.WriteFile(file, text)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, environment := range []string{"dev", "stage", "prod"} {
		for application, images := range map[string]string{
			"orders": "image: dev.registry.example/shop/orders:3f2a9c1",
			"cache":  "image: redis:7.4-alpine",
		} {
			folder := "envs/" + environment + "/" + application
			t.Run(folder, func(t *testing.T) {
				resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, folder)
				if err != nil {
					t.Fatal(err)
				}
				text, err := resources.AsYaml()
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(text), images) {
					t.Errorf("no %q in\n%s", images, text)
				}
			})
		}
	}
}

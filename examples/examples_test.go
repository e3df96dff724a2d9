package examples_test

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/config"
)

func pipeline(t *testing.T) *config.Pipeline {
	t.Helper()
	text, err := fs.ReadFile(examples.Shop(), config.File)
	if err != nil {
		t.Fatal(err)
	}
	p, err := config.Parse(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestShopLayout checks that every folder of an environment is an application
// of it and the other way round.
func TestShopLayout(t *testing.T) {
	for _, environment := range pipeline(t).Environments {
		entries, err := fs.ReadDir(examples.Shop(), environment.Path)
		if err != nil {
			t.Fatal(err)
		}
		var folders, names []string
		for _, entry := range entries {
			folders = append(folders, entry.Name())
		}
		for _, application := range environment.Applications {
			names = append(names, application.Name)
			for _, file := range append(application.Values, application.Path) {
				if _, err := fs.Stat(examples.Shop(), file); err != nil {
					t.Errorf("%s: %v", environment.Name, err)
				}
			}
		}
		if diff := cmp.Diff(folders, names); diff != "" {
			t.Errorf("%s (-folders +applications):\n%s", environment.Path, diff)
		}
	}
}

var (
	imageLine = regexp.MustCompile(`^\s*(?:- )?(?:image|newTag|tag|digest|newName): *(.*)$`)
	mutable   = regexp.MustCompile(`^dev\.registry\.example/shop/worker:latest$`)
)

// TestShopVersionsInOnePlace: no file of an environment says which version it
// runs. Plain manifests have to name an image, and always name latest.
func TestShopVersionsInOnePlace(t *testing.T) {
	err := fs.WalkDir(examples.Shop(), "envs", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(examples.Shop(), file)
		if err != nil {
			return err
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if m := imageLine.FindStringSubmatch(line); m != nil && !mutable.MatchString(m[1]) {
				t.Errorf("%s chooses a version: %s", file, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestShopServices: the tag of a service is on exactly one line of the
// repository (the README aside), where a program can replace it.
func TestShopServices(t *testing.T) {
	readme, err := fs.ReadFile(examples.Shop(), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range examples.ShopServices() {
		if service.File == "" {
			continue
		}
		var places []string
		err := fs.WalkDir(examples.Shop(), ".", func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || path.Ext(file) == ".md" {
				return err
			}
			text, err := fs.ReadFile(examples.Shop(), file)
			if err != nil {
				return err
			}
			for range strings.Count(string(text), `"`+service.Tag+`"`) {
				places = append(places, file)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{service.File}, places); diff != "" {
			t.Errorf("places of %s's tag (-want +got):\n%s", service.Name, diff)
		}
		if row := "| " + service.Name + " | `" + service.File + "` |"; !strings.Contains(string(readme), row) ||
			!strings.Contains(string(readme), `"`+service.Tag+`"`) {
			t.Errorf("README.md does not say where the tag of %s is", service.Name)
		}
	}
}

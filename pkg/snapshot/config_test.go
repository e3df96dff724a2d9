package snapshot

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func TestReadConfig(t *testing.T) {
	read := func(files gitrepotest.Files) (*config.Pipeline, error) {
		id, list := gitrepotest.Commit(t, objects{}, files, "source")
		commit, err := gitrepo.ReadCommit(stored(list...), id)
		if err != nil {
			t.Fatal(err)
		}
		return ReadConfig(stored(list...), commit.Tree)
	}
	if pipeline, err := read(gitrepotest.Files{config.File: configuration}); err != nil || pipeline.Name != "shop" {
		t.Errorf("%v, %v", pipeline, err)
	}
	for _, test := range []struct {
		name  string
		files gitrepotest.Files
		says  string
	}{
		{"none", gitrepotest.Files{"a": ""}, "make one with: propagator init"},
		{"faulty", gitrepotest.Files{config.File: "kind: Pipeline\n"}, config.File},
	} {
		if _, err := read(test.files); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

const configuration = `
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  stage: {url: stage.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: stage, after: [dev], path: envs/stage, registry: stage}
`

// TestReadConfigRemembers: the same text is parsed once, another one is another
// pipeline, and a faulty one is an error each time.
func TestReadConfigRemembers(t *testing.T) {
	p := pipelines{known: map[[sha256.Size]byte]*config.Pipeline{}}
	text := func(name string) []byte { return config.Starter(name, nil, nil) }
	first, err := p.parse(text("shop"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.parse(text("shop"))
	if err != nil || again != first {
		t.Errorf("parsed again: %t, %v", again != first, err)
	}
	for i := range maxPipelines + 10 {
		other, err := p.parse(text(fmt.Sprintf("shop-%d", i)))
		if err != nil || other.Name != fmt.Sprintf("shop-%d", i) {
			t.Fatalf("%+v, %v", other, err)
		}
	}
	if len(p.known) != maxPipelines {
		t.Errorf("%d are remembered, at most %d should be", len(p.known), maxPipelines)
	}
	for range 2 {
		if _, err := p.parse([]byte("kind: Nothing\n")); err == nil {
			t.Error("a faulty configuration is no error")
		}
	}
}

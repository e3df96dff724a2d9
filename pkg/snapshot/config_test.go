package snapshot

import (
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

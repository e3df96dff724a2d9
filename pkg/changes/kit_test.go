package changes

import (
	"maps"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const pipelineText = `apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop}
  prod: {url: prod.example/shop}
services:
- {image: dev.example/shop/*, repository: https://git.example/shop/all.git}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: prod, after: [dev], path: envs/prod, registry: prod}
- name: dr
  after: [prod]
  path: envs
  registry: prod
  applications:
  - {name: web, path: charts/web, values: [envs/dr.yaml]}
`

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// sideOf commits files to a repository and makes a snapshot with the images.
func sideOf(t *testing.T, repo gitrepo.Repo, number string, files gitrepotest.Files, images ...snapshot.Image) Side {
	t.Helper()
	all := gitrepotest.Files{"propagator.yaml": pipelineText}
	maps.Copy(all, files)
	// Files are on top of nothing, so that what is not given is gone.
	commit, objects := gitrepotest.Commit(t, repo, all, "source of "+number)
	gitrepotest.MustPush(t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Heads + "source-" + number, New: commit}}, Objects: objects})
	version, err := snapshot.ParseVersion("shop/" + number)
	if err != nil {
		t.Fatal(err)
	}
	if images == nil {
		images = []snapshot.Image{}
	}
	lock := &snapshot.Lock{
		APIVersion: snapshot.LockAPIVersion, Kind: snapshot.LockKind, Version: version,
		Source: snapshot.Source{Repository: "https://git.example/shop/gitops.git", Branch: "main", Commit: string(commit)},
		Images: images, Renders: []snapshot.Render{}, Tools: snapshot.Tools{Kustomize: "v5", Helm: "v4"},
	}
	s, built, err := snapshot.Build(repo, lock, snapshot.Identity{Name: "train", Email: "train@example"})
	if err != nil {
		t.Fatal(err)
	}
	gitrepotest.MustPush(t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: version.Ref(), New: s.ID}}, Objects: built})
	pipeline, err := config.Parse([]byte(pipelineText), "")
	if err != nil {
		t.Fatal(err)
	}
	return Side{Snapshot: s, Pipeline: pipeline}
}

func image(requested, digest, source, revision string, usedBy ...string) snapshot.Image {
	i := snapshot.Image{
		Requested: requested, Digest: digest, MediaType: "application/vnd.oci.image.index.v1+json", Size: 100, UsedBy: usedBy,
	}
	if source+revision != "" {
		i.Origin = &snapshot.Origin{Source: source, Revision: revision}
	}
	return i
}

package doctor_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/doctor"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// noise is text that does not compress well.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	var b strings.Builder
	for b.Len() < n {
		_, _ = fmt.Fprintf(&b, "%016x", r.Uint64())
	}
	return b.String()
}

// TestArchiveFolders: the largest folders are named, what is excluded is not
// counted.
func TestArchiveFolders(t *testing.T) {
	for _, excluded := range []bool{false, true} {
		var edit []string
		if excluded {
			edit = []string{`exclusions: ".git"`, `exclusions: ".git;services"`}
		}
		w := newWorld(t, edit...)
		gitrepotest.Grow(t, w.repo, gitrepo.Heads+"main", gitrepotest.Files{
			"services/web/app.js": noise(200 << 10), "docs/a.md": noise(20 << 10),
		})
		c := w.config()
		c.MaxArchive = 64 << 10
		want := ""
		if !excluded {
			want = "Largest: services/web ("
		}
		check(t, w.examine(c, "archive"), want, "reposerver.plugin.tar.exclusions")
	}
}

// TestArchiveByPaths: where Argo CD packs a part of the repository, that part is
// measured for those Applications.
func TestArchiveByPaths(t *testing.T) {
	w := newWorld(t,
		`exclusions: ".git"`, "exclusions: \".git\"\n  reposerver.plugin.use.manifest.generate.paths: \"true\"",
		"labels: {propagator.dev/pipeline: shop, propagator.dev/environment: stage}", "labels: {propagator.dev/pipeline: shop}\n  annotations: {argocd.argoproj.io/manifest-generate-paths: '.;../web;/envs/dev'}",
	)
	gitrepotest.Grow(t, w.repo, gitrepo.Heads+"main", gitrepotest.Files{"services/web/app.js": noise(200 << 10)})
	c := w.config()
	c.MaxArchive = 64 << 10
	findings := w.examine(c, "archive")
	if len(findings) != 1 || findings[0].Result != doctor.OK || findings[0].Subject != "repository https://git.example/shop.git, folder envs" ||
		!strings.Contains(findings[0].Message, "2 files") || !strings.Contains(findings[0].Message, "shop-stage-orders") {
		t.Errorf("got %+v", findings)
	}
}

// TestArchiveOfAFolderThatIsGone: the annotation is wrong.
func TestArchiveOfAFolderThatIsGone(t *testing.T) {
	w := newWorld(t,
		`exclusions: ".git"`, "exclusions: \".git\"\n  reposerver.plugin.use.manifest.generate.paths: \"true\"",
		"labels: {propagator.dev/pipeline: shop, propagator.dev/environment: stage}", "labels: {propagator.dev/pipeline: shop}\n  annotations: {argocd.argoproj.io/manifest-generate-paths: .}",
		"path: envs/stage/orders", "path: envs/test/orders",
	)
	check(t, w.examine(w.config(), "archive"), "has no such folder; it comes from argocd.argoproj.io/manifest-generate-paths of shop-stage-orders", "annotation")
}

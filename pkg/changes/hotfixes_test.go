package changes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// TestHotfixes: a patch lists what was composed into it, and a release that was
// captured afterwards what it was not composed with, and whether it has it.
func TestHotfixes(t *testing.T) {
	t.Parallel()
	repo := gitrepo.NewMemory("memory")
	before := sideOf(t, repo, "v0.1.0", gitrepotest.Files{"envs/prod/a": "1"})
	base := gitrepotest.Grow(t, repo, "refs/heads/hotfix/pay", gitrepotest.Files{"envs/prod/a": "1"})
	head := gitrepotest.Grow(t, repo, "refs/heads/hotfix/pay", gitrepotest.Files{"envs/prod/a": "2"})
	patch := sideOf(t, repo, "v0.1.1", gitrepotest.Files{"envs/prod/a": "2"})
	lock := *patch.Snapshot.Lock
	lock.Hotfixes = []snapshot.Hotfix{{Name: "pay", Base: base, Head: head, Since: lock.Version}}
	patch.Snapshot.Lock = &lock
	want := Hotfix{Name: "pay", Head: head, Since: "shop/v0.1.1", Subject: "Grow refs/heads/hotfix/pay"}

	got, err := Hotfixes(t.Context(), repo.Client(), before, patch)
	if err != nil {
		t.Fatal(err)
	}
	want.Author = got[0].Author
	if diff := cmp.Diff([]Hotfix{want}, got); diff != "" || want.Author == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = Hotfixes(t.Context(), repo.Client(), patch, before)
	if err != nil || len(got) != 1 || !got[0].Gone || got[0].Answer != hotfix.Missing || got[0].Why != "missing: it would change envs/prod/a" {
		t.Errorf("the other way: %+v, %v", got, err)
	}
	merged := sideOf(t, repo, "v0.2.0", gitrepotest.Files{"envs/prod/a": "2", "envs/prod/b": "new"})
	got, err = Hotfixes(t.Context(), repo.Client(), patch, merged)
	if err != nil || len(got) != 1 || !got[0].Gone || got[0].Answer != hotfix.Contained || got[0].Why != "contained (merge is empty)" {
		t.Errorf("merged back: %+v, %v", got, err)
	}
	if got, err := Hotfixes(t.Context(), repo.Client(), patch, patch); err != nil || got == nil || len(got) != 0 {
		t.Errorf("nothing changed, and there is %+v (%v)", got, err)
	}
	if got, err := Hotfixes(t.Context(), repo.Client(), Side{}, patch); err != nil || len(got) != 1 {
		t.Errorf("of a first release: %+v, %v", got, err)
	}

	n, err := Compose(t.Context(), Input{Repo: repo.Client(), From: before, To: patch, Pipeline: patch.Pipeline})
	if err == nil {
		t.Fatalf("commits that were not fetched cannot be read: %+v", n)
	}
	reader := repo.Client()
	gitrepotest.MustFetch(t, reader, gitrepo.FetchOptions{Depth: 2}, before.Snapshot.ID, patch.Snapshot.ID)
	if n, err = Compose(t.Context(), Input{Repo: reader, From: before, To: patch, Pipeline: patch.Pipeline}); err != nil {
		t.Fatal(err)
	}
	if page := markdown(t, n); !strings.Contains(page, "## Hotfixes") || !strings.Contains(page, head.Short()) || !strings.Contains(page, "since v0.1.1") {
		t.Errorf("the page does not name it:\n%s", page)
	}
}

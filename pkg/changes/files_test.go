package changes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	repo := gitrepo.NewMemory("memory")
	a := sideOf(t, repo, "v0.1.0", gitrepotest.Files{
		"envs/dev/x.yaml": "a: 1\n", "envs/prod/x.yaml": "a: 1\n", "envs/prod/gone.yaml": "b: 1\n",
		"base/moved.yaml": "some: content\n", "charts/web/Chart.yaml": "name: web\n", "envs/dr.yaml": "r: 1\n", "same": "same\n",
	})
	b := sideOf(t, repo, "v0.2.0", gitrepotest.Files{
		"envs/dev/x.yaml": "a: 2\n", "envs/prod/x.yaml": "a: 2\n", "envs/prod/new.yaml": "c: 1\n",
		"envs/prod/moved.yaml": "some: content\n", "charts/web/Chart.yaml": "name: web2\n", "envs/dr.yaml": "r: 2\n", "same": "same\n",
	})
	got, err := Files(repo, a, b)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Path: "charts/web/Chart.yaml", Change: Changed, Environments: []string{"dr"}},
		{Path: "envs/dev/x.yaml", Change: Changed, Environments: []string{"dev"}},
		{Path: "envs/dr.yaml", Change: Changed, Environments: []string{"dr"}},
		{Path: "envs/prod/gone.yaml", Change: Removed, Environments: []string{"prod"}},
		{Path: "envs/prod/moved.yaml", Change: Renamed, From: "base/moved.yaml", Environments: []string{"prod"}},
		{Path: "envs/prod/new.yaml", Change: Added, Environments: []string{"prod"}},
		{Path: "envs/prod/x.yaml", Change: Changed, Environments: []string{"prod"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(File{})); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if same, err := Files(repo, a, a); err != nil || len(same) != 0 {
		t.Errorf("a side differs from itself: %v %v", same, err)
	}
	all, err := Files(repo, Side{}, b)
	if err != nil || len(all) != 8 {
		t.Errorf("from nothing: %v %v", all, err)
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x\n", maxPatched)
	for _, test := range []struct{ name, old, now, want, omitted string }{
		{"changed", "a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nE\nf\n", "--- a/file\n+++ b/file\n@@ -2,5 +2,5 @@\n b\n c\n d\n-e\n+E\n f\n", ""},
		{"far apart", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "one\n2\n3\n4\n5\n6\n7\n8\nnine\n", "--- a/file\n+++ b/file\n@@ -1,4 +1,4 @@\n-1\n+one\n 2\n 3\n 4\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+nine\n", ""},
		{"no newline at the end", "a", "b", "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n", ""},
		{"emptied", "a\n", "", "--- a/file\n+++ b/file\n@@ -1 +0,0 @@\n-a\n", ""},
		{"not text", "a\x00", "b", "", "it is no text"},
		{"not UTF-8", "a", "\xff\xfe", "", "it is no text"},
		{"large", "a", long, "", "it is larger than 1024 KiB"},
		{"secret", "kind: ConfigMap\n", "metadata: {}\nkind: \"Secret\"\n", "", "it has a Secret"},
		{"secret that went", `{"kind" : "Secret"}`, "{}", "", "it has a Secret"},
		{"secret in a template", "{{ if x }}\n  kind: Secret\n{{ end }}\n", "", "", "it has a Secret"},
		{"generated secret", "a\n", "secretGenerator:\n- literals: [a=b]\n", "", "it has a Secret"},
		{"sealed", "kind: SealedSecret\n", "kind: SecretStore\n", "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-kind: SealedSecret\n+kind: SecretStore\n", ""},
	} {
		repo := gitrepo.NewMemory("memory")
		a := sideOf(t, repo, "v0.1.0", gitrepotest.Files{"file": test.old})
		b := sideOf(t, repo, "v0.2.0", gitrepotest.Files{"file": test.now})
		files, err := Files(repo, a, b)
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v %v", test.name, files, err)
		}
		text, omitted, err := Patch(repo, files[0])
		if err != nil || omitted != test.omitted {
			t.Errorf("%s: omitted %q (%v), want %q", test.name, omitted, err, test.omitted)
		}
		if diff := cmp.Diff(test.want, text); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

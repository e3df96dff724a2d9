package remote_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

func TestOrigin(t *testing.T) {
	const url = "https://git.example/team/shop.git"
	checkout := func(t *testing.T, origin string) string {
		t.Helper()
		dir := t.TempDir()
		gitrepotest.Git(t, dir, "", "init", "--quiet")
		if origin != "" {
			gitrepotest.Git(t, dir, "", "remote", "add", "origin", origin)
		}
		return dir
	}
	for _, test := range []struct {
		name  string
		setup func(t *testing.T) string
		want  string // relative to the checkout when it begins with a dot
	}{
		{"top", func(t *testing.T) string { return checkout(t, url) }, url},
		{"a folder below", func(t *testing.T) string {
			dir := filepath.Join(checkout(t, url), "envs", "dev")
			makeDir(t, dir)
			return dir
		}, url},
		{"as scp writes it", func(t *testing.T) string { return checkout(t, "git@git.example:team/shop.git") }, "git@git.example:team/shop.git"},
		{"another server instead", func(t *testing.T) string {
			dir := checkout(t, url)
			gitrepotest.Git(t, dir, "", "config", "url.https://mirror.example/.insteadOf", "https://git.example/")
			return dir
		}, "https://mirror.example/team/shop.git"},
		{"worktree", func(t *testing.T) string {
			dir := checkout(t, url)
			gitrepotest.Git(t, dir, "", "commit", "--quiet", "--allow-empty", "-m", "first")
			linked := filepath.Join(t.TempDir(), "linked")
			gitrepotest.Git(t, dir, "", "worktree", "add", "--quiet", linked)
			return linked
		}, url},
		{"a path beside the checkout", func(t *testing.T) string { return checkout(t, "../shop.git") }, "../shop.git"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := test.setup(t)
			want := test.want
			if strings.HasPrefix(want, ".") {
				want = filepath.Join(dir, want)
			}
			got, err := remote.Origin(dir)
			if err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestOriginIsMissing(t *testing.T) {
	bare := t.TempDir()
	gitrepotest.Git(t, bare, "", "init", "--quiet")
	broken := t.TempDir()
	putFile(t, filepath.Join(broken, ".git", "config"), "[remote \"origin\"\n\turl = https://ada:s3cret-token@git.example/shop.git\n")
	nowhere := t.TempDir()
	putFile(t, filepath.Join(nowhere, ".git"), "not a pointer")
	for _, test := range []struct {
		name, dir string
		absent    bool // ErrNoOrigin
		want      string
	}{
		{"no checkout", t.TempDir(), true, "is not in a git checkout"},
		{"no remote", bare, true, "has no remote called origin"},
		{"a configuration that is none", broken, false, "cannot be read"},
		{"a pointer to nothing", nowhere, false, "neither a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := remote.Origin(test.dir)
			if err == nil {
				t.Fatalf("got %q", got)
			}
			if !strings.Contains(err.Error(), test.want) || errors.Is(err, remote.ErrNoOrigin) != test.absent {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
}

func putFile(t *testing.T, file, text string) {
	t.Helper()
	makeDir(t, filepath.Dir(file))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

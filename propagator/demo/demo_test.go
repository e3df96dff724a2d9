package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// TestCommand plays the whole story once, keeps it, and reads what is left with
// tools that know nothing of Propagator: git, and go-containerregistry's own
// client. Standard output is one JSON document and nothing else, as --json says.
func TestCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "train")
	var stdout, story bytes.Buffer
	cmd := Command(&stdout, &story)
	cmd.SetArgs([]string{"--json", "--keep", dir})
	err := cmd.ExecuteContext(t.Context())
	t.Log(story.String())
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.writeText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	if !report.OK() || len(report.Environments) != 3 {
		t.Errorf("a promise does not hold, or an environment is missing: %+v", report.Environments)
	}
	if ids := invariants(&report); !slices.Equal(ids, []string{"I1", "I2", "I3", "I4", "I5"}) {
		t.Errorf("checked %v", ids)
	}
	for _, chapter := range []string{"dev registry is switched off", "alice approves", "slow-orders conflicts with hotfix/pay-timeout", "HOTFIX_WOULD_BE_LOST", "stage went from shop/v0.4.0 to shop/v0.2.2", "rolled back"} {
		if !strings.Contains(story.String(), chapter) {
			t.Errorf("the story does not tell %q", chapter)
		}
	}
	git := func(args ...string) string {
		return gitrepotest.Git(t, filepath.Join(dir, "git", repositoryName), "", args...)
	}
	t.Run("git", func(t *testing.T) { checkGit(t, git) })
	t.Run("registries", func(t *testing.T) {
		lock, err := snapshot.ParseLock([]byte(git("show", "shop/v0.2.0:"+snapshot.LockFile) + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		addresses := make(chan map[string]string, 1)
		go func() {
			served <- Serve(ctx, dir, func(a map[string]string) error { addresses <- a; return nil })
		}()
		select {
		case a := <-addresses:
			for _, environment := range []string{"stage", "prod"} {
				checkKept(t, a[environment], environment, lock)
			}
		case err := <-served:
			t.Fatal(err)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func invariants(r *Report) []string {
	var ids []string
	for _, i := range r.Invariants {
		ids = append(ids, i.ID)
	}
	return ids
}

// checkGit: one tree everywhere, a ledger that reads as the history, and a
// repository that git finds sound.
func checkGit(t *testing.T, git func(args ...string) string) {
	t.Helper()
	stage := ""
	for line := range strings.SplitSeq(git("log", "--first-parent", "--format=%H %s", "environments/stage"), "\n") {
		if id, subject, _ := strings.Cut(line, " "); subject == "promote shop/v0.1.0 to stage" {
			stage = id
		}
	}
	trees := strings.Fields(git("rev-parse", "environments/prod^{tree}", "shop/v0.1.0^{tree}", stage+"^{tree}"))
	if len(trees) != 3 || trees[0] != trees[1] || trees[1] != trees[2] {
		t.Errorf("trees: %v", trees)
	}
	want := []string{
		"deployed shop/v0.1.0 to prod", "rollback prod to shop/v0.1.0",
		"deployed shop/v0.2.2 to prod", "promote shop/v0.2.2 to prod", "deployed shop/v0.2.1 to prod", "promote shop/v0.2.1 to prod",
		"deployed shop/v0.2.0 to prod", "promote shop/v0.2.0 to prod",
		"deployed shop/v0.1.0 to prod", "promote shop/v0.1.0 to prod", "open prod",
	}
	if got := strings.Split(git("log", "--first-parent", "--format=%s", "environments/prod"), "\n"); !slices.Equal(got, want) {
		t.Errorf("the history of prod reads\n%s", strings.Join(got, "\n"))
	}
	// git reads our trailers as trailers.
	if got := git("log", "-1", "--skip=3", "--first-parent", "--format=%(trailers:key=Propagator-Approved-By,valueonly)", "environments/prod"); got != "carol" {
		t.Errorf("approved by %q", got)
	}
	// A hotfix of people is in the history of the patch, and in main by content.
	git("merge-base", "--is-ancestor", "hotfix/pay-timeout", "shop/v0.2.1")
	git("merge-base", "--is-ancestor", "hotfix/rate-limit", "shop/v0.4.1")
	if got := git("show", "shop/v0.4.0:envs/prod/cache/memory.yaml"); !strings.Contains(got, "128mb") {
		t.Errorf("the release after the hotfix has\n%s", got)
	}
	if got := git("log", "-1", "--first-parent", "--format=%(trailers:key=Propagator-Hotfix,valueonly)", "environments/prod"); strings.Count(got, "base=") != 3 {
		t.Errorf("prod owes\n%s", got)
	}
	git("fsck", "--strict", "--full")
	if terraform := git("ls-tree", "-r", "--name-only", "shop/v0.1.0", "terraform/"); !strings.Contains(terraform, "terraform/main.tf") {
		t.Errorf("the snapshot does not carry terraform: %s", terraform)
	}
}

// checkKept reads every image of the lock from a kept registry, as crane
// would: the index, every child, every layer, and the referrers.
func checkKept(t *testing.T, address, environment string, lock *snapshot.Lock) {
	t.Helper()
	referrers := 0
	for _, image := range lock.ImagesOf(environment) {
		repo := strings.TrimPrefix(image.Requested, "dev.registry.example/")
		if repo == image.Requested {
			repo = "shop/docker.io/library/" + repo
		}
		repo, _, _ = strings.Cut(repo, ":")
		ref, err := name.NewDigest(address+"/"+repo+"@"+image.Digest, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Index(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Errorf("%s: %v", environment, err)
			continue
		}
		children, err := partial.Manifests(index)
		if err != nil || len(children) != 2 {
			t.Errorf("%s: %s: %d children, %v", environment, image.Requested, len(children), err)
		}
		for _, child := range children {
			readLayers(t, child.(v1.Image))
		}
		list, err := remote.Referrers(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := list.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		referrers += len(manifest.Manifests)
	}
	if referrers == 0 {
		t.Errorf("%s: no referrer", environment)
	}
}

func readLayers(t *testing.T, image v1.Image) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			t.Error(err)
		}
		_ = content.Close()
	}
}

// TestQuiet: --quiet tells no story. It is interrupted when there would have
// been some to tell.
func TestQuiet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "train")
	told := filepath.Join(dir, "git", repositoryName, "refs", "heads", "environments", "stage")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := Command(&stdout, &stderr)
	cmd.SetArgs([]string{"--quiet", "--keep", dir})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	for {
		if _, err := os.Stat(told); err == nil {
			cancel()
		}
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("interrupted: %v", err)
			}
			if stdout.Len() > 0 || stderr.Len() > 0 {
				t.Errorf("told:\n%s%s", &stdout, &stderr)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestInterrupted: a demo that is interrupted leaves nothing behind.
func TestInterrupted(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ctx, cancel := context.WithCancel(t.Context())
	story := writerFunc(func(line []byte) (int, error) {
		if strings.Contains(string(line), "Stage is rendered") {
			cancel()
		}
		return len(line), nil
	})
	if _, err := Run(ctx, Options{Progress: story}); err == nil {
		t.Error("no error")
	}
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestBadFolders: what cannot be used is said before anything starts.
func TestBadFolders(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{Keep: full}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Error(err)
	}
	if _, err := Run(t.Context(), Options{Content: os.DirFS(t.TempDir())}); err == nil || !strings.Contains(err.Error(), "propagator.yaml") {
		t.Error(err)
	}
	if err := Serve(t.Context(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "not kept by a demo") {
		t.Error(err)
	}
}

// TestNoGit: without git there is one clear message.
func TestNoGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Run(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "install git") {
		t.Error(err)
	}
}

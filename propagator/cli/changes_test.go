package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// built pushes an image that says which revision of which repository it is.
func (w *world) built(repo, tag, source string, revision gitrepo.Hash) {
	w.t.Helper()
	labels := map[string]string{imagebuild.LabelSource: source}
	if revision != "" {
		labels[imagebuild.LabelRevision] = string(revision)
	}
	built, err := imagebuild.Index(imagebuild.Spec{
		Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}},
		Files:     imagebuild.Files{"app/version": repo + " " + tag}, Labels: labels,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	set := registryremote.Set{Endpoints: w.endpoints}
	target, err := set.Open(config.Registry{URL: "dev.registry.example/shop"})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := imagebuild.Push(w.t.Context(), target, repo, built, tag); err != nil {
		w.t.Fatal(err)
	}
}

// work adds a commit with a message to a branch, in a plain checkout.
func (w *world) work(name, message string) gitrepo.Hash {
	w.t.Helper()
	dir := filepath.Join(w.git.Root, "work-"+name)
	if _, err := os.Stat(dir); err != nil {
		gitrepotest.Git(w.t, w.git.Root, "", "clone", "-q", w.git.Dir(name), dir)
	}
	gitrepotest.Git(w.t, dir, "", "pull", "-q", "origin", "main", "--allow-unrelated-histories", "--ff-only")
	gitrepotest.Git(w.t, dir, message, "commit", "-q", "--allow-empty", "-F", "-")
	gitrepotest.Git(w.t, dir, "", "push", "-q", "origin", "HEAD:main")
	return gitrepo.Hash(gitrepotest.Git(w.t, dir, "", "rev-parse", "HEAD"))
}

// services is the part of propagator.yaml that says where orders is built.
func (w *world) services() string {
	return "services:\n- {image: dev.registry.example/shop/orders, repository: \"" + strings.Replace(w.url, "shop.git", "orders.git", 1) + "\"}\n"
}

// released plays two releases: v0.1.0 goes to prod, v0.2.0 to stage.
func released(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.git.Init("orders.git")
	first := gitrepotest.Grow(t, openRepo(t, strings.Replace(w.url, "shop.git", "orders.git", 1)), mainBranch, gitrepotest.Files{"main.go": "package main\n"})
	w.built("orders", "1.0", "https://github.com/shop/orders", first)
	configuration := strings.Replace(pipeline(), "promote: manual", "promote: auto", 1) + w.services()
	files := shop(configuration, "1.0")
	for _, environment := range []string{"dev", "stage", "prod"} {
		files["envs/"+environment+"/orders/secret.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData:\n  password: hunter1\n  user: shop\n"
	}
	w.commit(files)
	w.must("snapshot", "create")
	w.deployed()
	w.must("validate", "stage", "--pass", "--reason", "run 812: 412 tests")
	w.approve("shop/v0.1.0")
	w.must("promote", "prod")
	w.deployed()

	w.work("orders.git", "Round prices <b>to</b> cents\n\nbecause @grace said so")
	second := w.work("orders.git", "Ask the bank twice | once is #1 too few")
	w.built("orders", "1.1", "https://github.com/shop/orders", second)
	files = shop(configuration, "1.1")
	for _, environment := range []string{"dev", "stage", "prod"} {
		files["envs/"+environment+"/orders/secret.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData:\n  password: hunter2\n  user: shop\n"
	}
	files["envs/prod/web/settings.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n  banner: |\n    two\n    lines\n"
	w.commit(files)
	w.must("snapshot", "create")
	w.deployed()
	return w
}

// TestChanges asks in one world all that can be asked about two releases.
func TestChanges(t *testing.T) {
	w := released(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *world)
	}{{"diff", testDiff}, {"notes", testNotes}, {"mistakes", testNotesMistakes}, {"credentials", testServiceCredentials}} {
		w.transcript.Reset()
		t.Run(part.name, func(t *testing.T) {
			w.t = t
			part.run(t, w)
		})
	}
}

// testDiff compares releases as people do before they promote.
func testDiff(t *testing.T, w *world) {
	t.Helper()
	w.must("diff", "prod", "stage")
	w.must("diff", "v0.1.0", "shop/v0.2.0", "--environment", "prod", "--patch")
	w.must("diff", "prod", "dev", "--environment", "prod", "--manifests")
	w.must("diff", "stage", "prod", "--environment", "stage")
	w.must("diff", "stage", "v0.2.0")
	if r := w.run("diff", "prod", "stage", "--exit-code"); r.code != 6 || r.stderr != "" {
		t.Errorf("exit %d, stderr %q", r.code, r.stderr)
	}
	if r := w.run("diff", "stage", "stage", "--manifests", "--exit-code"); r.code != 0 {
		t.Errorf("equal sides: exit %d", r.code)
	}
	if strings.Contains(w.transcript.String(), "hunter") {
		t.Error("a secret is shown")
	}
	w.golden("diff.txt")

	var got struct {
		Equal, Backwards bool
		Images           []struct{ Name, CompareURL string }
		Files            []struct{ Path, Patch, Omitted string }
		Manifests        []struct{ Kind, Change, Patch string }
	}
	text := w.must("diff", "prod", "stage", "--patch", "--manifests", "-o", "json")
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Equal || got.Backwards || len(got.Images) != 1 || !strings.HasPrefix(got.Images[0].CompareURL, "https://github.com/shop/orders/compare/") ||
		len(got.Files) != 7 || len(got.Manifests) != 5 || strings.Contains(text, "hunter") {
		t.Errorf("%+v\n%s", got, text)
	}
	for _, f := range got.Files {
		if (f.Omitted != "") != strings.HasSuffix(f.Path, "secret.yaml") || (f.Patch == "") != (f.Omitted != "") {
			t.Errorf("%+v", f)
		}
	}
}

// TestDiffMistakes: what cannot be compared says what can.
func TestDiffMistakes(t *testing.T) {
	var requests atomic.Int64
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			next.ServeHTTP(w, r)
		})
	})
	w.commit(shop(pipeline(), "1.0"))
	w.fails(3, []string{"diff", "v0.1.0", "v0.2.0"}, "UNKNOWN_SNAPSHOT", "next: propagator snapshot list")
	w.fails(2, []string{"diff", "dev", "stage"}, "there is no snapshot of its commit", "propagator snapshot create")
	w.must("snapshot", "create")
	w.fails(3, []string{"diff", "v0.1.0", "v0.2.0"}, "UNKNOWN_SNAPSHOT")
	w.fails(3, []string{"diff", "v0.1.0", "stage"}, "UNKNOWN_SNAPSHOT", "it was never promoted", "propagator snapshot show")
	w.fails(2, []string{"diff", "v0.1.0", "qa"}, `"qa" is neither a version`, "there are dev, stage, prod")
	w.fails(2, []string{"diff", "v0.1.0"}, "write: propagator diff A B")
	w.fails(2, []string{"diff", "v0.1.0", "v0.1.0", "--environment", "qa"}, "there are dev, stage, prod")
	w.fails(2, []string{"diff", "v0.1.0", "v0.1.0", "--environment", "dev", "--manifests"}, "dev follows the branch main by itself")
	w.fails(2, []string{"diff", "v0.1.0", "v0.1.0", "-o", "markdown"}, "table, json, yaml")
	w.must("diff", "dev", "v0.1.0")
	w.commit(gitrepotest.Files{"README": "new\n"})
	w.fails(2, []string{"diff", "dev", "v0.1.0"}, "the newest snapshot is shop/v0.1.0")
	w.must("promote", "stage")
	requests.Store(0)
	w.must("diff", "stage", "v0.1.0", "--patch", "--manifests")
	if n := requests.Load(); n > 7 { // refs; the tip of main, of the ledger, and the snapshots, each with a second look at the refs
		t.Errorf("%d requests to compare two snapshots", n)
	}
	w.git.Git("shop.git", "update-ref", "refs/tags/shop/v0.1.0", "refs/heads/main")
	w.fails(4, []string{"diff", "v0.1.0", "stage"}, "not a snapshot")
}

// testNotes writes release notes of a release in each state of its life.
func testNotes(t *testing.T, w *world) {
	t.Helper()
	w.must("notes", "v0.1.0")
	w.must("notes", "v0.2.0")
	w.must("notes", "prod..stage", "--commits", "1", "-o", "markdown")
	w.must("notes", "v0.2.0..v0.1.0")
	w.must("notes", "stage..v0.2.0")
	again := w.must("notes", "prod..stage")
	w.must("reject", "stage", "--reason", "prices are `wrong`")
	w.must("promote", "prod", "v0.2.0", "--override", "REJECTED", "--override", "APPROVAL_MISSING", "--reason", "it is an emergency")
	w.must("notes", "prod")
	w.golden("notes.txt")
	if text := w.must("notes", "v0.1.0..v0.2.0"); again == text || w.must("notes", "v0.1.0..v0.2.0") != text {
		t.Error("the notes depend on something else than the repositories")
	}

	var got struct {
		From, To struct{ Version string }
		Services []struct {
			Repository string
			Images     []string
			Log        struct{ Commits []struct{ Subject string } }
		}
		Deployments []struct{ Environment string }
	}
	if err := json.Unmarshal([]byte(w.must("notes", "v0.2.0", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.From.Version != "shop/v0.1.0" || got.To.Version != "shop/v0.2.0" || len(got.Services) != 1 || len(got.Services[0].Log.Commits) != 2 ||
		got.Services[0].Log.Commits[1].Subject != "Round prices <b>to</b> cents" || len(got.Deployments) != 2 {
		t.Errorf("%+v", got)
	}
}

// testNotesMistakes: a range that is none, and services that cannot be read.
func testNotesMistakes(t *testing.T, w *world) {
	t.Helper()
	w.fails(2, []string{"notes", "v0.1.0...v0.2.0"}, "three dots", "write A..B")
	w.fails(2, []string{"notes", "..v0.2.0"}, "empty side")
	w.fails(2, []string{"notes", "v0.1.0.."}, "empty side")
	w.fails(2, []string{"notes", ".."}, "empty side")
	w.fails(2, []string{"notes", "v0.1.0..v0.2.0..v0.3.0"}, "more than two sides")
	w.fails(3, []string{"notes", "v0.3.0"}, "UNKNOWN_SNAPSHOT")
	w.fails(2, []string{"notes", "v0.1.0..qa"}, `"qa" is neither`)
	w.fails(2, []string{"notes", "v0.2.0", "--commits", "-1"}, "--commits is -1")

	for _, test := range []struct{ revision, services, want string }{
		{strings.Repeat("12", 20), w.services(), "not found"},
		{"v1.2", w.services(), "neither a full commit id nor a tag there"},
		{"", w.services(), "no label org.opencontainers.image.revision"},
		{strings.Repeat("12", 20), strings.Replace(w.services(), "orders.git", "gone.git", 1), "gone.git"},
	} {
		tag := "2" + fmt.Sprint(len(w.transcript.String()))
		w.built("orders", tag, "", gitrepo.Hash(test.revision))
		w.commit(gitrepotest.Files{
			"propagator.yaml":                  strings.Replace(pipeline(), "promote: manual", "promote: auto", 1) + test.services,
			"envs/prod/orders/deployment.yaml": deployment("orders", 3, "dev.registry.example/shop/orders:"+tag),
		})
		w.must("snapshot", "create")
		r := w.run("notes", "v0.1.0..stage")
		if r.code != 0 || !strings.Contains(r.stdout, "The commits could not be read: ") || !strings.Contains(r.stderr, test.want) {
			t.Errorf("%s: exit %d\n%s%s", test.want, r.code, r.stdout, r.stderr)
		}
	}
}

// testServiceCredentials: the password for the GitOps repository is not sent to
// where somebody else says that a service is built.
func testServiceCredentials(t *testing.T, w *world) {
	t.Helper()
	var mu sync.Mutex
	seen := map[string]bool{} // host/repository, with credentials or without
	note := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, password, _ := r.BasicAuth()
			mu.Lock()
			seen[strings.Split(r.URL.Path, "/")[1]+" "+password] = true
			mu.Unlock()
			if password == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	front := newFront(t, w.git.Handler, note)
	other := newFront(t, w.git.Handler, note)
	w.env = append(w.env, "PROPAGATOR_REPOSITORY="+front+"/shop.git", "PROPAGATOR_GIT_USERNAME=ada", "PROPAGATOR_GIT_PASSWORD=s3cret")
	w.env = w.env[len(w.env)-3:]
	configuration := strings.Replace(pipeline(), "promote: manual", "promote: auto", 1)
	for address, want := range map[string]bool{front: true, other: false} {
		clear(seen)
		w.commit(gitrepotest.Files{"propagator.yaml": configuration + "services:\n- {image: dev.registry.example/shop/orders, repository: \"" + address + "/orders.git\"}\n"})
		r := w.run("notes", "v0.1.0..v0.2.0")
		if r.code != 0 || seen["orders.git s3cret"] != want || strings.Contains(r.stdout, "could not be read") == want {
			t.Errorf("%v: exit %d, seen %v\n%s%s", want, r.code, seen, r.stdout, r.stderr)
		}
		if strings.Contains(r.stdout+r.stderr, "s3cret") {
			t.Error("the password is shown")
		}
	}
}

// newFront serves the repositories at another address.
func newFront(t *testing.T, handler http.Handler, middleware func(http.Handler) http.Handler) string {
	t.Helper()
	server := httptest.NewServer(middleware(handler))
	t.Cleanup(server.Close)
	return server.URL
}

//go:build e2e

package registries_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

func start(t *testing.T) *registries.Set {
	t.Helper()
	tools, err := toolchain.Ensure(t.Context(), os.Stderr, toolchain.Registry)
	if err != nil {
		t.Fatal(err)
	}
	set, err := registries.Start(t.Context(), registries.Options{Binary: tools.Path("registry"), Dir: filepath.Join(t.TempDir(), "registries")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		for _, r := range set.All() {
			log, err := os.ReadFile(r.LogPath())
			if err != nil {
				t.Error(err)
			}
			for _, secret := range set.Secrets() {
				if strings.Contains(string(log), secret) {
					t.Errorf("the log of %s shows a password", r.Name())
				}
			}
		}
	})
	return set
}

func image(t *testing.T, version string) imagebuild.Built {
	t.Helper()
	built, err := imagebuild.Index(imagebuild.Spec{
		Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
		Files:     imagebuild.Files{"version": version},
	})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// repo is the repository of all images here.
const repo = "shop/orders"

func push(t *testing.T, r *registries.Registry, built imagebuild.Built, tags ...string) {
	t.Helper()
	client, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := imagebuild.Push(t.Context(), client, repo, built, tags...); err != nil {
		t.Fatal(err)
	}
}

// TestEachRegistry: what is pushed with our client is there for others, in
// every registry, and only there.
func TestEachRegistry(t *testing.T) {
	set := start(t)
	built := image(t, "1")
	for _, r := range set.All() {
		t.Run(r.Name(), func(t *testing.T) {
			if has, err := r.Has(t.Context(), repo, built.Digest()); err != nil || has {
				t.Errorf("before: %v, %v", has, err)
			}
			if _, err := r.Tags(t.Context(), repo); !errors.Is(err, registries.ErrNotFound) {
				t.Errorf("tags before: %v", err)
			}
			push(t, r, built, "3f2a9c1", "latest")
			if has, err := r.Has(t.Context(), repo, built.Digest()); err != nil || !has {
				t.Errorf("after: %v, %v", has, err)
			}
			if digest, err := r.Digest(t.Context(), repo, "latest"); err != nil || digest != built.Digest() {
				t.Errorf("latest is %s, %v", digest, err)
			}
			tags, err := r.Tags(t.Context(), repo)
			if diff := cmp.Diff([]string{"3f2a9c1", "latest"}, tags); diff != "" || err != nil {
				t.Errorf("tags (-want +got):\n%s%v", diff, err)
			}
			repos, err := r.Repositories(t.Context())
			if diff := cmp.Diff([]string{repo}, repos); diff != "" || err != nil {
				t.Errorf("repositories (-want +got):\n%s%v", diff, err)
			}
			if digests, err := r.Manifests(repo); err != nil || len(digests) != 3 {
				t.Errorf("want the index and two images, got %v, %v", digests, err)
			}
			puts, err := r.Count(func(q registries.Request) bool {
				return q.Method == http.MethodPut && q.Status == http.StatusCreated && strings.Contains(q.Path, "/manifests/")
			})
			if err != nil || puts < 3 {
				t.Errorf("the log has %d manifests that were put, %v", puts, err)
			}
		})
	}
}

// TestCredentials: Stage and Prod let nobody in without them, and the Docker
// configuration has them under the names that people write.
func TestCredentials(t *testing.T) {
	set := start(t)
	raw, err := set.DockerConfig()
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Auths map[string]struct{ Username, Password string }
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	ask := func(t *testing.T, r *registries.Registry, user, password string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/v2/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	for _, r := range set.All() {
		t.Run(r.Name(), func(t *testing.T) {
			login, wants := config.Auths[r.Name()]
			if want := r == set.Stage || r == set.Prod; wants != want {
				t.Fatalf("in the Docker configuration: %v", wants)
			}
			if !wants {
				if status := ask(t, r, "", ""); status != http.StatusOK {
					t.Errorf("nobody gets %d", status)
				}
				return
			}
			if status := ask(t, r, "", ""); status != http.StatusUnauthorized {
				t.Errorf("nobody gets %d", status)
			}
			if status := ask(t, r, login.Username, "guess"); status != http.StatusUnauthorized {
				t.Errorf("a guess gets %d", status)
			}
			if status := ask(t, r, login.Username, login.Password); status != http.StatusOK {
				t.Errorf("the credentials get %d", status)
			}
			if err := r.SetPassword("brand-new-password"); err != nil {
				t.Fatal(err)
			}
			user, password := r.Credentials()
			if was, is := ask(t, r, login.Username, login.Password), ask(t, r, user, password); was != http.StatusUnauthorized || is != http.StatusOK {
				t.Errorf("the password before gets %d, the new one %d", was, is)
			}
			if secrets := set.Secrets(); !slices.Contains(secrets, login.Password) || !slices.Contains(secrets, password) {
				t.Error("a password is no secret")
			}
		})
	}
	if set.Dev.SetPassword("x") == nil {
		t.Error("a registry that is open to everybody has a password")
	}
	want := "dev.registry.example=" + set.Dev.URL() + ",stage.registry.example=" + set.Stage.URL() + ",prod.registry.example=" + set.Prod.URL() + ",docker.io=" + set.Hub.URL()
	if got := set.Endpoints(); got != want {
		t.Errorf("endpoints %s, want %s", got, want)
	}
}

// TestLoss: Dev deletes on request, the others lose by accident only.
func TestLoss(t *testing.T) {
	set := start(t)
	built := image(t, "1")
	push(t, set.Dev, built, "3f2a9c1")
	push(t, set.Stage, built, "3f2a9c1")
	if err := set.Dev.Delete(t.Context(), repo, built.Digest()); err != nil {
		t.Error(err)
	}
	if digests, err := set.Dev.Manifests(repo); err != nil || len(digests) != 2 {
		t.Errorf("want two images without their index, got %v, %v", digests, err)
	}
	if err := set.Stage.Delete(t.Context(), repo, built.Digest()); err == nil || !strings.Contains(err.Error(), "405") {
		t.Errorf("Stage deletes: %v", err)
	}
	if err := set.Stage.Lose(repo, built.Digest()); err != nil {
		t.Error(err)
	}
	if err := set.Stage.Lose(repo, built.Digest()); !errors.Is(err, registries.ErrNotFound) {
		t.Errorf("lost twice: %v", err)
	}
	if err := set.Stage.Lose("../orders", "../.."); err == nil {
		t.Error("a digest may be a path")
	}
	for _, r := range []*registries.Registry{set.Dev, set.Stage} {
		if has, err := r.Has(t.Context(), repo, built.Digest()); err != nil || has {
			t.Errorf("%s: %v, %v", r.Name(), has, err)
		}
	}
	push(t, set.Stage, built, "3f2a9c1")
	if has, err := set.Stage.Has(t.Context(), repo, built.Digest()); err != nil || !has {
		t.Errorf("pushed again: %v, %v", has, err)
	}
}

// TestRestart: a registry that comes back has its address and its images.
func TestRestart(t *testing.T) {
	set := start(t)
	built := image(t, "1")
	push(t, set.Prod, built, "3f2a9c1")
	if err := set.Prod.Start(t.Context()); err == nil {
		t.Error("it started twice")
	}
	set.Prod.Kill()
	if _, err := set.Prod.Has(t.Context(), repo, built.Digest()); err == nil {
		t.Error("a killed registry answers")
	}
	if err := set.Prod.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if has, err := set.Prod.Has(t.Context(), repo, built.Digest()); err != nil || !has {
		t.Errorf("after the restart: %v, %v", has, err)
	}
	if err := set.Prod.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := set.Prod.Stop(t.Context()); err != nil {
		t.Errorf("stopped twice: %v", err)
	}
}

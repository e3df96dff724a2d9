package diskregistry_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/diskregistry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

func serve(t *testing.T, dir string, options diskregistry.Options) (*diskregistry.Registry, *httptest.Server) {
	t.Helper()
	r, err := diskregistry.Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server
}

func client(t *testing.T, server *httptest.Server) *remote.Registry {
	t.Helper()
	r, err := remote.New(remote.Config{
		Name: strings.TrimPrefix(server.URL, "http://"), Keychain: authn.NewMultiKeychain(), Retries: -1, Transport: server.Client().Transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A kept directory is read by a plain client after a restart.
func TestSurvivesRestart(t *testing.T) {
	for title, options := range map[string]diskregistry.Options{"referrers API": {}, "fallback tag": {NoReferrersAPI: true}} {
		t.Run(title, func(t *testing.T) {
			dir := t.TempDir()
			_, server := serve(t, dir, options)
			index := registrytest.MustIndex(t, imagebuild.Spec{
				Platforms: registrytest.TwoPlatforms(), Layers: []imagebuild.Files{{"base": "b"}},
				Labels: map[string]string{imagebuild.LabelRevision: "abc"},
			})
			signature := imagebuild.Signature(index.Manifest.Descriptor(), "s")
			nested := imagebuild.IndexOf([]imagebuild.Built{index}, false)
			w := client(t, server)
			registrytest.MustPush(t, w, "shop/orders", index.Refer(signature), "1.0", "latest")
			registrytest.MustPush(t, w, "shop/orders", nested, "nested")
			registrytest.MustPush(t, w, "payments", index.Children[0], "1.0")
			server.Close()

			_, server = serve(t, dir, options)
			host := strings.TrimPrefix(server.URL, "http://")
			for _, reference := range []string{"/shop/orders:1.0", "/shop/orders:latest", "/shop/orders@" + index.Digest()} {
				ref, err := name.ParseReference(host + reference)
				if err != nil {
					t.Fatal(err)
				}
				read, err := ggcr.Index(ref)
				if err != nil {
					t.Fatal(err)
				}
				readIndex(t, read, index)
			}
			nestedRef, err := name.ParseReference(host + "/shop/orders:nested")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ggcr.Index(nestedRef); err != nil {
				t.Error(err)
			}
			again := client(t, server)
			list, err := again.Referrers(t.Context(), "shop/orders", index.Digest())
			if err != nil || len(list) != 1 || list[0].Digest != signature.Digest() {
				t.Errorf("referrers %v, %v", list, err)
			}
			tags, err := again.Tags(t.Context(), "payments")
			if err != nil || len(tags) != 1 {
				t.Errorf("tags %v, %v", tags, err)
			}
		})
	}
}

func readIndex(t *testing.T, read v1.ImageIndex, want imagebuild.Built) {
	t.Helper()
	if digest, err := read.Digest(); err != nil || digest.String() != want.Digest() {
		t.Fatalf("index %s, %v", digest, err)
	}
	for _, child := range want.Children {
		hash, err := v1.NewHash(child.Digest())
		if err != nil {
			t.Fatal(err)
		}
		image, err := read.Image(hash)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range layers {
			rc, err := layer.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, rc); err != nil { // checks the digest
				t.Error(err)
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
		}
		if config, err := image.ConfigFile(); err != nil || config.Config.Labels[imagebuild.LabelRevision] != "abc" {
			t.Errorf("configuration %+v, %v", config, err)
		}
	}
}

func TestSuite(t *testing.T) {
	for title, options := range map[string]diskregistry.Options{"referrers API": {}, "fallback tag": {NoReferrersAPI: true}} {
		t.Run(title, func(t *testing.T) {
			registrytest.Suite(t, func(t *testing.T) registry.Registry {
				_, server := serve(t, t.TempDir(), options)
				return client(t, server)
			}, registrytest.SharedBlobs)
		})
	}
}

func TestSetAvailable(t *testing.T) {
	var mu sync.Mutex
	statuses := map[int]int{}
	r, server := serve(t, t.TempDir(), diskregistry.Options{OnRequest: func(_, _ string, status int) {
		mu.Lock()
		defer mu.Unlock()
		statuses[status]++
	}})
	c := client(t, server)
	image := registrytest.MustImage(t, imagebuild.Spec{})
	registrytest.MustPush(t, c, "orders", image, "1.0")
	r.SetAvailable(false)
	if _, err := c.Resolve(t.Context(), "orders", "1.0"); !errors.Is(err, registry.ErrUnreachable) {
		t.Errorf("error %v, want ErrUnreachable", err)
	}
	r.SetAvailable(true)
	if _, err := c.Resolve(t.Context(), "orders", "1.0"); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if statuses[0] == 0 || statuses[http.StatusCreated] == 0 || statuses[http.StatusOK] == 0 {
		t.Errorf("statuses %v", statuses)
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"manifest": func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "manifests", "sha256", "*")) },
		"entry":    func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "repositories", "*", "1.0")) },
		"stranger": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "repositories", "x y")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, server := serve(t, dir, diskregistry.Options{})
			registrytest.MustPush(t, client(t, server), "orders", registrytest.MustImage(t, imagebuild.Spec{}), "1.0")
			damage(t, dir)
			if _, err := diskregistry.Open(dir, diskregistry.Options{}); err == nil {
				t.Error("opened")
			}
		})
	}
}

// What a killed process left half done is removed.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	_, server := serve(t, dir, diskregistry.Options{})
	registrytest.MustPush(t, client(t, server), "orders", registrytest.MustImage(t, imagebuild.Spec{}), "1.0")
	left := []string{filepath.Join(dir, "blobs", "upload-1"), filepath.Join(dir, "repositories", "orders", ".new-1")}
	for _, file := range left {
		write(t, file)
	}
	serve(t, dir, diskregistry.Options{})
	for _, file := range left {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", file)
		}
	}
}

func overwrite(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing matches %s, %v", pattern, err)
	}
	for _, file := range files {
		write(t, file)
	}
}

func write(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRefusesStrangeNames(t *testing.T) {
	dir := t.TempDir()
	_, server := serve(t, dir, diskregistry.Options{})
	for _, path := range []string{"/v2/../x/manifests/1.0", "/v2/a%2f..%2f..%2fb/manifests/1.0", "/v2/Orders/manifests/1.0", "/v2/orders/manifests/..", "/v2/orders/manifests/sha256:zz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+path, strings.NewReader(`{"schemaVersion":2}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode < 400 {
			t.Errorf("%s answered %d", path, resp.StatusCode)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "repositories")); err != nil || len(files) > 0 {
		t.Errorf("files %v, %v", files, err)
	}
}

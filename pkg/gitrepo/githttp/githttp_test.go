package githttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// TestRealGit lets git itself clone, push and fetch, in both protocol versions.
func TestRealGit(t *testing.T) {
	for _, version := range []string{"0", "2"} {
		t.Run("protocol "+version, func(t *testing.T) {
			server := gitrepotest.Server(t, githttp.Options{})
			url := server.Init("team/shop.git")
			work := t.TempDir()
			git := func(dir string, args ...string) string {
				return gitrepotest.Git(t, dir, "", append([]string{"-c", "protocol.version=" + version}, args...)...)
			}
			git(work, "clone", "--quiet", url, "a")
			a := filepath.Join(work, "a")
			if err := os.WriteFile(filepath.Join(a, "big"), bytes.Repeat([]byte("0123456789abcdef\n"), 200_000), 0o600); err != nil {
				t.Fatal(err)
			}
			git(a, "add", "big")
			git(a, "commit", "--quiet", "-m", "first")
			// Small post buffers make git probe and then send in chunks.
			git(a, "-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD:refs/heads/main")
			git(work, "clone", "--quiet", "--depth=1", "--filter=blob:none", url, "b")
			if got, want := git(filepath.Join(work, "b"), "rev-parse", "HEAD"), git(a, "rev-parse", "HEAD"); got != want {
				t.Errorf("cloned %s, want %s", got, want)
			}
			if got := server.Git("team/shop.git", "symbolic-ref", "HEAD"); got != "refs/heads/main" {
				t.Errorf("default branch is %s", got)
			}
		})
	}
}

func get(t *testing.T, method, url string, body io.Reader, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestRefusals(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{MaxBody: 1000})
	server.Init("shop.git")
	outside := filepath.Join(filepath.Dir(server.Root), "outside.git")
	gitrepotest.Git(t, server.Root, "", "init", "--bare", "--quiet", outside)
	const upload, kind = "/git-upload-pack", "application/x-git-upload-pack-request"
	for _, test := range []struct {
		name, method, path string
		header             []string
		body               string
		want               int
	}{
		{"good", "GET", "/shop.git/info/refs?service=git-upload-pack", nil, "", 200},
		{"unknown", "GET", "/other.git/info/refs?service=git-upload-pack", nil, "", 404},
		{"climbing", "GET", "/../outside.git/info/refs?service=git-upload-pack", nil, "", 404},
		{"climbing, encoded", "GET", "/%2e%2e/outside.git/info/refs?service=git-upload-pack", nil, "", 404},
		{"climbing, encoded slash", "GET", "/shop.git%2f..%2f..%2foutside.git/info/refs?service=git-upload-pack", nil, "", 404},
		{"an option", "GET", "/--upload-pack=x/info/refs?service=git-upload-pack", nil, "", 404},
		{"dumb protocol", "GET", "/shop.git/info/refs", nil, "", 404},
		{"a file", "GET", "/shop.git/config", nil, "", 404},
		{"another program", "GET", "/shop.git/info/refs?service=git-upload-archive", nil, "", 404},
		{"wrong method", "POST", "/shop.git/info/refs?service=git-upload-pack", nil, "", 405},
		{"get of a service", "GET", "/shop.git" + upload, nil, "", 405},
		{"wrong type", "POST", "/shop.git" + upload, nil, "0000", 415},
		{"wrong encoding", "POST", "/shop.git" + upload, []string{"Content-Type", kind, "Content-Encoding", "br"}, "0000", 415},
		{"no gzip", "POST", "/shop.git" + upload, []string{"Content-Type", kind, "Content-Encoding", "gzip"}, "0000", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, text := get(t, test.method, server.URL+test.path, strings.NewReader(test.body), test.header...)
			if status != test.want {
				t.Errorf("got %d %q, want %d", status, text, test.want)
			}
			if strings.Contains(text, server.Root) {
				t.Errorf("the answer shows a path: %q", text)
			}
		})
	}
}

func TestBodyIsBounded(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{MaxBody: 2000})
	repo, err := remote.Open(server.Init("shop.git"), remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	small := gitrepotest.Grow(t, repo, gitrepo.Heads+"main", gitrepotest.Files{"a": "small"})
	noise := make([]byte, 10_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	large, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": string(noise)}, "large", small)
	err = repo.Push(t.Context(), gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: gitrepo.Heads + "main", Old: small, New: large}}})
	if !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "413") {
		t.Errorf("a body beyond the bound: got %v", err)
	}
	if refs := gitrepotest.MustRefs(t, repo); refs[gitrepo.Heads+"main"] != small {
		t.Errorf("refs are %v", refs)
	}

	// What counts is the size after decompression.
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	want := "0032want " + string(small) + "\n"
	if _, err := io.WriteString(z, strings.Repeat(want, 1000)+"00000009done\n"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	status, _ := get(t, "POST", server.URL+"/shop.git/git-upload-pack", &bomb,
		"Content-Type", "application/x-git-upload-pack-request", "Content-Encoding", "gzip")
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("a bomb: got %d", status)
	}
}

func TestAuthorize(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{Authorize: func(user, password string, write bool) bool {
		return user == "reader" && password == "r" && !write || user == "writer" && password == "w"
	}})
	server.Init("shop.git")
	for _, test := range []struct {
		user, service string
		want          int
	}{
		{"", "git-upload-pack", 401},
		{"reader:r@", "git-upload-pack", 200},
		{"reader:x@", "git-upload-pack", 401},
		{"", "git-receive-pack", 401},
		{"reader:r@", "git-receive-pack", 403},
		{"writer:w@", "git-receive-pack", 200},
	} {
		url := strings.Replace(server.URL, "http://", "http://"+test.user, 1)
		if status, _ := getUser(t, url+"/shop.git/info/refs?service="+test.service); status != test.want {
			t.Errorf("%q at %s: got %d, want %d", test.user, test.service, status, test.want)
		}
	}
}

// getUser goes through a client, which turns userinfo into a header.
func getUser(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode, res.Header.Get("WWW-Authenticate")
}

func TestInitBare(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	server.Init("shop.git")
	if _, err := server.Handler.InitBare(t.Context(), "shop.git", "main"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	for _, name := range []string{"", "../x", "/x", "a/../../x", "-x", ".x", "a//b", "a b"} {
		if dir, err := server.Handler.InitBare(t.Context(), name, "main"); err == nil {
			t.Errorf("%q: created %s", name, dir)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server.Handler.InitBare(cancelled, "late.git", "main"); err == nil {
		t.Error("created by a cancelled caller")
	}
	if _, err := os.Stat(server.Dir("late.git")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left something behind: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := githttp.New(filepath.Join(t.TempDir(), "missing"), githttp.Options{}); err == nil {
		t.Error("a missing root is accepted")
	}
	t.Setenv("PATH", t.TempDir())
	_, err := githttp.New(t.TempDir(), githttp.Options{})
	if err == nil || err.Error() != "git executable not found; install git" {
		t.Errorf("got %v", err)
	}
}

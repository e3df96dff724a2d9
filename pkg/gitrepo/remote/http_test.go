package remote_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

const main = gitrepo.Heads + "main"

var tip = gitrepo.FetchOptions{Depth: 1}

type trips struct {
	mu    sync.Mutex
	kinds []string
}

func (r *trips) add(t remote.RoundTrip) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds = append(r.kinds, t.Kind)
}

// take returns what happened since the last call.
func (r *trips) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := r.kinds
	r.kinds = nil
	return kinds
}

func TestRoundTrips(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	url := server.Init("shop.git")
	writer := open(t, url, remote.Options{})
	first := gitrepotest.Grow(t, writer, main, gitrepotest.Files{"a": "1"})
	second := gitrepotest.Grow(t, writer, main, gitrepotest.Files{"a": "2"})

	var seen trips
	repo := open(t, url, remote.Options{OnRoundTrip: seen.add})
	for _, step := range []struct {
		name string
		run  func() error
		want []string
	}{
		{"refs", func() error { _, err := repo.Refs(t.Context()); return err }, []string{"upload-pack refs"}},
		{"fetch", func() error { return repo.Fetch(t.Context(), []gitrepo.Hash{second}, tip) }, []string{"upload-pack refs", "upload-pack"}},
		{"fetch again", func() error { return repo.Fetch(t.Context(), []gitrepo.Hash{second}, tip) }, nil},
		{"fetch no tip", func() error { return repo.Fetch(t.Context(), []gitrepo.Hash{first}, tip) }, []string{"upload-pack"}},
		{"fetch what is not there", func() error {
			if err := repo.Fetch(t.Context(), []gitrepo.Hash{gitrepo.NewBlob([]byte("no")).ID()}, tip); !errors.Is(err, gitrepo.ErrNotFound) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		}, []string{"upload-pack", "upload-pack refs", "upload-pack"}},
		{"push", func() error {
			return repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + "v1", New: second}}})
		}, []string{"receive-pack refs", "receive-pack"}},
		{"lost push", func() error {
			err := repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + "v1", New: second}}})
			if errors.As(err, new(*gitrepo.RefMovedError)) {
				return nil
			}
			return fmt.Errorf("got %w", err)
		}, []string{"upload-pack refs", "receive-pack"}}, // counted when the answer was read
		{"push again", func() error {
			return repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + "v2", New: second}}})
		}, []string{"receive-pack"}},
	} {
		if err := step.run(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, seen.take()); diff != "" {
			t.Errorf("%s: round trips (-want +got):\n%s", step.name, diff)
		}
	}
}

// TestGitAgrees lets git check what we pushed.
func TestGitAgrees(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	repo := open(t, server.Init("shop.git"), remote.Options{})
	gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a b/ü.yaml": "1", "x": "x", "empty": ""})
	head := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a b/ü.yaml": "2", "a-b": "sorted"})
	tag := gitrepo.NewTag(gitrepo.Tag{Object: head, Type: gitrepo.TypeCommit, Name: "v1", Tagger: gitrepotest.Identity(3), Message: "one\n"})
	gitrepotest.MustPush(t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + "v1", New: tag.ID()}}, Objects: []gitrepo.Object{tag}})

	if got := server.Git("shop.git", "fsck", "--strict", "--full"); got != "" {
		t.Errorf("git fsck: %s", got)
	}
	if got := server.Git("shop.git", "log", "--format=%s by %an at %ai", "--first-parent", "v1"); got !=
		"Grow refs/heads/main by Ada at 2023-11-14 23:13:21 +0100\nGrow refs/heads/main by Ada at 2023-11-14 23:13:20 +0100" {
		t.Errorf("git log: %s", got)
	}
	if got := server.Git("shop.git", "-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", "main"); got != "a b/ü.yaml\na-b\nempty\nx" {
		t.Errorf("git ls-tree: %s", got)
	}
}

// TestLargeHistory has deltas in the packs, and requests that are compressed.
func TestLargeHistory(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	url := server.Init("shop.git")
	writer := open(t, url, remote.Options{})
	var ids []gitrepo.Hash
	content := strings.Repeat("line of a file that changes little\n", 400)
	for i := range 30 {
		branch := fmt.Sprintf("%sside-%d", gitrepo.Heads, i)
		ids = append(ids, gitrepotest.Grow(t, writer, branch, gitrepotest.Files{"big": fmt.Sprint(content, i), "same": content}))
	}
	server.Git("shop.git", "repack", "-a", "-d", "-f", "--depth=50", "--window=50", "--quiet")
	repo := open(t, url, remote.Options{})
	gitrepotest.MustFetch(t, repo, tip, ids...)
	next := gitrepotest.Grow(t, writer, gitrepo.Heads+"side-0", gitrepotest.Files{"big": fmt.Sprint(content, "new")})
	gitrepotest.MustFetch(t, repo, tip, next) // offers 30 commits
	for i, id := range append(ids, next) {
		c, err := gitrepo.ReadCommit(repo, id)
		if err != nil {
			t.Fatal(err)
		}
		e, err := gitrepo.Lookup(repo, c.Tree, "big")
		if err != nil {
			t.Fatal(err)
		}
		if o, err := repo.Object(e.ID); err != nil || o.ID() != e.ID {
			t.Errorf("commit %d: %v", i, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	const password = "s3cret/with+signs"
	server := gitrepotest.Server(t, githttp.Options{Authorize: func(user, p string, write bool) bool {
		return p == password && (user == "writer" || user == "reader" && !write)
	}})
	url := server.Init("shop.git")
	host := strings.TrimPrefix(url, "http://")
	id, objects := gitrepotest.Commit(t, gitrepo.NewStore(), gitrepotest.Files{"a": "1"}, "first")
	push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, New: id}}, Objects: objects}
	for _, test := range []struct {
		name, url   string
		auth        remote.Auth
		read, write error
	}{
		{"none", url, remote.Auth{}, gitrepo.ErrUnauthorized, gitrepo.ErrUnauthorized},
		{"wrong", url, remote.Auth{Username: "writer", Password: "wrong-password"}, gitrepo.ErrUnauthorized, gitrepo.ErrUnauthorized},
		{"wrong in the URL", "http://writer:wrong-password@" + host, remote.Auth{}, gitrepo.ErrUnauthorized, gitrepo.ErrUnauthorized},
		{"reader", url, remote.Auth{Username: "reader", Password: password}, nil, gitrepo.ErrUnauthorized},
		{"token in the URL", "http://wrong-password-token@" + host, remote.Auth{}, gitrepo.ErrUnauthorized, gitrepo.ErrUnauthorized},
		{"bearer", url, remote.Auth{BearerToken: "wrong-password"}, gitrepo.ErrUnauthorized, gitrepo.ErrUnauthorized},
		{"writer in the URL", "http://writer:s3cret%2Fwith+signs@" + host, remote.Auth{}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			repo := open(t, test.url, remote.Options{Auth: test.auth, Logger: logger})
			_, readErr := repo.Refs(t.Context())
			if !errors.Is(readErr, test.read) {
				t.Errorf("read: got %v, want %v", readErr, test.read)
			}
			writeErr := repo.Push(t.Context(), push)
			if !errors.Is(writeErr, test.write) {
				t.Errorf("write: got %v, want %v", writeErr, test.write)
			}
			all := fmt.Sprintf("%v %v %s %s %v %+v %#v", readErr, writeErr, log.String(), repo.URL(), test.auth, test.auth, test.auth)
			for _, secret := range []string{password, "wrong-password", "s3cret"} {
				if strings.Contains(all, secret) {
					t.Errorf("a secret got out: %s", all)
				}
			}
			if readErr != nil && !strings.HasPrefix(readErr.Error(), "git repository http://127.0.0.1:") {
				t.Errorf("the error does not name the repository: %v", readErr)
			}
		})
	}
}

func TestSecretsOfServersWords(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		http.Error(w, "\x1b[31mbad credentials "+user+":"+password+" or "+r.Header.Get("Authorization"), http.StatusForbidden)
	}))
	defer server.Close()
	repo := open(t, server.URL+"/x", remote.Options{Auth: remote.Auth{Username: "ada", Password: "hunter2"}})
	_, err := repo.Refs(t.Context())
	if !errors.Is(err, gitrepo.ErrUnauthorized) || strings.ContainsAny(err.Error(), "\x1b\n") ||
		strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "YWRhOmh1bnRlcjI=") {
		t.Errorf("got %q", err)
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, "http://"+address+"/x", remote.Options{}).Refs(t.Context())
	if !errors.Is(err, gitrepo.ErrUnreachable) {
		t.Errorf("got %v, want %v", err, gitrepo.ErrUnreachable)
	}
}

// TestMisbehavingServers gives the first request, and the second after a good
// first one, answers of many kinds.
func TestMisbehavingServers(t *testing.T) {
	id, objects := gitrepotest.Commit(t, gitrepo.NewStore(), gitrepotest.Files{"a": "1"}, "first")
	push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, New: id}}, Objects: objects}
	for _, test := range []struct {
		name string
		// status and body of the answer; the content type is right if body is
		// not a page.
		status int
		body   string
		page   bool
		want   error
	}{
		{"server error", 503, "", true, gitrepo.ErrUnreachable},
		{"rate limit", 429, "", true, gitrepo.ErrUnreachable},
		{"login page", 200, "<html>sign in</html>", true, gitrepo.ErrUnreachable},
		{"nothing", 200, "", false, gitrepo.ErrUnreachable},
		{"no pkt-line", 200, "zzzz hello", false, gitrepo.ErrUnreachable},
		{"cut off", 200, "0100cut", false, gitrepo.ErrUnreachable},
		{"gone", 404, "", true, gitrepo.ErrNotFound},
		{"in words", 200, "0021ERR Repository does not exist", false, gitrepo.ErrNotFound},
		{"in other words", 200, "001dERR access denied to this", false, gitrepo.ErrUnauthorized},
		{"redirect to nowhere", 302, "", true, gitrepo.ErrUnreachable},
	} {
		for _, at := range []string{"info/refs", "git-upload-pack", "git-receive-pack"} {
			t.Run(test.name+" at "+at, func(t *testing.T) {
				arm := func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if !strings.HasSuffix(r.URL.Path, at) {
							next.ServeHTTP(w, r)
							return
						}
						kind := "application/x-" + at + "-result"
						if at == "info/refs" {
							kind = "application/x-" + r.URL.Query().Get("service") + "-advertisement"
						}
						if test.page {
							kind = "text/html"
						}
						w.Header().Set("Content-Type", kind)
						w.Header().Set("Location", "ftp://127.0.0.1/elsewhere")
						w.WriteHeader(test.status)
						_, _ = io.WriteString(w, test.body)
					})
				}
				server := gitrepotest.Server(t, githttp.Options{}, arm)
				url := server.Init("shop.git")
				seed := open(t, server.Dir("shop.git"), remote.Options{})
				there := gitrepotest.Grow(t, seed, gitrepo.Heads+"seed", gitrepotest.Files{"s": "s"})
				repo := open(t, url, remote.Options{})
				var err error
				if at == "git-receive-pack" {
					err = repo.Push(t.Context(), push)
				} else {
					err = repo.Fetch(t.Context(), []gitrepo.Hash{there}, tip)
				}
				want := test.want
				if at == "git-receive-pack" && test.status == 200 {
					want = gitrepo.ErrUnreachable // what became of the push is unknown
				}
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
		}
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	_, err := open(t, server.URL, remote.Options{Timeout: 50 * time.Millisecond}).Refs(t.Context())
	if !errors.Is(err, gitrepo.ErrUnreachable) || !strings.Contains(err.Error(), "50ms") {
		t.Errorf("got %v, want %v naming the limit", err, gitrepo.ErrUnreachable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = open(t, server.URL, remote.Options{}).Refs(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, gitrepo.ErrUnreachable) {
		t.Errorf("got %v, want %v of the caller", err, context.DeadlineExceeded)
	}
}

func TestRedirect(t *testing.T) {
	var stolen []string
	target := gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if a := r.Header.Get("Authorization"); a != "" {
				stolen = append(stolen, r.URL.Path)
			}
			next.ServeHTTP(w, r)
		})
	})
	target.Init("shop.git")
	first := gitrepotest.Grow(t, open(t, target.Dir("shop.git"), remote.Options{}), main, gitrepotest.Files{"a": "1"})
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL+"/shop.git"+strings.TrimPrefix(r.URL.Path, "/old")+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
	}))
	defer moved.Close()
	repo := open(t, moved.URL+"/old", remote.Options{Auth: remote.Auth{Username: "ada", Password: "hunter2"}})
	gitrepotest.MustFetch(t, repo, tip, first)
	if len(stolen) > 0 {
		t.Errorf("credentials followed a redirect to another origin: %v", stolen)
	}
}

func TestTLS(t *testing.T) {
	handler, err := githttp.New(t.TempDir(), githttp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handler.InitBare(t.Context(), "shop.git", "main"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) // the refused handshake
	server.StartTLS()
	defer server.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for _, test := range []struct {
		name    string
		options remote.Options
		want    error
	}{
		{"unknown authority", remote.Options{}, gitrepo.ErrUnreachable},
		{"bundle", remote.Options{CABundle: bundle}, nil},
		{"insecure", remote.Options{InsecureSkipTLS: true}, nil},
		{"own client", remote.Options{HTTPClient: server.Client()}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := open(t, server.URL+"/shop.git", test.options).Refs(t.Context())
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		url     string
		options remote.Options
	}{
		"empty":             {url: ""},
		"query":             {url: "https://git.example/x?token=hunter2"},
		"no host":           {url: "https:///hunter2"},
		"bad port":          {url: "https://ada:hunter2@git.example:port/x"},
		"ftp":               {url: "ftp://ada:hunter2@git.example/x"},
		"two credentials":   {url: "https://git.example/x", options: remote.Options{Auth: remote.Auth{Password: "hunter2", BearerToken: "t"}}},
		"client and bundle": {url: "https://git.example/x", options: remote.Options{HTTPClient: http.DefaultClient, InsecureSkipTLS: true}},
		"no certificate":    {url: "https://git.example/x", options: remote.Options{CABundle: []byte("hunter2")}},
	} {
		_, err := remote.Open(test.url, test.options)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{
		"https://ada:hunter2@git.example/shop.git":  "https://git.example/shop.git",
		"https://hunter2@git.example/shop.git":      "https://git.example/shop.git",
		"ssh://ada:hunter2@git.example:2222/s.git":  "ssh://ada@git.example:2222/s.git",
		"git@git.example:shop.git":                  "ssh://git@git.example/shop.git",
		"ssh://git.example/shop.git":                "ssh://git@git.example/shop.git",
		"file:///srv/git/shop.git":                  "file:///srv/git/shop.git",
		"/srv/git/../git/shop.git":                  "file:///srv/git/shop.git",
		"HTTPS://git.example/with%20space/shop.git": "https://git.example/with%20space/shop.git",
	} {
		if got := open(t, in, remote.Options{}).URL(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

package remote_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// advertise rewrites what the server says about itself, at the same length.
func advertise(old, replacement string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/info/refs") {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			_, _ = w.Write(bytes.Replace(rec.Body.Bytes(), []byte(old), []byte(replacement), 1))
		})
	}
}

// tipsOnly answers a want of anything but the given ids as servers do that
// keep to what they advertise.
func tipsOnly(tips func() gitrepo.Refs) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
				next.ServeHTTP(w, r)
				return
			}
			raw, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			body := raw
			if r.Header.Get("Content-Encoding") == "gzip" {
				if z, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
					body, _ = io.ReadAll(z)
				}
			}
			known := map[string]bool{}
			for _, id := range tips() {
				known[string(id)] = true
			}
			for line := range strings.SplitSeq(string(body), "\n") {
				if _, want, ok := strings.Cut(line, "want "); ok && !known[want[:40]] {
					w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
					message := "ERR upload-pack: not our ref " + want[:40]
					_, _ = fmt.Fprintf(w, "%04x%s", len(message)+4, message)
					return
				}
			}
			r.Body = io.NopCloser(bytes.NewReader(raw))
			next.ServeHTTP(w, r)
		})
	}
}

// TestStrictServer fetches old commits from a server that is not git, gives
// tips only and says nothing else.
func TestStrictServer(t *testing.T) {
	var direct *remote.Repo
	server := gitrepotest.Server(t, githttp.Options{},
		tipsOnly(func() gitrepo.Refs { return gitrepotest.MustRefs(t, direct) }),
		advertise("allow-reachable-sha1-in-want", "allow-nothing-sha1-in-want--"), advertise("agent=git/", "agent=tig/"))
	url := server.Init("shop.git")
	server.Git("shop.git", "config", "uploadpack.allowReachableSHA1InWant", "false")
	direct = open(t, server.Dir("shop.git"), remote.Options{})
	var ids []gitrepo.Hash
	for i := range 60 {
		ids = append(ids, gitrepotest.Grow(t, direct, main, gitrepotest.Files{"a": fmt.Sprint(i)}))
	}
	for _, test := range []struct {
		name  string
		at    int
		depth int
		trips int
	}{
		{"the tip", 59, 1, 2},
		{"within the first search", 30, 1, 2},
		{"behind it", 5, 1, 3},
		{"with all its history", 5, 0, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen trips
			repo := open(t, url, remote.Options{OnRoundTrip: seen.add})
			gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{Depth: test.depth}, ids[test.at])
			if c, err := gitrepo.ReadCommit(repo, ids[test.at]); err != nil {
				t.Error(err)
			} else if e, err := gitrepo.Lookup(repo, c.Tree, "a"); err != nil || e.ID != gitrepo.NewBlob([]byte(fmt.Sprint(test.at))).ID() {
				t.Errorf("%+v, %v", e, err)
			}
			if got := seen.take(); len(got) != test.trips {
				t.Errorf("round trips: %v, want %d", got, test.trips)
			}
		})
	}
	repo := open(t, url, remote.Options{})
	if err := repo.Fetch(t.Context(), []gitrepo.Hash{gitrepo.NewBlob([]byte("no")).ID()}, tip); !errors.Is(err, gitrepo.ErrNotFound) {
		t.Errorf("got %v, want %v", err, gitrepo.ErrNotFound)
	}
}

// TestFetchAsksAgain: a server that refuses a fetch for which it was not asked what
// it can do is asked, and one that is busy is not.
func TestFetchAsksAgain(t *testing.T) {
	var status atomic.Int64
	server := gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if code := int(status.Load()); code > 0 && r.Method == http.MethodPost {
				status.Store(0)
				http.Error(w, "not now", code)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	url := server.Init("shop.git")
	writer := open(t, url, remote.Options{})
	var seen trips
	repo := open(t, url, remote.Options{OnRoundTrip: seen.add})
	gitrepotest.MustFetch(t, repo, tip, gitrepotest.Grow(t, writer, main, gitrepotest.Files{"a": "1"}))
	for _, test := range []struct {
		status int
		want   []string
		err    error
	}{
		{0, []string{"upload-pack"}, nil},
		{http.StatusBadRequest, []string{"upload-pack", "upload-pack refs", "upload-pack"}, nil},
		{http.StatusTooManyRequests, []string{"upload-pack"}, gitrepo.ErrUnreachable},
		{http.StatusServiceUnavailable, []string{"upload-pack"}, gitrepo.ErrUnreachable},
		{http.StatusUnauthorized, []string{"upload-pack"}, gitrepo.ErrUnauthorized},
		{0, []string{"upload-pack"}, nil},
	} {
		next := gitrepotest.Grow(t, writer, main, gitrepotest.Files{"a": fmt.Sprint(test.want, test.status)})
		seen.take()
		status.Store(int64(test.status))
		err := repo.Fetch(t.Context(), []gitrepo.Hash{next}, tip)
		if !errors.Is(err, test.err) {
			t.Errorf("%d: got %v, want %v", test.status, err, test.err)
		}
		if diff := cmp.Diff(test.want, seen.take()); diff != "" {
			t.Errorf("%d: round trips (-want +got):\n%s", test.status, diff)
		}
	}
}

func TestMaxFetch(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	url := server.Init("shop.git")
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 200_000)
	_, _ = random.Read(noise) // never fails
	writer := open(t, url, remote.Options{})
	packed := gitrepotest.Grow(t, writer, gitrepo.Heads+"noise", gitrepotest.Files{"a": string(noise)})
	unpacked := gitrepotest.Grow(t, writer, gitrepo.Heads+"zeros", gitrepotest.Files{"a": strings.Repeat("0", 200_000)})
	for name, id := range map[string]gitrepo.Hash{"on the wire": packed, "unpacked": unpacked} {
		repo := open(t, url, remote.Options{MaxFetch: 100_000})
		err := repo.Fetch(t.Context(), []gitrepo.Hash{id}, tip)
		if err == nil || !strings.Contains(err.Error(), "larger than allowed (100000 bytes)") || errors.Is(err, gitrepo.ErrUnreachable) {
			t.Errorf("%s: got %v, want the limit", name, err)
		}
	}
}

// TestServerIsShallow fetches the whole history of a repository that does not
// have its own beginnings.
func TestServerIsShallow(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	full := open(t, server.Init("full.git"), remote.Options{})
	var ids []gitrepo.Hash
	for i := range 3 {
		ids = append(ids, gitrepotest.Grow(t, full, main, gitrepotest.Files{"a": fmt.Sprint(i)}))
	}
	gitrepotest.Git(t, server.Root, "", "clone", "--bare", "--quiet", "--depth=2", "file://"+server.Dir("full.git"), "shallow.git")
	var seen trips
	repo := open(t, server.URL+"/shallow.git", remote.Options{OnRoundTrip: seen.add})
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{}, ids[2])
	if commits, err := gitrepo.FirstParents(repo, ids[2], 0); err != nil || len(commits) != 2 {
		t.Errorf("%d commits, %v", len(commits), err)
	}
	seen.take()
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{}, ids[2])
	if got := seen.take(); got != nil {
		t.Errorf("fetched again: %v", got)
	}
}

// TestServerRefusesFilter has a server that announces filters and then does
// not like ours.
func TestServerRefusesFilter(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	url := server.Init("shop.git")
	first := gitrepotest.Grow(t, open(t, url, remote.Options{}), main, gitrepotest.Files{"a": "1"})
	server.Git("shop.git", "config", "uploadpackfilter.allow", "false")
	repo := open(t, url, remote.Options{})
	gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{CommitsOnly: true}, first)
	if _, err := gitrepo.ReadCommit(repo, first); err != nil {
		t.Error(err)
	}
}

func TestFileWithoutGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	_, err := open(t, dir, remote.Options{}).Refs(t.Context())
	if err == nil || !strings.Contains(err.Error(), "git executable not found; install git") {
		t.Errorf("got %v", err)
	}
}

func TestFileIsNoRepository(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, dir, remote.Options{}).Refs(t.Context())
	if !errors.Is(err, gitrepo.ErrNotFound) {
		t.Errorf("got %v, want %v", err, gitrepo.ErrNotFound)
	}
}

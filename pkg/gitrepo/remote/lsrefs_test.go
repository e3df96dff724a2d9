package remote_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// byKind lets a test answer the requests that list refs by version 2, and those
// that push, itself: it returns whether it has.
func byKind(answer func(w http.ResponseWriter, r *http.Request, list, push bool) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			list := bytes.Contains(body, []byte("command=ls-refs"))
			push := strings.HasSuffix(r.URL.Path, "/git-receive-pack")
			if !answer(w, r, list, push) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// TestRefsOfPrefixes: a git host keeps refs for every pull request, which are not
// even sent.
func TestRefsOfPrefixes(t *testing.T) {
	t.Parallel()
	server := gitrepotest.Server(t, githttp.Options{})
	url := server.Init("shop.git")
	id := gitrepotest.Grow(t, open(t, url, remote.Options{}), main, gitrepotest.Files{"a": "1"})
	server.Git("shop.git", "tag", "-a", "-m", "one", "v1", string(id))
	tag := gitrepo.Hash(server.Git("shop.git", "rev-parse", "refs/tags/v1"))
	for _, name := range []string{"refs/pull/1/head", "refs/pull/2/head", "refs/heads/other", "refs/headstrong/x"} {
		server.Git("shop.git", "update-ref", name, string(id))
	}
	var received atomic.Int64
	repo := open(t, url, remote.Options{OnRoundTrip: func(trip remote.RoundTrip) { received.Add(trip.BytesReceived) }})
	list := func(prefixes ...string) (gitrepo.Refs, int64) {
		received.Store(0)
		return gitrepotest.MustRefs(t, repo, prefixes...), received.Load()
	}
	all, size := list()
	if diff := cmp.Diff(gitrepo.Refs{
		main: id, "refs/heads/other": id, "refs/headstrong/x": id, "refs/pull/1/head": id, "refs/pull/2/head": id, "refs/tags/v1": tag,
	}, all); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	some, smaller := list(gitrepo.Heads, gitrepo.Tags)
	if diff := cmp.Diff(gitrepo.Refs{main: id, "refs/heads/other": id, "refs/tags/v1": tag}, some); diff != "" {
		t.Errorf("branches and tags (-want +got):\n%s", diff)
	}
	if smaller >= size {
		t.Errorf("%d bytes came for three refs, and %d for all", smaller, size)
	}
	if one, _ := list(main); len(one) != 1 || one[main] != id {
		t.Errorf("one branch: %v", one)
	}
	if none, _ := list("refs/notes/"); len(none) != 0 || none == nil {
		t.Errorf("nothing: %v", none)
	}
}

// TestRefsOfAnEmptyRepository: there are none, and that is no error.
func TestRefsOfAnEmptyRepository(t *testing.T) {
	t.Parallel()
	repo := open(t, gitrepotest.Server(t, githttp.Options{}).Init("shop.git"), remote.Options{})
	if refs := gitrepotest.MustRefs(t, repo); len(refs) != 0 {
		t.Errorf("there are %v", refs)
	}
}

// TestServerOfVersionZero: a server that does not know version 2 is asked once,
// whatever it answers, and by version 0 from then on.
func TestServerOfVersionZero(t *testing.T) {
	t.Parallel()
	result := "application/x-git-upload-pack-result"
	for name, refuse := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"git before 2.18": func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Git-Protocol"); return false },
		"404":             func(w http.ResponseWriter, _ *http.Request) bool { http.NotFound(w, nil); return true },
		"400": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "what?", http.StatusBadRequest)
			return true
		},
		"501": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusNotImplemented)
			return true
		},
		"a page": func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "<html>"); return true },
		"an error line": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", result)
			_, _ = io.WriteString(w, "0010ERR who's this")
			return true
		},
		"nothing": func(w http.ResponseWriter, _ *http.Request) bool { w.Header().Set("Content-Type", result); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := gitrepotest.Server(t, githttp.Options{}, byKind(func(w http.ResponseWriter, r *http.Request, list, _ bool) bool {
				return list && refuse(w, r)
			}))
			url := server.Init("shop.git")
			var seen trips
			repo := open(t, url, remote.Options{OnRoundTrip: seen.add})
			gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})
			seen.take()
			for range 2 {
				if refs := gitrepotest.MustRefs(t, repo, gitrepo.Heads); len(refs) != 1 {
					t.Errorf("there are %v", refs)
				}
				if got := seen.take(); len(got) != 1 {
					t.Errorf("it takes %v", got)
				}
			}
		})
	}
}

// TestBusyServerIsNoOldServer: an answer that says nothing about what a server
// knows is the result: whoever has too much to do is not asked for more. One that is
// out of order may be out of order for this request only, and is asked in the other
// way as well.
func TestBusyServerIsNoOldServer(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct {
		err      error
		requests int64
	}{
		http.StatusTooManyRequests:    {gitrepo.ErrUnreachable, 1},
		http.StatusUnauthorized:       {gitrepo.ErrUnauthorized, 1},
		http.StatusForbidden:          {gitrepo.ErrUnauthorized, 1},
		http.StatusServiceUnavailable: {gitrepo.ErrUnreachable, 1},
		http.StatusGatewayTimeout:     {gitrepo.ErrUnreachable, 1},
		http.StatusBadGateway:         {gitrepo.ErrUnreachable, 2},
	} {
		var requests atomic.Int64
		server := gitrepotest.Server(t, githttp.Options{}, byKind(func(w http.ResponseWriter, _ *http.Request, _, _ bool) bool {
			requests.Add(1)
			w.WriteHeader(status)
			return true
		}))
		repo := open(t, server.Init("shop.git"), remote.Options{})
		if _, err := repo.Refs(t.Context()); !errors.Is(err, want.err) || requests.Load() != want.requests {
			t.Errorf("%d: %v after %d requests", status, err, requests.Load())
		}
	}
}

// TestPushWithoutList: after the first push the server is not asked again what it
// has. One that does not take that is asked, and the push is done all the same.
func TestPushWithoutList(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	asked := false // before the push that comes next; the test does one thing at a time
	server := gitrepotest.Server(t, githttp.Options{}, byKind(func(w http.ResponseWriter, r *http.Request, _, push bool) bool {
		if r.URL.Query().Get("service") == "git-receive-pack" {
			asked = true
			return false
		}
		if push && refuse.Load() && !asked {
			http.Error(w, "who are you?", http.StatusBadRequest)
			return true
		}
		if push {
			asked = false
		}
		return false
	}))
	url := server.Init("shop.git")
	var seen trips
	repo := open(t, url, remote.Options{OnRoundTrip: seen.add})
	id := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})
	push := func(name string, want ...string) {
		t.Helper()
		seen.take()
		gitrepotest.MustPush(t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + name, New: id}}})
		if diff := cmp.Diff(want, seen.take()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got := server.Git("shop.git", "rev-parse", gitrepo.Tags+name); got != string(id) {
			t.Errorf("%s is %s", name, got)
		}
	}
	push("v1", "receive-pack")
	push("v2", "receive-pack")
	refuse.Store(true)
	push("v3", "receive-pack", "receive-pack refs", "receive-pack")
	refuse.Store(false)
	// After a while the connection may be closed at any moment.
	remote.SetClock(repo, func() time.Time { return time.Now().Add(5 * time.Second) })
	push("v4", "receive-pack refs", "receive-pack")
	push("v5", "receive-pack")

	// What comes to nothing is as it is with a list.
	old := gitrepotest.Grow(t, open(t, url, remote.Options{}), main, gitrepotest.Files{"a": "2"})
	var moved *gitrepo.RefMovedError
	next, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "3"}, "next", id)
	err := repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, Old: id, New: next}}, Objects: objects})
	if !errors.As(err, &moved) || moved.Got != old {
		t.Errorf("a branch that has moved: %v", err)
	}
	err = repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + "v1", New: id}}})
	if !errors.As(err, &moved) || moved.Got != id {
		t.Errorf("a tag that is there: %v", err)
	}
	err = repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Heads + "gone", Old: id, New: next}}, Objects: objects})
	if !errors.As(err, &moved) || moved.Got != "" {
		t.Errorf("a branch that is gone: %v", err)
	}
	err = repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: main + "/below", New: id}}})
	if !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "cannot exist beside") {
		t.Errorf("a branch below another: %v", err)
	}
}

// TestClosedIdleConnection: a server that closes a connection which was idle for too
// long does so while the next request is on its way. Looks are a minute apart, and
// many servers keep connections for just that long: reading is tried again.
func TestClosedIdleConnection(t *testing.T) {
	t.Parallel()
	var closing atomic.Bool
	var used sync.Map
	server := gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, again := used.LoadOrStore(r.RemoteAddr, true); again && closing.Load() {
				panic(http.ErrAbortHandler) // closes it without an answer
			}
			next.ServeHTTP(w, r)
		})
	})
	repo := open(t, server.Init("shop.git"), remote.Options{})
	id := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})
	closing.Store(true)
	for range 3 {
		if refs, err := repo.Refs(t.Context(), gitrepo.Heads); err != nil || refs[main] != id {
			t.Errorf("%v, %v", refs, err)
		}
	}
}

// TestServerOfVersionZeroForNow: one that was only out of order when it was asked
// by version 2 is asked so again later.
func TestServerOfVersionZeroForNow(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	server := gitrepotest.Server(t, githttp.Options{}, byKind(func(w http.ResponseWriter, _ *http.Request, list, _ bool) bool {
		if list && broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}))
	url := server.Init("shop.git")
	id := gitrepotest.Grow(t, open(t, url, remote.Options{}), main, gitrepotest.Files{"a": "1"})
	for n := range 5 {
		server.Git("shop.git", "update-ref", fmt.Sprintf("refs/pull/%d/head", n), string(id))
	}
	clock := time.Now()
	var received atomic.Int64
	repo := open(t, url, remote.Options{OnRoundTrip: func(trip remote.RoundTrip) { received.Add(trip.BytesReceived) }})
	remote.SetClock(repo, func() time.Time { return clock })
	cost := func() int64 {
		received.Store(0)
		if refs := gitrepotest.MustRefs(t, repo, gitrepo.Heads); len(refs) != 1 {
			t.Errorf("there are %v", refs)
		}
		return received.Load()
	}
	cheap := cost()
	broken.Store(true)
	cost()
	broken.Store(false)
	if now := cost(); now <= cheap {
		t.Errorf("it was asked by version 2 at once: %d bytes", now)
	}
	clock = clock.Add(time.Hour)
	if later := cost(); later != cheap {
		t.Errorf("an hour later a list has %d bytes, and %d when all was well", later, cheap)
	}
}

// TestRaceInWordsOfOthers: without a list before the push, only the server sees that a
// ref has moved, and servers that are not git's own say so in words of their own.
func TestRaceInWordsOfOthers(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	server := gitrepotest.Server(t, githttp.Options{}, byKind(func(w http.ResponseWriter, _ *http.Request, _, push bool) bool {
		if !push || !refuse.Load() {
			return false
		}
		var report bytes.Buffer
		e := pktline.NewEncoder(&report)
		if err := errors.Join(e.EncodeString("unpack ok\n", "ng "+main+" it is another one by now\n"), e.Flush()); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
		if _, err := sideband.NewMuxer(sideband.Sideband64k, w).Write(report.Bytes()); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "0000")
		return true
	}))
	url := server.Init("shop.git")
	repo := open(t, url, remote.Options{})
	first := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})
	next, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "2"}, "next", first)
	push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, Old: first, New: next}}, Objects: objects}

	refuse.Store(true)
	if err := repo.Push(t.Context(), push); !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "another one by now") {
		t.Errorf("refused where nothing has moved: %v", err)
	}
	refuse.Store(false)
	second := gitrepotest.Grow(t, open(t, url, remote.Options{}), main, gitrepotest.Files{"a": "3"})
	refuse.Store(true)
	var moved *gitrepo.RefMovedError
	if err := repo.Push(t.Context(), push); !errors.As(err, &moved) || moved.Got != second {
		t.Errorf("a branch that has moved: %v", err)
	}
}

// TestRedirectIsForgotten: where a repository was redirected to is no longer right
// when its old name is taken by another one, or when nothing answers there any more.
func TestRedirectIsForgotten(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	archive := gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	})
	elsewhere := archive.Init("shop-archive.git")
	var redirect atomic.Bool
	server := gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if redirect.Load() {
				http.Redirect(w, r, elsewhere+strings.TrimPrefix(r.URL.RequestURI(), "/shop.git"), http.StatusMovedPermanently)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	url := server.Init("shop.git")
	old := gitrepotest.Grow(t, open(t, elsewhere, remote.Options{}), main, gitrepotest.Files{"a": "old"})
	id := gitrepotest.Grow(t, open(t, url, remote.Options{}), main, gitrepotest.Files{"a": "new"})
	clock := time.Now()
	repo := open(t, url, remote.Options{})
	remote.SetClock(repo, func() time.Time { return clock })
	check := func(when string, want gitrepo.Hash) {
		t.Helper()
		for range 2 {
			if refs, err := repo.Refs(t.Context(), gitrepo.Heads); err != nil || refs[main] != want {
				t.Fatalf("%s: %v, %v; want %s", when, refs, err, want)
			}
		}
	}
	redirect.Store(true)
	check("redirected", old)
	redirect.Store(false)
	clock = clock.Add(time.Hour)
	check("its name is taken by another one", id)
	redirect.Store(true)
	clock = clock.Add(time.Hour)
	if _, err := repo.Refs(t.Context(), gitrepo.Heads); err != nil {
		t.Fatal(err)
	}
	check("redirected again", old)
	redirect.Store(false)
	gone.Store(true)
	check("nothing answers there any more", id)
}

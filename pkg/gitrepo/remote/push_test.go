package remote_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// before runs a function once, right before the server sees a request for a
// path that ends so.
func before(suffix string, run func()) func(http.Handler) http.Handler {
	var once sync.Once
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, suffix) {
				once.Do(run)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestServerComparesAndSwaps moves a ref between our look and our push: only
// the server can notice.
func TestServerComparesAndSwaps(t *testing.T) {
	move := func() {}
	server := gitrepotest.Server(t, githttp.Options{}, before("/git-receive-pack", func() { move() }))
	url := server.Init("shop.git")
	other := open(t, server.Dir("shop.git"), remote.Options{})
	first := gitrepotest.Grow(t, other, main, gitrepotest.Files{"a": "1"})
	var second gitrepo.Hash
	move = func() { second = gitrepotest.Grow(t, other, main, gitrepotest.Files{"a": "2"}) }

	repo := open(t, url, remote.Options{})
	gitrepotest.MustFetch(t, repo, tip, first)
	third, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "3"}, "third", first)
	err := repo.Push(t.Context(), gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{
		{Ref: gitrepo.Tags + "v3", New: third}, {Ref: main, Old: first, New: third},
	}})
	var moved *gitrepo.RefMovedError
	if !errors.As(err, &moved) || moved.Ref != main || moved.Want != first || moved.Got != second {
		t.Fatalf("got %v, want %s moved from %s to %s", err, main, first, second)
	}
	if refs := gitrepotest.MustRefs(t, repo); len(refs) != 1 || refs[main] != second {
		t.Errorf("refs are %v", refs)
	}
}

// TestLockedRef is a push beside another one that has not finished: no ref has
// moved, and trying again later is right.
func TestLockedRef(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	repo := open(t, server.Init("shop.git"), remote.Options{})
	first := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})
	if err := os.WriteFile(filepath.Join(server.Dir("shop.git"), "refs/heads/main.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "2"}, "second", first)
	err := repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, Old: first, New: second}}, Objects: objects})
	if !errors.As(err, new(*gitrepo.RefMovedError)) {
		t.Errorf("got %v, want a RefMovedError", err)
	}
}

func TestUpdateHookRefusesOne(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	repo := open(t, server.Init("shop.git"), remote.Options{})
	server.Hook("shop.git", "update", `case $1 in refs/tags/*) echo "tags already exists elsewhere" >&2; exit 1;; esac`)
	id, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "1"}, "first")
	err := repo.Push(t.Context(), gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: main, New: id}, {Ref: gitrepo.Tags + "v1", New: id}}})
	if !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "refs/tags/v1: hook declined") || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("got %v, want the tag's hook", err)
	}
	if refs := gitrepotest.MustRefs(t, repo); len(refs) != 0 {
		t.Errorf("refs are %v", refs)
	}
}

// withoutAtomic hides a capability from the advertisement.
func withoutAtomic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/info/refs") {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		_, _ = w.Write(bytes.ReplaceAll(rec.Body.Bytes(), []byte(" atomic "), []byte(" xtomic ")))
	})
}

func TestServerWithoutAtomic(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{}, withoutAtomic)
	repo := open(t, server.Init("shop.git"), remote.Options{})
	id, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "1"}, "first")
	err := repo.Push(t.Context(), gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: main, New: id}, {Ref: gitrepo.Tags + "v1", New: id}}})
	if !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "atomic") {
		t.Errorf("got %v, want %v", err, gitrepo.ErrRejected)
	}
	// One ref is always atomic.
	gitrepotest.MustPush(t, repo, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: main, New: id}}})
}

// TestLostAnswer has the server do the push and then break the connection.
func TestLostAnswer(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
				next.ServeHTTP(w, r)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	})
	repo := open(t, server.Init("shop.git"), remote.Options{})
	id, objects := gitrepotest.Commit(t, repo, gitrepotest.Files{"a": "1"}, "first")
	err := repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, New: id}}, Objects: objects})
	if !errors.Is(err, gitrepo.ErrUnreachable) {
		t.Errorf("got %v, want %v", err, gitrepo.ErrUnreachable)
	}
	if refs := gitrepotest.MustRefs(t, repo); refs[main] != id {
		t.Errorf("refs are %v: the push took place", refs)
	}
}

func TestCorruptObjectIsRefused(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{})
	repo := open(t, server.Init("shop.git"), remote.Options{})
	server.Git("shop.git", "config", "receive.fsckObjects", "true")
	bad := gitrepo.Object{Type: gitrepo.TypeCommit, Data: []byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nno author\n")}
	empty, err := gitrepo.NewTree(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = repo.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: main, New: bad.ID()}}, Objects: []gitrepo.Object{bad, empty}})
	if !errors.Is(err, gitrepo.ErrRejected) || !strings.Contains(err.Error(), "missingAuthor") {
		t.Errorf("got %v, want %v and git's words", err, gitrepo.ErrRejected)
	}
}

//go:build e2e

package gitserver_test

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

const repo = "shop.git"

type host struct {
	*gitserver.Server
	t   *testing.T
	dir string
	log *bytes.Buffer // read only after Stop
}

func start(t *testing.T, afterPush func(repo, user string)) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	var err error
	h.Server, err = gitserver.Start(t.Context(), gitserver.Options{
		Dir: filepath.Join(h.dir, "git"), Users: gitserver.DefaultUsers(), Log: h.log, AfterPush: afterPush,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Stop()
		for _, secret := range h.Secrets() {
			if strings.Contains(h.log.String(), secret) {
				t.Errorf("the log shows a password:\n%s", h.log)
			}
		}
	})
	if err := h.Create(t.Context(), repo, gitserver.DefaultRights("shop")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) clone(user string) *gitserver.Clone {
	h.t.Helper()
	c, err := h.Clone(h.t.Context(), repo, user, filepath.Join(h.dir, user))
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// commit makes a commit with one file, which is not pushed.
func commit(t *testing.T, c *gitserver.Clone, content string) string {
	t.Helper()
	if err := c.Write(map[string][]byte{"a/file": []byte(content)}); err != nil {
		t.Fatal(err)
	}
	id, err := c.Commit(t.Context(), "change")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func push(t *testing.T, c *gitserver.Clone, refs ...string) {
	t.Helper()
	if err := c.Push(t.Context(), refs...); err != nil {
		t.Fatal(err)
	}
}

// TestPeople: what people do with git, and what the host refuses them.
func TestPeople(t *testing.T) {
	h := start(t, nil)
	developer := h.clone(gitserver.Developer)
	first := commit(t, developer, "one")
	push(t, developer, "HEAD:refs/heads/main")
	if _, err := developer.Commit(t.Context(), "again"); !errors.Is(err, gitserver.ErrNothingToCommit) {
		t.Errorf("a commit without changes: %v", err)
	}
	second := commit(t, developer, "two")
	push(t, developer, "main", "HEAD:refs/heads/feature/basket")
	if err := developer.Tag(t.Context(), "approve/prod/shop/v1.4.0/developer", first, "tested"); err != nil {
		t.Error(err)
	}
	if err := developer.Tag(t.Context(), "v1.5.0", second, ""); err != nil {
		t.Error(err)
	}
	ci := h.clone(gitserver.CI)
	for name, test := range map[string]struct {
		clone   *gitserver.Clone
		refs    []string
		refusal string
	}{
		"a ledger":         {developer, []string{"HEAD:refs/heads/environments/stage"}, "written by Propagator only"},
		"a snapshot":       {developer, []string{"HEAD:refs/tags/shop/v1.0.0"}, "created by Propagator only"},
		"a deletion":       {developer, []string{":refs/heads/feature/basket"}, "rejected"},
		"a move back":      {developer, []string{"+" + first + ":refs/heads/main"}, "rejected"},
		"a moved tag":      {developer, []string{"+" + first + ":refs/tags/v1.5.0"}, "never moves"},
		"another's name":   {developer, []string{"HEAD:refs/tags/approve/prod/shop/v1.4.0/lead"}, "under their own name"},
		"CI's own branch":  {ci, []string{"HEAD:refs/heads/feature/ci"}, "people develop"},
		"one of two, so 0": {developer, []string{"HEAD:refs/heads/feature/good", "HEAD:refs/heads/environments/prod"}, "written by Propagator only"},
		"with read rights": {h.clone(gitserver.ArgoCD), []string{"HEAD:refs/heads/main"}, "403"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.clone.Push(t.Context(), test.refs...); err == nil || !strings.Contains(err.Error(), test.refusal) {
				t.Errorf("want a refusal with %q, got %v", test.refusal, err)
			}
		})
	}
	refs, err := h.Git(t.Context(), repo, "for-each-ref", "--format=%(refname) %(objecttype) %(*objectname)%(objectname)")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(refs) {
		fields := strings.Fields(line)
		got[fields[0]] = fields[1]
	}
	want := map[string]string{
		"refs/heads/main": "commit", "refs/heads/feature/basket": "commit",
		"refs/tags/approve/prod/shop/v1.4.0/developer": "tag", "refs/tags/v1.5.0": "commit",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
	if err := ci.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(ci.Dir, "a", "file")); err != nil || string(content) != "two" {
		t.Errorf("CI's working copy has %q, %v", content, err)
	}
}

// TestPropagator: our own git client finds the server that it needs: atomic
// pushes, filters, commits by id.
func TestPropagator(t *testing.T) {
	h := start(t, nil)
	developer := h.clone(gitserver.Developer)
	tip := gitrepo.Hash(commit(t, developer, "one"))
	push(t, developer, "HEAD:refs/heads/main")
	user, err := h.User(gitserver.Propagator)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := remote.Open(h.URL(repo), remote.Options{Auth: remote.Auth{Username: user.Name, Password: user.Password}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Fetch(t.Context(), []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		t.Fatal(err)
	}
	at := gitrepo.Update{Ref: "refs/heads/environments/stage", New: tip}
	if err := ours.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{at, {Ref: "refs/tags/shop/v0.1.0", New: tip}}}); err != nil {
		t.Fatal(err)
	}
	if err := ours.Push(t.Context(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/feature/x", New: tip}}}); err == nil {
		t.Error("Propagator pushed a feature branch")
	}
	if err := h.RefusePushes(repo, "the host is being moved"); err != nil {
		t.Fatal(err)
	}
	more := gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/environments/prod", New: tip}}}
	if err := ours.Push(t.Context(), more); err == nil || !strings.Contains(err.Error(), "being moved") {
		t.Errorf("want the host's reason, got %v", err)
	}
	if err := h.RefusePushes(repo, ""); err != nil {
		t.Fatal(err)
	}
	if err := ours.Push(t.Context(), more); err != nil {
		t.Error(err)
	}
	refs, err := ours.Refs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"refs/heads/environments/prod", "refs/heads/environments/stage", "refs/heads/main", "refs/tags/shop/v0.1.0"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(refs))); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
}

// TestCredentials: nobody reads without.
func TestCredentials(t *testing.T) {
	h := start(t, nil)
	for name, test := range map[string]struct {
		user, password, path string
		status               int
	}{
		"none":           {"", "", "/shop.git/info/refs?service=git-upload-pack", 401},
		"wrong":          {gitserver.ArgoCD, "guess", "/shop.git/info/refs?service=git-upload-pack", 401},
		"empty":          {gitserver.ArgoCD, "", "/shop.git/info/refs?service=git-upload-pack", 401},
		"unknown":        {"eve", "guess", "/shop.git/info/refs?service=git-upload-pack", 401},
		"no repository":  {"", "", "/other.git/info/refs?service=git-upload-pack", 401},
		"dumb":           {"", "", "/shop.git/HEAD", 404},
		"no traversal":   {"", "", "/shop.git/../x.git/info/refs?service=git-upload-pack", 404},
		"unknown server": {"", "", "/shop.git/info/refs?service=git-shell", 404},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(h.URL(""), "/")+test.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if test.user != "" {
				req.SetBasicAuth(test.user, test.password)
			}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != test.status {
				t.Errorf("%s, want %d", res.Status, test.status)
			}
		})
	}
}

// TestSetPassword: with another password the one before is refused, and both
// are secrets.
func TestSetPassword(t *testing.T) {
	h := start(t, nil)
	before, err := h.User(gitserver.ArgoCD)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(password string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL(repo)+"/info/refs?service=git-upload-pack", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(before.Name, password)
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	const password = "brand-new-password"
	if err := h.SetPassword(before.Name, password); err != nil {
		t.Fatal(err)
	}
	if was, is := ask(before.Password), ask(password); was != http.StatusUnauthorized || is != http.StatusOK {
		t.Errorf("the password before got %d, the new one %d", was, is)
	}
	if now, err := h.User(before.Name); err != nil || now.Password != password || now.Push != before.Push {
		t.Errorf("the user is now %v (%v)", now, err)
	}
	for _, secret := range []string{before.Password, password} {
		if !slices.Contains(h.Secrets(), secret) {
			t.Error("a password is no secret")
		}
	}
	if h.SetPassword("nobody", "x") == nil || h.SetPassword(before.Name, "") == nil {
		t.Error("nobody got a password, or somebody none")
	}
}

// TestFaults: each fault, and that it ends.
func TestFaults(t *testing.T) {
	h := start(t, nil)
	c := h.clone(gitserver.Developer)
	commit(t, c, "one")
	push(t, c, "HEAD:refs/heads/main")
	pushes := func(r gitserver.Request) bool { return r.Kind == gitserver.Push }
	before := h.Count(pushes)

	lift := h.Unavailable()
	commit(t, c, "two")
	if err := c.Push(t.Context(), "main"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("unavailable: %v", err)
	}
	lift()
	lift()

	h.Inject(gitserver.Fault{User: gitserver.Developer, Write: true, Status: http.StatusServiceUnavailable, Times: 1})
	if _, err := c.Git(t.Context(), "ls-remote", "origin"); err != nil {
		t.Errorf("reading fails while only writing should: %v", err)
	}
	if err := c.Push(t.Context(), "main"); err == nil {
		t.Error("the push went through")
	}
	if got := h.Count(pushes); got != before {
		t.Errorf("%d pushes reached git", got-before)
	}

	there := func() string {
		t.Helper()
		head, err := h.Git(t.Context(), repo, "rev-parse", "main")
		if err != nil {
			t.Fatal(err)
		}
		return head
	}
	var early, late string
	h.Inject(gitserver.Fault{Repo: "other.git", Kind: gitserver.Push, Status: http.StatusTeapot, Call: func() { t.Error("a fault of another repository") }})
	h.Inject(gitserver.Fault{Repo: repo, Kind: gitserver.Push, Status: http.StatusServiceUnavailable, Times: 1, Call: func() { early = there() }})
	if err := c.Push(t.Context(), "main"); err == nil {
		t.Error("the push went through")
	}
	h.Inject(gitserver.Fault{Kind: gitserver.Push, Lose: true, Times: 1, Call: func() { late = there() }})
	if err := c.Push(t.Context(), "main"); err == nil {
		t.Error("the answer of the push was not lost")
	}
	local, err := c.Git(t.Context(), "rev-parse", "main")
	if err != nil {
		t.Fatal(err)
	}
	if there() != local {
		t.Errorf("the push whose answer was lost left main at %s; want %s", there(), local)
	}
	if early == local || late != local {
		t.Errorf("called before git was asked: main is %s; and after it has done it: %s; pushed was %s", early, late, local)
	}
	if err := c.Push(t.Context(), "main"); err != nil {
		t.Errorf("after all faults: %v", err)
	}

	began := time.Now()
	h.Inject(gitserver.Fault{Kind: gitserver.List, Delay: 50 * time.Millisecond, Times: 1})
	if _, err := c.Git(t.Context(), "ls-remote", "origin"); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("delayed by %s, %v", time.Since(began), err)
	}
}

// TestJournal: who asked for what, and the webhook after a push.
func TestJournal(t *testing.T) {
	pushed := make(chan string, 10)
	h := start(t, func(repo, user string) { pushed <- repo + " " + user })
	c := h.clone(gitserver.Lead)
	// More than git's buffer for a post, so that it probes and sends in chunks.
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	commit(t, c, string(noise))
	if _, err := c.Git(t.Context(), "-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD:refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	if got := <-pushed; got != "shop.git lead" {
		t.Errorf("the webhook says %s", got)
	}
	before := len(h.Requests())
	reader := h.clone(gitserver.ArgoCD)
	if _, err := reader.Git(t.Context(), "log", "-1"); err != nil {
		t.Fatal(err)
	}
	var kinds []gitserver.Kind
	for _, r := range h.Requests()[before:] {
		if r.User == "" && r.Status == http.StatusUnauthorized {
			continue // git's question without credentials
		}
		if r.User != gitserver.ArgoCD || r.Status != http.StatusOK || r.Repo != repo || r.Write || r.Sent == 0 {
			t.Errorf("unexpected %s", r)
		}
		kinds = append(kinds, r.Kind)
	}
	if diff := cmp.Diff([]gitserver.Kind{gitserver.Advertise, gitserver.List, gitserver.Fetch}, kinds); diff != "" {
		t.Errorf("a clone's requests (-want +got):\n%s", diff)
	}
	h.Stop()
	if len(pushed) != 0 {
		t.Errorf("the webhook was called %d times too often", len(pushed))
	}
}

// TestConcurrentWriters: CI systems push at the same time; one wins each time
// and nothing is lost.
func TestConcurrentWriters(t *testing.T) {
	h := start(t, nil)
	first := h.clone(gitserver.Developer)
	commit(t, first, "one")
	push(t, first, "HEAD:refs/heads/main")
	var group sync.WaitGroup
	for i := range 4 {
		c, err := h.Clone(t.Context(), repo, gitserver.CI, filepath.Join(h.dir, "ci", string(rune('a'+i))))
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for try := 0; ; try++ {
				if err := c.Update(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if err := c.Write(map[string][]byte{"services/" + string(rune('a'+i)): []byte("1")}); err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Commit(t.Context(), "ci"); err != nil {
					t.Error(err)
					return
				}
				if err := c.Push(t.Context(), "main"); err == nil {
					return
				} else if try > 20 {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if files, err := h.Git(t.Context(), repo, "ls-tree", "--name-only", "main", "services/"); err != nil || len(strings.Fields(files)) != 4 {
		t.Errorf("main has %q, %v", files, err)
	}
}

package codehost_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/codehost"
	"github.com/fleeting-taas/propagator/pkg/codehost/codehosttest"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var kinds = []config.HostKind{config.GitHub, config.GitLab, config.Gitea, config.Bitbucket, config.BitbucketServer}

const commit = "0123456789abcdef0123456789abcdef01234567"

// everyKind runs a test on each kind of server.
func everyKind(t *testing.T, test func(t *testing.T, s *codehosttest.Server, c *codehost.Client)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := codehosttest.New(t, kind)
			test(t, s, open(t, s, codehosttest.Token))
		})
	}
}

func open(t *testing.T, s *codehosttest.Server, token string) *codehost.Client {
	t.Helper()
	c, err := (&codehost.Set{Token: token}).Open(s.Repository(), config.CodeHost{Kind: s.Kind})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var draft = promotion.PullRequestDraft{From: "backmerge/pay timeout#1", Into: "main", Title: "Merge it", Body: "Because of\n\n    \"this\""}

func TestOpenAndFind(t *testing.T) {
	t.Parallel()
	everyKind(t, func(t *testing.T, s *codehosttest.Server, c *codehost.Client) {
		s.Push(draft.From, commit)
		if err := c.MayRead(t.Context()); err != nil {
			t.Fatal(err)
		}
		all, err := c.Find(t.Context(), draft.From, draft.Into, time.Time{})
		if err != nil || len(all) != 0 {
			t.Fatalf("there is %v: %v", all, err)
		}
		opened, err := c.Create(t.Context(), draft)
		if err != nil {
			t.Fatal(err)
		}
		if p := s.Pulls()[0]; p.From != draft.From || p.Into != draft.Into || p.Title != draft.Title || p.Body != draft.Body {
			t.Errorf("the server has %+v", p)
		}
		if opened.State != promotion.PullRequestOpen || !strings.HasPrefix(commit, string(opened.Head)) || opened.Head == "" || !strings.HasPrefix(opened.URL, s.URL()) || opened.Body != draft.Body {
			t.Errorf("opened %+v", opened)
		}
		// The same again is refused, in a way that says to look again.
		_, err = c.Create(t.Context(), draft)
		if why := hostError(t, err); !why.Refused || !strings.Contains(err.Error(), "already exists") {
			t.Errorf("a second one: %v", err)
		}
		for state, want := range map[string]promotion.PullRequestState{"merged": promotion.PullRequestMerged, "closed": promotion.PullRequestClosed} {
			s.Add(codehosttest.Pull{From: state, Into: "main", Head: commit, State: state, Created: time.Now()})
			all, err = c.Find(t.Context(), state, "main", time.Time{})
			if err != nil || len(all) != 1 || all[0].State != want {
				t.Errorf("found %+v: %v", all, err)
			}
		}
	})
}

// TestOthers: what is about other branches, or from a copy, is not meant.
func TestOthers(t *testing.T) {
	t.Parallel()
	everyKind(t, func(t *testing.T, s *codehosttest.Server, c *codehost.Client) {
		s.Add(codehosttest.Pull{From: "backmerge/a", Into: "main", Head: commit, Fork: true, State: "open", Created: time.Now()})
		s.Add(codehosttest.Pull{From: "backmerge/a", Into: "develop", Head: commit, State: "open", Created: time.Now()})
		s.Add(codehosttest.Pull{From: "backmerge/ab", Into: "main", Head: commit, State: "open", Created: time.Now()})
		if all, err := c.Find(t.Context(), "backmerge/a", "main", time.Time{}); err != nil || len(all) != 0 {
			t.Errorf("found %+v: %v", all, err)
		}
	})
}

// TestPages: the one that is meant is far down; what is older than it can be is
// not asked for; and there is an end.
func TestPages(t *testing.T) {
	t.Parallel()
	everyKind(t, func(t *testing.T, s *codehosttest.Server, c *codehost.Client) {
		s.Page = 2
		now := time.Now().Truncate(time.Second)
		for i := range 15 {
			// Kinds that filter have several of the branch, the other one only one.
			from := "backmerge/a"
			if s.Kind == config.Gitea && i > 0 {
				from = "other"
			}
			s.Add(codehosttest.Pull{From: from, Into: "main", Head: commit, State: "closed", Created: now.Add(time.Duration(i) * time.Hour)})
		}
		want := 15
		if s.Kind == config.Gitea {
			want = 1
		}
		all, err := c.Find(t.Context(), "backmerge/a", "main", time.Time{})
		if asked := len(s.Requests()); err != nil || len(all) != want || asked != 8 {
			t.Errorf("%d of %d in %d requests: %v", len(all), want, asked, err)
		}
		_, err = c.Find(t.Context(), "backmerge/a", "main", now.Add(12*time.Hour))
		if asked := len(s.Requests()); err != nil || asked != 2 {
			t.Errorf("%d requests: %v", asked, err)
		}
		for i := range 100 {
			s.Add(codehosttest.Pull{From: "backmerge/a", Into: "main", Head: commit, State: "closed", Created: now.Add(time.Duration(100+i) * time.Hour)})
		}
		_, err = c.Find(t.Context(), "backmerge/a", "main", time.Time{})
		if asked := len(s.Requests()); err == nil || asked != 40 || !strings.Contains(hostError(t, err).Fix, s.URL()) {
			t.Errorf("%d requests: %v", asked, err)
		}
	})
}

// TestRefusals: each says what is wrong, what to do, and for how long to leave the
// server alone; none has the token in it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	reset := fmt.Sprint(time.Now().Add(90 * time.Second).Unix())
	for _, test := range []struct {
		name    string
		fault   func(http.ResponseWriter, *http.Request) bool
		says    string
		fix     string
		refused bool
		after   bool
	}{
		{"401", codehosttest.Answer(401, `{"message":"bad token `+codehosttest.Token+`"}`), "401 Unauthorized", "PROPAGATOR_HOST_TOKEN", false, false},
		{"403", codehosttest.Answer(403, `{"message":"Resource not accessible"}`), "Resource not accessible", "give the token the right", false, false},
		{"403 limit", codehosttest.Answer(403, `{}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset), "403", "", false, true},
		{"404", codehosttest.Answer(404, `{}`), "404 Not Found", "must be allowed to see shop/app", false, false},
		{"409", codehosttest.Answer(409, `{}`), "409", "", true, false},
		{"422", codehosttest.Answer(422, `{"errors":["x"]}`), "422", "", true, false},
		{"429", codehosttest.Answer(429, `{}`, "Retry-After", "120"), "429", "", false, true},
		{"500", codehosttest.Answer(500, `{}`), "500", "", false, false},
		{"502 page", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(502)
			_, _ = w.Write([]byte("<html>bad gateway</html>"))
			return true
		}, "502 Bad Gateway", "", false, false},
		{"gone", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, "EOF", "", false, false},
		{"redirect elsewhere", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.2:1/steal", http.StatusTemporaryRedirect)
			return true
		}, "another server refused", "", false, false},
		{"redirect of a kind that changes the method", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", http.StatusSeeOther)
			return r.URL.Path != "/elsewhere"
		}, "", "", false, false},
		{"no JSON", codehosttest.Answer(200, `<html>`), "not the JSON", "source.host", false, false},
		{"other JSON", codehosttest.Answer(200, `"yes"`), "not the JSON", "source.host", false, false},
		{"endless", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(make([]byte, 17<<20))
			return true
		}, "larger than 16 MiB", "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			everyKind(t, func(t *testing.T, s *codehosttest.Server, c *codehost.Client) {
				s.Break(test.fault)
				_, found := c.Find(t.Context(), draft.From, draft.Into, time.Time{})
				_, created := c.Create(t.Context(), draft)
				for _, err := range []error{found, created} {
					why := hostError(t, err)
					all := fmt.Sprintf("%v %+v %#v %s", err, c, c, why.Fix)
					if !strings.Contains(err.Error(), test.says) || !strings.Contains(why.Fix, test.fix) || test.fix == "" && why.Fix != "" && test.says != "" || why.Refused != test.refused || (why.After > time.Minute) != test.after {
						t.Errorf("%+v: %v", why, err)
					}
					if strings.Contains(all, codehosttest.Token) {
						t.Errorf("the token got out: %s", all)
					}
				}
			})
		})
	}
}

func hostError(t *testing.T, err error) *promotion.HostError {
	t.Helper()
	var why *promotion.HostError
	if !errors.As(err, &why) {
		t.Fatalf("not a HostError: %v", err)
	}
	return why
}

// TestLink: a server cannot send the token elsewhere by naming a next page there.
func TestLink(t *testing.T) {
	t.Parallel()
	s := codehosttest.New(t, config.GitHub)
	s.Break(codehosttest.Answer(200, "[]", "Link", `<https://evil.example/next>; rel="next"`))
	if _, err := open(t, s, codehosttest.Token).Find(t.Context(), "a", "main", time.Time{}); err == nil || !strings.Contains(err.Error(), "on another server") {
		t.Errorf("followed: %v", err)
	}
}

// TestBasic: Bitbucket Cloud takes a user's API token, too, and no error has it.
func TestBasic(t *testing.T) {
	t.Parallel()
	s := codehosttest.New(t, config.Bitbucket)
	c := open(t, s, "ada@shop.example:"+codehosttest.Token)
	if err := c.MayRead(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Break(codehosttest.Answer(400, `{"error":"what is `+codehosttest.Token+`?"}`))
	if err := c.MayRead(t.Context()); err == nil || strings.Contains(err.Error(), codehosttest.Token) {
		t.Errorf("the token got out: %v", err)
	}
}

// TestTwoAtOnce: of many that open the same, one does.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	everyKind(t, func(t *testing.T, s *codehosttest.Server, c *codehost.Client) {
		s.Push(draft.From, commit)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() { _, _ = c.Create(t.Context(), draft) })
		}
		group.Wait()
		if n := len(s.Pulls()); n != 1 {
			t.Errorf("%d were opened", n)
		}
	})
}

// TestTokens: which token is sent where, which is decided by who runs the program
// and not by propagator.yaml.
func TestTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, token := range map[string]string{"127.0.0.1": codehosttest.Token + "\n", "empty.example": "\n", "two.example": "a b", "long.example": strings.Repeat("x", 20<<10)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := codehosttest.New(t, config.GitLab)
	api := s.URL() + "/api/v4"
	ssh := "git@git.example:shop/app.git"
	for _, test := range []struct {
		name       string
		set        codehost.Set
		repository string
		host       config.CodeHost
		says       string // empty: it may read
	}{
		{"a file", codehost.Set{Tokens: dir}, s.Repository(), config.CodeHost{Kind: config.GitLab}, ""},
		{"the variable", codehost.Set{Token: codehosttest.Token}, s.Repository(), config.CodeHost{Kind: config.GitLab, API: api}, ""},
		{"the file wins", codehost.Set{Token: "other", Tokens: dir}, s.Repository(), config.CodeHost{Kind: config.GitLab}, ""},
		{"another host in propagator.yaml", codehost.Set{Token: codehosttest.Token}, ssh, config.CodeHost{Kind: config.GitLab, API: "https://evil.example/api/v4"}, "there is no token for evil.example"},
		{"without TLS", codehost.Set{Tokens: dir}, "https://127.0.0.1/shop/app.git", config.CodeHost{Kind: config.GitLab, API: api}, "unprotected"},
		{"without TLS, over ssh", codehost.Set{Tokens: dir}, "git@127.0.0.1:shop/app.git", config.CodeHost{Kind: config.GitLab, API: api}, "unprotected"},
		{"none", codehost.Set{}, s.Repository(), config.CodeHost{Kind: config.GitLab}, "there is no token"},
		{"none there", codehost.Set{Tokens: dir}, "https://git.example/shop/app.git", config.CodeHost{Kind: config.GitLab}, "there is no token for git.example"},
		{"empty", codehost.Set{Tokens: dir}, "https://empty.example/shop/app.git", config.CodeHost{Kind: config.GitLab}, "is empty"},
		{"two", codehost.Set{Tokens: dir}, "https://two.example/shop/app.git", config.CodeHost{Kind: config.GitLab}, "more than one"},
		{"long", codehost.Set{Tokens: dir}, "https://long.example/shop/app.git", config.CodeHost{Kind: config.GitLab}, "longer than"},
		{"an unknown server", codehost.Set{Tokens: dir}, "https://git.example/shop/app.git", config.CodeHost{}, "which kind of server git.example is"},
		{"a folder", codehost.Set{Tokens: dir}, "/srv/git/shop.git", config.CodeHost{Kind: config.Gitea}, "not on a server"},
		{"another folder", codehost.Set{Tokens: dir}, "file:///srv/git/shop.git", config.CodeHost{Kind: config.Gitea}, "not on a server"},
		{"no owner", codehost.Set{Tokens: dir}, "https://git.example/shop.git", config.CodeHost{Kind: config.Gitea}, "not that of a repository"},
		{"dots", codehost.Set{Tokens: dir}, "https://git.example/../shop.git", config.CodeHost{Kind: config.Gitea}, "not that of a repository"},
		{"an authority that is not there", codehost.Set{Tokens: dir, CAFile: filepath.Join(dir, "none")}, s.Repository(), config.CodeHost{Kind: config.GitLab}, "--git-ca-file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := test.set.Open(test.repository, test.host)
			if err == nil {
				err = c.MayRead(t.Context())
			}
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("%v does not say %q", err, test.says)
			case err != nil:
				_ = hostError(t, err)
			}
		})
	}
}

// TestPlaces: from the URL of a repository to the pages and the APIs of servers.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		repository string
		host       config.CodeHost
		api, page  string
	}{
		{"https://github.com/shop/app.git", config.CodeHost{}, "api.github.com", "https://github.com/shop/app/compare/main...backmerge/a?expand=1"},
		{"git@github.com:shop/app.git", config.CodeHost{}, "api.github.com", "https://github.com/shop/app/compare/main...backmerge/a?expand=1"},
		{"ssh://git@ssh.github.com:443/shop/app.git", config.CodeHost{}, "api.github.com", "https://github.com/shop/app/compare/main...backmerge/a?expand=1"},
		{"https://git.example/shop/app", config.CodeHost{Kind: config.GitHub}, "git.example", "https://git.example/shop/app/compare/main...backmerge/a?expand=1"},
		{"https://gitlab.com/a/b/app.git", config.CodeHost{}, "gitlab.com", "https://gitlab.com/a/b/app/-/merge_requests/new?merge_request%5Bsource_branch%5D=backmerge%2Fa&merge_request%5Btarget_branch%5D=main"},
		{"https://git.example/gitlab/a/app.git", config.CodeHost{Kind: config.GitLab, API: "https://git.example/gitlab/api/v4/"}, "git.example", "https://git.example/gitlab/a/app/-/merge_requests/new?merge_request%5Bsource_branch%5D=backmerge%2Fa&merge_request%5Btarget_branch%5D=main"},
		{"https://codeberg.org/shop/app.git", config.CodeHost{}, "codeberg.org", "https://codeberg.org/shop/app/compare/main...backmerge/a"},
		{"https://git.example:3000/shop/app.git", config.CodeHost{Kind: config.Gitea}, "git.example:3000", "https://git.example:3000/shop/app/compare/main...backmerge/a"},
		{"ssh://git@git.example:2222/shop/app.git", config.CodeHost{Kind: config.Gitea}, "git.example", "https://git.example/shop/app/compare/main...backmerge/a"},
		{"git@bitbucket.org:shop/app.git", config.CodeHost{}, "api.bitbucket.org", "https://bitbucket.org/shop/app/pull-requests/new?dest=main&source=backmerge%2Fa"},
		{"ssh://git@git.example:7999/~ada/app.git", config.CodeHost{Kind: config.BitbucketServer}, "git.example", "https://git.example/projects/~ada/repos/app/pull-requests?create&sourceBranch=refs%2Fheads%2Fbackmerge%2Fa&targetBranch=refs%2Fheads%2Fmain"},
		{"https://git.example/bb/scm/SHOP/app.git", config.CodeHost{Kind: config.BitbucketServer, API: "https://git.example/bb/rest/api/1.0"}, "git.example", "https://git.example/bb/projects/SHOP/repos/app/pull-requests?create&sourceBranch=refs%2Fheads%2Fbackmerge%2Fa&targetBranch=refs%2Fheads%2Fmain"},
	} {
		c, err := (&codehost.Set{Token: "x"}).Open(test.repository, test.host)
		if err != nil {
			t.Errorf("%s: %v", test.repository, err)
			continue
		}
		if c.Host() != test.api || c.Page("backmerge/a", "main") != test.page {
			t.Errorf("%s: %s, %s", test.repository, c.Host(), c.Page("backmerge/a", "main"))
		}
		if c.Rights() == "" {
			t.Errorf("%s: nobody says which rights are needed", test.repository)
		}
	}
}

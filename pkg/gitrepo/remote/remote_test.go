package remote_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

func open(t testing.TB, url string, options remote.Options) *remote.Repo {
	t.Helper()
	repo, err := remote.Open(url, options)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// counted counts the requests that reach a server.
func counted(n *atomic.Int64) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			next.ServeHTTP(w, r)
		})
	}
}

func TestHTTP(t *testing.T) {
	gitrepotest.Suite(t, func(t *testing.T) gitrepotest.Fixture {
		var requests atomic.Int64
		server := gitrepotest.Server(t, githttp.Options{}, counted(&requests))
		url := server.Init("team/shop.git")
		return gitrepotest.Fixture{
			Client:     func() gitrepo.Repo { return open(t, url, remote.Options{}) },
			Missing:    open(t, server.URL+"/missing.git", remote.Options{}),
			Reject:     func(text string) { server.Hook("team/shop.git", "pre-receive", "echo '"+text+"' >&2; exit 1") },
			RoundTrips: func() int { return int(requests.Load()) },
			Filters:    true,
		}
	})
}

func TestFile(t *testing.T) {
	for _, test := range []struct {
		name, allowReachable string
	}{
		{"any reachable commit", "true"},
		{"tips only", "false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			gitrepotest.Suite(t, func(t *testing.T) gitrepotest.Fixture {
				server := gitrepotest.Server(t, githttp.Options{})
				server.Init("shop.git")
				server.Git("shop.git", "config", "uploadpack.allowReachableSHA1InWant", test.allowReachable)
				return gitrepotest.Fixture{
					Client:  func() gitrepo.Repo { return open(t, "file://"+server.Dir("shop.git"), remote.Options{}) },
					Missing: open(t, server.Dir("missing.git"), remote.Options{}),
					Reject:  func(text string) { server.Hook("shop.git", "pre-receive", "echo '"+text+"' >&2; exit 1") },
					Filters: true,
				}
			})
		})
	}
}

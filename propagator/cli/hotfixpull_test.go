package cli_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/codehost/codehosttest"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestHotfixPullRequest: finish pushes the branch, and opens a pull request for who
// has a token; who has none gets an address.
func TestHotfixPullRequest(t *testing.T) {
	host := codehosttest.New(t, config.Gitea)
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			r.URL.Path = strings.Replace(r.URL.Path, "/shop/app.git", "/shop.git", 1)
			next.ServeHTTP(rw, r)
		})
	})
	w.env = append(w.env, "PROPAGATOR_REPOSITORY="+strings.Replace(w.url, "/shop.git", "/shop/app.git", 1))
	configuration := strings.Replace(pipeline(), "source:\n", "hotfixes: {backMerge: pr}\nsource:\n  host: {kind: gitea, api: \""+host.URL()+"/api/v1\"}\n", 1)
	w.commit(shop(configuration, "1.0"))
	w.must("snapshot", "create")
	w.must("promote", "stage")
	w.deployed()
	w.approve("shop/v0.1.0")
	w.must("promote", "prod")
	w.deployed()
	w.must("hotfix", "start", "pay")
	w.fix("hotfix/pay", web("prod", 9, "pay"))
	w.must("hotfix", "promote", "pay")

	says := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("it does not say %q:\n%s", part, out)
			}
		}
	}
	page := host.URL() + "/shop/app/compare/main...backmerge/pay"
	says(w.must("hotfix", "finish", "pay", "--dry-run"), "would merge hotfix pay", "backmerge/pay (new)")
	if refs := gitrepotest.MustRefs(t, w.repo); refs[gitrepo.Heads+"backmerge/pay"] != "" || len(host.Requests()) != 0 {
		t.Error("a dry run has done something")
	}
	says(w.must("hotfix", "finish", "pay"), "unknown: there is no token for 127.0.0.1", "PROPAGATOR_HOST_TOKEN", "open it at", page)
	w.deployed() // which would have pushed the branch
	tip := gitrepotest.MustRefs(t, w.repo)[gitrepo.Heads+"backmerge/pay"]
	host.Push("backmerge/pay", string(tip))
	says(w.must("hotfix", "show", "pay"), "there is no token for 127.0.0.1", page)

	w.env = append(w.env, "PROPAGATOR_HOST_TOKEN=wrong-token")
	r := w.fails(1, []string{"hotfix", "finish", "pay"}, "401 Unauthorized", "PROPAGATOR_HOST_TOKEN")
	says(r.stdout, "on backmerge/pay already", page)
	if strings.Contains(r.stdout+r.stderr, "wrong-token") {
		t.Errorf("the token got out:\n%s%s", r.stdout, r.stderr)
	}
	w.env[len(w.env)-1] = "PROPAGATOR_HOST_TOKEN=" + codehosttest.Token
	says(w.must("hotfix", "show", "pay"), "pull request", "none", page)
	says(w.must("hotfix", "finish", "pay"), "opened "+host.URL()+"/shop/app/pull/1", "next: review and merge "+host.URL()+"/shop/app/pull/1")
	says(w.must("hotfix", "finish", "pay", "-o", "json"), `"state": "open"`, `"opened": false`)
	host.End("backmerge/pay", "closed")
	says(w.must("hotfix", "show", "pay"), "closed "+host.URL()+"/shop/app/pull/1")
	if n := len(host.Pulls()); n != 1 {
		t.Errorf("%d were opened", n)
	}
}

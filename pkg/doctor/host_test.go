package doctor_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/doctor"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

const hostSecret = `
---
apiVersion: v1
kind: Secret
metadata: {name: propagator-host-tokens, namespace: argocd}
stringData: {git.example: MARKER-host-0123456789}
---
apiVersion: v1
kind: Secret
metadata: {name: propagator-registries, namespace: argocd}
`

// TestHostToken: the token for pull requests is tried where they are wanted.
func TestHostToken(t *testing.T) {
	const before = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: propagator-registries, namespace: argocd}\n"
	for _, test := range []struct {
		name, mode     string
		secret, own    bool
		err            error
		result         doctor.Result // empty: nobody is asked
		message, fixes string
	}{
		{name: "not wanted", mode: "branch", secret: true},
		{name: "accepted", mode: "pr", secret: true, result: doctor.OK, message: "Secret propagator-host-tokens"},
		{name: "refused", mode: "pr", secret: true, err: errors.New("401 for MARKER-host-0123456789"), result: doctor.Failed, message: "401 for REDACTED", fixes: "another token"},
		{name: "no Secret", mode: "pr", err: errors.New("there is no token"), result: doctor.Failed, message: "there is no Secret propagator-host-tokens", fixes: "kubectl -n argocd create secret generic propagator-host-tokens"},
		{name: "one's own", mode: "pr", secret: true, own: true, err: errors.New("401"), result: doctor.Warning, message: "your own credentials", fixes: "another token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var replace []string
			if test.secret {
				replace = []string{before, hostSecret}
			}
			w := newWorld(t, replace...)
			text := strings.Replace(string(config.Starter("shop", nil, nil)), "source:\n", "hotfixes: {backMerge: "+test.mode+"}\nsource:\n", 1)
			gitrepotest.Grow(t, w.repo, gitrepo.Heads+"main", gitrepotest.Files{"propagator.yaml": text})
			c := w.config()
			c.OwnCredentials = test.own
			asked := false
			c.CheckHost = func(_ context.Context, repository string, _ config.CodeHost, tokens map[string]string) (string, error) {
				asked = true
				if got := tokens["git.example"]; repository != "https://git.example/shop.git" || (got == "MARKER-host-0123456789") != (test.secret && !test.own) || (tokens == nil) != test.own {
					t.Errorf("asked for %s with %d tokens", repository, len(tokens))
				}
				return "another token", test.err
			}
			found := false
			for _, f := range w.examine(c, "git") {
				if f.Result == test.result && strings.Contains(f.Message, test.message) && strings.Contains(f.Fix, test.fixes) {
					found = true
				}
			}
			if asked != (test.result != "") || test.result != "" && !found {
				t.Errorf("asked %t: %+v", asked, w.examine(c, "git"))
			}
		})
	}
}

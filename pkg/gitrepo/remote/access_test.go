package remote_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

func TestMayPush(t *testing.T) {
	server := gitrepotest.Server(t, githttp.Options{Authorize: func(user, password string, write bool) bool {
		return password == "right-password" && (!write || user == "writer")
	}})
	url := server.Init("shop.git")
	before := server.Git("shop.git", "for-each-ref")
	tests := []struct {
		name, url, user, password string
		want                      error
	}{
		{"writer", url, "writer", "right-password", nil},
		{"reader", url, "reader", "right-password", gitrepo.ErrUnauthorized},
		{"wrong password", url, "writer", "wrong-password", gitrepo.ErrUnauthorized},
		{"nobody", url, "", "", gitrepo.ErrUnauthorized},
		{"no repository", server.URL + "/other.git", "writer", "right-password", gitrepo.ErrNotFound},
		{"a file", "file://" + server.Dir("shop.git"), "", "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			repo, err := remote.Open(test.url, remote.Options{Auth: remote.Auth{Username: test.user, Password: test.password}})
			if err != nil {
				t.Fatal(err)
			}
			err = repo.MayPush(t.Context())
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "-password") {
				t.Errorf("a password is printed: %v", err)
			}
		})
	}
	if after := server.Git("shop.git", "for-each-ref"); after != before {
		t.Errorf("refs changed: %s", after)
	}
}

package remote_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// TestRotatedPassword: a Repo that is open goes on with the password that is in
// the file now, for reading and for pushing, and forgets none that it has used
// when it cleans texts.
func TestRotatedPassword(t *testing.T) {
	const first, second = "MARKER-first-0123456789", "MARKER-second-0123456789"
	var accepted atomic.Value
	accepted.Store(first)
	server := gitrepotest.Server(t, githttp.Options{Authorize: func(user, password string, _ bool) bool {
		return user == "propagator" && password == accepted.Load()
	}}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, password, _ := r.BasicAuth(); password != accepted.Load() {
				http.Error(w, "bad password "+password+", not "+first, http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	url := server.Init("shop.git")
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first + "\n")
	flags := remote.Flags{Repositories: []string{url}, Username: "propagator", PasswordFile: file}
	openers, err := flags.Openers([]string{"PROPAGATOR_GIT_PASSWORD=ignored"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := openers[0]()
	if err != nil {
		t.Fatal(err)
	}
	head := gitrepotest.Grow(t, repo, main, gitrepotest.Files{"a": "1"})

	refused := func(step string) {
		t.Helper()
		_, err := repo.Refs(t.Context())
		if !errors.Is(err, gitrepo.ErrUnauthorized) {
			t.Errorf("%s: got %v, want ErrUnauthorized", step, err)
		}
		if err == nil || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%s: a password is printed: %v", step, err)
		}
	}
	accepted.Store(second)
	refused("the host has another password, the file not yet")
	write(second)
	if _, err := repo.Refs(t.Context()); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	gitrepotest.MustPush(t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + "v1", New: head}}})

	accepted.Store("nobody's")
	refused("both passwords are old")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Refs(t.Context()); err == nil || !strings.Contains(err.Error(), "password file") || errors.Is(err, gitrepo.ErrUnauthorized) {
		t.Errorf("without the file: got %v", err)
	}
}

func TestPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	flags := remote.Flags{Repositories: []string{"https://git.example/shop.git"}, PasswordFile: file}
	if _, err := flags.Openers(nil, nil); err == nil || !strings.Contains(err.Error(), "--git-password-file") {
		t.Errorf("a file that is not there: got %v", err)
	}
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := flags.Openers(nil, nil); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file that holds no password: got %v", err)
	}
	if _, err := remote.Open("https://git.example/shop.git", remote.Options{Auth: remote.Auth{Password: "a", PasswordFile: file}}); err == nil {
		t.Error("a password and a file are accepted beside each other")
	}
}

package gitrepotest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
)

// GitServer is a real git server on a loopback port, for one test.
type GitServer struct {
	// URL is the server's address; a repository is at URL/name.
	URL string
	// Root is the directory of the repositories.
	Root    string
	Handler *githttp.Handler
	t       testing.TB
}

// Server starts a git server and stops it with the test. It needs git on the
// machine. The middleware, outermost first, may misbehave on purpose.
func Server(t testing.TB, options githttp.Options, middleware ...func(http.Handler) http.Handler) *GitServer {
	t.Helper()
	root := t.TempDir()
	handler, err := githttp.New(root, options)
	if err != nil {
		t.Fatal(err)
	}
	var top http.Handler = handler
	for i := len(middleware) - 1; i >= 0; i-- {
		top = middleware[i](top)
	}
	server := httptest.NewServer(top)
	t.Cleanup(server.Close)
	return &GitServer{URL: server.URL, Root: root, Handler: handler, t: t}
}

// Init creates an empty repository with the branch main and returns its URL.
func (s *GitServer) Init(name string) string {
	s.t.Helper()
	if _, err := s.Handler.InitBare(s.t.Context(), name, "main"); err != nil {
		s.t.Fatal(err)
	}
	return s.URL + "/" + name
}

// Dir is the directory of a repository.
func (s *GitServer) Dir(name string) string { return filepath.Join(s.Root, name) }

// Git runs git in a repository, fails the test if git fails, and returns what
// it printed without surrounding space.
func (s *GitServer) Git(name string, args ...string) string {
	s.t.Helper()
	return Git(s.t, s.Dir(name), "", args...)
}

// Hook installs a hook script.
func (s *GitServer) Hook(name, hook, script string) {
	s.t.Helper()
	dir := filepath.Join(s.Dir(name), "hooks")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, hook), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // a hook must be executable
		s.t.Fatal(err)
	}
}

// Git runs git in a directory with the given standard input, away from the
// user's configuration and with a fixed identity. It fails the test if git
// fails and returns what it printed without surrounding space.
func Git(t testing.TB, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...) //nolint:gosec // a test's own arguments
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, ".no-home"), "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE=1700000000 +0100",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com", "GIT_COMMITTER_DATE=1700000000 +0100",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

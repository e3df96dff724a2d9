package gitserver

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Options say what a server is like.
type Options struct {
	// Dir is where the repositories are kept. It is made if needed.
	Dir string
	// Users who may come in. There is no access without credentials.
	Users []User
	// Log receives a line for every request and what git complains about;
	// nil discards. It needs to be safe for concurrent use only if others
	// write to it too.
	Log io.Writer
	// AfterPush is called when a push request was answered, whether its refs
	// were accepted or not, in a goroutine of its own: a git host's webhook.
	AfterPush func(repo, user string)
}

// Server hosts repositories on a loopback port. Its methods may be called
// concurrently.
type Server struct {
	options Options
	url     string
	log     io.Writer
	journal journal
	faults  faults
	server  *http.Server
	ended   chan struct{}
	after   sync.WaitGroup // the calls of AfterPush

	mu      sync.Mutex // guards the rest
	users   map[string]User
	secrets []string // every password that anybody ever had
	repos   map[string]bool
}

// Start starts a server. It needs git on the machine. Call Stop at the end.
func Start(ctx context.Context, options Options) (*Server, error) {
	if err := checkUsers(options.Users); err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	options.Dir = dir
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("git server: %w; install git (Debian: apt-get install git)", err)
	}
	s := &Server{options: options, users: map[string]User{}, repos: map[string]bool{}, ended: make(chan struct{})}
	s.log = io.Discard
	if options.Log != nil {
		s.log = &lockedWriter{to: options.Log}
	}
	s.journal.log = s.log
	for _, user := range options.Users {
		s.users[user.Name] = user
		s.secrets = append(s.secrets, user.Password)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	s.url = "http://" + listener.Addr().String()
	// Pushes may take as long as they need; only the start of a request has a bound.
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(s.ended)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			_, _ = fmt.Fprintln(s.log, "git server:", err)
		}
	}()
	return s, nil
}

// Stop ends the server; requests under way are broken off. The repositories
// stay.
func (s *Server) Stop() {
	_ = s.server.Close() // the listener is gone either way; a second call does nothing
	<-s.ended
	s.after.Wait()
}

// URL is where a repository is, without credentials.
func (s *Server) URL(repo string) string { return s.url + "/" + repo }

// User returns a user and the password.
func (s *Server) User(name string) (User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.users[name]
	if !ok {
		return User{}, fmt.Errorf("git server: no user %s", name)
	}
	return user, nil
}

// SetPassword gives a user another password. From then on the one before is
// refused, as when it has expired.
func (s *Server) SetPassword(name, password string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.users[name]
	if !ok || password == "" {
		return fmt.Errorf("git server: no user %s, or no password", name)
	}
	user.Password = password
	s.users[name] = user
	s.secrets = append(s.secrets, password)
	return nil
}

// Secrets are the strings that no log, error or commit may contain.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets)
}

var repoPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\.git$`)

// Create makes an empty repository with the branch [Main] to come, its rights
// enforced by an update hook.
func (s *Server) Create(ctx context.Context, repo string, rights []Right) error {
	if !repoPattern.MatchString(repo) {
		return fmt.Errorf("create repository %q: names are lower-case letters, digits and dashes, and end in .git", repo)
	}
	hook, err := updateHook(rights)
	if err != nil {
		return fmt.Errorf("create repository %s: %w", repo, err)
	}
	dir := filepath.Join(s.options.Dir, repo)
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("create repository %s: it exists already", repo)
	}
	if _, err := s.run(ctx, s.options.Dir, "init", "--quiet", "--bare", "--template=", "--initial-branch="+Main, dir); err != nil {
		return err
	}
	for _, setting := range [][2]string{
		{"receive.denyNonFastForwards", "true"},
		{"receive.denyDeletes", "true"},
		{"receive.fsckObjects", "true"}, // what we push has to be well-formed
		{"uploadpack.allowFilter", "true"},
		{"uploadpack.allowReachableSHA1InWant", "true"},
		{"receive.autogc", "false"}, // a collection in the background would outlive the suite
	} {
		if _, err := s.run(ctx, dir, "config", setting[0], setting[1]); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "hooks"), 0o750); err != nil {
		return fmt.Errorf("create repository %s: %w", repo, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hooks", "update"), []byte(hook), 0o700); err != nil { //nolint:gosec // a hook must be executable
		return fmt.Errorf("create repository %s: %w", repo, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[repo] = true
	return nil
}

func (s *Server) dir(repo string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.repos[repo] {
		return "", fmt.Errorf("git server: no repository %s", repo)
	}
	return filepath.Join(s.options.Dir, repo), nil
}

// authenticate returns who asks; false for nobody that the server knows.
func (s *Server) authenticate(r *http.Request) (User, bool) {
	name, password, given := r.BasicAuth()
	s.mu.Lock()
	user, known := s.users[name]
	s.mu.Unlock()
	if !given || !known || subtle.ConstantTimeCompare([]byte(password), []byte(user.Password)) != 1 {
		return User{}, false
	}
	return user, true
}

// lockedWriter lets several requests write to one log.
type lockedWriter struct {
	mu sync.Mutex // guards to
	to io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

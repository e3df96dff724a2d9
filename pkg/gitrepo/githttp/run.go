package githttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// environment is what git sees: nothing of the user's or the system's
// configuration, so a server behaves the same on every machine. PATH stays,
// because hooks need their tools.
func environment(root string) []string {
	nowhere := filepath.Join(root, ".no-home") // never created
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + nowhere,
		"XDG_CONFIG_HOME=" + nowhere,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"LC_ALL=C",
	}
}

// command prepares git. The directory was named by the operator, which is the
// trust that safe.directory asks for.
func (h *Handler) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.git, append([]string{"-c", "safe.directory=*"}, args...)...) //nolint:gosec // arguments are constants and checked names
	cmd.Env = h.env
	cmd.Dir = h.root
	cmd.WaitDelay = 5 * time.Second // hooks may leave children that hold the pipes
	return cmd
}

// run lets git answer a request. The client's departure kills it.
func (h *Handler) run(r *http.Request, out *answer, in io.Reader, protocol, service string, args ...string) {
	cmd := h.command(r.Context(), append([]string{service}, args...)...)
	if protocol != "" {
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "GIT_PROTOCOL="+protocol)
	}
	var stderr lastWords
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &stderr
	if err := cmd.Run(); err != nil && r.Context().Err() == nil {
		h.options.Logger.WarnContext(r.Context(), "git failed", "service", service, "error", err, "stderr", stderr.String())
		if !out.begun {
			http.Error(out.w, "git failed; see the server's log", http.StatusInternalServerError)
		}
		return
	}
	_, _ = out.Write(nil) // an empty answer is an answer
}

// answer sends what git writes at once: progress is only worth something
// while it happens. The header goes out with the first byte, so that a git
// that fails before it says anything can still become a status.
type answer struct {
	w      http.ResponseWriter
	kind   string
	prefix string
	begun  bool
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.begun = true
		a.w.Header().Set("Content-Type", a.kind)
		if _, err := io.WriteString(a.w, a.prefix); err != nil {
			return 0, err
		}
	}
	n, err := a.w.Write(p)
	if err == nil {
		_ = http.NewResponseController(a.w).Flush() // where supported
	}
	return n, err
}

// lastWords keeps the end of git's stderr.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if excess := len(l.text) - 4096; excess > 0 {
		l.text = l.text[excess:]
	}
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.text))
}

// settings is what the configuration of a new repository has beside git's own.
const settings = `# Commits that are no tips can be fetched alone, and histories without files:
# both save transfers that grow with the repository.
[uploadpack]
	allowReachableSHA1InWant = true
	allowFilter = true
# A branch is a ledger here: nobody rewrites or removes it, whatever the client
# forces. No process in the background outlives a request.
[receive]
	denyNonFastForwards = true
	denyDeletes = true
	autogc = false
[gc]
	auto = 0
# For those who serve the directory with git's own http-backend later.
[http]
	receivepack = true
`

// InitBare creates an empty repository and returns its directory. The name may
// have folders ("team/shop.git"). A repository that is already there is
// [fs.ErrExist] and stays as it is.
func (h *Handler) InitBare(ctx context.Context, name, defaultBranch string) (string, error) {
	if !namePattern.MatchString(name) {
		return "", fmt.Errorf("git server: bad repository name %q", name)
	}
	if dir, exists := h.directory(name); exists {
		return dir, fmt.Errorf("git server: repository %q: %w", name, fs.ErrExist)
	}
	dir := filepath.Join(h.root, filepath.FromSlash(name))
	// No template: the machine's sample hooks are of no use here. The branch
	// is set by symbolic-ref because init --initial-branch needs git 2.28.
	commands := [][]string{
		{"init", "--bare", "--quiet", "--template=", dir},
		{"--git-dir=" + dir, "symbolic-ref", "HEAD", "refs/heads/" + defaultBranch},
	}
	for _, args := range commands {
		var stderr lastWords
		cmd := h.command(ctx, args...)
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			return "", errors.Join(fmt.Errorf("git server: create repository %q: %w: %s", name, err, stderr.String()), os.RemoveAll(dir))
		}
	}
	if err := configure(filepath.Join(dir, "config")); err != nil {
		return "", errors.Join(fmt.Errorf("git server: create repository %q: %w", name, err), os.RemoveAll(dir))
	}
	return dir, nil
}

// configure adds the settings to a configuration. To start git for each of them
// takes longer than all else that a new repository needs.
func configure(file string) error {
	config, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0) //nolint:gosec // a file of the repository that was just made
	if err != nil {
		return err
	}
	_, err = config.WriteString(settings)
	return errors.Join(err, config.Close())
}

package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// ErrNoOrigin: there is no Git checkout, or it has no remote named origin.
var ErrNoOrigin = errors.New("no remote repository")

// maxPointer bounds the one-line files with which git points to a directory.
const maxPointer = 64 << 10

// Origin returns the URL of the remote "origin" of the Git checkout that holds
// dir, as the checkout's own configuration has it (url.….insteadOf there is
// applied, that of the user's configuration is not). Linked worktrees and
// submodules count. The URL may hold credentials: give it to [Open], which
// hides them, and print it nowhere. A relative path comes back absolute.
// Without a checkout or a remote the error is ErrNoOrigin.
func Origin(dir string) (string, error) {
	top, gitDir, err := checkout(dir)
	if err != nil {
		return "", err
	}
	file, err := os.Open(filepath.Join(gitDir, "config")) //nolint:gosec // the checkout's own configuration
	if err != nil {
		return "", fmt.Errorf("git checkout %s: %w", top, err)
	}
	defer func() { _ = file.Close() }()
	c, err := config.ReadConfig(file)
	if err != nil {
		// The parser's words would repeat lines of the file, which may hold credentials.
		return "", fmt.Errorf("git checkout %s: its configuration cannot be read; see git config --list --local", top)
	}
	origin := c.Remotes["origin"]
	if origin == nil || len(origin.URLs) == 0 || origin.URLs[0] == "" {
		return "", fmt.Errorf("%w: the git checkout %s has no remote called origin", ErrNoOrigin, top)
	}
	return fromCheckout(top, origin.URLs[0]), nil
}

// checkout finds the checkout around dir, and the directory with the
// configuration that it shares with its other worktrees.
func checkout(dir string) (top, gitDir string, err error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", "", fmt.Errorf("git checkout %s: %w", dir, err)
	}
	for top = start; ; {
		gitDir = filepath.Join(top, ".git")
		info, err := os.Stat(gitDir)
		switch {
		case err == nil && info.IsDir():
			return top, gitDir, nil
		case err == nil:
			gitDir, err = linked(top, gitDir)
			return top, gitDir, err
		case !errors.Is(err, fs.ErrNotExist):
			return "", "", fmt.Errorf("git checkout: %w", err)
		}
		above := filepath.Dir(top)
		if above == top {
			return "", "", fmt.Errorf("%w: %s is not in a git checkout", ErrNoOrigin, start)
		}
		top = above
	}
}

// linked follows a .git file, and from a worktree's directory the way to the
// one it was made from.
func linked(top, file string) (string, error) {
	text, err := pointer(file)
	target, ok := strings.CutPrefix(text, "gitdir: ")
	if err != nil || !ok {
		return "", fmt.Errorf("git checkout %s: .git is neither a directory nor does it point to one", top)
	}
	gitDir := below(top, target)
	common, err := pointer(filepath.Join(gitDir, "commondir"))
	if errors.Is(err, fs.ErrNotExist) {
		return gitDir, nil // a submodule has a configuration of its own
	}
	if err != nil {
		return "", fmt.Errorf("git checkout %s: %w", top, err)
	}
	return below(gitDir, common), nil
}

func pointer(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() > maxPointer {
		return "", errTooLarge
	}
	text, err := os.ReadFile(file) //nolint:gosec // one line of the checkout's own
	return strings.TrimSpace(string(text)), err
}

func below(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// fromCheckout makes a path that is relative to the checkout absolute.
func fromCheckout(top, url string) string {
	endpoint, err := transport.NewEndpoint(url)
	if err != nil || endpoint.Protocol != "file" || strings.HasPrefix(url, "file:") {
		return url
	}
	return below(top, filepath.FromSlash(url))
}

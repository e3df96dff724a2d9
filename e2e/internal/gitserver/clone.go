package gitserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Clone is a working copy of one user. Its methods run git, one at a time;
// they must not be called concurrently. Errors show what git said.
type Clone struct {
	// Dir is the working copy.
	Dir    string
	server *Server
	user   User
}

// Clone clones a repository as a user into dir, which must be empty or
// missing.
func (s *Server) Clone(ctx context.Context, repo, user, dir string) (*Clone, error) {
	who, err := s.User(user)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("clone %s: %w", repo, err)
	}
	c := &Clone{Dir: dir, server: s, user: who}
	if _, err := c.Git(ctx, "clone", "--quiet", s.URL(repo), "."); err != nil {
		return nil, err
	}
	return c, nil
}

// Update brings the branch [Main] to what the server has and drops everything
// that was not pushed.
func (c *Clone) Update(ctx context.Context) error {
	if _, err := c.Git(ctx, "fetch", "--quiet", "--tags", "--force", "origin"); err != nil {
		return err
	}
	if _, err := c.Git(ctx, "checkout", "--quiet", "--force", "-B", Main, "origin/"+Main); err != nil {
		return err
	}
	_, err := c.Git(ctx, "clean", "--quiet", "-d", "--force")
	return err
}

// Write puts files, by their slash-separated paths, into the working copy. Nil
// content removes a file.
func (c *Clone) Write(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("write %s: the path is not below the working copy", name)
		}
		file := filepath.Join(c.Dir, filepath.FromSlash(name))
		if files[name] == nil {
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(file, files[name], 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// ErrNothingToCommit says that the working copy is as the last commit left it.
var ErrNothingToCommit = errors.New("nothing to commit")

// Commit commits everything in the working copy and returns the commit's id.
// [ErrNothingToCommit] if nothing has changed.
func (c *Clone) Commit(ctx context.Context, message string) (string, error) {
	if _, err := c.Git(ctx, "add", "--all"); err != nil {
		return "", err
	}
	changes, err := c.Git(ctx, "status", "--porcelain")
	if err != nil {
		return "", err
	}
	if changes == "" {
		return "", fmt.Errorf("commit %q: %w", message, ErrNothingToCommit)
	}
	if _, err := c.Git(ctx, "commit", "--quiet", "--message", message); err != nil {
		return "", err
	}
	return c.Git(ctx, "rev-parse", "HEAD")
}

// Push pushes refs, atomically: main, HEAD:refs/heads/main, refs/tags/v1.5.0.
func (c *Clone) Push(ctx context.Context, refs ...string) error {
	_, err := c.Git(ctx, append([]string{"push", "--quiet", "--atomic", "origin"}, refs...)...)
	return err
}

// Tag sets a tag on a commit, annotated if there is a message, and pushes it.
func (c *Clone) Tag(ctx context.Context, name, commit, message string) error {
	args := []string{"tag", name, commit}
	if message != "" {
		args = []string{"tag", "--annotate", "--message", message, name, commit}
	}
	if _, err := c.Git(ctx, args...); err != nil {
		return err
	}
	return c.Push(ctx, "refs/tags/"+name)
}

// Git runs git in the working copy as the user and returns what it printed,
// without surrounding space.
func (c *Clone) Git(ctx context.Context, args ...string) (string, error) {
	token := base64.StdEncoding.EncodeToString([]byte(c.user.Name + ":" + c.user.Password))
	env := append(environment(c.server.options.Dir),
		"GIT_AUTHOR_NAME="+c.user.Name, "GIT_AUTHOR_EMAIL="+c.user.Email(),
		"GIT_COMMITTER_NAME="+c.user.Name, "GIT_COMMITTER_EMAIL="+c.user.Email(),
		// In the environment: arguments and URLs show up in process lists and errors.
		"GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=http."+c.server.url+"/.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic "+token,
		"GIT_CONFIG_KEY_1=gc.auto", "GIT_CONFIG_VALUE_1=0",
	)
	out, err := run(ctx, c.Dir, env, args)
	if err != nil {
		return "", fmt.Errorf("git %s as %s: %w", strings.Join(args, " "), c.user.Name, err)
	}
	return out, nil
}

// Git runs git in the bare repository, past authentication and rights, and
// returns what it printed without surrounding space: what a test asserts with,
// and what an administrator repairs with.
func (s *Server) Git(ctx context.Context, repo string, args ...string) (string, error) {
	dir, err := s.dir(repo)
	if err != nil {
		return "", err
	}
	return s.run(ctx, dir, args...)
}

func (s *Server) run(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := run(ctx, dir, environment(s.options.Dir), args)
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w", strings.Join(args, " "), filepath.Base(dir), err)
	}
	return out, nil
}

func run(ctx context.Context, dir string, env, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, env
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(complaint.String()); said != "" {
			return "", fmt.Errorf("%w: %s", err, said)
		}
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

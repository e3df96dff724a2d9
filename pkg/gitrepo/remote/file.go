package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// fileDialer runs git's own programs on a local repository.
type fileDialer struct {
	path        string
	environment []string
}

func (d *fileDialer) stateless() bool { return false }
func (d *fileDialer) host() string    { return "" }

func (d *fileDialer) again(service) session { return nil }

func (d *fileDialer) list(ctx context.Context, prefixes []string) (gitrepo.Refs, error) {
	return listByAdvertisement(ctx, d, prefixes)
}

func (d *fileDialer) open(ctx context.Context, s service) (session, error) {
	if _, err := os.Stat(d.path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no such directory", gitrepo.ErrNotFound)
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("%w: git executable not found; install git, or use an http(s) or ssh URL", errSetup)
	}
	cmd := exec.CommandContext(ctx, git, string(s), d.path) //nolint:gosec // git by name, an absolute path as its argument
	// Variables such as GIT_DIR, set when we run inside a hook, would point
	// git at another repository.
	cmd.Env = slices.DeleteFunc(slices.Clone(d.environment), func(v string) bool {
		return strings.HasPrefix(v, "GIT_") && !strings.HasPrefix(v, "GIT_CONFIG") && !strings.HasPrefix(v, "GIT_EXEC_PATH")
	})
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	p := program{stderr: &tail{}, wait: cmd.Wait}
	cmd.Stderr = p.stderr
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return newStream(p)
}

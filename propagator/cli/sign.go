package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/signer"
)

// signingSettings are those of Git that say how a tag is signed.
var signingSettings = []string{
	"user.signingkey", "gpg.format", "gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.ssh.defaultkeycommand",
}

// maxPrinted bounds what is read of a program's output.
const maxPrinted = 1 << 20

// runGit runs the program git, in a repository of its own if dir is not empty. What
// it says to people goes to stderr: it may ask for the touch of a key.
func (a *app) runGit(ctx context.Context, dir string, env []string, stdin []byte, args ...string) (string, error) {
	if dir != "" {
		args = append([]string{"--git-dir=" + dir}, args...)
	}
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // the arguments are ours, and no shell reads them
	cmd.Env = append(append([]string{}, a.env...), env...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out, maxPrinted}, a.stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", usageHint("install git, which signs the tag", "git is not installed")
	}
	return out.String(), err
}

// limited takes so many bytes and refuses more.
type limited struct {
	io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("too much output")
	}
	return l.Writer.Write(p)
}

// sign makes a tag object with a signature, as git tag -s does with the
// configuration of the checkout here and the person's own. The repository need
// not be that of the checkout: only the tagged commit is lent to an empty one, and
// nothing of it stays.
func (a *app) sign(ctx context.Context, tag gitrepo.Tag, target gitrepo.Object) (gitrepo.Object, error) {
	nothing := gitrepo.Object{}
	var settings []string
	for _, name := range signingSettings {
		value, err := a.runGit(ctx, "", nil, nil, "config", "--get", name)
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.ExitCode() == 1:
			continue // not set
		case err != nil:
			return nothing, fmt.Errorf("git config --get %s: %w", name, err)
		}
		settings = append(settings, "-c", name+"="+strings.TrimSuffix(value, "\n"))
	}
	dir, err := os.MkdirTemp("", "propagator-sign")
	if err != nil {
		return nothing, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := a.runGit(ctx, dir, nil, nil, "init", "--quiet", "--bare"); err != nil {
		return nothing, fmt.Errorf("git init: %w", err)
	}
	if _, err := a.runGit(ctx, dir, nil, target.Data, "hash-object", "-t", string(target.Type), "-w", "--stdin", "--literally"); err != nil {
		return nothing, fmt.Errorf("git hash-object: %w", err)
	}
	who := []string{
		"GIT_COMMITTER_NAME=" + tag.Tagger.Name, "GIT_COMMITTER_EMAIL=" + tag.Tagger.Email, "GIT_COMMITTER_DATE=" + tag.Tagger.When.UTC().Format(time.RFC3339),
	}
	args := append(settings, "tag", "--sign", "--cleanup=verbatim", "--file=-", tag.Name, string(tag.Object))
	if _, err := a.runGit(ctx, dir, who, []byte(tag.Message), args...); err != nil {
		return nothing, notSigned(err)
	}
	text, err := a.runGit(ctx, dir, nil, nil, "cat-file", "tag", tag.Name)
	if err != nil {
		return nothing, fmt.Errorf("git cat-file: %w", err)
	}
	made := gitrepo.Object{Type: gitrepo.TypeTag, Data: []byte(text)}
	return made, checkSigned(made, tag)
}

func notSigned(err error) error {
	return usageHint("git config user.signingkey, and gpg.format ssh for a key of ssh; git tag -s has to work",
		"git could not sign the tag: %w", err)
}

// checkSigned compares what git made with what was wanted: the hook reads it
// strictly.
func checkSigned(made gitrepo.Object, want gitrepo.Tag) error {
	payload, signature, err := signer.SplitSignature(made.Data)
	if err != nil {
		return err
	}
	if signature == nil {
		return notSigned(errors.New("what it made has no signature")) // it may fail to sign and say nothing
	}
	if plain := gitrepo.NewTag(want); !bytes.Equal(payload, plain.Data) {
		return fmt.Errorf("git made another tag than the one that was wanted:\n%s", printable(string(payload)))
	}
	return nil
}

package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

var (
	errTimeout   = errors.New("no complete answer in time")
	errTooLarge  = errors.New("the answer is larger than allowed")
	errMalformed = errors.New("the answer is not valid git protocol")
	// errSetup marks faults on this side, where trying again cannot help and
	// none of the port's sentinels is true.
	errSetup = errors.New("cannot connect")
)

// maxText bounds a server's words in an error.
const maxText = 2000

// failure is the border of the package: a cleaned text, and the causes for
// errors.Is and errors.As.
type failure struct {
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// do runs one operation under the time limit and turns its error into one of
// the port's. The caller's cancellation is reported as such.
func do[T any](ctx context.Context, r *Repo, operation func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, r.timeout, errTimeout)
	defer cancel()
	result, err := operation(limited)
	if err == nil {
		return result, nil
	}
	switch {
	case settled(err):
	case ctx.Err() != nil:
		err = ctx.Err()
		if cause := context.Cause(ctx); !errors.Is(cause, err) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
	case limited.Err() != nil:
		err = fmt.Errorf("%w: %w (%s)", gitrepo.ErrUnreachable, errTimeout, r.timeout)
	default:
		err = fmt.Errorf("%w: %w", gitrepo.ErrUnreachable, hinted(err))
	}
	text := fmt.Sprintf("git repository %s: %s", r.url, r.secrets.replace(err.Error()))
	var zero T
	return zero, &failure{text: shorten(text), err: err}
}

// settled says that the error already has its final meaning.
func settled(err error) bool {
	var moved *gitrepo.RefMovedError
	if errors.As(err, &moved) {
		return true
	}
	for _, sentinel := range []error{
		gitrepo.ErrNotFound, gitrepo.ErrUnauthorized, gitrepo.ErrUnreachable, gitrepo.ErrRejected, errSetup, errTooLarge,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// hinted adds what to do to errors of the network that say it badly.
func hinted(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w; give the server's CA bundle", err)
	}
	return err
}

func shorten(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > maxText {
		return text[:maxText] + "…"
	}
	return text
}

// statusError maps an http status to the port's errors. The body is the
// server's explanation, if it is plain text.
func statusError(status int, body string, authenticated bool) error {
	words := http.StatusText(status)
	if body != "" {
		words += ": " + body
	}
	switch {
	case status == http.StatusUnauthorized && !authenticated:
		return fmt.Errorf("%w: the server wants credentials and none were given (%s); some servers answer so for a repository that does not exist",
			gitrepo.ErrUnauthorized, words)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: the credentials are wrong, expired or lack the right (%d %s)", gitrepo.ErrUnauthorized, status, words)
	case status == http.StatusNotFound, status == http.StatusGone:
		return fmt.Errorf("%w: there is no such repository, or these credentials may not see it (%d %s)", gitrepo.ErrNotFound, status, words)
	case status == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: the server finds the request too large (%d %s)", gitrepo.ErrRejected, status, words)
	case status >= 300 && status < 400:
		return fmt.Errorf("%w: unexpected redirect (%d %s); use the repository's final URL", gitrepo.ErrUnreachable, status, words)
	}
	return fmt.Errorf("%w: the server answered %d %s", gitrepo.ErrUnreachable, status, words)
}

// spokenError maps what a server says in words, in an ERR line or on stderr.
// There is no code in the protocol; the words are those of git, GitHub, GitLab,
// Gitea, Bitbucket and Azure DevOps.
func spokenError(text string) error {
	text = shorten(text)
	lower := strings.ToLower(text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(lower, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("not found", "does not appear to be a git repository", "could not be found", "does not exist",
		"no such", "not our ref", "not exported", "not a git repository"):
		return fmt.Errorf("%w: the server says %q", gitrepo.ErrNotFound, text)
	case has("denied", "permission", "not allowed", "unauthorized", "authoriz", "access rights", "dubious ownership"):
		return fmt.Errorf("%w: the server says %q", gitrepo.ErrUnauthorized, text)
	}
	return fmt.Errorf("%w: the server says %q", gitrepo.ErrUnreachable, text)
}

// protocolError gives an ERR line its meaning and marks the rest as malformed.
func protocolError(err error) error {
	var line *pktline.ErrorLine
	if errors.As(err, &line) {
		return &spoken{meaning: spokenError(line.Text), line: line}
	}
	if settled(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errMalformed, err)
}

// spoken is an ERR line with its meaning.
type spoken struct {
	meaning error
	line    *pktline.ErrorLine
}

func (s *spoken) Error() string   { return s.meaning.Error() }
func (s *spoken) Unwrap() []error { return []error{s.meaning, s.line} }

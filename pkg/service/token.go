package service

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// flagTokenFile is the flag that TokenOptions binds.
const flagTokenFile = "token-file"

// TokenVariable holds the token itself when there is no file. There is no flag
// for it: command lines are visible to everybody on a machine.
const TokenVariable = Prefix + "_TOKEN"

// maxTokenFile bounds a token file; a few lines of random text.
const maxTokenFile = 16 << 10

// TokenOptions say where the bearer token comes from that callers must send.
type TokenOptions struct {
	// File holds one token a line; each of them is accepted, so that a token
	// can be changed without a gap. It is read again for every request.
	File string
}

// Bind adds the flag.
func (o *TokenOptions) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.File, flagTokenFile, o.File, "`file` with the bearer token(s) that callers must send, one a line; otherwise the variable "+TokenVariable)
}

// Tokens returns the tokens from the file, or else from TokenVariable in env
// (a list of NAME=value). Unusable tokens are an error here already: a program
// must not start up to refuse everybody.
func (o *TokenOptions) Tokens(env []string) (*Tokens, error) {
	if o.File != "" {
		tokens := &Tokens{read: func() (string, error) { return readTokenFile(o.File) }}
		_, err := tokens.load()
		return tokens, err
	}
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, TokenVariable+"="); ok && value != "" {
			return NewTokens(value)
		}
	}
	return nil, fmt.Errorf("no bearer token: give --%s or the variable %s", flagTokenFile, TokenVariable)
}

// Tokens knows the bearer tokens that are accepted. It prints as REDACTED.
// It may be used by several goroutines.
type Tokens struct {
	read func() (string, error)
}

// NewTokens accepts the tokens in text, one a line.
func NewTokens(text string) (*Tokens, error) {
	tokens := &Tokens{read: func() (string, error) { return text, nil }}
	_, err := tokens.load()
	return tokens, err
}

// String keeps tokens out of logs.
func (*Tokens) String() string { return "REDACTED" }

// GoString keeps tokens out of %#v.
func (*Tokens) GoString() string { return "REDACTED" }

func readTokenFile(name string) (string, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("token file: %w", err)
	case len(text) > maxTokenFile:
		return "", fmt.Errorf("token file %s is larger than %d bytes", name, maxTokenFile)
	}
	return string(text), nil
}

// load returns the hashes of the tokens that are valid now.
func (t *Tokens) load() ([][sha256.Size]byte, error) {
	text, err := t.read()
	if err != nil {
		return nil, err
	}
	var hashes [][sha256.Size]byte
	for line := range strings.Lines(text) {
		token := strings.TrimSpace(line)
		switch {
		case token == "":
			continue
		case placeholder(token):
			return nil, errors.New("the bearer token begins with $: a reference that nobody resolved, not a token")
		}
		hashes = append(hashes, sha256.Sum256([]byte(token)))
	}
	if len(hashes) == 0 {
		return nil, errors.New("the bearer token is empty")
	}
	return hashes, nil
}

// placeholder reports whether a token is an unresolved reference: Argo CD
// sends the literal text when the Secret lacks the key.
func placeholder(token string) bool { return strings.HasPrefix(token, "$") }

// accept compares in a time that depends neither on the tokens nor on which of
// them matches.
func (t *Tokens) accept(header string) error {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	switch {
	case header == "":
		return errors.New("no Authorization header; send: Authorization: Bearer <token>")
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return errors.New("the Authorization header is not: Bearer <token>")
	case placeholder(token):
		return errors.New("the token begins with $: the Secret that the caller refers to lacks the key")
	}
	hashes, err := t.load()
	if err != nil {
		return &unusableTokens{err}
	}
	got := sha256.Sum256([]byte(token))
	match := 0
	for _, hash := range hashes {
		match |= subtle.ConstantTimeCompare(got[:], hash[:])
	}
	if match != 1 {
		return errors.New("the bearer token is wrong")
	}
	return nil
}

// unusableTokens is our fault, not the caller's; they are not told.
type unusableTokens struct{ err error }

func (e *unusableTokens) Error() string { return "the bearer token cannot be checked now" }

func (e *unusableTokens) Unwrap() error { return e.err }

// refusedHint is for the operator who reads the log: a caller of ours is Argo
// CD, whose own log has no more than a number.
const refusedHint = "the caller has to send the token that --" + flagTokenFile + " names here; with our manifests that is the key token of the Secret propagator-token, " +
	"which the key propagator-token of argocd-notifications-secret has to equal"

// Require lets only requests with a valid bearer token through to next; others
// get 401 and a JSON message, and a warning in the log says why.
func (t *Tokens) Require(next http.Handler, log *slog.Logger) http.Handler {
	log = orDiscard(log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := t.accept(r.Header.Get("Authorization"))
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		var ours *unusableTokens
		if errors.As(err, &ours) {
			log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "bearer tokens unusable, everybody is refused", slog.String("error", ours.err.Error()))
		} else {
			log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn, "caller refused",
				slog.String("id", RequestID(r.Context())), slog.String("error", err.Error()), slog.String("hint", refusedHint))
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		WriteError(w, http.StatusUnauthorized, err.Error())
	})
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

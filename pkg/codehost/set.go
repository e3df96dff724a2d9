package codehost

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// Variable holds a token for one server, for people and CI. There is no flag for
// it, because command lines are visible to everybody on a machine.
const Variable = "PROPAGATOR_HOST_TOKEN"

// Set opens the servers of repositories. Its fields are set before first use.
type Set struct {
	// Tokens is the directory with tokens, each in a file with the name of the
	// host of the API: it is sent nowhere else. A file is read for each question, so
	// that a new token is picked up. Empty: there is none.
	Tokens string
	// Token is one for the server of the repository that is opened. Its API must be
	// on the host of the repository's URL, or belong to it (api.github.com to
	// github.com), whatever propagator.yaml says.
	Token string
	// Given are tokens that were read elsewhere, by the name of the API's host; they
	// win.
	Given map[string]string
	// CAFile has authorities to trust beside the system's; empty: none.
	CAFile string
}

// Bind adds the flags.
func (s *Set) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&s.Tokens, "host-tokens", "", "`directory` with access tokens for the APIs of git hosts, to open pull requests with, each in a file with the name of the API's host (api.github.com)")
}

// Open returns the server of a repository. It makes no connection. An error is a
// *promotion.HostError. A token that is missing is one too, but then the client
// is there and can say [Client.Page].
func (s *Set) Open(repository string, host config.CodeHost) (*Client, error) {
	p, err := locate(repository, host)
	if err != nil {
		fault := &promotion.HostError{Err: fmt.Errorf("pull requests cannot be opened: %w", err)}
		var lacking *missing
		if errors.As(err, &lacking) {
			fault.Fix = lacking.fix
		}
		return nil, fault
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	if s.CAFile != "" {
		bundle, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, &promotion.HostError{Err: fmt.Errorf("--git-ca-file: %w", err)}
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(bundle)
		transport.TLSClientConfig.RootCAs = pool
	}
	c := &Client{place: p, http: &http.Client{Transport: transport, CheckRedirect: checkRedirect}, token: s.tokenFor(p), kind: kindOf(p.kind)}
	if c.token == (Token{}) {
		return c, &promotion.HostError{Err: fmt.Errorf("there is no token for %s, with which a pull request could be opened", p.host()), Fix: c.fixToken()}
	}
	return c, nil
}

// Opener is how an engine gets to the server of its repository.
func (s *Set) Opener(repository string) func(*config.Pipeline) (promotion.PullRequests, error) {
	return func(p *config.Pipeline) (promotion.PullRequests, error) {
		c, err := s.Open(repository, p.Source.Host)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

// tokenFor is the token that a server may be sent.
func (s *Set) tokenFor(p place) Token {
	name := p.api.Hostname()
	if token := s.Given[name]; token != "" {
		return Token{value: token}
	}
	if s.Tokens != "" && filepath.IsLocal(name) {
		file := filepath.Join(s.Tokens, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return Token{file: file}
		}
	}
	if p.trusted {
		return Token{value: s.Token}
	}
	return Token{}
}

// Token is an access token, or the file that has it. It prints as REDACTED.
type Token struct{ value, file string }

// String keeps the token out of logs.
func (Token) String() string { return redacted }

// GoString keeps the token out of %#v.
func (Token) GoString() string { return redacted }

const redacted = "REDACTED"

const maxToken = 16 << 10

// read returns the token of this moment. Errors never repeat what the file holds.
func (t Token) read() (string, error) {
	token := strings.TrimSpace(t.value)
	if t.file != "" {
		file, err := os.Open(t.file)
		if err != nil {
			return "", fmt.Errorf("the token: %w", err)
		}
		defer func() { _ = file.Close() }()
		text, err := io.ReadAll(io.LimitReader(file, maxToken+1))
		if err != nil {
			return "", fmt.Errorf("the token: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	switch {
	case token == "" && t.file != "":
		return "", fmt.Errorf("the token file %s is empty", t.file)
	case token == "":
		return "", errors.New("there is no token")
	case len(token) > maxToken:
		return "", fmt.Errorf("the token is longer than %d bytes", maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }):
		return "", errors.New("the token has characters in it that no token has, or is more than one")
	}
	return token, nil
}

// fix is where to put a token.
func (t Token) fix(p place) string {
	where := fmt.Sprintf("put a token into the file %s of the directory --host-tokens (as installed: that key of Secret propagator-host-tokens)", p.api.Hostname())
	switch {
	case t.file != "":
		return fmt.Sprintf("put another token into %s (as installed: key %s of Secret propagator-host-tokens)", t.file, p.api.Hostname())
	case p.trusted:
		return where + ", or for the command line into the variable " + Variable
	}
	return where
}

// secrets are the forms in which a token can come back.
func secrets(token string) []string {
	if token == "" {
		return nil
	}
	all := []string{token, base64.StdEncoding.EncodeToString([]byte(token))}
	if _, password, ok := strings.Cut(token, ":"); ok && password != "" {
		all = append(all, password)
	}
	return all
}

// bearer is how most servers are sent a token.
func bearer(r *http.Request, token string) { r.Header.Set("Authorization", "Bearer "+token) }

// String keeps the token out of logs.
func (*Set) String() string { return redacted }

// GoString keeps the token out of %#v.
func (*Set) GoString() string { return redacted }

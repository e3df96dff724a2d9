package remote

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// maxPassword bounds a password file, in bytes; access tokens have some hundred.
const maxPassword = 64 << 10

// credentials are those of one Repo. It is safe for concurrent use.
type credentials struct {
	auth Auth

	mu sync.Mutex // guards the rest
	// read are the passwords that the file has had so far. An old one may still
	// be in what a server says.
	read []string
}

func newCredentials(auth Auth) *credentials { return &credentials{auth: auth} }

// now are the credentials for one request or connection. The file is read each
// time: whoever rotates a password replaces the file of a program that runs.
func (c *credentials) now() (Auth, error) {
	auth := c.auth
	if auth.PasswordFile == "" {
		return auth, nil
	}
	password, err := readPassword(auth.PasswordFile)
	if err != nil {
		return auth, fmt.Errorf("%w: password file: %w", errSetup, err)
	}
	auth.Password = password
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.read, password) {
		c.read = append(c.read, password)
	}
	return auth, nil
}

// replace removes the secrets from a text. Errors are rare, and what does that is
// large, so it is made anew each time.
func (c *credentials) replace(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cleaner(c.auth, c.read).Replace(text)
}

// readPassword returns what the file has, without blanks and line ends around it.
func readPassword(name string) (string, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxPassword+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxPassword:
		return "", fmt.Errorf("%s has more than %d bytes", name, maxPassword)
	}
	return strings.TrimSpace(string(text)), nil
}

// cleaner removes the secrets, in every form they travel in, and what could
// steer a terminal from texts of servers and libraries.
func cleaner(a Auth, passwords []string) *strings.Replacer {
	var pairs []string
	hide := func(secret string) {
		if secret != "" {
			pairs = append(pairs, secret, "REDACTED")
		}
	}
	passwords = append(slices.Clone(passwords), a.Password)
	for _, secret := range append(slices.Clone(passwords), a.BearerToken, a.SSHKeyPassphrase) {
		hide(secret)
		hide(url.QueryEscape(secret))
		hide(url.PathEscape(secret))
	}
	known := false
	for _, password := range passwords {
		if password != "" {
			known = true
			hide(base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + password)))
		}
	}
	if !known && len(a.Username) >= minToken {
		hide(a.Username) // https://TOKEN@host is a common way to give a token
	}
	for c := range rune(' ') {
		pairs = append(pairs, string(c), " ")
	}
	return strings.NewReplacer(append(pairs, "\x7f", " ")...)
}

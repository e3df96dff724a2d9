package githost

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Bounds of the secrets.
const (
	// minSecret keeps secrets from being guessed by whoever saw a signature.
	minSecret = 16
	// maxSecrets: a body is hashed once for each of them.
	maxSecrets    = 8
	maxSecretFile = 16 << 10
)

// signingPrefix begins a signing token of GitLab; what follows is the key, in
// base64.
const signingPrefix = "whsec_"

// Secrets knows the secrets that git hosts share with us. It prints as
// REDACTED. It may be used by several goroutines.
type Secrets struct {
	read func() (string, error)
}

// NewSecrets accepts the secrets in text, one a line. Each is as good as the
// others, so that a secret can be changed without a gap.
func NewSecrets(text string) (*Secrets, error) {
	return newSecrets(func() (string, error) { return text, nil })
}

// SecretsFile accepts the secrets in a file, one a line. It is read again for
// every request. An unusable file is an error here already: a program must not
// start up to refuse everybody.
func SecretsFile(name string) (*Secrets, error) {
	return newSecrets(func() (string, error) { return readSecretFile(name) })
}

func newSecrets(read func() (string, error)) (*Secrets, error) {
	s := &Secrets{read: read}
	if _, err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// String keeps secrets out of logs.
func (*Secrets) String() string { return "REDACTED" }

// GoString keeps secrets out of %#v.
func (*Secrets) GoString() string { return "REDACTED" }

func readSecretFile(name string) (string, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("webhook secret file: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("webhook secret file: %w", err)
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("webhook secret file %s is larger than %d bytes", name, maxSecretFile)
	}
	return string(text), nil
}

// keys are the secrets that are valid now.
type keys struct {
	// plain are the secrets as they are written.
	plain [][]byte
	// signing are the keys of signing tokens.
	signing [][]byte
}

// load returns the secrets that are valid now. Its errors do not hold them.
func (s *Secrets) load() (keys, error) {
	text, err := s.read()
	if err != nil {
		return keys{}, err
	}
	var k keys
	for line := range strings.Lines(text) {
		secret := strings.TrimSpace(line)
		switch {
		case secret == "":
			continue
		case strings.HasPrefix(secret, "$"):
			return keys{}, errors.New("the webhook secret begins with $: a reference that nobody resolved, not a secret")
		case len(secret) < minSecret:
			return keys{}, fmt.Errorf("the webhook secret has %d bytes; at least %d are needed (openssl rand -hex 32 makes a good one)", len(secret), minSecret)
		case len(k.plain) == maxSecrets:
			return keys{}, fmt.Errorf("more than %d webhook secrets; take out those that no host uses any more", maxSecrets)
		}
		k.plain = append(k.plain, []byte(secret))
		if encoded, ok := strings.CutPrefix(secret, signingPrefix); ok {
			key, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil || len(key) < minSecret {
				return keys{}, fmt.Errorf("the webhook secret begins with %s, and what follows is not the base64 of at least %d bytes; copy GitLab's signing token as a whole", signingPrefix, minSecret)
			}
			k.signing = append(k.signing, key)
		}
	}
	if len(k.plain) == 0 {
		return keys{}, errors.New("the webhook secret is empty")
	}
	return k, nil
}

// has compares in a time that depends neither on the secrets nor on which of
// them matches.
func (k keys) has(token string) bool {
	got := sha256.Sum256([]byte(token))
	match := 0
	for _, secret := range k.plain {
		want := sha256.Sum256(secret)
		match |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return match == 1
}

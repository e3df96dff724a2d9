package sigstore

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Policy says whose signatures count. It may be used concurrently.
type Policy struct {
	keys []publicKey
	// root and identities are of a policy without keys.
	root       *trustedRoot
	identities []Identity
}

// Keys accepts signatures of any of the public keys, which are in PEM.
func Keys(pem []byte) (*Policy, error) {
	keys, err := parseKeys(pem)
	if err != nil {
		return nil, err
	}
	return &Policy{keys: keys}, nil
}

// Keyless accepts signatures of certificates that were issued to any of the
// identities. The trusted root is JSON as Sigstore publishes it
// (trusted_root.json), of the public instance or one's own.
func Keyless(root []byte, identities []Identity) (*Policy, error) {
	if len(identities) == 0 || len(identities) > maxIdentities {
		return nil, fmt.Errorf("there are %d identities; give 1 to %d", len(identities), maxIdentities)
	}
	parsed, err := parseRoot(root)
	if err != nil {
		return nil, err
	}
	return &Policy{root: parsed, identities: identities}, nil
}

// signed is a signature with all that was handed over beside it.
type signed struct {
	content   content
	signature []byte
	// payload is what a statement says; nil for other content.
	payload []byte
	// certificate is in DER; nil when there is none.
	certificate []byte
	entries     []entry
}

// verify returns who signed: a key's fingerprint, or a subject.
func (p *Policy) verify(s signed) (string, error) {
	if p.root != nil {
		return p.verifyKeyless(s)
	}
	err := errWrongSignature
	for _, key := range p.keys {
		found := key.verify(s.content, s.signature)
		if found == nil {
			return "key " + key.fingerprint, nil
		}
		if !errors.Is(found, errWrongSignature) {
			err = found
		}
	}
	if errors.Is(err, errWrongSignature) {
		return "", errors.New("it is not by the key that is asked for, or what it signs was altered")
	}
	return "", err
}

// decode reads one JSON document. Unknown fields are no matter: later versions
// have more.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("it is not what it should be: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// encoded is bytes in base64. The JSON of protobuf may have either alphabet.
type encoded []byte

func (e *encoded) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	raw, err := unbase64(s)
	*e = raw
	return err
}

func unbase64(text string) ([]byte, error) {
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return raw, nil
}

// number is an integer, which the JSON of protobuf has in quotes.
type number int64

func (n *number) UnmarshalJSON(text []byte) error {
	var value int64
	if err := json.Unmarshal(bytes.Trim(text, `"`), &value); err != nil {
		return errors.New("it is not a number")
	}
	*n = number(value)
	return nil
}

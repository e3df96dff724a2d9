package signer

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The format of SSH signatures is described in PROTOCOL.sshsig of OpenSSH.
const (
	sshMagic   = "SSHSIG"
	sshVersion = 1
	// namespace is what git signs in; a signature of a file or a letter is none of
	// a tag.
	namespace = "git"
)

// minRSABits bounds RSA keys from below, of both kinds.
const minRSABits = 2048

// sshKeyTypes are those that are allowed. DSA is not.
var sshKeyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
	ssh.KeyAlgoRSA,
}

// isCertificate goes by the name of a key type.
func isCertificate(keyType string) bool { return strings.Contains(keyType, "-cert-v0") }

// parseSSHKey decodes a public key and refuses weak ones.
func parseSSHKey(wire []byte) (key ssh.PublicKey, err error) {
	defer contain(&err, errUndecodable)
	key, err = ssh.ParsePublicKey(wire)
	switch {
	case err != nil:
		return nil, foreign(err)
	case isCertificate(key.Type()):
		return nil, errors.New("SSH certificates are not supported; list the key itself")
	case !slices.Contains(sshKeyTypes, key.Type()):
		return nil, fmt.Errorf("keys of type %s are not accepted", quote(key.Type()))
	}
	if inner, ok := key.(ssh.CryptoPublicKey); ok {
		if key, ok := inner.CryptoPublicKey().(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits is too weak; at least %d are needed", key.N.BitLen(), minRSABits)
		}
	}
	return key, nil
}

// sshSignature is a signature, decoded.
type sshSignature struct {
	key                       ssh.PublicKey
	namespace, reserved, hash string
	inner                     ssh.Signature
}

// verifySSH returns the line that allows.
func (a *Allowed) verifySSH(armored []byte, q question) (entry, error) {
	s, err := parseSSH(armored)
	if err != nil {
		return entry{}, err
	}
	wire := s.key.Marshal()
	lines := a.of(func(e entry) bool { return e.kind == SSH && bytes.Equal(e.key, wire) })
	if len(lines) == 0 {
		return entry{}, fmt.Errorf("%w: %s", ErrUnknownKey, ssh.FingerprintSHA256(s.key))
	}
	if err := s.verify(q.payload); err != nil {
		return entry{}, err
	}
	return choose(lines, q)
}

func parseSSH(armored []byte) (*sshSignature, error) {
	body, err := dearmorOne(armored, sshArmor)
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(body, []byte(sshMagic))
	if !ok {
		return nil, bad("no SSH signature in the armor")
	}
	var wire struct {
		Version                   uint32
		PublicKey                 []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}
	if err := ssh.Unmarshal(body, &wire); err != nil {
		return nil, bad("%w", foreign(err))
	}
	if wire.Version != sshVersion {
		return nil, bad("SSH signatures of version %d are not supported", wire.Version)
	}
	s := &sshSignature{namespace: wire.Namespace, reserved: wire.Reserved, hash: wire.Hash}
	if s.key, err = parseSSHKey(wire.PublicKey); err != nil {
		return nil, bad("%w", err)
	}
	if err := ssh.Unmarshal(wire.Signature, &s.inner); err != nil {
		return nil, bad("%w", foreign(err))
	}
	return s, nil
}

// verify checks the signature; not who made it.
func (s *sshSignature) verify(payload []byte) (err error) {
	defer contain(&err, ErrBadSignature)
	security := strings.HasPrefix(s.key.Type(), "sk-")
	formats := []string{s.key.Type()}
	if s.key.Type() == ssh.KeyAlgoRSA {
		// With the name of the key type, SHA-1 would be used.
		formats = []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
	}
	switch {
	case s.namespace != namespace:
		return bad("it was made for the namespace %s, not for %s", quote(s.namespace), namespace)
	case s.reserved != "":
		return bad("it has a field that must be empty")
	case !slices.Contains(formats, s.inner.Format):
		return bad("a key of type %s signed with %s, which is not accepted", s.key.Type(), quote(s.inner.Format))
	case !security && len(s.inner.Rest) > 0:
		return bad("something follows the signature")
	}
	var digest []byte
	switch s.hash {
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	default:
		return bad("the hash %s is not accepted", quote(s.hash))
	}
	signed := append([]byte(sshMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{s.namespace, s.reserved, s.hash, digest})...)
	if err := s.key.Verify(signed, &s.inner); err != nil {
		return bad("%s did not sign this: %w", ssh.FingerprintSHA256(s.key), foreign(err))
	}
	return nil
}

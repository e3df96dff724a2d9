package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// minRSA is the smallest modulus that is accepted, in bits.
const minRSA = 2048

var errWrongSignature = errors.New("the signature is not of this key over this content")

// publicKey is a key that may sign.
type publicKey struct {
	crypto.PublicKey
	// fingerprint is the SHA-256 of the key in DER, shortened.
	fingerprint string
}

// parseKeys reads public keys in PEM, one or more.
func parseKeys(text []byte) ([]publicKey, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxKeyFile)
	}
	var keys []publicKey
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key, err := parseKey(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		if keys = append(keys, key); len(keys) > maxKeys {
			return nil, fmt.Errorf("has more than %d keys", maxKeys)
		}
	}
	// A block that is no PEM ends the list, or would be left out without a word.
	if begun := strings.Count(string(text), "-----BEGIN"); begun != len(keys) {
		return nil, fmt.Errorf("has %d beginnings of a key, and %d keys in PEM", begun, len(keys))
	}
	if len(keys) == 0 {
		return nil, errors.New("has no public key in PEM (-----BEGIN PUBLIC KEY-----)")
	}
	return keys, nil
}

func parseKey(block *pem.Block) (publicKey, error) {
	var key crypto.PublicKey
	var err error
	switch {
	case block.Type == "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return publicKey{}, errors.New("it is a private key, which has no place here: make a new pair, and put the public one here")
	default:
		return publicKey{}, fmt.Errorf("%q is no public key", block.Type)
	}
	if err != nil {
		return publicKey{}, err
	}
	return newKey(key)
}

// newKey accepts keys that cosign signs with and that are strong enough.
func newKey(key crypto.PublicKey) (publicKey, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return publicKey{}, fmt.Errorf("the curve %s is not supported", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return publicKey{}, fmt.Errorf("it is an RSA key of %d bits; %d are the least", k.N.BitLen(), minRSA)
		}
	case ed25519.PublicKey:
	default:
		return publicKey{}, fmt.Errorf("keys of the type %T are not supported", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return publicKey{}, err
	}
	sum := sha256.Sum256(der)
	return publicKey{key, "SHA256:" + hex.EncodeToString(sum[:6])}, nil
}

// content is what a signature is over: bytes, or only their SHA-256 where the
// bytes are not at hand.
type content struct {
	message []byte
	sha256  [sha256.Size]byte
	// hashed: there is no message.
	hashed bool
}

func contentOf(message []byte) content {
	return content{message: message, sha256: sha256.Sum256(message)}
}

// verify checks a signature over content. Keys of larger curves sign a longer
// hash or, with older versions of cosign, SHA-256 as well.
func (k publicKey) verify(c content, signature []byte) error {
	ok := false
	switch key := k.PublicKey.(type) {
	case *ecdsa.PublicKey:
		for _, hash := range hashesFor(key, c) {
			ok = ok || ecdsa.VerifyASN1(key, hash, signature)
		}
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(key, crypto.SHA256, c.sha256[:], signature) == nil
	case ed25519.PublicKey:
		if c.hashed {
			return errors.New("signatures of a manifest itself by an Ed25519 key are not supported")
		}
		ok = ed25519.Verify(key, c.message, signature)
	}
	if !ok {
		return errWrongSignature
	}
	return nil
}

func hashesFor(key *ecdsa.PublicKey, c content) [][]byte {
	hashes := [][]byte{c.sha256[:]}
	if c.hashed {
		return hashes
	}
	switch key.Curve {
	case elliptic.P384():
		sum := sha512.Sum384(c.message)
		hashes = append(hashes, sum[:])
	case elliptic.P521():
		sum := sha512.Sum512(c.message)
		hashes = append(hashes, sum[:])
	}
	return hashes
}

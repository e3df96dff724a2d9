// Package sigstoretest signs images as cosign does, for tests of what verifies
// it: with a key, or as somebody to whom an authority of its own gives
// certificates, with a transparency log of its own. Nothing of it is fetched and
// nothing is random that a test would see.
package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"testing"
)

// Kind is a kind of key.
type Kind int

// The kinds that cosign signs with.
const (
	P256 Kind = iota
	P384
	P521
	RSA
	Ed25519
)

// Signer signs images, with a key that it keeps or with a certificate.
type Signer struct {
	t       testing.TB
	private crypto.Signer
	// authority and certificate, in DER, are of a signer that was issued one.
	authority   *Authority
	certificate []byte
	// at is when the log takes what it signs, in seconds since 1970.
	at int64
}

// NewKey makes a signer with a key of its own.
func NewKey(t testing.TB, kind Kind) *Signer {
	t.Helper()
	return &Signer{t: t, private: generate(t, kind)}
}

func generate(t testing.TB, kind Kind) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Public is the public key in PEM, as cosign.pub has it.
func (s *Signer) Public() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(s.t, s.private)}))
}

func publicDER(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// sign signs a message: all keys but Ed25519 its SHA-256.
func sign(t testing.TB, key crypto.Signer, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	signature, err := []byte(nil), error(nil)
	if _, whole := key.(ed25519.PrivateKey); whole {
		signature, err = key.Sign(rand.Reader, message, crypto.Hash(0))
	} else {
		signature, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// Payload is what a signature in the older form is over.
func Payload(digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"dev.example/shop/orders"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

// Simple signs in the older form: the payload, and the annotations of its layer.
func (s *Signer) Simple(digest string) (payload []byte, annotations map[string]string) {
	s.t.Helper()
	payload = Payload(digest)
	signature := sign(s.t, s.private, payload)
	annotations = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)}
	if s.certificate != nil {
		annotations["dev.sigstore.cosign/certificate"] = s.certificatePEM()
		annotations["dev.sigstore.cosign/bundle"] = s.authority.simpleEntry(s.at, s.hashed(payload, signature))
	}
	return payload, annotations
}

// Statement is what a bundle says of an image.
func Statement(predicate string, digests ...string) []byte {
	subjects := []any{}
	for _, digest := range digests {
		subjects = append(subjects, map[string]any{"digest": map[string]string{"sha256": digest[len("sha256:"):]}})
	}
	return encode(map[string]any{"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": predicate, "predicate": map[string]any{}})
}

// Signing is the predicate of a signature.
const Signing = "https://sigstore.dev/cosign/sign/v1"

// Bundle signs in the present form.
func (s *Signer) Bundle(digest string) []byte { return s.Attest(Statement(Signing, digest)) }

// Attest signs any statement.
func (s *Signer) Attest(statement []byte) []byte {
	s.t.Helper()
	const kind = "application/vnd.in-toto+json"
	message := append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(kind), kind, len(statement)), statement...)
	signature := sign(s.t, s.private, message)
	return encode(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": s.material(func() []byte { return s.enveloped(statement, signature) }),
		"dsseEnvelope": map[string]any{
			"payload": statement, "payloadType": kind, "signatures": []any{map[string]any{"sig": signature}},
		},
	})
}

// Message signs a manifest itself, in a bundle.
func (s *Signer) Message(manifest []byte) []byte {
	s.t.Helper()
	signature, sum := sign(s.t, s.private, manifest), sha256.Sum256(manifest)
	return encode(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": s.material(func() []byte { return s.hashed(manifest, signature) }),
		"messageSignature":     map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": signature},
	})
}

// material is what a bundle has beside the signature. Bytes are in base64.
func (s *Signer) material(body func() []byte) map[string]any {
	if s.certificate == nil {
		return map[string]any{"publicKey": map[string]any{"hint": "a hint"}}
	}
	return map[string]any{
		"certificate": map[string]any{"rawBytes": s.certificate},
		"tlogEntries": []any{s.authority.entry(s.at, body())},
	}
}

func encode(document any) []byte {
	text, err := json.Marshal(document)
	if err != nil {
		panic(err) // maps of texts and numbers
	}
	return text
}

package sigstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// What a statement has to be for a signature of an image.
const (
	statementType = "application/vnd.in-toto+json"
	predicateSign = "https://sigstore.dev/cosign/sign/v1"
)

// bundle is what is used of a bundle (sigstore/protobuf-specs,
// sigstore_bundle.proto).
type bundle struct {
	MediaType string `json:"mediaType"`
	Material  struct {
		Certificate *certificate `json:"certificate"`
		Chain       *struct {
			Certificates []certificate `json:"certificates"`
		} `json:"x509CertificateChain"`
		Entries []struct {
			Index number `json:"logIndex"`
			Log   struct {
				ID encoded `json:"keyId"`
			} `json:"logId"`
			Time    number `json:"integratedTime"`
			Promise struct {
				Signature encoded `json:"signedEntryTimestamp"`
			} `json:"inclusionPromise"`
			Body encoded `json:"canonicalizedBody"`
		} `json:"tlogEntries"`
	} `json:"verificationMaterial"`
	Message *struct {
		Digest struct {
			Algorithm string  `json:"algorithm"`
			Digest    encoded `json:"digest"`
		} `json:"messageDigest"`
		Signature encoded `json:"signature"`
	} `json:"messageSignature"`
	Envelope *struct {
		Payload    encoded `json:"payload"`
		Type       string  `json:"payloadType"`
		Signatures []struct {
			Signature encoded `json:"sig"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
}

type certificate struct {
	Raw encoded `json:"rawBytes"`
}

// statement is what is used of a statement of in-toto.
type statement struct {
	Type      string `json:"_type"`
	Predicate string `json:"predicateType"`
	Subjects  []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

// VerifyBundle verifies a bundle about an image and returns who signed. The error
// is [ErrNotSignature] for a bundle that says something else about the image.
func (p *Policy) VerifyBundle(text []byte, digest string) (string, error) {
	if len(text) > MaxSize {
		return "", fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	var b bundle
	if err := decode(text, &b); err != nil {
		return "", err
	}
	if !strings.HasPrefix(b.MediaType, BundleType) {
		return "", fmt.Errorf("its media type is %.80q, not that of a bundle", b.MediaType)
	}
	var s signed
	var err error
	switch {
	case b.Envelope != nil && b.Message != nil:
		return "", errors.New("it has two signatures; nobody can say which one counts")
	case b.Envelope != nil:
		s, err = b.statement(digest)
	case b.Message != nil:
		s, err = b.message(digest)
	default:
		return "", errors.New("it has no signature")
	}
	if err != nil {
		return "", err
	}
	if p.root != nil {
		if err := b.material(&s); err != nil {
			return "", err
		}
	}
	return p.verify(s)
}

// statement is a signature of a statement (DSSE).
func (b *bundle) statement(digest string) (signed, error) {
	e := b.Envelope
	if e.Type != statementType {
		return signed{}, fmt.Errorf("%w: it signs a %.80q", ErrNotSignature, e.Type)
	}
	var said statement
	if err := decode(e.Payload, &said); err != nil {
		return signed{}, err
	}
	if said.Predicate != predicateSign {
		return signed{}, fmt.Errorf("%w: it says %.120q", ErrNotSignature, said.Predicate)
	}
	if !strings.HasPrefix(said.Type, "https://in-toto.io/Statement/") {
		return signed{}, fmt.Errorf("its statement is a %.80q", said.Type)
	}
	if len(said.Subjects) > maxSubjects {
		return signed{}, fmt.Errorf("it is about more than %d things", maxSubjects)
	}
	about := false
	for _, subject := range said.Subjects {
		about = about || "sha256:"+subject.Digest["sha256"] == digest
	}
	if !about {
		return signed{}, errOtherImage
	}
	if len(e.Signatures) != 1 {
		return signed{}, fmt.Errorf("it has %d signatures; one is expected", len(e.Signatures))
	}
	return signed{content: contentOf(authenticated(e.Type, e.Payload)), signature: e.Signatures[0].Signature, payload: e.Payload}, nil
}

// authenticated is what is signed of an envelope (DSSE, "pre-authentication
// encoding").
func authenticated(kind string, payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(kind), kind, len(payload)), payload...)
}

// message is a signature of the image's manifest, whose digest is the image's.
func (b *bundle) message(digest string) (signed, error) {
	m := b.Message
	if m.Digest.Algorithm != "SHA2_256" {
		return signed{}, fmt.Errorf("its digest is a %.40q; only SHA2_256 can be an image's", m.Digest.Algorithm)
	}
	if len(m.Digest.Digest) != sha256.Size || "sha256:"+hex.EncodeToString(m.Digest.Digest) != digest {
		return signed{}, errOtherImage
	}
	return signed{content: content{sha256: [sha256.Size]byte(m.Digest.Digest), hashed: true}, signature: m.Signature}, nil
}

// material takes over what a signature without a key of its own needs.
func (b *bundle) material(s *signed) error {
	switch m := b.Material; {
	case m.Certificate != nil:
		s.certificate = m.Certificate.Raw
	case m.Chain != nil && len(m.Chain.Certificates) > 0:
		s.certificate = m.Chain.Certificates[0].Raw
	}
	if len(b.Material.Entries) > maxEntries {
		return fmt.Errorf("it has more than %d entries of logs", maxEntries)
	}
	for _, e := range b.Material.Entries {
		s.entries = append(s.entries, entry{
			body: e.Body, time: int64(e.Time), index: int64(e.Index), log: e.Log.ID, promise: e.Promise.Signature,
		})
	}
	return nil
}

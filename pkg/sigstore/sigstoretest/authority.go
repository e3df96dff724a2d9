package sigstoretest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Authority is an instance of Sigstore: it issues certificates, and has a log.
type Authority struct {
	t            testing.TB
	root         *x509.Certificate
	intermediate *x509.Certificate
	private      crypto.Signer // of the intermediate
	log          crypto.Signer
	logID        []byte
	start        time.Time
}

// Lifetime is how long a certificate is valid.
const Lifetime = 10 * time.Minute

// NewAuthority makes an authority that begins its work at a time.
func NewAuthority(t testing.TB, start time.Time) *Authority {
	t.Helper()
	a := &Authority{t: t, log: generate(t, P256), private: generate(t, P384), start: start}
	id := sha256.Sum256(publicDER(t, a.log))
	a.logID = id[:]
	rootKey := generate(t, P384)
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.AddDate(10, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	a.root = a.issue(authority("root"), authority("root"), rootKey, rootKey)
	intermediate := authority("intermediate")
	intermediate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	a.intermediate = a.issue(intermediate, a.root, a.private, rootKey)
	return a
}

func (a *Authority) issue(template, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate
}

// Issued is somebody to whom a certificate is issued.
type Issued struct {
	// Issuer and Subject, a URI or an e-mail address.
	Issuer, Subject string
	// OldIssuer names the issuer in the older extension only.
	OldIssuer bool
	// At is when the certificate begins, and SignedAt when the log takes what is
	// signed with it. Default of the latter: a minute after.
	At, SignedAt time.Time
	// Usage of the certificate. Default: code signing.
	Usage x509.ExtKeyUsage
}

// Signer gives somebody a certificate.
func (a *Authority) Signer(to Issued) *Signer {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: to.At, NotAfter: to.At.Add(Lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if to.Usage != 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{to.Usage}
	}
	if strings.Contains(to.Subject, "://") {
		uri, err := url.Parse(to.Subject)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	} else {
		template.EmailAddresses = []string{to.Subject}
	}
	extension := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(to.Issuer)}
	if !to.OldIssuer {
		value, err := asn1.MarshalWithParams(to.Issuer, "utf8")
		if err != nil {
			a.t.Fatal(err)
		}
		extension = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: value}
	}
	template.ExtraExtensions = []pkix.Extension{extension}
	key := generate(a.t, P256)
	at := to.SignedAt
	if at.IsZero() {
		at = to.At.Add(time.Minute)
	}
	return &Signer{t: a.t, private: key, authority: a, certificate: a.issue(template, a.intermediate, key, a.private).Raw, at: at.Unix()}
}

// TrustedRoot is trusted_root.json of the authority.
func (a *Authority) TrustedRoot() string {
	valid := map[string]any{"start": a.start.UTC().Format(time.RFC3339)}
	raw := func(c *x509.Certificate) map[string]any { return map[string]any{"rawBytes": c.Raw} }
	return string(encode(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs": []any{map[string]any{
			"baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": a.logID},
			"publicKey": map[string]any{"rawBytes": publicDER(a.t, a.log), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid},
		}},
		"certificateAuthorities": []any{map[string]any{
			"uri": "https://authority.example", "validFor": valid,
			"certChain": map[string]any{"certificates": []any{raw(a.intermediate), raw(a.root)}},
		}},
		"ctlogs": []any{}, "timestampAuthorities": []any{},
	}))
}

// promise signs that the log took an entry at a time.
func (a *Authority) promise(at int64, body []byte) []byte {
	return sign(a.t, a.log, fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		base64.StdEncoding.EncodeToString(body), at, hex.EncodeToString(a.logID), logIndex))
}

// logIndex is that of every entry: nobody has the tree.
const logIndex = 4711

func (a *Authority) simpleEntry(at int64, body []byte) string {
	return string(encode(map[string]any{
		"SignedEntryTimestamp": a.promise(at, body),
		"Payload":              map[string]any{"body": body, "integratedTime": at, "logIndex": logIndex, "logID": hex.EncodeToString(a.logID)},
	}))
}

func (a *Authority) entry(at int64, body []byte) map[string]any {
	return map[string]any{
		"logIndex": fmt.Sprint(logIndex), "integratedTime": fmt.Sprint(at), "logId": map[string]any{"keyId": a.logID},
		"inclusionPromise": map[string]any{"signedEntryTimestamp": a.promise(at, body)}, "canonicalizedBody": body,
	}
}

// hashed is the entry of a signature over content.
func (s *Signer) hashed(content, signature []byte) []byte {
	sum := sha256.Sum256(content)
	return encode(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}},
		"signature": map[string]any{"content": signature, "publicKey": map[string]any{"content": []byte(s.certificatePEM())}},
	}})
}

// enveloped is the entry of a signed statement.
func (s *Signer) enveloped(statement, signature []byte) []byte {
	sum := sha256.Sum256(statement)
	return encode(map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"payloadHash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])},
		"signatures":  []any{map[string]any{"signature": signature, "verifier": []byte(s.certificatePEM())}},
	}})
}

func (s *Signer) certificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate}))
}

package sigstore_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/sigstore"
	"github.com/fleeting-taas/propagator/pkg/sigstore/sigstoretest"
)

var (
	manifest = []byte(`{"schemaVersion":2}`)
	digest   = registry.Digest(manifest)
	other    = registry.Digest([]byte("another image"))
)

func keys(t *testing.T, signers ...*sigstoretest.Signer) *sigstore.Policy {
	t.Helper()
	var text strings.Builder
	for _, s := range signers {
		text.WriteString("# a comment\n" + s.Public())
	}
	policy, err := sigstore.Keys([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// TestKeys: every kind of key verifies what it signs in every form, and nothing
// that another key signed or that is about another image.
func TestKeys(t *testing.T) {
	for name, kind := range map[string]sigstoretest.Kind{
		"P-256": sigstoretest.P256, "P-384": sigstoretest.P384, "P-521": sigstoretest.P521, "RSA": sigstoretest.RSA, "Ed25519": sigstoretest.Ed25519,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signer, stranger := sigstoretest.NewKey(t, kind), sigstoretest.NewKey(t, kind)
			policy, strangers := keys(t, signer), keys(t, stranger)
			both := keys(t, stranger, signer)
			payload, annotations := signer.Simple(digest)
			forms := map[string]func(p *sigstore.Policy, digest string) (string, error){
				"simple": func(p *sigstore.Policy, digest string) (string, error) {
					return p.VerifySimple(payload, annotations, digest)
				},
				"bundle": func(p *sigstore.Policy, digest string) (string, error) {
					return p.VerifyBundle(signer.Bundle(digest), digest)
				},
			}
			if kind != sigstoretest.Ed25519 {
				forms["message"] = func(p *sigstore.Policy, digest string) (string, error) {
					return p.VerifyBundle(signer.Message(manifest), digest)
				}
			}
			for form, verify := range forms {
				for _, p := range []*sigstore.Policy{policy, both} {
					if who, err := verify(p, digest); err != nil || !strings.HasPrefix(who, "key SHA256:") {
						t.Errorf("%s: %q, %v", form, who, err)
					}
				}
				if who, err := verify(strangers, digest); err == nil {
					t.Errorf("%s: accepted from another key, as of %s", form, who)
				}
				if form == "bundle" {
					continue // it is made for the digest that is asked about
				}
				if who, err := verify(policy, other); err == nil || !strings.Contains(err.Error(), "another image") {
					t.Errorf("%s for another image: %q, %v", form, who, err)
				}
			}
			if _, err := policy.VerifyBundle(signer.Bundle(other), digest); err == nil || !strings.Contains(err.Error(), "another image") {
				t.Errorf("bundle for another image: %v", err)
			}
		})
	}
}

// TestTampered: no byte of what was signed, or of the signature, may change.
func TestTampered(t *testing.T) {
	t.Parallel()
	signer := sigstoretest.NewKey(t, sigstoretest.P256)
	policy := keys(t, signer)
	payload, annotations := signer.Simple(digest)
	if _, err := policy.VerifySimple(bytes.Replace(payload, []byte("orders"), []byte("orderz"), 1), annotations, digest); err == nil {
		t.Error("a payload that was altered is accepted")
	}
	replaced := []byte(strings.Replace(string(sigstoretest.Payload(other)), other, digest, 1))
	payload, annotations = signer.Simple(other)
	if _, err := policy.VerifySimple(replaced, annotations, digest); err == nil {
		t.Error("the signature of another image is accepted with a digest put in")
	}
	if _, err := policy.VerifySimple(payload, nil, other); err == nil {
		t.Error("a payload without a signature is accepted")
	}
	bundle := string(signer.Bundle(digest))
	for _, change := range [][2]string{
		{`"payload":"e`, `"payload":"f`},
		{`"sig":"ME`, `"sig":"MF`},
		{`application/vnd.in-toto+json`, `application/vnd.in-toto+jsom`},
		{`"signatures":[{`, `"signatures":[{},{`},
		{`bundle.v0.3`, `bungle.v0.3`},
		{`"dsseEnvelope":`, `"messageSignature":{},"dsseEnvelope":`},
		{`"dsseEnvelope"`, `"dsseAntelope"`},
	} {
		altered := strings.Replace(bundle, change[0], change[1], 1)
		if altered == bundle {
			t.Fatalf("a bundle has no %s: %s", change[0], bundle)
		}
		if who, err := policy.VerifyBundle([]byte(altered), digest); err == nil {
			t.Errorf("accepted with %s, as of %s", change[1], who)
		}
	}
	if _, err := policy.VerifyBundle([]byte(bundle+"{}"), digest); err == nil {
		t.Error("accepted with something behind it")
	}
	if _, err := policy.VerifyBundle(append([]byte(bundle), bytes.Repeat([]byte(" "), sigstore.MaxSize)...), digest); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("too large: %v", err)
	}
}

// TestAttestationIsNoSignature: whoever may say how an image was built has not
// said that it may run.
func TestAttestationIsNoSignature(t *testing.T) {
	t.Parallel()
	signer := sigstoretest.NewKey(t, sigstoretest.P256)
	_, err := keys(t, signer).VerifyBundle(signer.Attest(sigstoretest.Statement("https://slsa.dev/provenance/v1", digest)), digest)
	if !errors.Is(err, sigstore.ErrNotSignature) || !strings.Contains(err.Error(), "slsa.dev") {
		t.Errorf("%v", err)
	}
	if who, err := keys(t, signer).VerifyBundle(signer.Attest(sigstoretest.Statement(sigstoretest.Signing, other, digest)), digest); err != nil {
		t.Errorf("a signature of two images: %q, %v", who, err)
	}
	if _, err := keys(t, signer).VerifyBundle(signer.Attest(sigstoretest.Statement(sigstoretest.Signing)), digest); err == nil {
		t.Error("a signature of nothing is accepted")
	}
}

// TestKeyFile: what is no list of public keys is refused with a reason, and a
// private key is not repeated.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	good := sigstoretest.NewKey(t, sigstoretest.P256).Public()
	private := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("secret")}))
	for _, test := range []struct{ name, text, says string }{
		{"empty", "", "no public key in PEM"},
		{"something else", "ssh-ed25519 AAAA", "no public key in PEM"},
		{"private", private, "private key"},
		{"second is private", good + private, "key 2: it is a private key"},
		{"broken off", good + "-----BEGIN PUBLIC KEY-----\nMFk", "2 beginnings of a key, and 1 keys"},
		{"certificate", strings.ReplaceAll(good, "PUBLIC KEY", "CERTIFICATE"), "no public key"},
		{"malformed", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "key 1: "},
		{"too large", good + strings.Repeat("\n", 64<<10), "larger"},
		{"too many", strings.Repeat(good, 65), "more than 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := sigstore.Keys([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

const (
	issuer  = "https://token.actions.githubusercontent.com"
	subject = "https://github.com/shop/orders/.github/workflows/build.yml@refs/heads/main"
)

var day = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// TestKeyless: a certificate of the identity is accepted long after it expired,
// because the log proves that it signed in time; nothing else is.
func TestKeyless(t *testing.T) {
	t.Parallel()
	authority := sigstoretest.NewAuthority(t, day.AddDate(-1, 0, 0))
	elsewhere := sigstoretest.NewAuthority(t, day.AddDate(-1, 0, 0))
	wanted := []sigstore.Identity{{Issuer: "https://accounts.example", Subject: "ada@shop.example"}, {Issuer: issuer, Subject: "https://github.com/shop/*"}}
	policy, err := sigstore.Keyless([]byte(authority.TrustedRoot()), wanted)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		by   *sigstoretest.Authority
		to   sigstoretest.Issued
		says string // empty: accepted
	}{
		{"workflow", authority, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day}, ""},
		{"person", authority, sigstoretest.Issued{Issuer: "https://accounts.example", Subject: "ada@shop.example", At: day, OldIssuer: true}, ""},
		{"last second", authority, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day, SignedAt: day.Add(sigstoretest.Lifetime)}, ""},
		{"other subject", authority, sigstoretest.Issued{Issuer: issuer, Subject: "https://github.com/evil/shop", At: day}, "who is not asked for"},
		{"other issuer", authority, sigstoretest.Issued{Issuer: "https://accounts.example", Subject: subject, At: day}, "who is not asked for"},
		{"expired when it signed", authority, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day, SignedAt: day.Add(time.Hour)}, "its certificate was valid from"},
		{"signed before it was issued", authority, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day, SignedAt: day.Add(-time.Hour)}, "its certificate was valid from"},
		{"before the authority's time", authority, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day.AddDate(-2, 0, 0)}, "when its key was not in use"},
		{"other use", authority, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day, Usage: x509.ExtKeyUsageServerAuth}, "no certificate authority of the trusted root"},
		{"another authority", elsewhere, sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day}, "the trusted root has no log"},
	} {
		t.Run(test.name, func(t *testing.T) {
			signer := test.by.Signer(test.to)
			payload, annotations := signer.Simple(digest)
			for form, verify := range map[string]func() (string, error){
				"simple":  func() (string, error) { return policy.VerifySimple(payload, annotations, digest) },
				"bundle":  func() (string, error) { return policy.VerifyBundle(signer.Bundle(digest), digest) },
				"message": func() (string, error) { return policy.VerifyBundle(signer.Message(manifest), digest) },
			} {
				who, err := verify()
				switch {
				case test.says == "" && (err != nil || who != test.to.Subject):
					t.Errorf("%s: %q, %v", form, who, err)
				case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
					t.Errorf("%s: %q, %v, want %q", form, who, err, test.says)
				}
			}
		})
	}
}

// TestKeylessProof: without a proof of when it was made, or with that of another
// signature, a signature is refused.
func TestKeylessProof(t *testing.T) {
	t.Parallel()
	authority := sigstoretest.NewAuthority(t, day.AddDate(-1, 0, 0))
	policy, err := sigstore.Keyless([]byte(authority.TrustedRoot()), []sigstore.Identity{{Issuer: issuer, Subject: subject}})
	if err != nil {
		t.Fatal(err)
	}
	to := sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day}
	signer := authority.Signer(to)
	const entry = "dev.sigstore.cosign/bundle"
	for _, test := range []struct {
		name   string
		change func(annotations map[string]string)
		says   string
	}{
		{"none", func(a map[string]string) { delete(a, entry) }, "no transparency log has an entry"},
		{"time moved", func(a map[string]string) {
			a[entry] = strings.Replace(a[entry], `"integratedTime":17`, `"integratedTime":18`, 1)
		}, "the log's signature of its entry is wrong"},
		{"of another signature", func(a map[string]string) {
			_, others := signer.Simple(digest)
			a[entry] = others[entry]
		}, "about another signature"},
		{"of another signer", func(a map[string]string) {
			_, others := authority.Signer(to).Simple(digest)
			a[entry] = others[entry]
		}, "about another signature"},
		{"another certificate", func(a map[string]string) {
			_, others := authority.Signer(to).Simple(digest)
			a["dev.sigstore.cosign/certificate"] = others["dev.sigstore.cosign/certificate"]
		}, "not of this key"},
		{"no certificate", func(a map[string]string) { delete(a, "dev.sigstore.cosign/certificate") }, "made with a key"},
		{"malformed certificate", func(a map[string]string) { a["dev.sigstore.cosign/certificate"] = "x" }, "has no certificate"},
		{"malformed entry", func(a map[string]string) { a[entry] = "{" }, entry},
		{"no promise", func(a map[string]string) { a[entry] = `{"Payload":{}}` }, "has not signed when"},
	} {
		t.Run(test.name, func(t *testing.T) {
			payload, annotations := signer.Simple(digest)
			test.change(annotations)
			if who, err := policy.VerifySimple(payload, annotations, digest); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q, %v, want %q", who, err, test.says)
			}
		})
	}
	if _, err := policy.VerifyBundle(sigstoretest.NewKey(t, sigstoretest.P256).Bundle(digest), digest); err == nil || !strings.Contains(err.Error(), "made with a key") {
		t.Errorf("a bundle by a key: %v", err)
	}
}

// TestTrustedRoot: a root that trusts nobody, or is none, is refused.
func TestTrustedRoot(t *testing.T) {
	t.Parallel()
	good := sigstoretest.NewAuthority(t, day).TrustedRoot()
	wanted := []sigstore.Identity{{Issuer: issuer, Subject: subject}}
	for _, test := range []struct{ name, text, says string }{
		{"empty", "", "not what it should be"},
		{"other document", `{"mediaType":"text/plain"}`, "trusted root of Sigstore"},
		{"trusts nobody", `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`, "no certificate authority"},
		{"malformed certificate", strings.Replace(good, `"certificates":[{"rawBytes":"M`, `"certificates":[{"rawBytes":"N`, 1), "certificate authority 1"},
		{"malformed key", strings.Replace(good, `"publicKey":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","rawBytes":"M`, `"publicKey":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","rawBytes":"N`, 1), "transparency log 1"},
		{"not base64", strings.Replace(good, `"keyId":"`, `"keyId":"!`, 1), "base64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.text == good {
				t.Fatal("the root was not changed")
			}
			if _, err := sigstore.Keyless([]byte(test.text), wanted); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
	if _, err := sigstore.Keyless([]byte(good), nil); err == nil {
		t.Error("nobody is accepted as an identity")
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"", "", true},
		{"*", "", true},
		{"*", "a/b", true},
		{"a*", "ab", true},
		{"a*", "ba", false},
		{"*b", "ab", true},
		{"*b", "abc", false},
		{"a*b*c", "a1b2c", true},
		{"a*b*c", "a1c2b", false},
		{"aa*aa", "aaa", false},
		{"a**a", "aa", true},
		{"https://github.com/shop/*", "https://github.com/shopping/x", false},
	} {
		if got := sigstore.Matches(test.pattern, test.text); got != test.want {
			t.Errorf("%q and %q: %t", test.pattern, test.text, got)
		}
	}
}

func FuzzVerifyBundle(f *testing.F) {
	signer := sigstoretest.NewKey(f, sigstoretest.P256)
	authority := sigstoretest.NewAuthority(f, day)
	issued := authority.Signer(sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day})
	f.Add(signer.Bundle(other))
	f.Add(issued.Bundle(other))
	f.Add(issued.Message([]byte("another image")))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","messageSignature":{}}`))
	byKey, err := sigstore.Keys([]byte(signer.Public()))
	if err != nil {
		f.Fatal(err)
	}
	keyless, err := sigstore.Keyless([]byte(authority.TrustedRoot()), []sigstore.Identity{{Issuer: issuer, Subject: "*"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// Nothing that is derived from signatures of another image is one of this.
		for _, p := range []*sigstore.Policy{byKey, keyless} {
			if who, err := p.VerifyBundle(text, digest); err == nil {
				t.Errorf("accepted as of %s: %s", who, text)
			}
		}
	})
}

func FuzzVerifySimple(f *testing.F) {
	authority := sigstoretest.NewAuthority(f, day)
	issued := authority.Signer(sigstoretest.Issued{Issuer: issuer, Subject: subject, At: day})
	payload, annotations := issued.Simple(other)
	f.Add(payload, annotations["dev.cosignproject.cosign/signature"], annotations["dev.sigstore.cosign/certificate"], annotations["dev.sigstore.cosign/bundle"])
	keyless, err := sigstore.Keyless([]byte(authority.TrustedRoot()), []sigstore.Identity{{Issuer: issuer, Subject: "*"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte, signature, certificate, entry string) {
		who, err := keyless.VerifySimple(payload, map[string]string{
			"dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/certificate": certificate, "dev.sigstore.cosign/bundle": entry,
		}, digest)
		if err == nil {
			t.Errorf("accepted as of %s: %s", who, payload)
		}
	})
}

func FuzzKeyless(f *testing.F) {
	f.Add([]byte(sigstoretest.NewAuthority(f, day).TrustedRoot()))
	f.Fuzz(func(t *testing.T, text []byte) {
		policy, err := sigstore.Keyless(text, []sigstore.Identity{{Issuer: issuer, Subject: "*"}})
		if (policy == nil) == (err == nil) {
			t.Errorf("%v, %v", policy, err)
		}
	})
}

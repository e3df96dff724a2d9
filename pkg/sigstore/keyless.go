package sigstore

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Identity is whom a certificate was issued to.
type Identity struct {
	// Issuer is who vouched for the subject, by its address, exactly.
	Issuer string
	// Subject is an e-mail address or URI. A * stands for any characters.
	Subject string
}

// The extensions of a certificate that name the issuer (Fulcio, docs/oid-info.md);
// the older one is not in DER.
var (
	oidIssuer    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	oidOldIssuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
)

// verifyKeyless verifies a signature by a certificate.
func (p *Policy) verifyKeyless(s signed) (string, error) {
	if s.certificate == nil {
		return "", errors.New("it was made with a key, and a certificate of an identity is asked for")
	}
	certificate, err := x509.ParseCertificate(s.certificate)
	if err != nil {
		return "", errors.New("its certificate is malformed")
	}
	key, err := newKey(certificate.PublicKey)
	if err != nil {
		return "", fmt.Errorf("its certificate: %w", err)
	}
	if err := key.verify(s.content, s.signature); err != nil {
		return "", err
	}
	at, err := p.proofOfTime(s)
	if err != nil {
		return "", err
	}
	if err := p.root.issued(certificate, at); err != nil {
		return "", err
	}
	return p.identify(certificate)
}

// proofOfTime is when the signature was there, by the first log that proves it.
func (p *Policy) proofOfTime(s signed) (time.Time, error) {
	err := errors.New("no transparency log has an entry of it, which would prove when it was made")
	for _, e := range s.entries {
		var at time.Time
		if at, err = p.root.signedAt(e); err == nil {
			if err = e.about(s); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, err
}

// issued reports why no authority vouches for a certificate at a time.
func (r *trustedRoot) issued(certificate *x509.Certificate, at time.Time) error {
	if at.Before(certificate.NotBefore) || at.After(certificate.NotAfter) {
		return fmt.Errorf("its certificate was valid from %s to %s, and it was signed at %s",
			certificate.NotBefore.UTC().Format(time.RFC3339), certificate.NotAfter.UTC().Format(time.RFC3339), at.Format(time.RFC3339))
	}
	for _, a := range r.authorities {
		if !a.valid.covers(at) {
			continue
		}
		options := x509.VerifyOptions{
			Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
			CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		}
		options.Roots.AddCert(a.root)
		for _, c := range a.intermediates {
			options.Intermediates.AddCert(c)
		}
		if _, err := certificate.Verify(options); err == nil {
			return nil
		}
	}
	return errors.New("no certificate authority of the trusted root vouches for its certificate")
}

// identify returns the subject of a certificate that is one of those wanted.
func (p *Policy) identify(certificate *x509.Certificate) (string, error) {
	issuer, err := issuerOf(certificate)
	if err != nil {
		return "", err
	}
	var subjects []string
	for _, uri := range certificate.URIs {
		subjects = append(subjects, uri.String())
	}
	subjects = append(subjects, certificate.EmailAddresses...)
	for _, subject := range subjects {
		if slices.ContainsFunc(p.identities, func(i Identity) bool { return i.Issuer == issuer && Matches(i.Subject, subject) }) {
			return subject, nil
		}
	}
	return "", fmt.Errorf("it is by %.100q of %.80q, who is not asked for", strings.Join(subjects, ", "), issuer)
}

func issuerOf(certificate *x509.Certificate) (string, error) {
	older := ""
	for _, extension := range certificate.Extensions {
		switch {
		case extension.Id.Equal(oidIssuer):
			var issuer string
			if rest, err := asn1.UnmarshalWithParams(extension.Value, &issuer, "utf8"); err != nil || len(rest) > 0 {
				return "", errors.New("its certificate names no issuer")
			}
			return issuer, nil
		case extension.Id.Equal(oidOldIssuer):
			older = string(extension.Value)
		}
	}
	if older == "" {
		return "", errors.New("its certificate names no issuer")
	}
	return older, nil
}

// Matches reports whether a text fits a pattern, in which * stands for any
// characters, also none.
func Matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

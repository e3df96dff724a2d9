package sigstore

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// trustedRoot is whom a policy without keys trusts (sigstore/protobuf-specs,
// sigstore_trustroot.proto).
type trustedRoot struct {
	authorities []authority
	logs        []transparencyLog
}

// period is when something may be relied on; a zero end is none.
type period struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

func (p period) covers(t time.Time) bool {
	return !t.Before(p.Start) && (p.End.IsZero() || !t.After(p.End))
}

// authority issues certificates.
type authority struct {
	root          *x509.Certificate
	intermediates []*x509.Certificate
	valid         period
}

// transparencyLog records signatures.
type transparencyLog struct {
	id    []byte
	key   publicKey
	valid period
}

func parseRoot(text []byte) (*trustedRoot, error) {
	if len(text) > maxRootFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxRootFile)
	}
	var raw struct {
		MediaType   string `json:"mediaType"`
		Authorities []struct {
			Chain struct {
				Certificates []certificate `json:"certificates"`
			} `json:"certChain"`
			Valid period `json:"validFor"`
		} `json:"certificateAuthorities"`
		Logs []struct {
			Key struct {
				Raw   encoded `json:"rawBytes"`
				Valid period  `json:"validFor"`
			} `json:"publicKey"`
			ID struct {
				Key encoded `json:"keyId"`
			} `json:"logId"`
		} `json:"tlogs"`
	}
	if err := decode(text, &raw); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix([]byte(raw.MediaType), []byte("application/vnd.dev.sigstore.trustedroot")) {
		return nil, fmt.Errorf("its mediaType is %.80q, not that of a trusted root of Sigstore", raw.MediaType)
	}
	root := &trustedRoot{}
	for i, a := range raw.Authorities {
		one := authority{valid: a.Valid}
		for _, c := range a.Chain.Certificates {
			parsed, err := x509.ParseCertificate(c.Raw)
			if err != nil {
				return nil, fmt.Errorf("certificate authority %d: %w", i+1, err)
			}
			// The last one is the root.
			if one.root != nil {
				one.intermediates = append(one.intermediates, one.root)
			}
			one.root = parsed
		}
		if one.root == nil {
			return nil, fmt.Errorf("certificate authority %d has no certificates", i+1)
		}
		root.authorities = append(root.authorities, one)
	}
	for i, l := range raw.Logs {
		key, err := x509.ParsePKIXPublicKey(l.Key.Raw)
		if err != nil {
			return nil, fmt.Errorf("transparency log %d: %w", i+1, err)
		}
		accepted, err := newKey(key)
		if err != nil {
			return nil, fmt.Errorf("transparency log %d: %w", i+1, err)
		}
		root.logs = append(root.logs, transparencyLog{id: l.ID.Key, key: accepted, valid: l.Key.Valid})
	}
	if len(root.authorities) == 0 || len(root.logs) == 0 {
		return nil, errors.New("has no certificate authority, or no transparency log")
	}
	return root, nil
}

package signer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzParseAllowed: whatever a list holds, it is either faulty or can be used.
func FuzzParseAllowed(f *testing.F) {
	f.Add(read(f, "allowed_signers"))
	f.Add(read(f, "keyring.asc"))
	for line := range bytes.Lines(read(f, "allowed_signers")) {
		f.Add(line)
	}
	f.Add([]byte("a@b cert-authority,namespaces=\"git\" ssh-ed25519 AAAA\r\n\"a\" openpgp xgYEAAAAABs="))
	objects := [][]byte{read(f, "ed25519.tag"), read(f, "pgp.tag"), read(f, "pgp-sub.tag")}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, parse := range []func([]byte) (*Allowed, error){ParseAllowed, ParseKeyring} {
			a, err := parse(text)
			if err != nil {
				if faults, ok := errors.AsType[Faults](err); !ok || len(faults) == 0 || a != nil {
					t.Errorf("got %v and %T", a, err)
				}
				continue
			}
			for _, raw := range objects {
				_, err := a.at(present).VerifyFor(raw, "lead@shop.example", seen)
				if err != nil && !sentinel(err) {
					t.Errorf("error of no kind: %v", err)
				}
			}
		}
	})
}

func sentinel(err error) bool {
	return slices.ContainsFunc([]error{ErrUnsigned, ErrUnknownKey, ErrBadSignature, ErrExpired, ErrRevoked, ErrWrongPrincipal}, func(kind error) bool {
		return errors.Is(err, kind)
	})
}

// FuzzVerify: nothing is accepted but what was signed. Whoever finds other bytes
// has found another writing of the same signature at best, so the payload is what
// is compared.
func FuzzVerify(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	var payloads [][]byte
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		if payload, signature, err := SplitSignature(raw); err == nil && signature != nil {
			payloads = append(payloads, payload)
		}
	}
	if len(payloads) < 15 {
		f.Fatalf("only %d signatures to begin with", len(payloads))
	}
	ring, err := ParseKeyring(read(f, "keyring.asc"))
	if err != nil {
		f.Fatal(err)
	}
	list, err := ParseAllowed(read(f, "allowed_signers"))
	if err != nil {
		f.Fatal(err)
	}
	allowed := Join(list, ring).at(present)
	f.Fuzz(func(t *testing.T, raw []byte) {
		who, err := allowed.Verify(raw, seen)
		switch {
		case err != nil && (!sentinel(err) || who != Signer{} || !printable(err.Error())):
			t.Errorf("refused as %+v with %q", who, err)
		case err == nil:
			payload, _, _ := SplitSignature(raw)
			if !slices.ContainsFunc(payloads, func(known []byte) bool { return bytes.Equal(known, payload) }) {
				t.Errorf("nobody signed this, but %+v is said to have: %q", who, raw)
			}
		}
	})
}

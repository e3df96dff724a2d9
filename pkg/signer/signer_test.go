package signer

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "make the signatures in testdata anew, with git, ssh-keygen and gpg")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

// TestVectors judges signatures that the real programs made once.
func TestVectors(t *testing.T) {
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		newWorkshop(t, "testdata").make()
	}
	judgeVectors(t, "testdata")
}

// TestRealPrograms judges signatures that they make now.
func TestRealPrograms(t *testing.T) {
	out := t.TempDir()
	newWorkshop(t, out).make()
	judgeVectors(t, out)
}

func judgeVectors(t *testing.T, dir string) {
	t.Helper()
	load := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	list := mustParse(t, string(load("allowed_signers")))
	ring, err := ParseKeyring(load("keyring.asc"))
	if err != nil {
		t.Fatal(err)
	}
	ring = ring.at(present)
	prints := map[string]string{}
	for line := range strings.Lines(string(load("fingerprints"))) {
		name, fingerprint, _ := strings.Cut(strings.TrimSpace(line), " ")
		prints[name] = fingerprint
	}
	early, late := time.Date(2026, 6, 10, 0, 0, 0, 0, time.UTC), time.Date(2026, 6, 20, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name    string
		allowed *Allowed
		file    string
		// email is empty for Verify.
		email string
		at    time.Time
		// want is the principal of the key that key names.
		want, key string
		kind      Kind
		err       error
		says      string
	}{
		{name: "Ed25519", file: "ed25519.tag", want: "lead@shop.example", key: "ed25519", kind: SSH},
		{name: "SHA-256", file: "sha256.tag", want: "lead@shop.example", key: "ed25519", kind: SSH},
		{name: "commit", file: "ed25519.commit", want: "lead@shop.example", key: "ed25519", kind: SSH},
		{name: "for the right person", file: "ed25519.tag", email: "lead@shop.example", want: "lead@shop.example", key: "ed25519", kind: SSH},
		{name: "ECDSA P-256", file: "ecdsa256.tag", want: "*@ops.example,!intern@ops.example", key: "ecdsa256", kind: SSH},
		{name: "a pattern", file: "ecdsa256.tag", email: "night@ops.example", want: "night@ops.example", key: "ecdsa256", kind: SSH},
		{name: "ECDSA P-384", file: "ecdsa384.tag", want: "p384@shop.example", key: "ecdsa384", kind: SSH},
		{name: "ECDSA P-521", file: "ecdsa521.tag", want: "p521@shop.example", key: "ecdsa521", kind: SSH},
		{name: "RSA", file: "rsa.tag", want: "rsa@shop.example", key: "rsa", kind: SSH},
		{name: "valid again", allowed: list.at(early), file: "past.tag", want: "past@shop.example", key: "past", kind: SSH},
		{name: "valid by now", file: "future.tag", at: late, want: "future@shop.example", key: "future", kind: SSH},
		{name: "no time but the present", file: "future.tag", at: time.Unix(0, 0).Add(-1), err: ErrExpired, says: "is not valid before 2026-06-15T00:00:00Z, but 1969-12-31T23:59:59Z counts"},

		{name: "unsigned", file: "unsigned.tag", err: ErrUnsigned},
		{name: "not on the list", file: "stranger.tag", err: ErrUnknownKey, says: prints["stranger"]},
		{name: "another namespace", file: "namespace.tag", err: ErrBadSignature, says: `made for the namespace "file", not for git`},
		{name: "only for other namespaces", file: "files.tag", err: ErrUnknownKey, says: `is only for the namespaces "file,email"`},
		{name: "no longer", file: "past.tag", at: seen, err: ErrExpired, says: prints["past"] + " of line 6 was valid until 2026-06-15T00:00:00Z, but 2026-07-01T12:00:00Z counts"},
		{name: "not yet", file: "future.tag", at: seen, err: ErrExpired, says: prints["future"] + " of line 7 is not valid before 2026-06-15T00:00:00Z, but 2026-06-01T12:00:00Z counts"},
		{name: "a time to come does not make it valid", allowed: list.at(early), file: "future.tag", at: late, err: ErrExpired},
		{name: "a time to come is when it has expired", allowed: list.at(early), file: "past.tag", at: late, err: ErrExpired},
		{name: "somebody else", file: "ed25519.tag", email: "qa@shop.example", err: ErrWrongPrincipal, says: `is for "lead@shop.example", not for "qa@shop.example"`},
		{name: "another case", file: "ed25519.tag", email: "Lead@shop.example", err: ErrWrongPrincipal},
		{name: "taken away from the pattern", file: "ecdsa256.tag", email: "intern@ops.example", err: ErrWrongPrincipal},

		{name: "OpenPGP", file: "pgp.tag", want: "pgp@shop.example", key: "pgp", kind: OpenPGP},
		{name: "OpenPGP commit", file: "pgp.commit", email: "pgp@shop.example", want: "pgp@shop.example", key: "pgp", kind: OpenPGP},
		{name: "OpenPGP subkey", file: "pgp-sub.tag", want: "pgp-sub@shop.example", key: "pgp-sub", kind: OpenPGP},
		{name: "OpenPGP keyring", allowed: ring, file: "pgp.tag", email: "pgp@shop.example", want: "pgp@shop.example", key: "pgp", kind: OpenPGP},
		{name: "OpenPGP both", allowed: Join(list, nil, ring).at(present), file: "pgp.tag", want: "pgp@shop.example", key: "pgp", kind: OpenPGP},
		{name: "OpenPGP valid again", allowed: list.at(early), file: "pgp-expired.tag", want: "pgp-expired@shop.example", key: "pgp-expired", kind: OpenPGP},
		{name: "OpenPGP signature valid again", allowed: list.at(early), file: "pgp-short.tag", want: "pgp-short@shop.example", key: "pgp-short", kind: OpenPGP},

		{name: "OpenPGP not on the list", file: "pgp-stranger.tag", err: ErrUnknownKey, says: prints["pgp-stranger"]},
		{name: "OpenPGP not in the keyring", allowed: ring, file: "pgp-sub.tag", err: ErrUnknownKey},
		{name: "OpenPGP somebody else", file: "pgp.tag", email: "lead@shop.example", err: ErrWrongPrincipal},
		{name: "OpenPGP keyring, somebody else", allowed: ring, file: "pgp.tag", email: "lead@shop.example", err: ErrWrongPrincipal},
		{name: "OpenPGP key expired", file: "pgp-expired.tag", at: seen, err: ErrExpired, says: prints["pgp-expired"] + " was valid until 2026-06-15T"},
		{name: "OpenPGP key not made yet", file: "pgp.tag", at: time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC), err: ErrExpired, says: "is not valid before 2026-01-01T00:00:00Z"},
		{name: "OpenPGP key revoked", file: "pgp-revoked.tag", at: seen, err: ErrRevoked, says: prints["pgp-revoked"]},
		{name: "OpenPGP signature expired", file: "pgp-short.tag", at: seen, err: ErrExpired, says: "the signature of " + prints["pgp-short"] + " was valid until"},
		{name: "OpenPGP signature of tomorrow", file: "pgp-late.tag", err: ErrExpired, says: "is dated 2026-07-02T11:00:00Z, which is in the future"},
	} {
		t.Run(test.name, func(t *testing.T) {
			allowed := test.allowed
			if allowed == nil {
				allowed = list
			}
			raw := load(test.file)
			var got Signer
			var err error
			if test.email == "" {
				got, err = allowed.Verify(raw, test.at)
			} else {
				got, err = allowed.VerifyFor(raw, test.email, test.at)
			}
			if !errors.Is(err, test.err) {
				t.Fatalf("got %+v and the error %v, want %v", got, err, test.err)
			}
			if err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %q, want one that says %q", err, test.says)
			}
			want := Signer{Principal: test.want, Fingerprint: prints[test.key], Kind: test.kind}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNobodyIsAnybody: a tag without a tagger gives an empty address.
func TestNobodyIsAnybody(t *testing.T) {
	line := strings.Replace(string(read(t, "allowed_signers")), "lead@shop.example", "*", 1)
	for _, list := range []string{line, "\"*,\"" + line[1:]} {
		if got, err := mustParse(t, list).VerifyFor(read(t, "ed25519.tag"), "", seen); !errors.Is(err, ErrWrongPrincipal) {
			t.Errorf("got %+v, %v; want %v", got, err, ErrWrongPrincipal)
		}
	}
	if got, err := new(Allowed).Verify(read(t, "ed25519.tag"), seen); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("empty list: got %+v, %v; want %v", got, err, ErrUnknownKey)
	}
}

// TestKeyTwice: of several lines with one key, one that allows is enough, and the
// error is of the line that came closest.
func TestKeyTwice(t *testing.T) {
	_, key, _ := strings.Cut(strings.SplitN(string(read(t, "allowed_signers")), "\n", 2)[0], `namespaces="git" `)
	past, next, other := `valid-before="20260301Z" `, `valid-after="20270101Z" `, `namespaces="file" `
	for _, test := range []struct {
		name, list, email string
		line              string
		err               error
	}{
		{"expired, then valid", "a@shop.example " + past + key + "\nb@shop.example " + key, "", "b@shop.example", nil},
		{"valid, then expired", "b@shop.example " + key + "\na@shop.example " + past + key, "", "b@shop.example", nil},
		{"renewed", "a@shop.example " + past + key + "\na@shop.example valid-after=\"20260301Z\" " + key, "a@shop.example", "a@shop.example", nil},
		{"both expired", "a@shop.example " + past + key + "\nb@shop.example " + next + key, "", "", ErrExpired},
		{"valid for somebody else", "a@shop.example " + past + key + "\nb@shop.example " + key, "a@shop.example", "", ErrExpired},
		{"for two others", "a@shop.example " + key + "\nb@shop.example " + past + key, "c@shop.example", "", ErrWrongPrincipal},
		{"other namespace and somebody else", "a@shop.example " + other + key + "\nb@shop.example " + key, "a@shop.example", "", ErrWrongPrincipal},
		{"other namespaces", "a@shop.example " + other + key + "\nb@shop.example " + other + key, "", "", ErrUnknownKey},
	} {
		t.Run(test.name, func(t *testing.T) {
			allowed, raw := mustParse(t, test.list), read(t, "ed25519.tag")
			got, err := allowed.Verify(raw, seen)
			if test.email != "" {
				got, err = allowed.VerifyFor(raw, test.email, seen)
			}
			if !errors.Is(err, test.err) || got.Principal != test.line {
				t.Errorf("got %+v, %v; want %q, %v", got, err, test.line, test.err)
			}
		})
	}
}

package signer

import (
	"crypto/dsa" //nolint:staticcheck // such a key must be refused
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// keyOf returns type and base64 of a key of the list in testdata.
func keyOf(t testing.TB, principals string) string {
	t.Helper()
	for line := range strings.Lines(string(read(t, "allowed_signers"))) {
		fields := strings.Fields(line)
		if fields[0] == principals {
			return strings.Join(fields[len(fields)-3:len(fields)-1], " ")
		}
	}
	t.Fatalf("no key of %s", principals)
	return ""
}

func TestParseAllowed(t *testing.T) {
	key, gpg := keyOf(t, "lead@shop.example"), keyOf(t, "pgp@shop.example")
	day := func(text string) time.Time {
		d, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	type line struct {
		Line                   int
		Principals, Namespaces string
		After, Before          time.Time
		Kind                   Kind
	}
	for _, test := range []struct {
		name, text string
		want       []line
	}{
		{"nothing", "", nil},
		{"comments and blank lines", "# a\n\n   # b\n \t \n", nil},
		{"one", "a@b " + key, []line{{Line: 1, Principals: "a@b", Kind: SSH}}},
		{"with a comment", "a@b " + key + "   of the # lead, \"quoted\"", []line{{Line: 1, Principals: "a@b", Kind: SSH}}},
		{"tabs and spaces", "\t a@b \t" + strings.ReplaceAll(key, " ", "\t ") + "\tx\n", []line{{Line: 1, Principals: "a@b", Kind: SSH}}},
		{"Windows line ends", "# a\r\n\r\na@b " + key + "\r\nc@d openpgp " + strings.Fields(gpg)[1] + "\r\n", []line{{Line: 3, Principals: "a@b", Kind: SSH}, {Line: 4, Principals: "c@d", Kind: OpenPGP}}},
		{"quoted principals", `"a@b,c d@e" ` + key, []line{{Line: 1, Principals: "a@b,c d@e", Kind: SSH}}},
		{"all options", `a@b VALID-after="20260102",namespaces="git,f*",Valid-Before="202603041506Z" ` + key, []line{{Line: 1, Principals: "a@b", Namespaces: "git,f*", Kind: SSH, After: day("2026-01-02T00:00:00Z"), Before: day("2026-03-04T15:06:00Z")}}},
		{"seconds", `a@b valid-after="20260102030405",valid-before="20260102030405Z" ` + key, []line{{Line: 1, Principals: "a@b", Kind: SSH, After: day("2026-01-02T03:04:05Z"), Before: day("2026-01-02T03:04:05Z")}}},
		{"leap day", `a@b valid-after="20280229" ` + key, []line{{Line: 1, Principals: "a@b", Kind: SSH, After: day("2028-02-29T00:00:00Z")}}},
		{"OpenPGP with options", `a@b valid-before="20260102Z" ` + gpg + " laptop", []line{{Line: 1, Principals: "a@b", Kind: OpenPGP, Before: day("2026-01-02T00:00:00Z")}}},
		{"twice", "a@b " + key + "\na@b " + key, []line{{Line: 1, Principals: "a@b", Kind: SSH}, {Line: 2, Principals: "a@b", Kind: SSH}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := ParseAllowed([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []line
			for _, e := range a.entries {
				got = append(got, line{e.line, e.principals, e.namespaces, e.after, e.before, e.kind})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLineFaults: each line alone is wrong.
func TestLineFaults(t *testing.T) {
	key, gpg := keyOf(t, "lead@shop.example"), keyOf(t, "pgp@shop.example")
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // must be refused
	if err != nil {
		t.Fatal(err)
	}
	weak, err := ssh.NewPublicKey(&small.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	old := ssh.Marshal(struct {
		Type       string
		P, Q, G, Y *big.Int
	}{"ssh-dss", new(big.Int).SetBit(big.NewInt(1), 1023, 1), new(big.Int).SetBit(big.NewInt(1), 159, 1), big.NewInt(2), big.NewInt(3)})
	if _, err := ssh.ParsePublicKey(old); err != nil {
		t.Fatalf("no DSA key: %v, %v", err, dsa.L1024N160)
	}
	encode := base64.StdEncoding.EncodeToString
	wire, err := base64.StdEncoding.DecodeString(strings.Fields(gpg)[1])
	if err != nil {
		t.Fatal(err)
	}
	private := append([]byte{0xc5}, wire[1:]...)
	if wire[0] == 0x98 {
		private[0] = 0x94
	}
	for _, test := range []struct{ line, says string }{
		{"a@b", "has no key"},
		{"a@b ssh-ed25519", "has no key"},
		{key, "neither an option"},
		{`"a@b ` + key, "quote is not closed"},
		{`a@b,"c d" ` + key, "quotes have to be around all"},
		{`"" ` + key, "allow nobody"},
		{", " + key, "allow nobody"},
		{"!a@b " + key, "allow nobody"},
		{"a@b ssh-foo AAAA", `"ssh-foo" is neither an option`},
		{"a@b no-such-option " + key, "neither an option"},
		{`a@b namespaces="git", ` + key, `"" is neither an option`},
		{`a@b namespaces="git",namespaces="git" ` + key, "twice"},
		{`a@b namespaces="" ` + key, "names none"},
		{`a@b namespaces=git ` + key, "double quotes"},
		{`a@b namespaces ` + key, "double quotes"},
		{`a@b namespaces="git"x" ` + key, "quote is not closed"},
		{`a@b namespaces="git"x"" ` + key, "double quotes"},
		{`a@b valid-after=20260101 ` + key, "double quotes"},
		{`a@b valid-after="2026" ` + key, "YYYYMMDD"},
		{`a@b valid-after="2026-1-1" ` + key, "YYYYMMDD"},
		{`a@b valid-after="20260230" ` + key, "YYYYMMDD"},
		{`a@b valid-after="202601012460" ` + key, "YYYYMMDD"},
		{`a@b valid-before="20260101ZZ" ` + key, "YYYYMMDD"},
		{`a@b valid-before="+2026010" ` + key, "YYYYMMDD"},
		{`a@b valid-after="20260102",valid-before="20260101" ` + key, "never valid"},
		{`a@b cert-authority ` + key, "certificates are not supported"},
		{`a@b cert-authority="x" ` + key, "takes no value"},
		{"a@b ssh-ed25519-cert-v01@openssh.com AAAA", "certificates are not supported"},
		{"a@b ssh-ed25519 %%%%", "not base64"},
		{"a@b ssh-ed25519 AAAA", "cannot be used"},
		{"a@b ssh-rsa " + strings.Fields(key)[1], "is of type ssh-ed25519, but ssh-rsa"},
		{"a@b " + string(ssh.MarshalAuthorizedKey(weak)), "1024 bits is too weak"},
		{"a@b ssh-dss " + encode(old), "not accepted"},
		{"a\x00@b " + key, "cannot be seen"},
		{"\ufeffa@b " + key, "byte order mark"},
		{"a@b\xff " + key, "UTF-8"},
		{`a@b namespaces="git" ` + gpg, "no namespaces"},
		{"a@b openpgp keys/lead.asc", "neither armor nor a path"},
		{"a@b openpgp -----BEGIN", "neither armor nor a path"},
		{"a@b openpgp AAAA", "no OpenPGP data"},
		{"a@b openpgp " + encode(wire[:40]), "cut off"},
		{"a@b openpgp " + encode(append(wire, wire...)), "2 OpenPGP keys"},
		{"a@b openpgp " + encode(private), "private key"},
		{"a@b openpgp " + encode([]byte{0xc6, 6, 6, 0, 0, 0, 0, 27}), "version 4"},
		{"a@b openpgp " + encode([]byte{0xc6, 6, 4, 0, 0, 0, 0, 27}), "cannot be used"},
		{"a@b openpgp " + encode([]byte{0xcb, 1, 4}), "packet of type 11"},
		{"a@b openpgp " + encode(signaturePacket(revokesKey, nil, nil)), "does not begin with a key"},
	} {
		_, err := ParseAllowed([]byte("# list\n" + test.line))
		faults, ok := errors.AsType[Faults](err)
		if !ok || len(faults) != 1 || faults[0].Line != 2 || !strings.Contains(faults[0].Message, test.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want one fault in line 2 that says %q", test.line, err, test.says)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	text := "x\n# fine\na@b ssh-ed25519 AAAA\na@b " + keyOf(t, "lead@shop.example") + "\n, x\n"
	_, err := ParseAllowed([]byte(text))
	want := "line 1: has no key; write principals, options if there are any, type and key, as in lead@shop.example ssh-ed25519 AAAAC3…\n" +
		"line 3: the key cannot be used: ssh: short read\n" +
		"line 5: principals \",\" allow nobody; write an e-mail address or a pattern such as *@shop.example"
	if diff := cmp.Diff(want, errorText(err)); diff != "" {
		t.Error(diff)
	}
	_, err = ParseAllowed([]byte(strings.Repeat("x\n", 1000)))
	if got := errorText(err); strings.Count(got, "\n") != maxPrinted || !strings.HasSuffix(got, "and 900 more faults") {
		t.Errorf("1000 faults are printed as %d lines", strings.Count(got, "\n")+1)
	}
	for name, parse := range map[string]func([]byte) (*Allowed, error){"list": ParseAllowed, "keyring": ParseKeyring} {
		if _, err := parse(make([]byte, maxList+1)); !strings.Contains(errorText(err), "at most 1048576") {
			t.Errorf("huge %s: %v", name, err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestMatchList(t *testing.T) {
	for _, test := range []struct {
		text, list string
		want       bool
	}{
		{"lead@shop.example", "lead@shop.example", true},
		{"lead@shop.example", "qa@shop.example,lead@shop.example", true},
		{"lead@shop.example", "*@shop.example", true},
		{"lead@shop.example", "l?ad@*", true},
		{"lead@shop.example", "*", true},
		{"lead@shop.example", "**@**e", true},
		{"", "*", true},
		{"", "?", false},
		{"lead@shop.example", "", false},
		{"lead@shop.example", "lead", false},
		{"lead@shop.example.evil", "*@shop.example", false},
		{"Lead@shop.example", "lead@shop.example", false},
		{"lead@shop.example", "?ead@shop.exampl", false},
		{"intern@shop.example", "*@shop.example,!intern@*", false},
		{"intern@shop.example", "!intern@*,*@shop.example", false},
		{"lead@shop.example", "!intern@*,*@shop.example", true},
		{"lead@shop.example", "!intern@*", false},
		{"a,b", "a,b", false},
		{strings.Repeat("a", 20000), strings.Repeat("*a", 10000) + "b", false},
	} {
		if got := matchList(test.text, test.list); got != test.want {
			t.Errorf("matchList(%.40q, %.40q) = %t", test.text, test.list, got)
		}
	}
}

// TestSameAsOpenSSH gives lists to ssh-keygen and to us; we must allow what it
// allows. Where we differ is in the package comment.
func TestSameAsOpenSSH(t *testing.T) {
	w := newWorkshop(t, t.TempDir())
	mine, other := w.sshKey("mine", "-t", "ed25519"), w.sshKey("other", "-t", "ed25519")
	armored := w.run(tagText, "ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", "mine")
	gpg := keyOf(t, "pgp@shop.example")
	for _, test := range []struct {
		list, email string
		want        bool
	}{
		{"a@b " + mine, "a@b", true},
		{"a@b " + mine, "A@b", false},
		{"a@b " + other, "a@b", false},
		{"a@b " + other + "\na@b " + mine, "a@b", true},
		{"c@b " + gpg + "\na@b " + mine, "a@b", true},
		{"*@b,!a@b " + mine, "a@b", false},
		{"*@b,!c@b " + mine, "a@b", true},
		{"?@b, " + mine + " comment", "a@b", true},
		{`"a@b" ` + mine, "a@b", true},
		{`a@b namespaces="git" ` + mine, "a@b", true},
		{`a@b namespaces="file,g?t" ` + mine, "a@b", true},
		{`a@b namespaces="*,!git" ` + mine, "a@b", false},
		{`a@b namespaces="file" ` + mine, "a@b", false},
		{`a@b namespaces="git", ` + mine, "a@b", false},
		{`a@b namespaces=git ` + mine, "a@b", false},
		{`a@b valid-before="20260101Z" ` + mine, "a@b", false},
		{`a@b valid-before="20260701120000Z" ` + mine, "a@b", true},
		{`a@b valid-before="20260701115959Z" ` + mine, "a@b", false},
		{`a@b VALID-AFTER="20260701120000Z" ` + mine, "a@b", true},
		{`a@b valid-after="202607011201Z" ` + mine, "a@b", false},
		{`a@b valid-before="20260101Z" ` + mine + "\na@b " + mine, "a@b", true},
		{"a@b " + mine + "\r\n", "a@b", true},
		{"  # x\n\n\ta@b \t" + mine, "a@b", true},
	} {
		w.keygen(test.list+"\n", armored)
		_, theirs := w.try(tagText, "ssh-keygen", "-Y", "verify", "-n", "git", "-f", "list", "-I", test.email, "-s", "sig", "-O", "verify-time=20260701120000Z")
		a, err := ParseAllowed([]byte(test.list))
		if err == nil {
			_, err = a.at(present).VerifyFor([]byte(tagText+armored), test.email, present)
		}
		if (err == nil) != test.want || (theirs == nil) != test.want {
			t.Errorf("%s\nfor %s: want %t; OpenSSH says %v, we say %v", test.list, test.email, test.want, theirs, err)
		}
	}
}

func TestParseKeyring(t *testing.T) {
	armored := string(read(t, "keyring.asc"))
	want := []string{"pgp@shop.example"}
	for _, test := range []struct {
		name, text string
		want       []string
		lines      []int
	}{
		{"one", armored, want, []int{1}},
		{"two, with text around", "Lead:\n" + armored + "\nThe same:\n" + armored + "end", append(want, want...), []int{2, 4 + strings.Count(armored, "\n")}},
		{"Windows line ends", strings.ReplaceAll(armored, "\n", "\r\n"), want, []int{1}},
		{"with a header", strings.Replace(armored, "-----\n\n", "-----\nComment: x: y\n\n", 1), want, []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := ParseKeyring([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var principals []string
			var lines []int
			for _, e := range a.entries {
				principals, lines = append(principals, e.principals), append(lines, e.line)
			}
			if diff := cmp.Diff(test.want, principals) + cmp.Diff(test.lines, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, test := range []struct{ name, text, says string }{
		{"empty", "", "line 1: no armored OpenPGP public key"},
		{"an SSH key", keyOf(t, "lead@shop.example"), "line 1: no armored OpenPGP public key"},
		{"cut off", armored[:200], "line 1: no OpenPGP public key: the armor is cut off"},
		{"a signature", armorPGP("PGP SIGNATURE", nil), `begins with "-----BEGIN PGP SIGNATURE-----"`},
		{"a private key", "\n" + armorPGP("PGP PRIVATE KEY BLOCK", nil), "line 2: no OpenPGP public key"},
		{"only a revocation", armorPGP(keyArmor, signaturePacket(revokesKey, nil, nil)), "does not begin with a key"},
		{"one good, one bad", armored + armorPGP(keyArmor, []byte{1}), "the block no OpenPGP data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseKeyring([]byte(test.text))
			if _, ok := errors.AsType[Faults](err); !ok || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want faults that say %q", err, test.says)
			}
		})
	}
}

// TestUserIDIsNoPattern: the owner of a key writes the user IDs, and must not
// write patterns, or addresses that only another made up.
func TestUserIDIsNoPattern(t *testing.T) {
	w := newWorkshop(t, t.TempDir())
	fingerprint := w.openpgpKey("mallory", "cert,sign", "never")
	ring := func() *Allowed {
		t.Helper()
		a, err := ParseKeyring([]byte(w.gpg("20260601T000000", "--export", "--armor", fingerprint)))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, uid := range []string{"<*@shop.example>", "X <a@b,lead@shop.example>", "X <l?ad@shop.example>", "old@shop.example"} {
		// Gpg itself refuses some of these addresses, if asked politely.
		w.gpg("20260102T000000", "--allow-freeform-uid", "--quick-add-uid", fingerprint, uid)
	}
	if diff := cmp.Diff("mallory@shop.example,old@shop.example", ring().entries[0].principals); diff != "" {
		t.Error(diff)
	}
	w.gpg("20260103T000000", "--quick-revoke-uid", fingerprint, "old@shop.example")
	if diff := cmp.Diff("mallory@shop.example", ring().entries[0].principals); diff != "" {
		t.Errorf("after one user ID was revoked: %s", diff)
	}
	w.git("mallory.tag", "openpgp", fingerprint, "")
	raw, err := os.ReadFile(filepath.Join(w.out, "mallory.tag"))
	if err != nil {
		t.Fatal(err)
	}
	for email, want := range map[string]error{"mallory@shop.example": nil, "lead@shop.example": ErrWrongPrincipal, "*@shop.example": ErrWrongPrincipal, "old@shop.example": ErrWrongPrincipal} {
		a := ring()
		if _, err := a.VerifyFor(raw, email, time.Time{}); !errors.Is(err, want) {
			t.Errorf("for %s: got %v, want %v", email, err, want)
		}
	}
}

package signer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

const tagText = "object 3f2a9c4100000000000000000000000000000001\ntype commit\ntag approve/prod/v1\n" +
	"tagger Lead <lead@shop.example> 1780311600 +0000\n\nApproved.\n"

func newSSH(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return mustSigner(t, private)
}

func mustSigner(t testing.TB, private any) ssh.Signer {
	t.Helper()
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func lineOf(principals string, key ssh.PublicKey) string {
	return principals + " " + string(ssh.MarshalAuthorizedKey(key))
}

func sum512(text string) []byte {
	sum := sha512.Sum512([]byte(text))
	return sum[:]
}

// wantNobody fails where a signature is accepted, or refused in another way, or in
// more than one line.
func wantNobody(t *testing.T, a *Allowed, raw []byte, want error, says string) {
	t.Helper()
	got, err := a.Verify(raw, seen)
	switch {
	case err == nil:
		t.Errorf("accepted as by %+v", got)
	case !errors.Is(err, want) || !strings.Contains(err.Error(), says):
		t.Errorf("error %q, want %v that says %q", err, want, says)
	case !printable(err.Error()) || strings.Contains(err.Error(), "\t") || len(err.Error()) > 500:
		t.Errorf("error %q is not a short line", err)
	case got != (Signer{}):
		t.Errorf("refused, but names %+v", got)
	}
}

// TestHostileSSH: whatever the signature of an allowed key is made of, only one of
// this payload, for git, in the usual form, counts.
func TestHostileSSH(t *testing.T) {
	key := newSSH(t)
	a := mustParse(t, lineOf("lead@shop.example", key.PublicKey()))
	good := goodSSH().sign(t, key, sum512(tagText))
	if _, err := a.Verify([]byte(tagText+good), seen); err != nil {
		t.Fatalf("the signature that the others are made of is refused: %v", err)
	}
	with := func(change func(*sshsig)) string {
		o := goodSSH()
		change(&o)
		return tagText + o.sign(t, key, sum512(tagText))
	}
	sum256 := sha256.Sum256([]byte(tagText))
	half := len(good) / 2
	for _, test := range []struct{ name, raw, says string }{
		{"of another tag", strings.Replace(tagText, "prod/v1", "prod/v2", 1) + good, "did not sign this"},
		{"of another commit", strings.Replace(tagText, "01\n", "02\n", 1) + good, "did not sign this"},
		{"a line more", tagText + "\n" + good, "did not sign this"},
		{"Windows line ends in what was signed", strings.ReplaceAll(tagText, "\n", "\r\n") + good, "no message"},
		{"Windows line ends in the message", strings.Replace(tagText, "Approved.\n", "Approved.\r\n", 1) + good, "did not sign this"},
		{"Windows line ends in the signature", tagText + strings.ReplaceAll(good, "\n", "\r\n"), "begins with"},
		{"Windows line ends within the signature", tagText + strings.Replace(good, "\nU1", "\r\nU1", 1), "begins with"},
		{"in a tag instead of a commit", "tree 3f2a9c4100000000000000000000000000000001\n\n" + good, "not signed"},
		{"signed twice", tagText + good + good, "more than one"},
		{"signed over a signature", tagText + good + goodSSH().sign(t, key, sum512(tagText+good)), "more than one"},
		{"rubbish and then signed", tagText + "-----BEGIN PGP SIGNATURE-----\n" + good, "more than one"},
		{"signed and then rubbish", tagText + good + "Signed-off-by: Lead\n", "something follows"},
		{"two signatures in one armor", tagText + armorSSH(append(blobOf(t, good), blobOf(t, good)...)), "ssh:"},
		{"cut off in the armor", tagText + good[:half], "cut off"},
		{"cut off in the first line", tagText + good[:10], "not signed"},
		{"cut off at the end", tagText + strings.TrimSuffix(good, "-----END SSH SIGNATURE-----\n"), "cut off"},
		{"cut off within", tagText + armorSSH(blobOf(t, good)[:70]), "ssh:"},
		{"nothing in the armor", tagText + "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n", "no SSH signature"},
		{"a header in the armor", tagText + strings.Replace(good, "\nU1", "\nComment: x\n\nU1", 1), "odd line"},
		{"a space that is none in the armor", tagText + strings.Replace(good, "\nU1", "\n\u00a0\u202e\u0085U1", 1), `odd line "\u00a0\u202e\u0085U1`},
		{"a long line of letters of several bytes", tagText + strings.Replace(good, "\nU1", "\nx"+strings.Repeat("\u00e4", 500)+"U1", 1), "odd line"},
		{"a checksum in the armor", tagText + strings.Replace(good, "\n-----END", "\n=AAAA\n-----END", 1), "damaged"},
		{"an empty line in the armor", tagText + strings.Replace(good, "\nU1", "\n\nU1", 1), "odd line"},
		{"armor of a key", tagText + strings.ReplaceAll(good, "SSH SIGNATURE", "PGP MESSAGE"), "only SSH and detached OpenPGP"},
		{"X.509", tagText + strings.ReplaceAll(good, "SSH SIGNATURE", "SIGNED MESSAGE"), "only SSH and detached OpenPGP"},
		{"as OpenPGP", tagText + strings.ReplaceAll(good, "SSH SIGNATURE", "PGP SIGNATURE"), "no OpenPGP data"},
		{"another namespace", with(func(o *sshsig) { o.namespace = "file" }), `"file"`},
		{"no namespace", with(func(o *sshsig) { o.namespace = "" }), `""`},
		{"a namespace that fills the log", with(func(o *sshsig) { o.namespace = strings.Repeat("git\x1b\n", 1000) }), "namespace"},
		{"another version", with(func(o *sshsig) { o.version = 2 }), "version 2"},
		{"another beginning", with(func(o *sshsig) { o.magic = "SSHGIS" }), "no SSH signature"},
		{"a reserved field", with(func(o *sshsig) { o.reserved = "x" }), "must be empty"},
		{"another hash", with(func(o *sshsig) { o.hash = "md5" }), `"md5"`},
		{"the wrong hash", with(func(o *sshsig) { o.hash = "sha256" }), "did not sign this"},
		{"more behind the signature", with(func(o *sshsig) { o.tail = []byte{0} }), "ssh:"},
		{"more behind the inner signature", with(func(o *sshsig) { o.rest = []byte{0} }), "follows"},
		{"without the outer parts", tagText + armorSSH(mustSign(t, key, []byte(tagText))), "no SSH signature"},
		{"of the bare payload", tagText + rewrap(t, good, mustSign(t, key, []byte(tagText))), "did not sign this"},
		{"of the bare hash", tagText + rewrap(t, good, mustSign(t, key, sum256[:])), "did not sign this"},
		{"no object", good, "neither"},
		{"empty", "", "neither"},
		{"a certificate of pushing", "certificate version 0.1\n\n" + goodSSH().sign(t, key, sum512("certificate version 0.1\n\n")), "neither"},
		{"only headers", "object 3f\n" + goodSSH().sign(t, key, sum512("object 3f\n")), "no message"},
		{"huge object", tagText + strings.Repeat("x", maxObject) + "\n" + good, "more than 1048576"},
		{"huge signature", tagText + strings.Replace(good, "\nU1", "\n"+strings.Repeat("A", maxSignature)+"\nU1", 1), "more than 65536"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := ErrBadSignature
			if test.says == "not signed" {
				want = ErrUnsigned
			}
			wantNobody(t, a, []byte(test.raw), want, test.says)
		})
	}
	// Every bit counts, of payload and signature, except where text says the same
	// in another way.
	for _, raw := range [][]byte{[]byte(tagText + good), read(t, "ed25519.tag")} {
		list := mustParse(t, lineOf("lead@shop.example", key.PublicKey())+string(read(t, "allowed_signers")))
		for i := range raw {
			changed := bytes.Clone(raw)
			changed[i] ^= 1
			if got, err := list.Verify(changed, seen); err == nil {
				t.Errorf("byte %d changed, and accepted as by %+v", i, got)
			}
		}
	}
}

func blobOf(t testing.TB, armored string) []byte {
	t.Helper()
	blob, _, err := dearmor([]byte(armored), sshArmor)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func mustSign(t testing.TB, key ssh.Signer, data []byte) []byte {
	t.Helper()
	s, err := key.Sign(nil, data)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.Marshal(s)
}

// rewrap exchanges the inner signature, which has the length of the old one.
func rewrap(t testing.TB, armored string, inner []byte) string {
	t.Helper()
	blob := blobOf(t, armored)
	return armorSSH(append(bytes.Clone(blob[:len(blob)-len(inner)]), inner...))
}

// TestSHA1: an RSA key of the list must not be used with SHA-1, though SSH knows
// such signatures.
func TestSHA1(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := mustSigner(t, private)
	a := mustParse(t, lineOf("lead@shop.example", key.PublicKey()))
	for format, want := range map[string]error{ssh.KeyAlgoRSA: ErrBadSignature, ssh.KeyAlgoRSASHA256: nil, ssh.KeyAlgoRSASHA512: nil} {
		o := goodSSH()
		o.format = format
		if _, err := a.Verify([]byte(tagText+o.sign(t, key, sum512(tagText))), seen); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", format, err, want)
		}
	}
}

// TestCertificate: a certificate is not the key in it.
func TestCertificate(t *testing.T) {
	key, authority := newSSH(t), newSSH(t)
	certificate := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"lead@shop.example"}, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(tagText + goodSSH().sign(t, signer, sum512(tagText)))
	wantNobody(t, mustParse(t, lineOf("lead@shop.example", key.PublicKey())), raw, ErrBadSignature, "certificates are not supported")
	for _, line := range []string{lineOf("lead@shop.example", certificate), lineOf("lead@shop.example cert-authority", authority.PublicKey())} {
		if _, err := ParseAllowed([]byte(line)); err == nil || !strings.Contains(err.Error(), "certificates are not supported") {
			t.Errorf("got %v, want that certificates are not supported", err)
		}
	}
}

// securityKey plays a security key, in the format of PROTOCOL.u2f of OpenSSH.
type securityKey struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
	flags   byte
}

func newSecurityKey(t testing.TB, flags byte) *securityKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return &securityKey{private: private, public: key, flags: flags}
}

func (k *securityKey) PublicKey() ssh.PublicKey { return k.public }

func (k *securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	state := binary.BigEndian.AppendUint32([]byte{k.flags}, 7)
	signed := append(append(application[:], state...), message[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, signed), Rest: state}, nil
}

// TestSecurityKey: a touch is needed. Where ssh-keygen is there, it agrees that
// the key is played well.
func TestSecurityKey(t *testing.T) {
	key := newSecurityKey(t, 1)
	list, armored := lineOf("lead@shop.example", key.public), goodSSH().sign(t, key, sum512(tagText))
	if got, err := mustParse(t, list).Verify([]byte(tagText+armored), seen); err != nil || got.Kind != SSH {
		t.Errorf("got %+v, %v", got, err)
	}
	untouched := newSecurityKey(t, 0)
	wantNobody(t, mustParse(t, lineOf("lead@shop.example", untouched.public)),
		[]byte(tagText+goodSSH().sign(t, untouched, sum512(tagText))), ErrBadSignature, "did not sign this")
	t.Run("ssh-keygen", func(t *testing.T) {
		w := newWorkshop(t, t.TempDir())
		w.keygen(list, armored)
		if out, err := w.try(tagText, "ssh-keygen", "-Y", "verify", "-n", "git", "-f", "list", "-I", "lead@shop.example", "-s", "sig"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// keygen writes the files that ssh-keygen verifies with.
func (w *workshop) keygen(list, armored string) {
	w.t.Helper()
	for name, text := range map[string]string{"list": list, "sig": armored} {
		if err := os.WriteFile(filepath.Join(w.home, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// signaturePacket makes an OpenPGP signature packet out of its parts.
func signaturePacket(kind byte, hashed, unhashed []byte) []byte {
	body := []byte{4, kind, 22, 8}
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(hashed))), hashed...)
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(unhashed))), unhashed...)
	body = append(body, 0, 0, 0, 1, 1, 0, 1, 1)
	return append([]byte{0xc2, 255, 0, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

func armorPGP(kind string, data []byte) string {
	return "-----BEGIN " + kind + "-----\n\n" + base64.StdEncoding.EncodeToString(data) + "\n-----END " + kind + "-----\n"
}

// TestHostileOpenPGP holds what the library would allocate gigabytes for, panic
// over, or pass over.
func TestHostileOpenPGP(t *testing.T) {
	a := mustParse(t, string(read(t, "allowed_signers")))
	payload, signature, err := SplitSignature(read(t, "pgp.tag"))
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := dearmor(signature, openpgpArmor)
	if err != nil {
		t.Fatal(err)
	}
	created := []byte{5, 2, 0x6a, 0, 0, 0}
	issuer := append([]byte{9, 16}, []byte("12345678")...)
	changed := func(at int, to byte) []byte {
		c := bytes.Clone(good)
		c[at] = to
		return c
	}
	// The body begins behind the two bytes of a header in the old format.
	if good[0] != 0x88 {
		t.Fatalf("the signature begins with %x, which this test cannot change", good[0])
	}
	huge := []byte{0xc2, 255, 0, 0, 0, 12, 6, 0, 22, 8, 255, 255, 255, 255, 0, 0, 0, 0}
	for _, test := range []struct {
		name string
		data []byte
		want error
		says string
	}{
		{"two signatures", append(bytes.Clone(good), good...), ErrBadSignature, "there must be one"},
		{"a marker before it", append([]byte{0xca, 3, 'P', 'G', 'P'}, good...), ErrBadSignature, "there must be one"},
		{"a byte more", append(bytes.Clone(good), 0), ErrBadSignature, "no OpenPGP data"},
		{"cut off", good[:len(good)-1], ErrBadSignature, "cut off"},
		{"nothing", nil, ErrBadSignature, "damaged"},
		{"version 6 that wants four gigabytes", huge, ErrBadSignature, "version 6"},
		{"version 6 in a subpacket", signaturePacket(0, append(append(bytes.Clone(created), 13, 32), huge[6:]...), issuer), ErrBadSignature, "another one in it"},
		{"version 3", changed(2, 3), ErrBadSignature, "version 3"},
		{"of text", changed(3, 1), ErrBadSignature, "type 1"},
		{"of a user ID", changed(3, 0x13), ErrBadSignature, "type 19"},
		{"SHA-1", changed(5, 2), ErrBadSignature, "SHA-1"},
		{"MD5", changed(5, 1), ErrBadSignature, "hash"},
		{"another hash", changed(5, 9), ErrBadSignature, "did not sign this"},
		{"empty exportable", signaturePacket(0, append(bytes.Clone(created), 1, 4), issuer), ErrBadSignature, "cut off"},
		{"empty subpacket", signaturePacket(0, append(bytes.Clone(created), 0), issuer), ErrBadSignature, "cut off"},
		{"subpacket too long", signaturePacket(0, append(bytes.Clone(created), 9, 16), nil), ErrBadSignature, "cut off"},
		{"critical and unknown", signaturePacket(0, append(bytes.Clone(created), 1, 0x80|100), issuer), ErrBadSignature, "critical"},
		{"critical notation", signaturePacket(0, append(bytes.Clone(created), 11, 0x80|20, 0x80, 0, 0, 0, 0, 1, 0, 1, 'n', 'v'), issuer), ErrBadSignature, `"n"`},
		{"without a date", signaturePacket(0, nil, issuer), ErrBadSignature, "creation time"},
		{"of nobody", signaturePacket(0, created, nil), ErrBadSignature, "does not name its key"},
		{"of a stranger", signaturePacket(0, created, issuer), ErrUnknownKey, "3132333435363738"},
		{"a key", append([]byte{0xc6, 1}, 4), ErrBadSignature, "there must be one"},
		{"of unknown length", append([]byte{0x8b}, good[2:]...), ErrBadSignature, "does not say its length"},
		{"in parts", append([]byte{0xc2, 230}, good[2:]...), ErrBadSignature, "does not say its length"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantNobody(t, a, append(bytes.Clone(payload), armorPGP(openpgpArmor, test.data)...), test.want, test.says)
		})
	}
	t.Run("of another tag", func(t *testing.T) {
		wantNobody(t, a, append(bytes.Replace(payload, []byte("prod/pgp"), []byte("prod/gpg"), 1), signature...), ErrBadSignature, "did not sign this")
	})
	t.Run("cut off armor", func(t *testing.T) {
		raw := read(t, "pgp.tag")
		for end := range raw {
			if got, err := a.Verify(raw[:end], seen); err == nil && end < len(raw)-1 {
				t.Errorf("%d of %d bytes accepted as by %+v", end, len(raw), got)
			}
		}
	})
}

// TestHostileCommit is about the headers of commits.
func TestHostileCommit(t *testing.T) {
	a := mustParse(t, string(read(t, "allowed_signers")))
	raw := string(read(t, "ed25519.commit"))
	head, _, _ := strings.Cut(raw, "\n\n")
	_, signature, _ := strings.Cut(head, "gpgsig ")
	for _, test := range []struct{ name, raw, says string }{
		{"two signatures", strings.Replace(raw, "gpgsig ", "gpgsig "+signature+"\ngpgsig ", 1), "more than one signature"},
		{"another kind beside it", strings.Replace(raw, "gpgsig ", "gpgsig-sha256 evil\ngpgsig ", 1), "more than one signature"},
		{"a header more", strings.Replace(raw, "gpgsig ", "encoding evil\ngpgsig ", 1), "did not sign this"},
		{"a header behind it", strings.Replace(raw, "\n\nRelease", "\nencoding evil\n\nRelease", 1), "did not sign this"},
		{"another tree", "tree 00" + raw[7:], "did not sign this"},
		{"another message", strings.Replace(raw, "Tested.", "Untested.", 1), "did not sign this"},
		{"an empty signature", strings.Replace(raw, "gpgsig "+signature, "gpgsig ", 1), "only SSH"},
		{"no message", head + "\n", "no message"},
	} {
		t.Run(test.name, func(t *testing.T) { wantNobody(t, a, []byte(test.raw), ErrBadSignature, test.says) })
	}
	wantNobody(t, a, []byte(strings.Replace(raw, "gpgsig "+signature+"\n", "", 1)), ErrUnsigned, "")
	wantNobody(t, a, []byte(strings.Replace(raw, "gpgsig "+signature+"\n", "mergetag "+signature+"\n", 1)), ErrUnsigned, "")
}

// TestRevocationOnOneLine: a key that is listed twice, once in a copy from before
// it was revoked, is revoked. It makes no difference which stands first.
func TestRevocationOnOneLine(t *testing.T) {
	var line string
	for l := range strings.Lines(string(read(t, "allowed_signers"))) {
		if strings.HasPrefix(l, "pgp-revoked@") {
			line = l
		}
	}
	wire, err := base64.StdEncoding.DecodeString(strings.Fields(line)[2])
	if err != nil {
		t.Fatal(err)
	}
	packets, err := splitPackets(wire)
	if err != nil {
		t.Fatal(err)
	}
	var old []byte
	for i, p := range packets {
		if i != 1 {
			old = append(old, p.raw...)
		} else if p.tag != packetSignature || p.body[1] != revokesKey {
			t.Fatalf("packet 1 is no revocation")
		}
	}
	oldLine := fmt.Sprintf("pgp-revoked@shop.example openpgp %s\n", base64.StdEncoding.EncodeToString(old))
	raw := read(t, "pgp-revoked.tag")
	if _, err := mustParse(t, oldLine).Verify(raw, seen); err != nil {
		t.Fatalf("the copy from before is refused: %v", err)
	}
	wantNobody(t, mustParse(t, oldLine+line), raw, ErrRevoked, "")
	wantNobody(t, mustParse(t, line+oldLine), raw, ErrRevoked, "")
	// Where the library does not look for it, it must not be passed over.
	moved := append(bytes.Clone(old), packets[1].raw...)
	_, err = ParseAllowed([]byte("a@b openpgp " + base64.StdEncoding.EncodeToString(moved)))
	if err == nil || !strings.Contains(err.Error(), "revocation in the wrong place") {
		t.Errorf("got %v, want that the revocation is in the wrong place", err)
	}
	// Nor one that it cannot read; byte 3 of the body is the hash.
	unreadable := bytes.Clone(wire)
	unreadable[len(packets[0].raw)+len(packets[1].raw)-len(packets[1].body)+3] = 1
	_, err = ParseAllowed([]byte("a@b openpgp " + base64.StdEncoding.EncodeToString(unreadable)))
	if err == nil || !strings.Contains(err.Error(), "revocation that cannot be read") {
		t.Errorf("got %v, want that the revocation cannot be read", err)
	}
}

// TestParallel is for the race detector.
func TestParallel(t *testing.T) {
	a := mustParse(t, string(read(t, "allowed_signers")))
	var wait sync.WaitGroup
	for range 4 {
		for _, name := range []string{"ed25519.tag", "pgp.tag", "pgp-sub.tag"} {
			raw := read(t, name)
			wait.Go(func() {
				if _, err := a.Verify(raw, seen); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
}

package signer

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// patience is a time limit that no test is meant to reach.
const patience = 2 * time.Minute

// The present of the tests, and when they first saw a tag.
var (
	present = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	seen    = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

func mustParse(t testing.TB, text string) *Allowed {
	t.Helper()
	a, err := ParseAllowed([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return a.at(present)
}

// at sets what time it is.
func (a *Allowed) at(now time.Time) *Allowed {
	return &Allowed{entries: a.entries, now: func() time.Time { return now }}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// workshop makes signatures with the real programs.
type workshop struct {
	t testing.TB
	// out gets the list, the keyring and the objects.
	out string
	// home holds the keys, which are thrown away.
	home string
	// list and prints are the list and the fingerprints as the programs print
	// them.
	list, prints strings.Builder
}

// newWorkshop skips the test where a program is missing.
func newWorkshop(t testing.TB, out string) *workshop {
	t.Helper()
	for _, program := range []string{"git", "ssh-keygen", "gpg", "gpgconf"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed, so no signatures of the real programs are made; those in testdata are tested all the same", program)
		}
	}
	home, err := os.MkdirTemp("", "sign") //nolint:usetesting // the agent's socket wants a short path
	if err != nil {
		t.Fatal(err)
	}
	w := &workshop{t: t, out: out, home: home}
	t.Cleanup(func() {
		w.run("", "gpgconf", "--kill", "all")
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	w.run("", "git", "init", "-q", "-b", "main", "repo")
	w.run("", "git", "-C", "repo", "commit", "-q", "--allow-empty", "-m", "start")
	return w
}

// run runs a program and returns what it prints.
func (w *workshop) run(stdin, program string, args ...string) string {
	w.t.Helper()
	out, err := w.try(stdin, program, args...)
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

func (w *workshop) try(stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // programs and arguments of this file
	cmd.Dir = w.home
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "GNUPGHOME=" + w.home, "TZ=UTC", "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Lead", "GIT_AUTHOR_EMAIL=lead@shop.example", "GIT_AUTHOR_DATE=2026-06-01T11:00:00Z",
		"GIT_COMMITTER_NAME=Lead", "GIT_COMMITTER_EMAIL=lead@shop.example", "GIT_COMMITTER_DATE=2026-06-01T11:00:00Z",
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

func (w *workshop) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.out, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// sshKey makes a key and returns its type and base64.
func (w *workshop) sshKey(name string, args ...string) string {
	w.t.Helper()
	w.run("", "ssh-keygen", append([]string{"-q", "-N", "", "-C", name, "-f", name}, args...)...)
	text, err := os.ReadFile(filepath.Join(w.home, name+".pub"))
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintf(&w.prints, "%s %s\n", name, strings.Fields(w.run("", "ssh-keygen", "-lf", name+".pub"))[1])
	return strings.Join(strings.Fields(string(text))[:2], " ")
}

// openpgpKey makes a key of Ed25519 and returns its fingerprint.
func (w *workshop) openpgpKey(name, usage, expires string) string {
	w.t.Helper()
	w.gpg("20260101T000000", "--quick-gen-key", name+" <"+name+"@shop.example>", "ed25519", usage, expires)
	for line := range strings.Lines(w.gpg("20260101T000000", "--with-colons", "--list-keys", name+"@shop.example")) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" {
			fmt.Fprintf(&w.prints, "%s %s\n", name, fields[9])
			return fields[9]
		}
	}
	w.t.Fatal("gpg lists no fingerprint of its own key")
	return ""
}

func (w *workshop) gpg(at string, args ...string) string {
	w.t.Helper()
	return w.run("", "gpg", append([]string{"--batch", "--quiet", "--yes", "--passphrase", "", "--faked-system-time", at + "!"}, args...)...)
}

// export returns a public key in base64.
func (w *workshop) export(fingerprint string) string {
	return base64.StdEncoding.EncodeToString([]byte(w.gpg("20260601T000000", "--export", "--export-options", "export-minimal", fingerprint)))
}

// git makes a tag or a commit and writes the object.
func (w *workshop) git(name, format, key, program string) {
	w.t.Helper()
	config := []string{"-C", "repo", "-c", "gpg.format=" + format, "-c", "user.signingkey=" + key}
	if program != "" {
		config = append(config, "-c", "gpg.program="+program)
	}
	kind := "tag"
	if strings.HasSuffix(name, ".commit") {
		kind = "commit"
		w.run("", "git", append(config, "commit", "-q", "--allow-empty", "-S", "-m", "Release 1.4.0\n\nTested.")...)
		w.write(name, w.run("", "git", "-C", "repo", "cat-file", kind, "HEAD"))
		return
	}
	tag := "approve/prod/" + strings.TrimSuffix(name, ".tag")
	w.run("", "git", append(config, "tag", "-s", "-m", "Approved.\n\n- tests are green", tag)...)
	w.write(name, w.run("", "git", "-C", "repo", "cat-file", kind, tag))
}

// make fills the folder out.
func (w *workshop) make() {
	w.t.Helper()
	for _, k := range []struct {
		name, principals, options string
		args                      []string
	}{
		{"ed25519", "lead@shop.example", `namespaces="git" `, []string{"-t", "ed25519"}},
		{"ecdsa256", "*@ops.example,!intern@ops.example", "", []string{"-t", "ecdsa", "-b", "256"}},
		{"ecdsa384", "p384@shop.example", "", []string{"-t", "ecdsa", "-b", "384"}},
		{"ecdsa521", "p521@shop.example", "", []string{"-t", "ecdsa", "-b", "521"}},
		{"rsa", "rsa@shop.example", "", []string{"-t", "rsa", "-b", "2048"}},
		{"past", "past@shop.example", `valid-before="20260615Z" `, []string{"-t", "ed25519"}},
		{"future", "future@shop.example", `valid-after="20260615" `, []string{"-t", "ed25519"}},
		{"files", "files@shop.example", `namespaces="file,email" `, []string{"-t", "ed25519"}},
		{"stranger", "", "", []string{"-t", "ed25519"}},
	} {
		line := w.sshKey(k.name, k.args...)
		if k.principals != "" {
			fmt.Fprintf(&w.list, "%s %s%s %s\n", k.principals, k.options, line, k.name)
		}
		w.git(k.name+".tag", "ssh", filepath.Join(w.home, k.name), "")
	}
	w.git("ed25519.commit", "ssh", filepath.Join(w.home, "ed25519"), "")
	payload, _, _ := strings.Cut(w.run("", "git", "-C", "repo", "cat-file", "tag", "approve/prod/ed25519"), "-----BEGIN")
	w.write("namespace.tag", payload+w.run(payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", "ed25519"))
	w.write("sha256.tag", payload+w.run(payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-O", "hashalg=sha256", "-f", "ed25519"))
	w.write("unsigned.tag", payload)
	w.makeOpenPGP()
	w.write("allowed_signers", w.list.String())
	w.write("fingerprints", w.prints.String())
}

func (w *workshop) makeOpenPGP() {
	w.t.Helper()
	program := func(name, at string, args ...string) string {
		file := filepath.Join(w.home, name+".sh")
		script := fmt.Sprintf("#!/bin/sh\nexec gpg --batch --passphrase '' --faked-system-time '%s!' %s \"$@\"\n", at, strings.Join(args, " "))
		if err := os.WriteFile(file, []byte(script), 0o700); err != nil { //nolint:gosec // git runs it
			w.t.Fatal(err)
		}
		return file
	}
	for _, k := range []struct{ name, usage, expires, signs string }{
		{"pgp", "cert,sign", "never", "20260601T110000"},
		{"pgp-stranger", "cert,sign", "never", "20260601T110000"},
		{"pgp-expired", "cert,sign", "2026-06-15", "20260601T110000"},
		{"pgp-revoked", "cert,sign", "never", "20260601T110000"},
		{"pgp-short", "cert,sign", "never", "20260601T110000"},
		{"pgp-late", "cert,sign", "never", "20260702T110000"},
		{"pgp-sub", "cert", "never", "20260601T110000"},
	} {
		fingerprint := w.openpgpKey(k.name, k.usage, k.expires)
		var args []string
		switch k.name {
		case "pgp-short":
			args = []string{"--default-sig-expire", "20260615T000000"}
		case "pgp-sub":
			w.gpg("20260102T000000", "--quick-add-key", fingerprint, "rsa2048", "sign", "never")
		}
		w.git(k.name+".tag", "openpgp", fingerprint, program(k.name, k.signs, args...))
		if k.name == "pgp" {
			w.git("pgp.commit", "openpgp", fingerprint, program(k.name, k.signs))
			w.write("keyring.asc", w.gpg("20260601T000000", "--export", "--armor", fingerprint))
		}
		if k.name == "pgp-revoked" {
			// Gpg keeps a revocation at hand, with a colon against accidents.
			text, err := os.ReadFile(filepath.Join(w.home, "openpgp-revocs.d", fingerprint+".rev"))
			if err != nil {
				w.t.Fatal(err)
			}
			_, text, _ = bytes.Cut(text, []byte("\n:"))
			w.run(string(text), "gpg", "--batch", "--import")
		}
		if k.name != "pgp-stranger" {
			fmt.Fprintf(&w.list, "%s@shop.example openpgp %s %s\n", k.name, w.export(fingerprint), k.name)
		}
	}
}

// armorSSH puts armor around an SSH signature.
func armorSSH(blob []byte) string {
	encoded, lines := base64.StdEncoding.EncodeToString(blob), ""
	for len(encoded) > 70 {
		lines, encoded = lines+encoded[:70]+"\n", encoded[70:]
	}
	return "-----BEGIN SSH SIGNATURE-----\n" + lines + encoded + "\n-----END SSH SIGNATURE-----\n"
}

// sshsig is a signature to be made, whole or with something wrong.
type sshsig struct {
	magic                     string
	version                   uint32
	namespace, reserved, hash string
	// format of the inner signature, when not the usual one; rest follows it, tail
	// the outer one.
	format     string
	rest, tail []byte
}

func goodSSH() sshsig { return sshsig{magic: sshMagic, version: 1, namespace: "git", hash: "sha512"} }

// sign signs as the options say, with a digest that the caller made.
func (o sshsig) sign(t testing.TB, key ssh.Signer, digest []byte) string {
	t.Helper()
	signed := append([]byte(o.magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{o.namespace, o.reserved, o.hash, digest})...)
	var s *ssh.Signature
	var err error
	if algorithms, ok := key.(ssh.AlgorithmSigner); ok && o.format != "" {
		s, err = algorithms.SignWithAlgorithm(nil, signed, o.format)
	} else {
		s, err = key.Sign(nil, signed)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Rest = append(s.Rest, o.rest...)
	blob := append([]byte(o.magic), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{o.version, key.PublicKey().Marshal(), o.namespace, o.reserved, o.hash, ssh.Marshal(s)})...)
	return armorSSH(append(blob, o.tail...))
}

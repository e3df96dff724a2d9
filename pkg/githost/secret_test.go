package githost

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnusableSecretsStopTheStart(t *testing.T) {
	for _, test := range []struct{ name, text, says string }{
		{"empty", "", "is empty"},
		{"blank", " \n\n", "is empty"},
		{"unresolved", "$propagator:webhook-secret", "begins with $"},
		{"one unresolved", secret + "\n$webhook", "begins with $"},
		{"short", "fifteen bytes..", "has 15 bytes; at least 16"},
		{"one short", secret + "\nshort", "has 5 bytes"},
		{"many", strings.Repeat(secret+"\n", maxSecrets+1), "more than 8"},
		{"signing token cut off", "whsec_c2l4dGVlbiBieXRlcyBhbmQgc29tZSBtb3J", "as a whole"},
		{"short signing token", "whsec_c2hvcnQ=aaaaaaaa", "as a whole"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewSecrets(test.text)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("error: %v", err)
			}
		})
	}
	if _, err := NewSecrets("\n " + secret + " \r\n\n" + signing); err != nil {
		t.Error(err)
	}
}

// TestSecretsFile: a changed file counts at once, and one that became unusable
// refuses everybody without telling them why.
func TestSecretsFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret + "\n")
	secrets, err := SecretsFile(name)
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(secrets)
	receive := func(key string) error {
		_, err := v.Receive(request(t, githubBody, githubPush, hub256(key, githubBody)))
		return err
	}
	if err := receive(secret); err != nil {
		t.Error(err)
	}
	write(secret + "\n" + newer)
	if err := errors.Join(receive(secret), receive(newer)); err != nil {
		t.Errorf("both: %v", err)
	}
	write(newer)
	if err := receive(secret); !errors.Is(err, ErrRefused) {
		t.Errorf("the old secret: %v", err)
	}
	for _, broken := range []string{"", "$unresolved", "short", strings.Repeat("x", maxSecretFile+1)} {
		write(broken)
		if err := receive(newer); !errors.Is(err, ErrSecrets) || errors.Is(err, ErrRefused) {
			t.Errorf("%.10q: %v", broken, err)
		}
	}
	if _, err := SecretsFile(name + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	kept, err := NewSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", kept, kept, kept, kept); strings.Contains(printed, secret) {
		t.Errorf("secrets print as %s", printed)
	}
}

package promotion

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// key is somebody's ssh key.
func key(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signed adds a signature to a tag as git does with gpg.format=ssh.
// Source of the format: PROTOCOL.sshsig of OpenSSH.
func signed(t *testing.T, tag gitrepo.Object, k ssh.Signer) gitrepo.Object {
	t.Helper()
	hash := sha512.Sum512(tag.Data)
	blob := struct{ Namespace, Reserved, HashAlgorithm, Hash string }{"git", "", "sha512", string(hash[:])}
	signature, err := k.Sign(rand.Reader, append([]byte("SSHSIG"), ssh.Marshal(blob)...))
	if err != nil {
		t.Fatal(err)
	}
	envelope := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Version                                                  uint32
		PublicKey, Namespace, Reserved, HashAlgorithm, Signature string
	}{1, string(k.PublicKey().Marshal()), "git", "", "sha512", string(ssh.Marshal(signature))})...)
	text := base64.StdEncoding.EncodeToString(envelope)
	var armor strings.Builder
	armor.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for len(text) > 0 {
		n := min(70, len(text))
		armor.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	armor.WriteString("-----END SSH SIGNATURE-----\n")
	return gitrepo.Object{Type: gitrepo.TypeTag, Data: append(append([]byte{}, tag.Data...), armor.String()...)}
}

// sign approves the first snapshot with a signed tag; without a key with one that is not.
func (s *shop) sign(who, email string, k ssh.Signer) {
	s.t.Helper()
	full := version(s.t, "shop/v0.1.0")
	name := "approve/prod/" + full.String() + "/" + who
	tag := gitrepo.NewTag(gitrepo.Tag{
		Object: s.refs()[full.Ref()], Type: gitrepo.TypeCommit, Name: name, Message: "tested\n",
		Tagger: gitrepo.Signature{Name: who, Email: email, When: s.clock},
	})
	if k != nil {
		tag = signed(s.t, tag, k)
	}
	push := gitrepo.Push{Objects: []gitrepo.Object{tag}, Updates: []gitrepo.Update{{Ref: gitrepo.Tags + name, New: tag.ID()}}}
	if err := s.server.Client().Push(s.t.Context(), push); err != nil {
		s.t.Fatal(err)
	}
}

// signedShop is the shop with a gate that asks for signatures.
func signedShop(t *testing.T, gate, signers string) *shop {
	t.Helper()
	text := strings.Replace(configuration, "registry: prod, promote: auto}", "registry: prod, promote: auto, gates: [{approval: "+gate+"}]}", 1)
	s := newShop(t, gitrepotest.Files{config.File: text, "signers": signers})
	s.settle(func() *Engine { return s.engine(nil) })
	return s
}

// TestSignedApprovals: only tags that count are signed by somebody who may, for
// themselves, with a key that is valid, and each person counts once.
func TestSignedApprovals(t *testing.T) {
	ada, bob, mallory, laptop := key(t), key(t), key(t), key(t)
	line := func(principals, options string, k ssh.Signer) string {
		return strings.TrimSpace(principals+" "+options) + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.PublicKey()))) + "\n"
	}
	list := line("ada@shop.example", "", ada) + line("*@ops.example", "", bob)
	for _, test := range []struct {
		name, list string
		approve    func(s *shop)
		passes     bool
		says       string
	}{
		{"two people", list, func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
			s.sign("bob", "bob@ops.example", bob)
		}, true, ""},
		{"one is not signed", list, func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
			s.sign("bob", "bob@ops.example", nil)
		}, false, "that of bob does not count: it is not signed"},
		{"a stranger", list, func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
			s.sign("bob", "bob@ops.example", mallory)
		}, false, "that of bob does not count"},
		{"for somebody else", list, func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
			s.sign("bob", "bob@ops.example", ada)
		}, false, "that of bob does not count"},
		{"one key under two addresses", list, func(s *shop) {
			s.sign("bob", "bob@ops.example", bob)
			s.sign("rob", "rob@ops.example", bob)
		}, false, "1 of 2"},
		{"one person with two keys", list + line("ada@shop.example", "", laptop), func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
			s.sign("laptop", "Ada@shop.example", laptop)
		}, false, "1 of 2"},
		{"two addresses and two keys of one person", line("bob@ops.example,rob@ops.example", "", bob) + line("rob@ops.example", "", laptop), func(s *shop) {
			s.sign("a", "bob@ops.example", bob)
			s.sign("b", "rob@ops.example", laptop)
			s.sign("c", "rob@ops.example", bob)
		}, false, "1 of 2"},
		{"an expired key", line("ada@shop.example", "", ada) + line("*@ops.example", `valid-before="20260101"`, bob), func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
			s.sign("bob", "bob@ops.example", bob)
		}, false, "that of bob does not count"},
		{"a list that cannot be used", "ada@shop.example ssh-ed25519 ???\n", func(s *shop) {
			s.sign("ada", "ada@shop.example", ada)
		}, false, "the list of signers signers cannot be used: line 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := signedShop(t, "{count: 2, signers: signers}", test.list)
			test.approve(s)
			s.settle(func() *Engine { return s.engine(nil) })
			if got := !s.entry("prod").Snapshot.IsZero(); got != test.passes {
				t.Fatalf("it passes: %t", got)
			}
			if test.passes {
				return
			}
			result, err := s.engine(nil).Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, wait := range result.Waits {
				if wait.Environment == "prod" && wait.Reason == ApprovalMissing && strings.Contains(wait.Detail, test.says) {
					return
				}
			}
			t.Errorf("waits %v", result.Waits)
		})
	}
}

// TestApprovalOfAnotherVersion: a signature is for what it names, so that the
// same tag object under the name of another version counts for nothing.
func TestApprovalOfAnotherVersion(t *testing.T) {
	ada := key(t)
	s := signedShop(t, "{count: 1, signers: signers}", "ada@shop.example "+string(ssh.MarshalAuthorizedKey(ada.PublicKey())))
	s.sign("ada", "ada@shop.example", ada)
	s.settle(func() *Engine { return s.engine(nil) })
	s.next("v2")
	old := s.refs()["refs/tags/approve/prod/shop/v0.1.0/ada"]
	repo := s.server.Client()
	push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/tags/approve/prod/shop/v0.2.0/ada", New: old}}}
	if err := repo.Push(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("prod").Snapshot.Number(); got != "v0.1.0" {
		t.Errorf("prod has %s", got)
	}
}

// TestSelfApproval: with "self: false" the author of the source commit cannot
// approve it.
func TestSelfApproval(t *testing.T) {
	author := gitrepotest.Identity(0).Email
	for _, test := range []struct {
		gate, email string
		passes      bool
	}{
		{"{self: false}", author, false},
		{"{self: false}", strings.ToUpper(author), false},
		{"{self: false}", "ada@shop.example", true},
		{"{}", author, true},
	} {
		s := signedShop(t, test.gate, "")
		s.sign("ada", test.email, nil)
		s.settle(func() *Engine { return s.engine(nil) })
		if got := !s.entry("prod").Snapshot.IsZero(); got != test.passes {
			t.Errorf("%s, approved by %s: it passes: %t", test.gate, test.email, got)
		}
	}
}

// TestSelfApprovalOfHotfix: the author of a patch is who wrote the hotfix, not
// Propagator, which composed it.
func TestSelfApprovalOfHotfix(t *testing.T) {
	s := signedShop(t, "{self: false}", "")
	s.sign("lead", "lead@shop.example", nil)
	s.run()
	s.runs("prod", "shop/v0.1.0")
	s.cut("pay-timeout", "prod")
	s.fix("pay-timeout", everywhere("jobs/cache.yaml", deployment("cache", "redis:7.4")+"# pay\n"))
	s.run()
	s.runs("stage", "shop/v0.1.1")
	approve := func(who, email string) {
		name := "approve/prod/shop/v0.1.1/" + who
		tag := gitrepo.NewTag(gitrepo.Tag{
			Object: s.refs()["refs/tags/shop/v0.1.1"], Type: gitrepo.TypeCommit, Name: name, Message: "tested\n",
			Tagger: gitrepo.Signature{Name: who, Email: email, When: s.clock},
		})
		gitrepotest.MustPush(t, s.server.Client(), gitrepo.Push{Objects: []gitrepo.Object{tag}, Updates: []gitrepo.Update{{Ref: gitrepo.Tags + name, New: tag.ID()}}})
		s.run()
	}
	approve("author", gitrepotest.Identity(0).Email)
	s.runs("prod", "shop/v0.1.0")
	if w := s.waitFor(ApprovalMissing); !strings.Contains(w.Detail, "who wrote the commit cannot approve it") {
		t.Errorf("prod waits for %s", w)
	}
	approve("lead", "lead@shop.example")
	s.runs("prod", "shop/v0.1.1")
}

// TestApprovalOfTheLane: a patch of what Prod runs enters Stage although that has
// gone on, and approvals of it count there like others.
func TestApprovalOfTheLane(t *testing.T) {
	t.Parallel()
	text := strings.Replace(configuration, "registry: prod, promote: auto", "registry: prod, promote: manual", 1)
	text = strings.Replace(text, "registry: stage, promote: auto", "registry: stage, promote: auto, admit: release, gates: [{approval: {}}]", 1)
	s := newShop(t, gitrepotest.Files{config.File: text})
	s.run()
	s.approve("stage", "v0.1.0")
	s.run()
	s.toProd("shop/v0.1.0")
	s.next("v2")
	s.approve("stage", "v0.2.0")
	s.run()
	s.runs("stage", "shop/v0.2.0")
	s.cut("less-memory", "prod")
	s.fix("less-memory", everywhere("jobs/cache.yaml", deployment("cache", "redis:7.4")+"# less memory\n"))
	s.run()
	s.runs("stage", "shop/v0.2.0")
	if w := s.waitFor(ApprovalMissing); w.Environment != "stage" || w.Version != "shop/v0.1.1" {
		t.Fatalf("stage waits for %s", w)
	}
	s.approve("stage", "v0.1.1")
	s.run()
	s.runs("stage", "shop/v0.1.1")
}

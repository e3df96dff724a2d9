package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// signing gives the person a configuration of Git that signs with a new ssh key,
// and returns the key as a list of allowed signers has it.
func (w *world) signing(email string) string {
	w.t.Helper()
	for _, program := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			w.t.Skipf("%s is not installed, so nothing can be signed", program)
		}
	}
	home := w.t.TempDir()
	key := filepath.Join(home, "id")
	if out, err := exec.CommandContext(w.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", email, "-f", key).CombinedOutput(); err != nil { //nolint:gosec // a fixed program
		w.t.Fatalf("%v\n%s", err, out)
	}
	text := "[user]\n\temail = " + email + "\n\tsigningkey = " + key + "\n[gpg]\n\tformat = ssh\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.t.Setenv("HOME", home)
	w.t.Setenv("XDG_CONFIG_HOME", home)
	w.t.Chdir(home)
	w.env = append(w.env, "HOME="+home, "PATH="+os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		w.t.Fatal(err)
	}
	return email + " " + string(public)
}

// hook lets the hook look once.
func (w *world) hook() promotion.Result {
	w.t.Helper()
	engine := &promotion.Engine{Repo: openRepo(w.t, w.url), Registries: &registryremote.Set{Endpoints: w.endpoints}, Actor: "propagator"}
	result, err := engine.Reconcile(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// TestRequestVerbs: a person without rights asks, Git signs, and the hook does it.
func TestRequestVerbs(t *testing.T) {
	w := newWorld(t)
	signer := w.signing("lead@shop.example")
	configuration := strings.Replace(pipeline(), "promote: manual", "promote: auto", 1)
	files := shop(configuration, "1.0")
	w.commit(files)
	w.must("snapshot", "create")
	w.deployed()
	w.fails(2, []string{"hold", "prod", "--reason", "x", "--request"}, "prod takes no requests", "requests: {signers: keys/release-managers}")

	w.commit(gitrepotest.Files{
		"propagator.yaml":       strings.Replace(configuration, "- name: prod\n", "- name: prod\n  requests: {signers: keys/release-managers}\n", 1),
		"keys/release-managers": signer,
	})
	w.fails(2, []string{"hold", "prod", "--reason", "x", "--request", "--actor", "boss"}, "--actor has no effect")
	w.fails(2, []string{"hold", "prod", "--request"}, "add --reason")
	w.fails(2, []string{"promote", "prod", "v0.1.0", "--skip", "stage", "--reason", "x", "--request"}, "the hook cannot be asked to skip an environment")
	w.fails(2, []string{"promote", "prod", "v0.1.0", "--skip", "stage", "--override", "ENV_FROZEN", "--reason", "x", "--request"}, "the hook cannot be asked to skip")
	w.fails(2, []string{"hotfix", "promote", "v0.1.0", "--request"}, "unknown flag: --request") // it may be two promotions and a patch
	w.fails(3, []string{"resume", "prod", "--reason", "x", "--request"}, "ALREADY_THERE")
	if out := w.must("hold", "prod", "--reason", "auditors", "--request", "--dry-run"); !strings.Contains(out, "would ask the hook to hold prod") {
		t.Errorf("dry run:\n%s", out)
	}
	if done := w.hook().Done; len(done) > 0 {
		t.Errorf("a dry run led to %v", done)
	}
	w.env = append(w.env, "PROPAGATOR_ACTOR=ci") // which is there for other commands
	w.must("hold", "prod", "--reason", "auditors", "--request", "--dry-run")
	writes := w.writes()
	var asked struct {
		Tag, Object, By, Asks string
		Missing               []promotion.Wait
	}
	if err := json.Unmarshal([]byte(w.must("promote", "prod", "--request", "-o", "json")), &asked); err != nil {
		t.Fatal(err)
	}
	if asked.By != "lead@shop.example" || asked.Asks != "promote prod to shop/v0.1.0" || len(asked.Missing) != 1 || asked.Missing[0].Reason != promotion.ApprovalMissing || w.writes() != 0 || writes == 0 {
		t.Errorf("asked: %+v", asked)
	}
	w.hook()
	if out := w.must("explain", "prod"); !strings.Contains(out, "lead@shop.example asks to promote prod to shop/v0.1.0 until ") {
		t.Errorf("explain:\n%s", out)
	}
	w.must("approve", "prod", "--actor", "grace", "--email", "grace@shop.example")
	w.hook()
	w.deployed()
	w.must("wait", "--env", "prod", "--snapshot", "v0.1.0")
	w.must("freeze", "prod", "--for", "4h", "--reason", "campaign", "--request")
	w.hook()
	w.must("validate", "prod", "--fail", "--reason", "checkout is broken", "--request")
	w.must("reject", "prod", "--reason", "prices are wrong", "--request")
	w.hook()
	history := w.must("history", "prod")
	for _, want := range []string{asked.Tag, "lead@shop.example", "freeze", "validate", "reject"} {
		if !strings.Contains(history, want) {
			t.Errorf("history lacks %q:\n%s", want, history)
		}
	}
	if tag := w.git.Git("shop.git", "cat-file", "tag", asked.Tag); !strings.Contains(tag, "\nPropagator-Verb: promote\n") || !strings.Contains(tag, "BEGIN SSH SIGNATURE") {
		t.Errorf("the tag:\n%s", tag)
	}
}

// TestRequestWithoutKey: what Git cannot sign is not asked.
func TestRequestWithoutKey(t *testing.T) {
	w := newWorld(t)
	w.signing("lead@shop.example")
	files := shop(strings.Replace(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "- name: prod\n", "- name: prod\n  requests: {signers: keys}\n", 1), "1.0")
	w.commit(files)
	w.must("snapshot", "create")
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(home, "id")); err != nil {
		t.Fatal(err)
	}
	w.fails(2, []string{"hold", "prod", "--reason", "x", "--request"}, "git could not sign the tag", "git tag -s has to work")
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(2, []string{"hold", "prod", "--reason", "x", "--request"}, "no usable e-mail address", "git config --global user.email")
	if tags := w.git.Git("shop.git", "tag", "-l", "request/*"); tags != "" {
		t.Errorf("tags: %s", tags)
	}
}

// TestApproveSigns: where only signed approvals count, approve sets one that does,
// and no other: it would take the name, and tags are not to be deleted.
func TestApproveSigns(t *testing.T) {
	w := newWorld(t)
	configuration := strings.Replace(pipeline(), "promote: manual", "promote: auto", 1)
	gated := strings.Replace(configuration, "count: 1", "count: 1, signers: keys/people", 1)
	if gated == configuration {
		t.Fatalf("the starter has no approval gate:\n%s", configuration)
	}
	files := shop(gated, "1.0")
	files["keys/people"] = w.signing("ada@shop.example")
	w.commit(files)
	w.must("snapshot", "create")
	w.deployed()
	w.fails(3, []string{"promote", "prod"}, "APPROVAL_MISSING: 0 of 1; tag approve/prod/shop/v0.1.0/<you>, signed", "git tag -s approve/prod/")
	home, _ := os.Getwd()
	if err := os.Rename(filepath.Join(home, "id"), filepath.Join(home, "lost")); err != nil {
		t.Fatal(err)
	}
	w.fails(2, []string{"approve", "prod"}, "git could not sign the tag", "user.signingkey")
	if tags := w.git.Git("shop.git", "tag", "--list", "approve/**"); strings.TrimSpace(tags) != "" {
		t.Errorf("a tag that is not signed: %s", tags)
	}
	if err := os.Rename(filepath.Join(home, "lost"), filepath.Join(home, "id")); err != nil {
		t.Fatal(err)
	}
	if out := w.must("approve", "prod"); strings.Contains(out, "APPROVAL_MISSING") {
		t.Errorf("it does not count:\n%s", out)
	}
	w.fails(3, []string{"approve", "prod", "v0.1.0"}, "ALREADY_THERE", "propagator explain prod shop/v0.1.0", "--actor")
	w.must("promote", "prod")
}

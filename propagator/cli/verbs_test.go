package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVerbs plays the decisions of people about snapshots and environments, as
// they type them.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.0"))
	w.must("snapshot", "create") // into stage
	w.deployed()
	w.must("plan")
	w.must("explain", "prod")
	w.must("wait", "--env", "stage", "--snapshot", "v0.1.0")
	w.fails(2, []string{"approve", "stage"}, "nothing waits for approval")
	w.must("approve", "prod", "--dry-run", "--email", "ada@shop.example")
	w.must("approve", "prod", "--email", "ada@shop.example", "-m", "clicked through it")
	w.fails(3, []string{"approve", "prod", "v0.1.0", "--email", "ada@shop.example"}, "ALREADY_THERE", "the tag approve/prod/shop/v0.1.0/ada exists")
	w.must("explain", "prod")
	w.must("validate", "stage", "--pass", "--reason", "run 812: 412 tests")
	w.fails(2, []string{"validate", "stage"}, "--pass or --fail")
	w.fails(2, []string{"validate", "stage", "--fail"}, "add --reason")
	w.must("hold", "prod", "--reason", "the auditors are here")
	w.must("status")
	w.fails(3, []string{"hold", "prod", "--reason", "again"}, "ENV_ON_HOLD", "the auditors are here")
	w.must("resume", "prod", "--reason", "they have left")
	w.fails(2, []string{"freeze", "prod", "--reason", "x"}, "say when the freeze ends")
	w.fails(2, []string{"freeze", "prod", "--until", "tomorrow", "--reason", "x"}, `--until is "tomorrow"`)
	w.must("freeze", "prod", "--until", "2100-01-01T00:00:00Z", "--reason", "Christmas", "--dry-run")
	w.must("freeze", "prod", "--until", "2100-01-01T00:00:00Z", "--reason", "Christmas")
	w.fails(3, []string{"promote", "prod"}, "ENV_FROZEN", "next: propagator explain prod shop/v0.1.0")
	w.fails(2, []string{"promote", "prod", "--override", "ENV_FROZEN"}, "an override is recorded with its reason")
	w.fails(2, []string{"promote", "prod", "--override", "IMAGE_MISSING", "--reason", "x"}, "IMAGE_MISSING cannot be overridden", "ENV_FROZEN")
	w.must("promote", "prod", "--override", "env_frozen", "--reason", "it is an emergency")
	w.must("resume", "prod", "--reason", "Christmas is over")
	w.deployed()

	w.image("dev.registry.example/shop", "orders", "1.1", true)
	w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.1"))
	w.must("snapshot", "create")
	w.deployed()
	w.must("reject", "stage", "--reason", "prices are wrong")
	w.fails(3, []string{"promote", "prod", "v0.2.0"}, "REJECTED", "prices are wrong", "next: propagator history prod")
	w.fails(3, []string{"wait", "--env", "stage", "--snapshot", "v0.2.0"}, "REJECTED", "prices are wrong")
	w.must("rollback", "stage", "--reason", "orders lose money")
	w.must("history", "stage")
	w.must("history", "prod")
	w.golden("verbs.txt")
}

// TestWait: it ends when the evidence is there, says what is missing when time
// is over, and does not wait for what will not come.
func TestWait(t *testing.T) {
	w := newWorld(t)
	commit := w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.0"))
	quick := []string{"--timeout", "3s", "--interval", "10ms"}
	w.fails(5, append([]string{"wait", "--env", "stage", "--commit", string(commit)}, quick...), "no snapshot was made of commit "+commit.Short()+" yet", "hint: propagator explain stage")
	if out := w.must("snapshot", "create", "--dry-run"); !strings.Contains(out, "stage would point at shop/v0.1.0 at once (promote: auto)") {
		t.Errorf("a dry run hides a promotion:\n%s", out)
	}
	w.must("snapshot", "create")
	w.fails(5, append([]string{"wait", "--env", "stage"}, quick...), "stage has no evidence of shop/v0.1.0 yet")
	w.fails(2, []string{"wait"}, "--env ENVIRONMENT")
	w.fails(2, []string{"wait", "--env", "qa"}, "there are dev, stage, prod")
	w.fails(2, []string{"wait", "--env", "stage", "--commit", "main"}, "full id of a commit")

	ended := make(chan result, 1)
	go func() {
		ended <- w.run("wait", "--env", "stage", "--commit", string(commit), "--interval", "10ms", "-o", "json")
	}()
	w.deployed()
	select {
	case r := <-ended:
		var got struct {
			Version      string
			SourceCommit string
			Applications []struct{ Application, Health string }
		}
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 {
			t.Fatalf("exit %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
		}
		if got.Version != "shop/v0.1.0" || got.SourceCommit != string(commit) || len(got.Applications) != 2 || got.Applications[0].Health != "Healthy" {
			t.Errorf("%+v", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on waiting")
	}

	// Something newer takes the place of what was never proven.
	for _, tag := range []string{"1.1", "1.2"} {
		w.image("dev.registry.example/shop", "orders", tag, true)
		w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), tag))
		w.must("snapshot", "create")
	}
	w.fails(3, []string{"wait", "--env", "stage", "--snapshot", "v0.2.0"}, "SUPERSEDED", "stage has shop/v0.3.0 by now")

	// What ran there once is not what runs there: neither by then, nor right after the
	// environment has gone back to it.
	w.deployed()
	w.fails(3, []string{"wait", "--env", "stage", "--snapshot", "v0.1.0"}, "SUPERSEDED", "it was healthy there at", "stage has shop/v0.3.0 by now")
	w.must("rollback", "stage", "v0.1.0", "--reason", "slow")
	w.fails(5, append([]string{"wait", "--env", "stage", "--snapshot", "v0.1.0"}, quick...), "stage has no evidence of shop/v0.1.0 yet")
	w.deployed()
	if out := w.must("wait", "--env", "stage", "--snapshot", "v0.1.0"); !strings.Contains(out, "stage runs shop/v0.1.0") {
		t.Errorf("after the rollback:\n%s", out)
	}
}

// TestApproveEmail: the address is the one that Git has.
func TestApproveEmail(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.0"))
	w.must("snapshot", "create")
	w.deployed()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Chdir(home)
	w.fails(2, []string{"approve", "prod"}, "no usable e-mail address", "git config --global user.email")
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[user]\n\temail = ada@shop.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must("approve", "prod")
	tag := w.git.Git("shop.git", "cat-file", "-p", "refs/tags/approve/prod/shop/v0.1.0/ada")
	if !strings.Contains(tag, "tagger ada <ada@shop.example> ") || !strings.Contains(tag, "approve shop/v0.1.0 for prod") {
		t.Errorf("the tag:\n%s", tag)
	}
	w.fails(2, []string{"approve", "prod", "--actor", "a/b"}, "cannot be part of a tag's name")
}

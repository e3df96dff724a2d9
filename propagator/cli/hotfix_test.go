package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// fix commits to a branch, as people do.
func (w *world) fix(branch string, files gitrepotest.Files) gitrepo.Hash {
	w.t.Helper()
	return gitrepotest.Grow(w.t, openRepo(w.t, w.url), gitrepo.Heads+branch, files)
}

// running has version 0.1.0 everywhere.
func running(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	w.must("promote", "stage")
	w.deployed()
	w.approve("shop/v0.1.0")
	w.must("promote", "prod")
	w.deployed()
	w.transcript.Reset()
	return w
}

// web is the file of an environment with one more line.
func web(environment string, replicas int, comment string) gitrepotest.Files {
	return gitrepotest.Files{"envs/" + environment + "/web/web.yaml": deployment("web", replicas, "dev.registry.example/shop/web:1.0", "redis:7") + "# " + comment + "\n"}
}

// TestHotfix plays a fix from the branch to every place, as people type it.
func TestHotfix(t *testing.T) {
	w := running(t)
	w.must("hotfix", "list")
	before := w.git.Git("shop.git", "for-each-ref")
	w.must("hotfix", "start", "pay-timeout", "--dry-run")
	if after := w.git.Git("shop.git", "for-each-ref"); after != before {
		t.Errorf("a dry run wrote something: refs %s", after)
	}
	w.must("hotfix", "start", "pay-timeout")
	w.fails(3, []string{"hotfix", "start", "pay-timeout"}, "ALREADY_THERE", "git switch hotfix/pay-timeout")
	w.fails(3, []string{"hotfix", "start", "pay-timeout/again"}, "ALREADY_THERE", "git cannot have it beside hotfix/pay-timeout")
	w.fails(2, []string{"hotfix", "start", "pay timeout"}, "cannot be a hotfix")
	w.fails(2, []string{"hotfix", "start", "x", "--from", "dev"}, "dev follows the branch main by itself")
	w.fails(2, []string{"hotfix", "show", "nothing"}, "there is no hotfix nothing", "propagator hotfix list")
	w.must("hotfix", "list")
	w.fails(3, []string{"hotfix", "promote", "pay-timeout"}, "HOTFIX_UNUSABLE", "there is no commit on top of")
	w.fix("hotfix/pay-timeout", web("prod", 3, "timeout: 30s"))
	w.must("hotfix", "list")
	w.must("hotfix", "show", "pay-timeout")
	w.must("plan")
	w.must("hotfix", "compose", "--dry-run")
	w.must("hotfix", "promote", "pay-timeout", "--dry-run")
	w.must("hotfix", "promote", "pay-timeout")
	w.must("snapshot", "show", "v0.1.1")
	w.must("snapshot", "verify", "v0.1.1")
	w.fails(3, []string{"hotfix", "promote", "pay-timeout"}, "NOT_VALIDATED")
	w.deployed()
	w.approve("shop/v0.1.1")
	w.must("hotfix", "promote", "pay-timeout", "--dry-run")
	w.must("hotfix", "promote", "pay-timeout", "--to", "prod")
	w.deployed()
	w.fails(3, []string{"hotfix", "promote", "pay-timeout"}, "ALREADY_THERE", "every environment on the way has had it")
	w.must("status")

	// A snapshot of Dev lacks it; then it is merged back.
	w.must("snapshot", "create", "--version", "v0.2.0", "--commit", string(w.fix("main", gitrepotest.Files{"readme": "more\n"})))
	w.fails(3, []string{"promote", "stage", "v0.2.0"}, "HOTFIX_WOULD_BE_LOST", "pay-timeout, which came to stage and prod with shop/v0.1.1", "propagator hotfix finish", "next: propagator hotfix list")
	w.must("explain", "stage", "v0.2.0")
	tip := w.git.Git("shop.git", "rev-parse", "main")
	w.must("hotfix", "finish", "pay-timeout", "--dry-run")
	if now := w.git.Git("shop.git", "rev-parse", "main"); now != tip {
		t.Error("a dry run moved main")
	}
	w.must("hotfix", "finish", "pay-timeout")
	if message := w.git.Git("shop.git", "log", "-1", "--format=%B", "main"); !strings.Contains(message, "Propagator-Hotfix: pay-timeout ") {
		t.Errorf("main says\n%s", message)
	}
	w.fails(3, []string{"hotfix", "finish", "pay-timeout"}, "ALREADY_THERE", "merge is empty", "hotfix list --all")
	w.must("snapshot", "create")
	w.must("promote", "stage", "v0.3.0")
	w.must("hotfix", "list")
	w.must("hotfix", "list", "--all")
	w.must("hotfix", "show", "pay-timeout")
	w.must("history", "stage", "-n", "4")
	w.golden("hotfix.txt")
}

// TestHotfixConflict: two fixes of one line; who is left out is told with both
// sides, and how to go on. Then they are closed and dropped.
func TestHotfixConflict(t *testing.T) {
	w := running(t)
	for _, name := range []string{"a", "b", "lock"} {
		w.must("hotfix", "start", name)
	}
	w.fix("hotfix/a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 5, "dev.registry.example/shop/orders:1.0")})
	w.fix("hotfix/b", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 7, "dev.registry.example/shop/orders:1.0")})
	w.fix("hotfix/lock", gitrepotest.Files{".propagator/snapshot.yaml": "mine"})
	w.must("hotfix", "list")
	w.must("hotfix", "show", "b")
	w.must("hotfix", "show", "lock")
	w.must("status")
	w.fails(3, []string{"hotfix", "compose", "b"}, "HOTFIX_CONFLICT", "hotfix/a", "envs/prod/orders/deployment.yaml", "next: propagator hotfix show b")
	w.fails(3, []string{"hotfix", "compose", "lock"}, "HOTFIX_UNUSABLE", "git checkout", "next: propagator hotfix show lock")
	w.must("hotfix", "compose")
	w.must("hotfix", "compose")
	w.fails(2, []string{"hotfix", "drop", "b"}, "add --reason")
	w.must("hotfix", "drop", "b", "--reason", "seven is too many", "--dry-run")
	w.must("hotfix", "drop", "b", "--reason", "seven is too many")
	w.fails(3, []string{"hotfix", "drop", "b", "--reason", "again"}, "ALREADY_THERE", "seven is too many")
	w.must("hotfix", "close", "a", "--reason", "main has an autoscaler instead")
	w.must("hotfix", "list", "--all")
	w.must("history", "stage", "-n", "2")
	w.golden("hotfix-conflict.txt")

	var list struct {
		Done     int
		Hotfixes []struct {
			Name, State, Reason string
			LeftOut             []struct{ Against string }
		}
	}
	if err := json.Unmarshal([]byte(w.must("hotfix", "list", "--all", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, h := range list.Hotfixes {
		states = append(states, h.Name+" "+h.State)
	}
	if diff := cmp.Diff([]string{"a closed", "b dropped", "lock unusable"}, states); diff != "" {
		t.Error(diff)
	}
}

// TestHotfixBackMergeConflict: the source branch has changed the same line.
func TestHotfixBackMergeConflict(t *testing.T) {
	w := running(t)
	w.must("hotfix", "start", "a")
	w.fix("hotfix/a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 5, "dev.registry.example/shop/orders:1.0")})
	w.fix("main", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 9, "dev.registry.example/shop/orders:1.0")})
	w.must("hotfix", "promote", "a")
	w.must("hotfix", "list")
	w.fails(3, []string{"hotfix", "finish", "a"}, "HOTFIX_CONFLICT", "replicas", "git switch main && git cherry-pick -x", "propagator hotfix close a")
	w.must("hotfix", "show", "a")
	w.golden("hotfix-backmerge.txt")
}

// TestHotfixRewritten: the branch of a hotfix that was composed is rewritten, and its
// author is told how to go on.
func TestHotfixRewritten(t *testing.T) {
	w := running(t)
	w.must("hotfix", "start", "a")
	w.fix("hotfix/a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 5, "dev.registry.example/shop/orders:1.0")})
	w.must("hotfix", "compose")
	w.git.Git("shop.git", "update-ref", "refs/heads/hotfix/a", "environments/prod")
	head := w.fix("hotfix/a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 7, "dev.registry.example/shop/orders:1.0")})
	out := w.must("hotfix", "show", "a@"+head.Short())
	for _, part := range []string{"left out of the patch of shop/v0.1.1", "the branch was rewritten", "git rebase --onto"} {
		if !strings.Contains(out, part) {
			t.Errorf("it does not say %q:\n%s", part, out)
		}
	}
}

// TestHotfixConflictWithoutBranch: the release in test has changed the lines of a
// hotfix whose branch is gone.
func TestHotfixConflictWithoutBranch(t *testing.T) {
	w := running(t)
	w.must("hotfix", "start", "a")
	head := w.fix("hotfix/a", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 5, "dev.registry.example/shop/orders:1.0")})
	w.fix("main", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 9, "dev.registry.example/shop/orders:1.0")})
	w.must("snapshot", "create")
	w.must("promote", "stage")
	w.deployed()
	w.must("hotfix", "compose")
	w.approve("shop/v0.1.1")
	w.must("hotfix", "promote", "a", "--to", "prod", "--skip", "stage", "--reason", "now")
	w.git.Git("shop.git", "update-ref", "-d", "refs/heads/hotfix/a")
	out := w.must("hotfix", "show", "a")
	if want := "next: git fetch --tags && git switch -c hotfix/a " + head.Short() + " && git merge shop/v0.2.0"; !strings.Contains(out, want) {
		t.Errorf("it does not say %q:\n%s", want, out)
	}
}

// TestHotfixSkip: past Stage, with Prod's own gates, and a reason.
func TestHotfixSkip(t *testing.T) {
	w := running(t)
	w.must("hotfix", "start", "now")
	w.fix("hotfix/now", web("prod", 3, "now"))
	w.fails(2, []string{"hotfix", "promote", "now", "--skip", "stage"}, "skipping an environment is recorded with its reason")
	w.fails(2, []string{"promote", "prod", "--skip", "stage", "--reason", "r"}, "has to name the snapshot")
	w.fails(2, []string{"promote", "prod", "v0.1.0", "--rollback", "--skip", "stage", "--reason", "r"}, "needs no --skip")
	w.must("hotfix", "compose")
	// A name that is not meant must not become no skip at all.
	for _, name := range []string{"stgae", "prod", "dev"} {
		w.fails(2, []string{"hotfix", "promote", "now", "--to", "prod", "--skip", name, "--reason", "r"}, name)
		w.fails(2, []string{"promote", "prod", "v0.1.1", "--skip", name, "--reason", "r"}, name)
	}
	w.fails(3, []string{"hotfix", "promote", "now", "--to", "prod", "--skip", "stage", "--reason", "nobody can pay"}, "APPROVAL_MISSING")
	w.approve("shop/v0.1.1")
	w.must("hotfix", "promote", "now", "--to", "prod", "--skip", "stage", "--reason", "nobody can pay")
	w.must("history", "prod", "-n", "1")
	w.must("promote", "stage", "v0.1.1")
	w.golden("hotfix-skip.txt")
}

// TestHotfixLeftOut: a hotfix with an image that does not exist keeps no other one from
// being shipped, and is said to be left out.
func TestHotfixLeftOut(t *testing.T) {
	w := running(t)
	w.must("hotfix", "start", "good")
	w.fix("hotfix/good", web("prod", 3, "good"))
	w.must("hotfix", "start", "bad")
	w.fix("hotfix/bad", gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", 3, "dev.registry.example/shop/orders:not-there")})
	for _, args := range [][]string{{"hotfix", "compose", "--dry-run"}, {"hotfix", "compose"}} {
		out := w.must(args...)
		if !strings.Contains(out, "hotfixes  good\n") || !strings.Contains(out, "left out  bad\n") {
			t.Errorf("%v:\n%s", args, out)
		}
	}
	if got := w.git.Git("shop.git", "show", "shop/v0.1.1:envs/prod/web/web.yaml"); !strings.Contains(got, "# good") {
		t.Errorf("the patch has\n%s", got)
	}
}

func TestHotfixCompletion(t *testing.T) {
	w := running(t)
	w.must("hotfix", "start", "pay-timeout")
	for _, verb := range []string{"show", "promote", "finish", "close", "drop", "compose"} {
		if out := w.must("__complete", "hotfix", verb, "pay"); !strings.HasPrefix(out, "pay-timeout\n") {
			t.Errorf("%s: %s", verb, out)
		}
	}
}

// TestHotfixStartAsks: with several ends of the pipeline nobody guesses.
func TestHotfixStartAsks(t *testing.T) {
	w := newWorld(t)
	two := pipeline() + "- name: eu\n  after: [stage]\n  path: envs/eu\n  registry: prod\n"
	w.commit(shop(two, "1.0"))
	w.fails(2, []string{"hotfix", "start", "x"}, "which environment needs the fix? There are prod and eu", "add --from prod or --from eu")
	w.fails(2, []string{"hotfix", "start", "x", "--from", "eu"}, "eu runs nothing yet", "propagator promote eu")
}

// TestHotfixPastAnEndThatMovedOn: of two ends of the way one runs a newer release by
// then, without ever having had the patch. The other one gets it all the same.
func TestHotfixPastAnEndThatMovedOn(t *testing.T) {
	w := newWorld(t)
	configuration := pipeline() +
		"- name: us\n  path: envs/us\n  registry: prod\n  promote: manual\n  after: [stage]\n  destinations:\n  - {cluster: in-cluster, namespace: shop-us}\n"
	everywhere := func(ends ...string) {
		t.Helper()
		w.must("snapshot", "create")
		w.must("promote", "stage")
		w.deployed()
		for _, end := range ends {
			w.must("promote", end, "--override", "APPROVAL_MISSING", "--reason", "r")
			w.deployed()
		}
	}
	release := func(tag string) {
		files := shop(configuration, tag)
		for _, file := range []string{"orders/deployment.yaml", "web/web.yaml"} {
			files["envs/us/"+file] = files["envs/prod/"+file]
		}
		w.commit(files)
	}
	release("1.0")
	everywhere("prod", "us")
	w.image("dev.registry.example/shop", "orders", "1.1", true)
	release("1.1")
	everywhere("prod")

	w.must("hotfix", "start", "pay", "--from", "us")
	w.fix("hotfix/pay", web("us", 3, "pay"))
	w.must("hotfix", "promote", "pay")
	w.deployed()
	if out := w.must("hotfix", "promote", "pay"); !strings.Contains(out, "promoted us to shop/v0.1.1") {
		t.Errorf("on the way:\n%s", out)
	}
}

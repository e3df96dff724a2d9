package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
)

const (
	stageBranch = "refs/heads/environments/stage"
	prodBranch  = "refs/heads/environments/prod"
)

// look is what a hook that just started does; it gives the waits of an
// environment.
func (w *world) look(environment string) []promotion.Wait {
	w.t.Helper()
	engine := &promotion.Engine{Repo: openRepo(w.t, w.url), Registries: &registryremote.Set{Endpoints: w.endpoints}, Actor: "propagator"}
	engine.Applications = &cluster{w.applications(engine)}
	result, err := engine.Reconcile(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var waits []promotion.Wait
	for _, wait := range result.Waits {
		if wait.Environment == environment {
			waits = append(waits, wait)
		}
	}
	return waits
}

// refs are all refs of the repository.
func (w *world) refs() string { return w.git.Git("shop.git", "for-each-ref") }

// unusable checks what everybody says about a ledger that is not as it was, and
// that nobody touches it.
func (w *world) unusable(environment, says string) {
	w.t.Helper()
	before := w.refs()
	found := false
	for _, wait := range w.look(environment) {
		found = found || wait.Reason == promotion.LedgerUnavailable && strings.Contains(wait.Detail, says)
	}
	if !found {
		w.t.Errorf("the engine does not say %q", says)
	}
	if out := w.must("status"); !regexp.MustCompile(environment + ` .* unreadable .*LEDGER_UNREADABLE: .*` + regexp.QuoteMeta(says)).MatchString(out) {
		w.t.Errorf("status does not say %q:\n%s", says, out)
	}
	out := w.must("explain", environment)
	for _, part := range []string{"ledger  refuse  LEDGER_UNREADABLE", says, "what changes it: " + promotion.LedgerUnavailable.Help(), "next: propagator recover --dry-run"} {
		if !strings.Contains(out, part) {
			w.t.Errorf("explain lacks %q:\n%s", part, out)
		}
	}
	w.fails(3, []string{"promote", environment}, "LEDGER_UNREADABLE", says, "next: propagator recover --dry-run")
	w.fails(4, []string{"recover"}, "the ledger of "+environment+" cannot be used: ", "git push --force origin <commit>:refs/heads/environments/"+environment, "--reopen "+environment)
	if after := w.refs(); after != before {
		w.t.Errorf("something was written:\n%s\nbefore:\n%s", after, before)
	}
}

// TestRewrittenLedger: whatever somebody does to an environment's branch is
// noticed by a hook that never saw it before, reported, and never papered over.
// Putting the branch back is all it takes.
func TestRewrittenLedger(t *testing.T) {
	w := newWorld(t)
	w.staged("", "")
	w.must("promote", "prod")
	w.deployed()
	w.capture(gatedPipeline("", ""), "1.1")
	w.deployed()
	w.must("promote", "prod")
	w.deployed()
	git := func(args ...string) string { return w.git.Git("shop.git", args...) }
	stage, prod := git("rev-parse", stageBranch), git("rev-parse", prodBranch)
	oldest := strings.Fields(git("rev-list", "--first-parent", "--reverse", stageBranch))
	write := func(commit string) string {
		return gitrepotest.Git(t, w.git.Dir("shop.git"), commit, "hash-object", "-t", "commit", "-w", "--stdin")
	}
	text := git("cat-file", "commit", stage) + "\n"
	amended := regexp.MustCompile(`(?m)^committer .*$`).ReplaceAllString(text, "committer Grace <grace@shop.example> 1700000000 +0100")
	onTop := regexp.MustCompile(`(?m)^parent .*$`).ReplaceAllString(text[:strings.Index(text, "\n\n")], "parent "+stage) + "\n\nquick fix\n"

	for _, test := range []struct{ name, environment, to, says string }{
		{"set back to an older entry", "stage", oldest[2], "its branch environments/stage was set back to " + oldest[2][:7] + ": prod was promoted to shop/v0.2.0 because stage had proven it"},
		{"forced to a foreign commit", "stage", git("rev-parse", "main"), "was not written by Propagator"},
		{"a person's commit on top", "stage", write(onTop), "was not written by Propagator"},
		{"amended", "stage", write(amended), "was written anew by Grace <grace@shop.example>"},
		{"another environment's ledger", "prod", stage, `is the ledger of environment "stage"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			branch := "refs/heads/environments/" + test.environment
			git("update-ref", branch, test.to)
			w.unusable(test.environment, test.says)
			git("update-ref", branch, map[string]string{"stage": stage, "prod": prod}[test.environment])
			w.must("recover", "--dry-run")
		})
	}
	w.t = t

	// What is deleted is not made again by a capture either, which Stage would
	// otherwise take at once.
	git("update-ref", "-d", stageBranch)
	w.image("dev.registry.example/shop", "orders", "1.2", true)
	w.commit(shop(gatedPipeline("", ""), "1.2"))
	w.must("snapshot", "create")
	w.unusable("stage", "its branch environments/stage is gone: prod was promoted to shop/v0.2.0 because stage had proven it")
	w.fails(2, []string{"recover", "--reopen", "stage"}, "recorded with its reason")
	w.fails(3, []string{"recover", "--reopen", "prod", "--reason", "x"}, "its branch environments/prod is as it should be")
	git("update-ref", stageBranch, stage)
	w.look("stage")
	if got := git("log", "--format=%s", "--first-parent", "-n", "2", stageBranch); got != "promote shop/v0.3.0 to stage\ndeployed shop/v0.2.0 to stage" {
		t.Errorf("after the branch was put back stage has\n%s", got)
	}

	// Nobody has it any more: a person begins it anew, and decides what it gets.
	git("update-ref", "-d", stageBranch)
	w.must("recover", "--reopen", "stage", "--reason", "no clone has it", "--dry-run")
	w.must("recover", "--reopen", "stage", "--reason", "no clone has it")
	if waits := w.look("stage"); len(waits) != 1 || waits[0].Reason != promotion.EnvOnHold || !strings.Contains(waits[0].Detail, "begun anew: no clone has it") {
		t.Errorf("after it was begun anew: %v", waits)
	}
	w.fails(3, []string{"recover", "--reopen", "stage", "--reason", "again"}, "ALREADY_THERE")
	w.must("promote", "stage", "v0.2.0")
	w.deployed()
	w.must("history", "stage")
	w.must("status")
	w.golden("rewritten.txt")
}

// TestDeletedBeforeAnybodyFollowed: nothing came after Stage yet; the snapshot
// itself proves that the branch was there.
func TestDeletedBeforeAnybodyFollowed(t *testing.T) {
	w := newWorld(t)
	w.capture(gatedPipeline("", ""), "1.0")
	w.git.Git("shop.git", "update-ref", "-d", stageBranch)
	w.unusable("stage", "its branch environments/stage is gone: shop/v0.1.0 entered it when it was made")
}

// TestNotOurs: repositories that are not a pipeline, or another one.
func TestNotOurs(t *testing.T) {
	w := newWorld(t)
	w.commit(gitrepotest.Files{"README.md": "nothing"})
	before := w.refs()
	for _, args := range [][]string{{"status"}, {"explain", "stage"}, {"promote", "stage"}, {"recover"}} {
		w.fails(2, args, "propagator.yaml", "propagator init")
	}
	engine := &promotion.Engine{Repo: openRepo(t, w.url), Registries: &registryremote.Set{Endpoints: w.endpoints}, Applications: &cluster{}}
	if _, err := engine.Reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), "observe: config: ") {
		t.Errorf("the engine says %v", err)
	}
	if after := w.refs(); after != before {
		t.Errorf("something was written:\n%s", after)
	}

	w.capture(gatedPipeline("", ""), "1.0")
	w.commit(gitrepotest.Files{"propagator.yaml": strings.Replace(gatedPipeline("", ""), "name: shop", "name: store", 1)})
	w.unusable("stage", `its branch is the ledger of pipeline "shop", and metadata.name in propagator.yaml is "store"`)
}

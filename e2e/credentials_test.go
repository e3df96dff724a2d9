//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

var unarmedKiosk = plan("TestMissingSecretIsNamed", kiosk{name: "unarmed"})

// TestMissingSecretIsNamed: without the Secret of the token neither program starts
// again, and without its Secret for git neither of them does. Kubernetes says which Secret it is,
// doctor says how to make it, and until somebody does, Argo CD keeps what it has.
func TestMissingSecretIsNamed(t *testing.T) {
	claim(t)
	c := unarmedKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	before := everyApplication()
	afterwards(t, "credentials", func(ctx context.Context) error {
		return errors.Join(world.follow(ctx, "Secrets"), world.hook.Ready(ctx), world.generator.Ready(ctx))
	})

	c.without("propagator-token", []*workload.Workload{world.hook, world.generator}, func() {
		findings := examine(t)
		failed(t, findings, "programs", "Secret propagator-token", "there is none", generatorName, hookName)
		failed(t, findings, "generator-config", "Secret propagator-token", "there is none")
		obey(t, failed(t, findings, "tokens", "Secret propagator-token", "there is none"))
	})
	c.checkInOrder()
	c.release("web-1", "with a new token")
	c.awaitEvent("prod", "deployed v0.2.0")

	c.without("propagator-git", []*workload.Workload{world.hook}, func() {
		obey(t, failed(t, examine(t), "programs", "Secret propagator-git", "there is none", hookName))
	})
	c.without("propagator-git-read", []*workload.Workload{world.generator}, func() {
		c.kubectl("annotate", "applicationset", c.applicationSet(), "argocd.argoproj.io/application-set-refresh="+rand.Text(), "--overwrite")
		c.awaitGenerationFault() // nobody answers
		obey(t, failed(t, examine(t), "programs", "Secret propagator-git-read", "there is none", generatorName))
	})
	c.checkInOrder()
	c.release("web-1", "with access to git")
	c.awaitEvent("prod", "deployed v0.3.0")
	checkNobodyLeft(t, before)

	// What doctor says does not keep anybody from following docs/install.md
	// again, where the first block is how to get a new token.
	if err := world.follow(t.Context(), "Secrets"); err != nil {
		t.Error(err)
	}
}

var lockedOutKiosk = plan("TestExpiredGitPasswordIsNamed", kiosk{name: "locked-out"})

// TestExpiredGitPasswordIsNamed: the git host does not accept the hook's
// password any more, while everything runs. The hook's log and status and doctor
// say which host it was, and what to do; none of them shows a password (I9).
// Applications stay as they are (I8), and the release that came meanwhile goes on
// as soon as there is a new password. Then it is the generator's password: its log
// and the ApplicationSet say so.
func TestExpiredGitPasswordIsNamed(t *testing.T) {
	claim(t)
	c := lockedOutKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	before, unchanged := everyApplication(), c.unchanged()
	account, err := world.git.User(gitserver.Propagator)
	if err != nil {
		t.Fatal(err)
	}
	afterwards(t, "credentials", func(ctx context.Context) error {
		return errors.Join(world.git.SetPassword(account.Name, account.Password), world.follow(ctx, "Secrets"), world.generator.Restart(ctx), world.hook.Restart(ctx))
	})

	if err := world.git.SetPassword(account.Name, rand.Text()); err != nil {
		t.Fatal(err)
	}
	release := c.release("web-1", "while nobody can read it")
	c.awaitDeployed("dev", release.Commit)
	run := c.awaitFailure()
	c.checkSays("the hook's status", run.Error+" "+run.Hint, c.URL(), "401", "Secret propagator-git")
	c.checkLogs(world.hook, c.URL(), "not authorized", "401", "Secret propagator-git")
	c.generateAgain()
	c.awaitNoGenerationFault() // the generator has an account of its own
	findings := examine(t)
	refused := failed(t, findings, "git", "repository "+c.URL(), "Secret propagator-git", "401")
	failed(t, findings, "hook", "pipeline "+c.URL(), "401")
	c.checkSilent(faults(findings))
	unchanged()

	obey(t, refused)
	c.awaitEvent("prod", "deployed v0.2.0")

	// Somebody edits the Secret, and the kubelet brings it to the generator.
	unchanged = c.unchanged()
	expired := rand.Text()
	c.kubectl("patch", "secret", "propagator-git-read", "--type", "merge", "-p", `{"stringData": {"password": "`+expired+`"}}`)
	c.eventually("the generator says that git refuses it", func() bool {
		c.generateAgain() // it reads git for each answer
		return len(linesWith(world.generator.Logs(), c.URL(), "not authorized", "401", "Secret propagator-git-read")) > 0
	})
	c.awaitGenerationFault(c.URL(), "401")
	_, complaint := c.generation()
	findings = examine(t)
	refused = failed(t, findings, "git", "repository "+c.URL(), "Secret propagator-git-read", "401")
	c.checkSilent(faults(findings), complaint)
	if strings.Contains(faults(findings)+complaint+world.generator.Logs(), expired) {
		t.Error("the password is shown")
	}
	unchanged()
	obey(t, refused)
	c.checkInOrder()
	checkNobodyLeft(t, before)
}

var unpaidKiosk = plan("TestExpiredRegistryPasswordIsNamed", kiosk{name: "unpaid"})

// TestExpiredRegistryPasswordIsNamed: Stage's registry does not accept the hook's
// password any more. v0.2.0 is not promoted, since its images cannot be mirrored
// (I2); log, status and doctor name the registry and what to do, and no password
// (I9).
func TestExpiredRegistryPasswordIsNamed(t *testing.T) {
	claim(t)
	c := unpaidKiosk.open(t)
	c.awaitEvent("prod", "deployed v0.1.0")
	before := everyApplication()
	stage := world.registries.Stage
	_, password := stage.Credentials()
	afterwards(t, "credentials", func(ctx context.Context) error {
		return errors.Join(stage.SetPassword(password), world.follow(ctx, "Secrets"), world.hook.Restart(ctx))
	})

	if err := stage.SetPassword(rand.Text()); err != nil {
		t.Fatal(err)
	}
	release := c.release("web-1", "nowhere to put it")
	c.awaitDeployed("dev", release.Commit)
	run := c.awaitFailure()
	c.checkSays("the hook's status", run.Error+" "+run.Hint, stage.Name(), "401", "Secret propagator-registries")
	c.checkLogs(world.hook, stage.Name(), "not authorized", "401", "Secret propagator-registries")
	findings := examine(t)
	refused := failed(t, findings, "registries", "registry "+stage.Name()+"/unpaid", "Secret propagator-registries may not", "401")
	failed(t, findings, "hook", "pipeline "+c.URL(), stage.Name())
	c.checkSilent(faults(findings))
	c.checkLedger("stage", "open", "promote v0.1.0", "deployed v0.1.0")

	obey(t, refused)
	c.awaitEvent("prod", "deployed v0.2.0")
	c.checkRuns("stage", "v0.2.0")
	c.checkInOrder()
	checkNobodyLeft(t, before)
}

// without deletes a Secret and starts the programs that need it again, in vain;
// then it lets somebody repair that.
func (c *company) without(secret string, programs []*workload.Workload, repair func()) {
	c.t.Helper()
	c.kubectl("delete", "secret", secret)
	for _, w := range programs {
		c.must(w.Stop(c.t.Context()))
		hurry, cancel := context.WithCancel(c.t.Context())
		cancel()
		_ = w.Start(hurry) // which cannot succeed
		c.eventually(w.Ref().String()+" lacks Secret "+secret, func() bool {
			reason := w.Status()[0].Reason
			return strings.Contains(reason, workload.ReasonMount) && strings.Contains(reason, `"`+secret+`"`)
		})
	}
	repair()
	c.awaitReady(programs...)
}

// awaitFailure waits until a run of the hook has failed.
func (c *company) awaitFailure() hookStatus {
	c.t.Helper()
	var run hookStatus
	c.eventually("a run of the hook fails", func() bool {
		run = c.hookStatus()
		return run.Error != ""
	})
	return run
}

// checkSays checks that a text has all of the words.
func (c *company) checkSays(what, text string, words ...string) {
	c.t.Helper()
	if slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
		c.t.Errorf("%s does not say %q: %s", what, words, text)
	}
}

// checkLogs checks that a program has written a line with all of the words.
func (c *company) checkLogs(w *workload.Workload, words ...string) {
	c.t.Helper()
	if len(linesWith(w.Logs(), words...)) == 0 {
		c.t.Errorf("%s has no line with %q", w.Ref(), words)
	}
}

// checkSilent checks that no password is in texts, in the hook's status, or in a
// log.
func (c *company) checkSilent(texts ...string) {
	c.t.Helper()
	response, err := world.hookRequest(c.t.Context(), http.MethodGet, "/api/v1/status")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	status, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	everything := strings.Join(append(texts, string(status), world.hook.Logs(), world.generator.Logs(), world.sidecar.Logs()), "\n")
	for _, secret := range append(world.git.Secrets(), world.registries.Secrets()...) {
		if strings.Contains(everything, secret) {
			c.t.Error("a password is shown")
		}
	}
}

//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/pkg/doctor"
)

// What the scenarios about bad input ask "propagator doctor", and how they do
// what it says.

// examine is "propagator doctor", run by an operator who has the cluster's
// kubeconfig and no credentials for git and registries.
func examine(t *testing.T) []doctor.Finding {
	t.Helper()
	words := []string{"doctor", "--output", "json", "--hook-url", hookURL, "--generator-url", generatorURL}
	if address, ok := world.sidecar.Address(8087); ok {
		words = append(words, "--sidecar-url", "http://"+address)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(world.dir, "bin", "propagator"), words...)
	command.Env = operatorEnv(t)
	command.Dir = t.TempDir()
	output, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 4 { // found something
		err = nil
	}
	var report struct {
		Failed   int              `json:"failed"`
		Findings []doctor.Finding `json:"findings"`
	}
	if err == nil {
		err = json.Unmarshal(output, &report)
	}
	if err != nil {
		if exit != nil {
			output = append(output, exit.Stderr...)
		}
		t.Fatalf("propagator doctor: %v\n%s", err, output)
	}
	if (exit != nil) != (report.Failed > 0) {
		t.Errorf("propagator doctor: %d findings failed, and its end was %v", report.Failed, exit)
	}
	return report.Findings
}

// operatorEnv is a terminal with kubectl, in which $INSTALL is the operator's
// folder.
func operatorEnv(t *testing.T) []string {
	t.Helper()
	return append(world.net.Environment(),
		"PATH="+strings.Join([]string{filepath.Dir(world.tools.Path("kubectl")), os.Getenv("PATH")}, ":"),
		"HOME="+t.TempDir(), "KUBECONFIG="+world.cluster.Kubeconfig(), "INSTALL="+filepath.Join(world.dir, "install"))
}

// failed finds the failure of a check whose subject and message contain all of
// the words. Whoever reads it has to learn what to do.
func failed(t *testing.T, findings []doctor.Finding, check, subject string, words ...string) doctor.Finding {
	t.Helper()
	i := slices.IndexFunc(findings, func(f doctor.Finding) bool {
		return f.Check == check && f.Result == doctor.Failed && strings.Contains(f.Subject, subject) &&
			!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(f.Message, word) })
	})
	if i < 0 {
		t.Errorf("propagator doctor does not say %q of %s (check %s). It says\n%s", words, subject, check, faults(findings))
		return doctor.Finding{}
	}
	if findings[i].Fix == "" {
		t.Errorf("propagator doctor does not say what to do: %+v", findings[i])
	}
	return findings[i]
}

// faults is what doctor has found wanting.
func faults(findings []doctor.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		if f.Result == doctor.Failed || f.Result == doctor.Warning {
			b.WriteString(string(f.Result) + " " + f.Check + " " + f.Subject + ": " + f.Message + "\n    " + strings.ReplaceAll(f.Fix, "\n", "\n    ") + "\n")
		}
	}
	return b.String()
}

// checkInOrder waits until doctor has nothing to complain of any more. What Argo
// CD says of an ApplicationSet is as old as its last question to the generator,
// which it repeats after minutes if that failed, so all of them ask again.
func (c *company) checkInOrder() {
	c.t.Helper()
	c.awaitReady(world.generator, world.hook, world.sidecar)
	var findings []doctor.Finding
	defer func() {
		if c.t.Failed() {
			c.t.Logf("propagator doctor says\n%s", faults(findings))
		}
	}()
	c.eventually("propagator doctor is satisfied", func() bool {
		c.kubectl("annotate", "applicationsets.argoproj.io", "--all", "--overwrite", "argocd.argoproj.io/application-set-refresh="+rand.Text())
		findings = examine(c.t)
		return !slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Result == doctor.Failed })
	})
}

// obey types what a finding says, with the variables of docs/install.md and the
// files that an operator has: passwords for git, and a Docker configuration. Lines
// that are no commands are for people.
func obey(t *testing.T, finding doctor.Finding) {
	t.Helper()
	dir := t.TempDir()
	env := operatorEnv(t)
	for name, user := range map[string]string{"GIT": gitserver.Propagator, "GIT_READ": gitserver.ArgoCD} {
		account, err := world.git.User(user)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, user)
		if err := os.WriteFile(file, []byte(account.Password), 0o600); err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"_USERNAME="+account.Name, name+"_PASSWORD_FILE="+file)
	}
	logins, err := world.registries.DockerConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), logins, 0o600); err != nil {
		t.Fatal(err)
	}
	typed := 0
	for line := range strings.SplitSeq(finding.Fix, "\n") {
		if !strings.HasPrefix(line, "kubectl ") {
			continue
		}
		typed++
		command := exec.CommandContext(t.Context(), "sh", "-e", "-c", line)
		command.Dir, command.Env = dir, env
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("what doctor says of %s does not work: %v\n%s\n%s", finding.Subject, err, line, output)
		}
	}
	if typed == 0 && finding.Fix != "" {
		t.Errorf("doctor names no command for %s: %q", finding.Subject, finding.Fix)
	}
}

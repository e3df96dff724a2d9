//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// What the scenarios ask the hook and the command line, and the git server
// about ledgers.

// lookAgain lets the hook have a whole run that begins after now, and returns
// what it came to: if something should not happen, this was its chance.
func (c *company) lookAgain() hookStatus {
	c.t.Helper()
	after := time.Now()
	c.wake()
	var run hookStatus
	c.eventually("the hook looks again", func() bool {
		run = c.hookStatus()
		return run.At.After(after)
	})
	return run
}

// wake asks the hook to look now.
func (c *company) wake() {
	c.t.Helper()
	response, err := world.hookRequest(c.t.Context(), http.MethodPost, "/api/v1/wake?repository="+url.QueryEscape(c.URL()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusAccepted {
		c.t.Fatalf("wake the hook: %s", response.Status)
	}
}

// awaitReason waits until the hook says why an environment does not get a
// version, and returns all that it says.
func (c *company) awaitReason(environment, version string, reason promotion.Reason) promotion.Wait {
	c.t.Helper()
	var found promotion.Wait
	c.eventually(fmt.Sprintf("the hook says %s of %s in %s", reason, version, environment), func() bool {
		wait, ok := waitsFor(c.hookStatus().Waits, environment, c.Name()+"/"+version, reason)
		found = wait
		return ok
	})
	return found
}

// waitsFor finds a wait among others; those that no snapshot is about have no
// version.
func waitsFor(waits []promotion.Wait, environment, version string, reason promotion.Reason) (promotion.Wait, bool) {
	i := slices.IndexFunc(waits, func(w promotion.Wait) bool {
		return w.Environment == environment && w.Version == version && w.Reason == reason
	})
	if i < 0 {
		return promotion.Wait{}, false
	}
	return waits[i], true
}

// awaitEvent waits for an entry of an environment's ledger: "deployed v0.1.0".
func (c *company) awaitEvent(environment, event string) {
	c.t.Helper()
	c.eventually(environment+"'s ledger says "+event, func() bool { return slices.Contains(c.ledger(environment), event) })
}

// checkLedger compares an environment's whole ledger.
func (c *company) checkLedger(environment string, want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.ledger(environment), cmpopts.EquateEmpty()); diff != "" {
		c.t.Errorf("%s's ledger (-want +got):\n%s", environment, diff)
	}
}

// checkSnapshots compares the list of all snapshots.
func (c *company) checkSnapshots(want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.snapshots(), cmpopts.EquateEmpty()); diff != "" {
		c.t.Errorf("snapshots (-want +got):\n%s", diff)
	}
}

// checkNeverPointedAt checks that no Application of an environment ever had the
// version as its target, however briefly.
func (c *company) checkNeverPointedAt(environment, version string) {
	c.t.Helper()
	for _, a := range c.of(environment) {
		for _, moment := range world.apps.History(a.Name) {
			if moment.TargetRevision == c.tag(version) {
				c.t.Errorf("%s pointed at %s at %s", a.Name, version, moment.At.Format(time.TimeOnly))
				break
			}
		}
	}
}

// testedTree is the tree of the ledger entry in which an environment has proven
// a version.
func (c *company) testedTree(environment, version string) string {
	c.t.Helper()
	output, err := world.git.Git(c.t.Context(), c.Repo(), "log", "--first-parent",
		"--format=%T %(trailers:key=Propagator-Event,valueonly,separator=%x20) %(trailers:key=Propagator-Snapshot,valueonly,separator=%x20)",
		"refs/heads/environments/"+environment)
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(output) {
		if tree, entry, _ := strings.Cut(strings.TrimSpace(line), " "); entry == "deployed "+c.Name()+"/"+version {
			return tree
		}
	}
	c.t.Fatalf("%s has not proven %s", environment, version)
	return ""
}

// tree is that of a ref.
func (c *company) tree(ref string) string {
	c.t.Helper()
	tree, err := world.git.Git(c.t.Context(), c.Repo(), "rev-parse", "--verify", ref+"^{tree}")
	if err != nil {
		c.t.Fatal(err)
	}
	return tree
}

// shown is an environment in the output of "propagator status".
type shown struct {
	Environment string           `json:"environment"`
	Version     string           `json:"version"`
	State       string           `json:"state"`
	Hold        string           `json:"hold"`
	Waits       []promotion.Wait `json:"waits"`
	Due         []string         `json:"due"`
}

// statusOutput is what "propagator status" prints when it asks the hook as well.
func (c *company) statusOutput(flags ...string) string {
	c.t.Helper()
	address, ok := world.hook.Address(8080)
	if !ok {
		c.t.Fatal("the hook does not run")
	}
	return c.propagator(append([]string{"status", "--hook-url", "http://" + address, "--token-file", hookToken(c.t)}, flags...)...)
}

// status is what "propagator status" says of an environment.
func (c *company) status(environment string) shown {
	c.t.Helper()
	output := c.statusOutput("--quiet", "--output", "json")
	var all struct {
		Environments []shown `json:"environments"`
	}
	if err := json.Unmarshal([]byte(output), &all); err != nil {
		c.t.Fatalf("propagator status: %v\n%s", err, output)
	}
	i := slices.IndexFunc(all.Environments, func(s shown) bool { return s.Environment == environment })
	if i < 0 {
		c.t.Fatalf("propagator status knows no %s:\n%s", environment, output)
	}
	return all.Environments[i]
}

// checkStatus checks that "propagator status" names the reason for which an
// environment does not get a version, or is not proven to run it.
func (c *company) checkStatus(environment, state, version string, reason promotion.Reason) {
	c.t.Helper()
	got := c.status(environment)
	if _, ok := waitsFor(got.Waits, environment, c.Name()+"/"+version, reason); !ok || got.State != state {
		c.t.Errorf("propagator status says of %s: %+v\nwant it %s, and %s of %s", environment, got, state, reason, version)
	}
}

// hookToken writes the token of the Secret to a file, as an operator does.
func hookToken(t *testing.T) string {
	t.Helper()
	secret, err := world.cluster.Clientset().CoreV1().Secrets(cluster.Namespace).Get(t.Context(), "propagator-token", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, secret.Data["token"], 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
)

var twinsKiosk = plan("TestTwoHookReplicas", kiosk{name: "twins", applications: 2, pods: true})

// TestTwoHookReplicas: two hooks work on one pipeline without knowing of each
// other. Whatever both do at once, git lets one of them win: there is one
// snapshot for each release, every event is in the ledgers once, and neither of
// them takes the race for an error (I1, I6).
func TestTwoHookReplicas(t *testing.T) {
	claim(t)
	c := twinsKiosk.open(t)
	t.Cleanup(func() { world.hook.Replicas(-1) })
	world.hook.Replicas(2)
	c.awaitReady(world.hook)
	says := said(world.hook)

	ledger, snapshots := []string{"open", "promote v0.1.0", "deployed v0.1.0"}, []string{"v0.1.0"}
	for i := range 3 {
		version := fmt.Sprintf("v0.%d.0", i+2)
		release := c.release(fmt.Sprintf("web-%d", i%2+1), "seen by two")
		c.awaitEvent("prod", "deployed "+version)
		if lock := c.lock(version); lock.Source.Commit != release.Commit {
			t.Errorf("%s is of %s, and released was %s", version, lock.Source.Commit, release.Commit)
		}
		ledger = append(ledger, "promote "+version, "deployed "+version)
		snapshots = append(snapshots, version)
	}
	c.checkSnapshots(snapshots...)
	c.checkLedger("stage", ledger...)
	c.checkLedger("prod", ledger...)
	c.checkRuns("stage", "v0.4.0")
	c.checkRuns("prod", "v0.4.0")

	logs := says()
	if len(logs) != 2 {
		t.Fatalf("%d replicas have a log", len(logs))
	}
	done, lost := map[string]int{}, 0
	for i, log := range logs {
		if len(linesWith(log, `"msg":"step begins"`, c.Name()+"/")) == 0 {
			t.Errorf("replica %d has never begun anything, and was no competitor", i)
		}
		for _, line := range linesWith(log, `"msg":"step done"`, c.Name()+"/") {
			var entry struct{ Step string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			done[entry.Step]++
		}
		for _, line := range linesWith(log, `"level":"ERROR"`) {
			t.Errorf("replica %d: %s", i, line)
		}
		lost += len(linesWith(log, `"msg":"lost a race, planning again"`))
	}
	for step, times := range done {
		if times > 1 {
			t.Errorf("%s was done %d times", step, times)
		}
	}
	// A capture, a promotion and two records for each version but the first, which
	// one hook brought there alone.
	if want := 4 * (len(snapshots) - 1); len(done) != want {
		t.Errorf("%d steps were done, want %d: %v", len(done), want, done)
	}
	t.Logf("races lost: %d", lost)
}

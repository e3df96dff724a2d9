//go:build e2e

package e2e

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/shop"
)

var againKiosk = plan("TestEmptyCluster", kiosk{name: "again", applications: 2, gated: true, pods: true})

// TestEmptyCluster: the ApplicationSet, every Application after Dev and their
// workloads are gone, and the programs start with empty memories (I10). What git and
// the registries say is enough: an operator applies the pipeline once more, and
// the same Applications come back at the same versions, Stage ahead of Prod as
// before. Nothing is captured, promoted, recorded or copied a second time.
func TestEmptyCluster(t *testing.T) {
	claim(t)
	c := againKiosk.open(t)
	c.awaitEvent("stage", "deployed v0.1.0")
	c.approve("v0.1.0")
	c.awaitEvent("prod", "deployed v0.1.0")
	c.release("web-2", "not for prod yet")
	c.awaitEvent("stage", "deployed v0.2.0")
	c.lookAgain()

	before := c.pointers()
	refs, written := c.refs(), c.writes()

	c.forgetApplications()
	if left := append(c.of("stage"), c.of("prod")...); len(left) > 0 {
		t.Fatalf("not everything is gone: %v", left)
	}
	if err := together(
		func() error { return world.generator.Restart(t.Context()) },
		func() error { return world.hook.Restart(t.Context()) },
	); err != nil {
		t.Fatal(err)
	}
	// The hook sees an Argo CD in which Stage and Prod do not exist.
	if run := c.lookAgain(); len(run.Done) > 0 || run.Error != "" {
		t.Errorf("an empty Argo CD leads to %v, %s", run.Done, run.Error)
	}

	if err := world.applyPipeline(t.Context(), c.Pipeline); err != nil {
		t.Fatal(err)
	}
	c.awaitDeployed("stage", "v0.2.0")
	c.awaitDeployed("prod", "v0.1.0")
	if diff := cmp.Diff(before, c.pointers()); diff != "" {
		t.Errorf("Applications (-before +after):\n%s", diff)
	}
	c.checkRuns("stage", "v0.2.0")
	c.checkRuns("prod", "v0.1.0")
	if run := c.lookAgain(); len(run.Done) > 0 || run.Error != "" {
		t.Errorf("Applications that came back lead to %v, %s", run.Done, run.Error)
	}
	if diff := cmp.Diff(refs, c.refs()); diff != "" {
		t.Errorf("refs (-before +after):\n%s", diff)
	}
	if now := c.writes(); now != written {
		t.Errorf("coming back wrote %d times to registries", now-written)
	}

	// The train goes on where it was.
	c.approve("v0.2.0")
	c.awaitEvent("prod", "deployed v0.2.0")
	c.checkRuns("prod", "v0.2.0")
	c.checkLedger("prod", "open", "promote v0.1.0", "deployed v0.1.0", "promote v0.2.0", "deployed v0.2.0")
}

// pointers are the targets of all Applications after Dev.
func (c *company) pointers() map[string]string {
	targets := map[string]string{}
	for _, a := range slices.Concat(c.of("stage"), c.of("prod")) {
		targets[a.Name] = a.TargetRevision
	}
	return targets
}

// forgetApplications deletes the pipeline's ApplicationSet, what it has made,
// and what that has deployed.
func (c *company) forgetApplications() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for _, a := range slices.Concat(c.of("stage"), c.of("prod")) {
		world.apps.AllowDelete(a.Name)
	}
	label := shop.PipelineLabel + "=" + c.Name()
	for _, args := range [][]string{
		{"delete", "applicationsets.argoproj.io", c.applicationSet()},
		{"delete", "applications.argoproj.io", "-l", label + ",propagator.dev/environment"},
	} {
		if _, err := world.cluster.Kubectl(ctx, args...); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, environment := range []string{"stage", "prod"} {
		if _, err := world.cluster.Kubectl(ctx, "-n", c.Name()+"-"+environment, "delete", "deployments", "--all"); err != nil {
			c.t.Fatal(err)
		}
	}
	c.await("Argo CD has forgotten Stage and Prod", func() bool { return len(c.pointers()) == 0 })
}

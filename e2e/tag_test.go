//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var taggedKiosk = planBeside("TestTagPushedByAPerson", kiosk{name: "tagged", applications: 2, captureOnTag: true})

// TestTagPushedByAPerson: where a release is a tag that a person sets, Dev's
// commits alone lead nowhere. v1.5.0 on a commit that main has left behind makes
// exactly that commit available (S34, S35), with the images that were built for
// it (S36), which get the tag in the registries that they are copied to (S38).
func TestTagPushedByAPerson(t *testing.T) {
	beside(t)
	c := taggedKiosk.open(t)
	chosen := c.release("web-1", "the one that is released")
	later := c.release("web-1", "half finished")
	c.awaitDeployed("dev", later.Commit)
	run := c.lookAgain()
	if _, ok := waitsFor(run.Waits, "dev", "", promotion.TagExpected); !ok || len(run.Done) > 0 {
		t.Errorf("without a tag the hook did %v, and says %v", run.Done, run.Waits)
	}
	c.checkSnapshots()
	if list := slices.Concat(c.of("stage"), c.of("prod")); len(list) > 0 {
		t.Errorf("nobody has set a tag, and there are %v", list)
	}

	// A lightweight tag, and not on the tip.
	if err := c.Tag(t.Context(), gitserver.Lead, "v1.5.0", chosen.Commit, ""); err != nil {
		t.Fatal(err)
	}
	c.awaitDeployed("stage", "v1.5.0")
	c.awaitEvent("prod", "deployed v1.5.0")
	c.checkSnapshots("v1.5.0")
	lock := c.lock("v1.5.0")
	if lock.Source.Commit != chosen.Commit || lock.Source.Tag != "v1.5.0" {
		t.Errorf("the lock's source is %+v, and the tag is on %s", lock.Source, chosen.Commit)
	}
	for _, environment := range []string{"stage", "prod"} {
		c.checkRuns(environment, "v1.5.0")
		if !c.runs(environment, chosen.Digest) || c.runs(environment, later.Digest) {
			t.Errorf("%s runs %v, and the tagged commit has %s", environment, c.live(environment), chosen.Digest)
		}
		c.checkReleased(environment, "v1.5.0")
	}
	for _, skipped := range []string{"dev skip", "tag v1.5.0"} {
		if history := c.propagator("history", "stage"); !strings.Contains(history, skipped) {
			t.Errorf("stage's history does not say %q, so that nobody knows that Dev was not asked:\n%s", skipped, history)
		}
	}

	// The images of the next tag were cleaned up already.
	lost := c.release("web-2", "too late")
	if err := world.registries.Dev.Delete(t.Context(), "tagged/web-2", lost.Digest); err != nil {
		t.Fatal(err)
	}
	if err := c.Tag(t.Context(), gitserver.Lead, "v1.6.0", lost.Commit, "a release"); err != nil {
		t.Fatal(err)
	}
	fault := ""
	c.eventually("the hook misses an image", func() bool {
		fault = c.hookStatus().Error
		return strings.Contains(fault, string(promotion.ImageMissing))
	})
	for _, named := range []string{"tagged/web-2:" + lost.Tag, "web-2", lost.Commit[:7]} {
		if !strings.Contains(fault, named) {
			t.Errorf("the hook does not name %s: %s", named, fault)
		}
	}
	if status := c.statusOutput(); !strings.Contains(status, string(promotion.ImageMissing)) || !strings.Contains(status, "due: capture tagged/v1.6.0 of tag v1.6.0") {
		t.Errorf("propagator status does not say what is due and what keeps it:\n%s", status)
	}
	c.checkSnapshots("v1.5.0")
	if tags, err := world.registries.Stage.Tags(t.Context(), "tagged/web-1"); err != nil || slices.Contains(tags, "v1.6.0") {
		t.Errorf("stage's registry has the tags %v of a release that there is not (%v)", tags, err)
	}

	// People may not move tags here, so it is an administrator who moves v1.5.0.
	before := c.ledger("stage")
	if _, err := world.git.Git(t.Context(), c.Repo(), "update-ref", "refs/tags/v1.5.0", later.Commit); err != nil {
		t.Fatal(err)
	}
	c.wake()
	moved := c.awaitReason("dev", "v1.5.0", promotion.TagDiffers)
	if !strings.Contains(moved.Detail, later.Commit[:7]) || !strings.Contains(moved.Detail, chosen.Commit[:7]) {
		t.Errorf("the two commits are not named: %s", moved.Detail)
	}
	if diff := cmp.Diff(before, c.ledger("stage")); diff != "" {
		t.Errorf("stage's ledger after the move (-before +after):\n%s", diff)
	}
	if now := c.lock("v1.5.0"); now.Source.Commit != chosen.Commit {
		t.Errorf("the snapshot has become one of %s", now.Source.Commit)
	}
	c.checkRuns("stage", "v1.5.0")
	c.checkReleased("stage", "v1.5.0")

	// One tag that cannot be captured does not hold up the next.
	sound := c.release("web-2", "built again")
	if err := c.Tag(t.Context(), gitserver.Lead, "v1.6.1", sound.Commit, "a release"); err != nil {
		t.Fatal(err)
	}
	c.awaitDeployed("stage", "v1.6.1")
	c.awaitReason("dev", "v1.6.0", promotion.TagOlder)
	c.checkRuns("stage", "v1.6.1")
	if !c.runs("stage", sound.Digest) {
		t.Errorf("stage runs %v, and the tagged commit has %s", c.live("stage"), sound.Digest)
	}
	c.checkReleased("stage", "v1.6.1")
	c.checkSnapshots("v1.5.0", "v1.6.1")
}

// runs reports whether some Deployment of an environment has the digest.
func (c *company) runs(environment, digest string) bool {
	c.t.Helper()
	for image := range c.live(environment) {
		if strings.HasSuffix(image, "@"+digest) {
			return true
		}
	}
	return false
}

// checkReleased checks that every image that an environment runs has the
// release tag in the environment's registry.
func (c *company) checkReleased(environment, tag string) {
	c.t.Helper()
	registry := world.registries.Stage
	if environment == "prod" {
		registry = world.registries.Prod
	}
	for image := range c.live(environment) {
		name, digest, _ := strings.Cut(image, "@")
		_, repo, _ := strings.Cut(name, "/")
		if named, err := registry.Digest(c.t.Context(), repo, tag); err != nil || named != digest {
			c.t.Errorf("%s: %s:%s is %q (%v), and %s runs %s", registry.Name(), repo, tag, named, err, environment, digest)
		}
	}
}

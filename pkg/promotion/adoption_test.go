package promotion

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestSwitchingTagsOn: releases of long ago have higher versions than what was
// counted up since. A change of the configuration sends nobody back to them,
// and what is released afterwards is captured, whatever its version.
func TestSwitchingTagsOn(t *testing.T) {
	for _, source := range []string{"{capture: tag}", "{capture: [sync, tag]}"} {
		t.Run(source, func(t *testing.T) {
			s := newShop(t, capturing("{capture: sync}"))
			ancient := s.tip()
			s.tag("v0.7.0", ancient)
			s.tag("v1.0.0", ancient)
			s.tag("v1.0.1", s.grow("a fix"))
			for i := range 3 {
				s.grow(fmt.Sprint("work ", i))
				s.settle(func() *Engine { return s.engine(nil) })
			}
			ran := s.entry("prod").SourceCommit
			s.commit(capturing(source))
			s.settle(func() *Engine { return s.engine(nil) })
			for _, env := range []string{"stage", "prod"} {
				if now := s.entry(env); now.SourceCommit != ran && now.SourceCommit != s.tip() {
					t.Errorf("%s ran %s and was sent to %s of %s", env, ran.Short(), now.Snapshot, now.SourceCommit.Short())
				}
			}
			if waits := s.reconcile().Waits; !hasWait(waits, "dev", TagOlder) {
				t.Errorf("nobody is told: %v", waits)
			}

			released := s.grow("a release")
			s.grow("what comes after it")
			s.tag("v0.9.0", released)
			s.reconcile()
			if snap := s.read("shop/v0.9.0"); snap.Source != released {
				t.Errorf("captured %s, want %s", snap.Source.Short(), released.Short())
			}
			s.settle(func() *Engine { return s.engine(nil) })
			for _, name := range []string{"v0.7.0", "v1.0.0", "v1.0.1"} {
				if slices.Contains(s.snapshots(), name) {
					t.Errorf("%s was captured after all: %v", name, s.snapshots())
				}
			}
			if got := s.entry("prod").SourceCommit; got != released && got != s.tip() {
				t.Errorf("prod was sent to %s", got.Short())
			}
		})
	}
}

// TestTagBehindDev: once a tag was captured, Dev may be ahead of those who
// release: all of their tags count, in order.
func TestTagBehindDev(t *testing.T) {
	s := newShop(t, capturing("{capture: [sync, tag]}"))
	s.tag("v1.0.0", s.tip())
	s.settle(func() *Engine { return s.engine(nil) })
	one, two := s.grow("2"), s.grow("3")
	s.grow("4")
	s.settle(func() *Engine { return s.engine(nil) })
	s.tag("v2.0.0", one)
	s.tag("v2.1.0", two)
	s.settle(func() *Engine { return s.engine(nil) })
	if diff := cmp.Diff([]string{"v1.0.0", "v1.1.0", "v2.0.0", "v2.1.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
	if got := s.entry("prod"); got.SourceCommit != two {
		t.Errorf("prod runs %s", got.Snapshot)
	}
}

// TestTagsFromBeforeTheConfiguration: a release of the time before the pipeline
// cannot be captured, which is no error, and the next lower one can.
func TestTagsFromBeforeTheConfiguration(t *testing.T) {
	for name, broken := range map[string]string{"empty": "", "of another format": "kind: Pipeline\nstages: []\n"} {
		t.Run(name, func(t *testing.T) {
			s := tagShop(t)
			sound := s.tip()
			s.commit(gitrepotest.Files{config.File: broken})
			old := s.tip()
			s.commit(capturing("{capture: tag}"))
			for i := range 5 {
				s.tag(fmt.Sprintf("v4.%d.0", i), old)
			}
			for range 3 {
				s.argo.follow(t)
				result := s.reconcile()
				if len(result.Done) > 0 || !hasWait(result.Waits, "dev", TagWithoutConfig) || !hasWait(result.Waits, "dev", TagExpected) {
					t.Errorf("done %v, waits %v", result.Done, result.Waits)
				}
			}
			s.tag("v3.0.0", sound)
			s.settle(func() *Engine { return s.engine(nil) })
			if diff := cmp.Diff([]string{"v3.0.0"}, s.snapshots()); diff != "" {
				t.Errorf("snapshots (-want +got):\n%s", diff)
			}
		})
	}
}

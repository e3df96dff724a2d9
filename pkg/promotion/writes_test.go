package promotion

import (
	"fmt"
	"iter"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// TestEveryWriteLostAndUnanswered is the write table: each write of a whole
// train, to git and to both registries, is once lost and once done without an
// answer. Whatever happens, the promise about images holds at that very moment
// (I2), and running again leads to the very same refs and registries.
func TestEveryWriteLostAndUnanswered(t *testing.T) {
	clean := newShop(t)
	faults := gitrepotest.Faulty(clean.server.Client())
	clean.settle(func() *Engine { return clean.engine(faults) })
	wantRefs, wantContents := clean.refs(), clean.contents()
	writes := map[string]int{
		"git":   faults.Calls().Push,
		"stage": clean.registries["stage"].Writes(),
		"prod":  clean.registries["prod"].Writes(),
	}
	if writes["git"] != 4 || writes["stage"] < 10 || writes["prod"] < 10 {
		t.Fatalf("unexpected number of writes: %v", writes)
	}
	for side, count := range maps.All(writes) {
		for n := range everyWrite(count) {
			for _, fault := range []registrytest.Fault{registrytest.Lost, registrytest.Unanswered} {
				t.Run(fmt.Sprintf("%s/%d/%s", side, n, fault), func(t *testing.T) {
					s := newShop(t)
					repo := gitrepotest.Faulty(s.server.Client())
					switch {
					case side != "git":
						s.registries[side].FailAt(n, fault)
					case fault == registrytest.Lost:
						repo.LosePush(n)
					default:
						repo.LoseAnswer(n)
					}
					// The broken worker runs until it has met the fault, then a new
					// one takes over.
					failed := false
					for range 20 {
						s.argo.follow(t)
						result, err := s.engine(repo).Reconcile(t.Context())
						s.checkImages(t)
						if err != nil {
							failed = true
						}
						if err != nil || len(result.Done) == 0 {
							break
						}
					}
					if !failed {
						t.Fatal("the fault was never met")
					}
					s.settle(func() *Engine { return s.engine(nil) })
					if diff := cmp.Diff(wantRefs, s.refs()); diff != "" {
						t.Errorf("refs differ: %s", diff)
					}
					if diff := cmp.Diff(wantContents, s.contents()); diff != "" {
						t.Errorf("registries differ: %s", diff)
					}
				})
			}
		}
	}
}

// TestEveryWriteTheLast: the worker is killed at each write, which means that
// this write and all later ones are lost.
func TestEveryWriteTheLast(t *testing.T) {
	clean := newShop(t)
	clean.settle(func() *Engine { return clean.engine(nil) })
	wantRefs, wantContents := clean.refs(), clean.contents()
	for _, side := range []string{"stage", "prod"} {
		for n := range everyWrite(clean.registries[side].Writes()) {
			t.Run(fmt.Sprintf("%s/%d", side, n), func(t *testing.T) {
				s := newShop(t)
				s.registries[side].DieAt(n, registrytest.Unanswered)
				for range 3 {
					s.argo.follow(t)
					_, _ = s.engine(nil).Reconcile(t.Context()) // it fails, or has nothing to do
					s.checkImages(t)
				}
				s.registries[side].FailAt(0, registrytest.Lost)
				s.settle(func() *Engine { return s.engine(nil) })
				if diff := cmp.Diff(wantRefs, s.refs()); diff != "" {
					t.Errorf("refs differ: %s", diff)
				}
				if diff := cmp.Diff(wantContents, s.contents()); diff != "" {
					t.Errorf("registries differ: %s", diff)
				}
			})
		}
	}
}

// everyWrite counts from 1. Under the race detector it takes every fourth: races
// do not depend on which write is lost, and make simulation plays them all.
func everyWrite(count int) iter.Seq[int] {
	step := 1
	if raced {
		step = 4
	}
	return func(yield func(int) bool) {
		for n := 1; n <= count; n += step {
			if !yield(n) {
				return
			}
		}
	}
}

// checkImages is I2: whatever an environment points at is complete in its
// registry, and every snapshot tag in Stage's.
func (s *shop) checkImages(t *testing.T) {
	t.Helper()
	e := s.engine(nil)
	e.Applications = nil
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, environment := range state.Environments {
		if environment.Snapshot == nil {
			continue
		}
		if _, err := e.VerifyImages(t.Context(), state.Pipeline, environment.Snapshot.Lock, environment.Environment); err != nil {
			t.Errorf("%s points at %s: %v", environment.Name, environment.Current().Snapshot, err)
		}
	}
	stage, _ := state.Environment("stage")
	for version := range state.Tags {
		snap, err := e.Snapshot(t.Context(), state, version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.VerifyImages(t.Context(), state.Pipeline, snap.Lock, stage.Environment); err != nil {
			t.Errorf("tag %s: %v", version, err)
		}
	}
}

// TestTwoWorkers: two engines at once do the same as one.
func TestTwoWorkers(t *testing.T) {
	clean := newShop(t)
	clean.settle(func() *Engine { return clean.engine(nil) })
	s := newShop(t)
	for range 8 {
		s.argo.follow(t)
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := s.engine(nil).Reconcile(t.Context())
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	if diff := cmp.Diff(clean.refs(), s.refs()); diff != "" {
		t.Errorf("refs differ: %s", diff)
	}
	if diff := cmp.Diff(clean.contents(), s.contents()); diff != "" {
		t.Errorf("registries differ: %s", diff)
	}
}

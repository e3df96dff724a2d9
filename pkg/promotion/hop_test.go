package promotion

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// ticking is a clock that goes on by a millisecond each time it is read.
func (s *shop) ticking() func() time.Time {
	return func() time.Time {
		s.clock = s.clock.Add(time.Millisecond)
		return s.clock
	}
}

// names are the segments of a hop.
func names(h Hop) []string {
	var all []string
	for _, segment := range h.Segments() {
		all = append(all, segment.Name)
	}
	return all
}

// TestHops: every way from environment to environment leaves a timeline, in
// order and complete.
func TestHops(t *testing.T) {
	s := newShop(t)
	var finished []Hop
	hops := NewHops(func(h Hop) { finished = append(finished, h) })
	engine := func() *Engine {
		e := s.engine(nil)
		e.Now, e.Hops = s.ticking(), hops
		return e
	}
	s.argo.follow(t)
	s.clock = s.clock.Add(400 * time.Millisecond)
	hops.Notified(s.clock)
	s.settle(engine)
	if diff := cmp.Diff(finished, hops.List()); diff != "" {
		t.Errorf("reported and kept differ:\n%s", diff)
	}
	if len(finished) != 2 {
		t.Fatalf("%d hops: %+v", len(finished), finished)
	}
	first, second := finished[0], finished[1]
	if first.Version != "shop/v0.1.0" || first.From != "dev" || first.To != "stage" || second.From != "stage" || second.To != "prod" {
		t.Errorf("%+v\n%+v", first, second)
	}
	if diff := cmp.Diff([]string{"notified", "observed", "captured", "mirrored", "pushed", "poked", "updated", "synced", "healthy", "recorded", SegmentHandover, SegmentTotal}, names(first)); diff != "" {
		t.Errorf("dev to stage (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"observed", "mirrored", "pushed", "poked", "updated", "synced", "healthy", "recorded", SegmentHandover, SegmentTotal}, names(second)); diff != "" {
		t.Errorf("stage to prod (-want +got):\n%s", diff)
	}
	for _, hop := range finished {
		var last time.Time
		for _, m := range hop.moments() {
			// Argo CD's are whole seconds.
			if !m.at.IsZero() && m.at.Before(last.Add(-time.Second)) {
				t.Errorf("%s of %+v is before what was before it", m.name, hop)
			}
			last = later(last, m.at.Time)
		}
	}

	// A commit that changes nothing in Dev is compared, but not synced: nobody
	// knows when Dev was through with it.
	s.argo.mu.Lock()
	s.argo.silent = true
	s.argo.mu.Unlock()
	s.commit(gitrepotest.Files{"README.md": "more"})
	s.settle(engine)
	if len(finished) != 4 || !finished[2].SyncFinished.IsZero() || finished[2].Recorded.IsZero() {
		t.Errorf("%+v", finished[2:])
	}
}

// TestHopsLost: what fails leaves none, what is overtaken neither, and what
// somebody else records is over.
func TestHopsLost(t *testing.T) {
	s := newShop(t)
	var finished []Hop
	hops := NewHops(func(h Hop) { finished = append(finished, h) })
	engine := func() *Engine {
		e := s.engine(nil)
		e.Hops = hops
		return e
	}
	s.argo.follow(t)
	s.registries["stage"].FailAt(1, registrytest.Lost)
	if _, err := engine().Reconcile(t.Context()); err == nil {
		t.Fatal("no error")
	}
	if len(hops.open)+len(hops.due) > 0 {
		t.Errorf("a capture that failed is under way: %+v %+v", hops.open, hops.due)
	}
	if _, err := engine().Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := hops.List(); len(list) != 1 || list[0].To != "stage" || list[0].Poked.IsZero() || !list[0].Updated.IsZero() {
		t.Fatalf("under way: %+v", list)
	}
	// A newer commit reaches Dev before Stage is through.
	s.commit(gitrepotest.Files{"README.md": "more"})
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.argo.follow(t)
	if _, err := engine().Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := hops.List(); len(list) != 1 || list[0].Version != "shop/v0.2.0" || len(finished) != 0 {
		t.Fatalf("overtaken: %+v, finished: %+v", list, finished)
	}
	// Another replica records it.
	s.argo.broken = nil
	s.settle(func() *Engine { return s.engine(nil) })
	if _, err := engine().Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(finished) != 1 || finished[0].To != "stage" || finished[0].Recorded.IsZero() {
		t.Errorf("finished: %+v", finished)
	}
	// An environment of another cluster: what Argo CD does there is not seen.
	s.commit(gitrepotest.Files{"README.md": "even more"})
	finished = nil
	s.settle(func() *Engine {
		e := engine()
		e.Environments = []string{"dev"}
		return e
	})
	if len(finished) != 1 || finished[0].Poked.IsZero() || !finished[0].Updated.IsZero() {
		t.Errorf("finished: %+v", finished)
	}
}

// TestHopOutlivesFailure: a capture that fails does not end the hop of the
// snapshot before it.
func TestHopOutlivesFailure(t *testing.T) {
	s := newShop(t)
	var finished []Hop
	hops := NewHops(func(h Hop) { finished = append(finished, h) })
	engine := func() *Engine {
		e := s.engine(nil)
		e.Hops = hops
		return e
	}
	s.argo.follow(t)
	if _, err := engine().Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := hops.List()
	s.commit(gitrepotest.Files{"envs/stage/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:none")})
	s.argo.broken = map[string]bool{"stage-orders": true, "stage-jobs": true}
	s.argo.follow(t)
	_, err := engine().Reconcile(t.Context())
	mustContain(t, err, "orders:none")
	during := hops.List()
	if len(before) != 1 || len(during) != 1 || during[0].Version != before[0].Version || during[0].Updated.IsZero() {
		t.Fatalf("%+v, then %+v", before, during)
	}
	s.argo.broken = nil
	s.argo.follow(t)
	if _, err := engine().Reconcile(t.Context()); err == nil {
		t.Error("the capture did not fail")
	}
	if len(finished) != 1 || finished[0].Version != before[0].Version || finished[0].Recorded.IsZero() {
		t.Errorf("finished: %+v", finished)
	}
}

func TestHopsKept(t *testing.T) {
	hops := NewHops(nil)
	for i := range maxHops + 3 {
		hops.open["stage"] = &Hop{Version: fmt.Sprint(i), To: "stage", Pushed: Stamp{time.Unix(int64(i), 0)}}
		hops.complete("stage", func(*Hop) bool { return true })
	}
	if list := hops.List(); len(list) != maxHops || list[0].Version != "3" || list[maxHops-1].Version != "52" {
		t.Errorf("%d: %+v", len(list), list)
	}
	var none *Hops
	none.Notified(time.Time{})
	none.drop(Step{})
	if none.List() != nil {
		t.Error("nothing keeps something")
	}
}

func TestHopJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 123456789, time.FixedZone("CET", 3600))
	text, err := json.Marshal(Hop{Version: "shop/v1.4.0", From: "dev", To: "stage", Observed: Stamp{at}})
	if want := `{"version":"shop/v1.4.0","from":"dev","to":"stage","observed":"2026-03-01T12:00:00.123Z"}`; err != nil || string(text) != want {
		t.Fatalf("%s, %v", text, err)
	}
	var back Hop
	if err := json.Unmarshal(text, &back); err != nil || back.Observed.Sub(at).Abs() > time.Millisecond {
		t.Errorf("%+v, %v", back, err)
	}
}

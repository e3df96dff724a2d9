package promotion

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestScheduledCapture(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, cron, timezone              string
		now, oldest, finished, served, is string
	}{
		{name: "due", now: "2026-03-02T17:00:10Z", oldest: "2026-03-02T16:00:00Z", is: "2026-03-02T17:00:00Z"},
		{name: "the very moment", now: "2026-03-02T17:00:00Z", oldest: "2026-03-02T17:00:00Z", is: "2026-03-02T17:00:00Z"},
		{name: "a second early", now: "2026-03-02T16:59:59Z", oldest: "2026-03-02T16:00:00Z"},
		{name: "served", now: "2026-03-02T18:00:00Z", oldest: "2026-03-02T16:59:00Z", served: "2026-03-02T17:00:00Z"},
		{name: "served by a replica whose clock is ahead", now: "2026-03-02T16:59:58Z", oldest: "2026-03-01T16:00:00Z", served: "2026-03-02T17:00:00Z"},
		{name: "nothing new by then", now: "2026-03-02T18:00:00Z", oldest: "2026-03-02T17:00:01Z", served: "2026-02-20T17:00:00Z"},
		{name: "down for a week", now: "2026-03-09T10:00:00Z", oldest: "2026-03-02T16:00:00Z", served: "2026-02-27T17:00:00Z", is: "2026-03-08T17:00:00Z"},
		{name: "nothing is known", now: "2026-03-02T18:00:00Z", is: "2026-03-02T17:00:00Z"},
		{name: "a date a little in the future", now: "2026-03-02T18:00:00Z", oldest: "2026-03-02T18:01:00Z"},
		{name: "a date far in the future, synced before", now: "2026-03-02T18:00:00Z", oldest: "2038-01-01T00:00:00Z", finished: "2026-03-02T16:30:00Z", is: "2026-03-02T17:00:00Z"},
		{name: "a date far in the future, synced after", now: "2026-03-02T18:00:00Z", oldest: "2038-01-01T00:00:00Z", finished: "2026-03-02T17:30:00Z"},
		{name: "a date far in the future, never synced", now: "2026-03-02T18:00:00Z", oldest: "2038-01-01T00:00:00Z", is: "2026-03-02T17:00:00Z"},
		{name: "Berlin in spring, jumped over", cron: "30 2 * * *", timezone: "Europe/Berlin", now: "2026-03-29T03:00:00+02:00", oldest: "2026-03-29T01:30:00+01:00", is: "2026-03-29T03:00:00+02:00"},
		{name: "Berlin in spring, before the jump", cron: "30 2 * * *", timezone: "Europe/Berlin", now: "2026-03-29T01:59:59+01:00", oldest: "2026-03-29T01:30:00+01:00"},
		{name: "Berlin in spring, in the evening", cron: "0 17 * * *", timezone: "Europe/Berlin", now: "2026-03-29T17:00:00+02:00", oldest: "2026-03-29T01:30:00+01:00", is: "2026-03-29T15:00:00Z"},
		{name: "Berlin in autumn, first", cron: "30 2 * * *", timezone: "Europe/Berlin", now: "2026-10-25T02:31:00+02:00", oldest: "2026-10-25T01:30:00+02:00", is: "2026-10-25T00:30:00Z"},
		{name: "Berlin in autumn, between", cron: "30 2 * * *", timezone: "Europe/Berlin", now: "2026-10-25T02:29:00+01:00", oldest: "2026-10-25T01:30:00+02:00", served: "2026-10-25T00:30:00Z"},
		{name: "Berlin in autumn, second", cron: "30 2 * * *", timezone: "Europe/Berlin", now: "2026-10-25T02:30:00+01:00", oldest: "2026-10-25T01:30:00+02:00", served: "2026-10-25T00:30:00Z", is: "2026-10-25T01:30:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.cron == "" {
				test.cron, test.timezone = "0 17 * * *", "UTC"
			}
			times, err := gate.NewTimes(test.cron, test.timezone)
			if err != nil {
				t.Fatal(err)
			}
			due, ok := timing{
				now: instant(t, test.now), oldest: instant(t, test.oldest), finished: instant(t, test.finished), served: instant(t, test.served),
			}.scheduled(times)
			if want := instant(t, test.is); !due.Equal(want) || ok == want.IsZero() || due.Location() != time.UTC {
				t.Errorf("due for %s, %v; want %s", due, ok, want)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	const now = "2026-03-02T12:00:00Z"
	for _, test := range []struct{ name, oldest, newest, finished, until string }{
		{"one commit", "2026-03-02T11:59:00Z", "2026-03-02T11:59:00Z", "", "2026-03-02T12:01:00Z"},
		{"quiet since", "2026-03-02T11:50:00Z", "2026-03-02T11:50:00Z", "2026-03-02T11:51:00Z", "2026-03-02T11:53:00Z"},
		{"synced later", "2026-03-02T11:50:00Z", "2026-03-02T11:50:00Z", "2026-03-02T11:59:30Z", "2026-03-02T12:01:30Z"},
		{"no quiet for long", "2026-03-02T11:41:00Z", "2026-03-02T11:59:59Z", "2026-03-02T11:59:00Z", "2026-03-02T12:01:00Z"},
		{"no quiet for too long", "2026-03-02T11:40:00Z", "2026-03-02T11:59:59Z", "2026-03-02T11:59:00Z", "2026-03-02T12:00:00Z"},
		{"a clock that is a little ahead", "2026-03-02T12:00:30Z", "2026-03-02T12:00:30Z", "2026-03-02T11:59:00Z", "2026-03-02T12:02:30Z"},
		{"a clock that is far ahead", "2026-03-02T11:58:00Z", "2038-01-01T00:00:00Z", "2026-03-02T11:59:00Z", "2026-03-02T12:01:00Z"},
		{"all clocks far ahead", "2038-01-01T00:00:00Z", "2038-01-01T00:00:00Z", "2026-03-02T11:59:00Z", "2026-03-02T12:01:00Z"},
		{"Argo CD's clock far ahead", "2026-03-02T11:58:00Z", "2026-03-02T11:58:00Z", "2038-01-01T00:00:00Z", "2026-03-02T12:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, until := timing{
				now: instant(t, now), oldest: instant(t, test.oldest), newest: instant(t, test.newest), finished: instant(t, test.finished),
			}.quiet(config.Source{Quiet: 2 * time.Minute, QuietAtMost: 20 * time.Minute})
			if !until.Equal(instant(t, test.until)) {
				t.Errorf("until %s, want %s", until, test.until)
			}
		})
	}
}

// growAt adds a commit with a date of its own to main.
func (s *shop) growAt(date time.Time, note string) gitrepo.Hash {
	s.t.Helper()
	tip := s.tip()
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, tip)
	_, objects := gitrepotest.Commit(s.t, s.people, gitrepotest.Files{"note": note}, note, tip)
	made, err := gitrepo.ParseCommit(objects[len(objects)-1])
	if err != nil {
		s.t.Fatal(err)
	}
	made.Author.When, made.Committer.When = date, date
	objects[len(objects)-1] = gitrepo.NewCommit(made)
	id := objects[len(objects)-1].ID()
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/main", Old: tip, New: id}}, Objects: objects})
	return id
}

// look lets Argo CD follow at a time, and reconciles with a fresh engine.
func (s *shop) look(now time.Time) Result {
	s.t.Helper()
	s.clock = now
	s.argo.follow(s.t)
	return s.reconcile()
}

func waitFor(waits []Wait, reason Reason) *Wait {
	if i := slices.IndexFunc(waits, func(w Wait) bool { return w.Reason == reason }); i >= 0 {
		return &waits[i]
	}
	return nil
}

const daily = `{capture: schedule, schedule: {cron: "0 17 * * *", timezone: Europe/Berlin}}`

// TestCaptureAtScheduledTimes follows a pipeline over some days, each look by a
// hook that was just started.
func TestCaptureAtScheduledTimes(t *testing.T) {
	t.Parallel()
	s := newShop(t, capturing(daily))
	day := func(d, hour, minute int) time.Time { return time.Date(2026, 3, d, hour-1, minute, 0, 0, time.UTC) } // Berlin
	want := func(step string, versions ...string) {
		t.Helper()
		if diff := cmp.Diff(versions, s.snapshots()); diff != "" {
			t.Fatalf("%s: snapshots (-want +got):\n%s", step, diff)
		}
	}
	// The repository is older than the pipeline, so its first time has passed.
	s.look(day(2, 10, 0))
	want("the first", "v0.1.0")
	if got := s.read("shop/v0.1.0").Lock.Source.Scheduled; !got.Equal(day(1, 17, 0)) {
		t.Errorf("captured for %s", got)
	}
	morning := s.growAt(day(2, 10, 30), "morning")
	result := s.look(day(2, 10, 31))
	wait := waitFor(result.Waits, CaptureNotDue)
	if wait == nil || !wait.Until.Equal(day(2, 17, 0)) || wait.Environment != "dev" || !strings.Contains(wait.Detail, morning.Short()+" is captured at Mon 2026-03-02 17:00 CET") {
		t.Errorf("waits: %+v", result.Waits)
	}
	noon := s.growAt(day(2, 12, 0), "noon")
	s.look(day(2, 16, 59))
	want("before the second time", "v0.1.0")
	// Something newer is on its way at that moment: it is not captured for the same
	// time once it is there.
	s.look(day(2, 17, 0))
	want("the second", "v0.1.0", "v0.2.0")
	if snap := s.read("shop/v0.2.0"); snap.Source != noon || !snap.Lock.Source.Scheduled.Equal(day(2, 17, 0)) {
		t.Errorf("captured %s for %s", snap.Source.Short(), snap.Lock.Source.Scheduled)
	}
	s.growAt(day(2, 16, 58), "late")
	s.look(day(2, 17, 4))
	want("once for each time", "v0.1.0", "v0.2.0")
	// The hook is down for two of them.
	last := s.growAt(day(4, 9, 0), "while it was down")
	s.look(day(5, 3, 0))
	want("several at once", "v0.1.0", "v0.2.0", "v0.3.0")
	if snap := s.read("shop/v0.3.0"); snap.Source != last || !snap.Lock.Source.Scheduled.Equal(day(4, 17, 0)) {
		t.Errorf("captured %s for %s", snap.Source.Short(), snap.Lock.Source.Scheduled)
	}
	// Idle days lead to nothing, then or afterwards.
	s.look(day(5, 17, 0))
	s.look(day(8, 17, 0))
	s.growAt(day(9, 9, 0), "after idle days")
	s.look(day(9, 9, 1))
	want("idle", "v0.1.0", "v0.2.0", "v0.3.0")
	// Dev is unwell at the time: what corrects it is captured for that time.
	s.argo.broken = map[string]bool{"dev-orders": true}
	s.look(day(9, 17, 0))
	want("broken", "v0.1.0", "v0.2.0", "v0.3.0")
	s.argo.broken = nil
	fix := s.growAt(day(9, 18, 0), "fix")
	s.look(day(9, 18, 1))
	want("corrected", "v0.1.0", "v0.2.0", "v0.3.0", "v0.4.0")
	if snap := s.read("shop/v0.4.0"); snap.Source != fix {
		t.Errorf("captured %s", snap.Source.Short())
	}
}

// TestScheduleAndTags: what a person tags neither takes a scheduled time away nor
// brings one about.
func TestScheduleAndTags(t *testing.T) {
	t.Parallel()
	s := newShop(t, capturing(`{capture: [schedule, tag], schedule: {cron: "0 17 * * *"}}`))
	base := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	s.tag("v0.5.0", s.tip())
	s.look(base.Add(10 * time.Hour))
	old := s.growAt(base.Add(11*time.Hour), "old")
	s.growAt(base.Add(12*time.Hour), "noon")
	s.look(base.Add(17 * time.Hour))
	s.growAt(base.Add(17*time.Hour-time.Minute), "on its way")
	s.tag("v1.0.0", old)
	s.look(base.Add(17*time.Hour + time.Minute))
	s.look(base.Add(18 * time.Hour))
	if diff := cmp.Diff([]string{"v0.5.0", "v0.6.0", "v1.0.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
	s.look(base.Add(41 * time.Hour))
	if diff := cmp.Diff([]string{"v0.5.0", "v0.6.0", "v1.0.0", "v1.1.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
}

// TestScheduleRace: two replicas at the same time capture once, also when one of
// them lost its answer.
func TestScheduleRace(t *testing.T) {
	t.Parallel()
	s := newShop(t, capturing(daily))
	s.clock = time.Date(2026, 3, 2, 17, 0, 0, 0, time.UTC)
	s.argo.follow(t)
	one, other := s.engine(nil), s.engine(nil)
	state, err := other.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps := Plan(state).Steps
	if len(steps) != 1 || steps[0].Kind != Capture || steps[0].Scheduled.IsZero() {
		t.Fatalf("steps: %+v", steps)
	}
	if _, err := one.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Execute(t.Context(), state, steps[0]); err == nil {
		t.Error("the second replica captured as well")
	}
	s.reconcile()
	if diff := cmp.Diff([]string{"v0.1.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
}

// TestTimingWithoutArgoCD: what can be said without the cluster is said.
func TestTimingWithoutArgoCD(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		source string
		reason Reason
	}{
		{daily, CaptureNotDue},
		{"{quiet: 2m}", QuietWindow},
		{"{capture: manual}", ManualCapture},
		{"{capture: sync}", HealthUnknown},
	} {
		s := newShop(t, capturing(test.source))
		s.clock = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
		e := s.engine(nil)
		state, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// By hand, what is there already.
		step, err := PlanCapture(state, state.SourceTip, state.nextVersion())
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Execute(t.Context(), state, step); err != nil {
			t.Fatal(err)
		}
		blind := s.engine(nil)
		blind.Applications = nil
		if state, err = blind.Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := state.CandidateWait.Reason; got != "" && got != HealthUnknown && got != AlreadyThere {
			t.Errorf("%s: %s although the tip is captured", test.source, got)
		}
		s.growAt(s.clock, "more")
		if state, err = blind.Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := state.CandidateWait; got.Reason != test.reason || got.Reason.Help() == "" {
			t.Errorf("%s: %s", test.source, got)
		}
	}
}

// TestQuietWindow: pushes that follow each other become one snapshot, and a
// branch that is never quiet is captured all the same.
func TestQuietWindow(t *testing.T) {
	t.Parallel()
	s := newShop(t, capturing("{quiet: 2m, quietAtMost: 10m}"))
	base := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	at := func(minutes float64) time.Time { return base.Add(time.Duration(minutes * float64(time.Minute))) }
	s.look(at(0))
	if diff := cmp.Diff([]string{"v0.1.0"}, s.snapshots()); diff != "" {
		t.Fatalf("what was there for long (-want +got):\n%s", diff)
	}
	s.growAt(at(1), "a")
	result := s.look(at(1.5))
	if wait := waitFor(result.Waits, QuietWindow); wait == nil || !wait.Until.Equal(at(3.5)) {
		t.Fatalf("waits: %+v", result.Waits)
	}
	b := s.growAt(at(3), "b")
	s.look(at(3))
	// Nothing is remembered, but what Argo CD says: it does not sync again.
	s.clock = at(4.9)
	s.reconcile()
	if got := s.snapshots(); len(got) != 1 {
		t.Fatalf("snapshots: %v", got)
	}
	s.clock = at(5)
	s.reconcile()
	if snap := s.read("shop/v0.2.0"); snap.Source != b {
		t.Errorf("captured %s, want %s", snap.Source.Short(), b.Short())
	}
	// A commit a minute.
	for i := range 12 {
		s.growAt(at(10+float64(i)), "busy")
		s.look(at(10 + float64(i)))
		if got, want := len(s.snapshots()), 2+i/10; got != want {
			t.Fatalf("minute %d: %v", i, s.snapshots())
		}
	}
}

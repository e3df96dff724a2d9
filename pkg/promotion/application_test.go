package promotion

import (
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// TestDeployed is the success rule: every clause false once.
func TestDeployed(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const revision, other = gitrepo.Hash("1111111111111111111111111111111111111111"), gitrepo.Hash("2222222222222222222222222222222222222222")
	want := Expectation{Revision: revision, Targets: []string{"shop/v1.4.0", "refs/tags/shop/v1.4.0"}, Settle: 5 * time.Second}
	good := Application{
		TargetRevision: "refs/tags/shop/v1.4.0", SyncedTarget: "refs/tags/shop/v1.4.0", Phase: "Succeeded",
		FinishedAt: now.Add(-time.Minute), ReconciledAt: now.Add(-time.Minute), HealthSince: now.Add(-time.Minute),
		SyncedRevision: revision, ComparedRevision: revision, SyncStatus: "Synced", Health: "Healthy",
	}
	for _, test := range []struct {
		name    string
		change  func(*Application)
		any     bool
		missing string
	}{
		{"all good", func(*Application) {}, false, ""},
		{"short tag name", func(a *Application) { a.TargetRevision, a.SyncedTarget = "shop/v1.4.0", "shop/v1.4.0" }, false, ""},
		{"points elsewhere", func(a *Application) { a.TargetRevision = "main" }, false, "points at main"},
		{"never synced", func(a *Application) { a.Phase = "" }, false, "never synced"},
		{"running", func(a *Application) { a.Phase = "Running" }, false, "Running"},
		{"failed", func(a *Application) { a.Phase = "Failed" }, false, "Failed"},
		{"no end", func(a *Application) { a.FinishedAt = time.Time{} }, false, "no end"},
		{"dry run", func(a *Application) { a.DryRun = true }, false, "dry run"},
		{"partial", func(a *Application) { a.Partial = true }, false, "only some resources"},
		{"foreign revision synced", func(a *Application) { a.SyncedRevision = other }, false, "synced 2222222"},
		{"foreign target synced", func(a *Application) { a.SyncedTarget = "main" }, false, "synced main"},
		{"revision not resolved", func(a *Application) { a.ComparedRevision = "refs/tags/shop/v1.4.0" }, false, "compared with refs/tags/shop/v1.4.0"},
		{"foreign revision compared", func(a *Application) { a.ComparedRevision = other }, false, "compared with 2222222"},
		{"out of sync", func(a *Application) { a.SyncStatus = "OutOfSync" }, false, "OutOfSync"},
		{"sync unknown", func(a *Application) { a.SyncStatus = "" }, false, "Unknown"},
		{"stale status", func(a *Application) { a.ReconciledAt = now.Add(-2 * time.Minute) }, false, "not reconciled"},
		{"degraded", func(a *Application) { a.Health = "Degraded" }, false, "Degraded"},
		{"health unknown", func(a *Application) { a.Health = "" }, false, "Unknown"},
		{"just healthy", func(a *Application) { a.HealthSince = now.Add(-2 * time.Second) }, false, "less than 5s"},
		{"just synced", func(a *Application) { a.FinishedAt, a.ReconciledAt = now, now }, false, "less than 5s"},
		{"settled, had it ended when its second began", func(a *Application) { a.FinishedAt, a.ReconciledAt = now.Add(-5*time.Second), now }, false, "less than 5s"},
		{"settled, however late in its second it ended", func(a *Application) { a.FinishedAt, a.ReconciledAt = now.Add(-6*time.Second), now }, false, ""},
		{"older operation in Dev", func(a *Application) { a.SyncedRevision = other }, true, ""},
		{"older operation in Dev, compared elsewhere", func(a *Application) { a.SyncedRevision, a.ComparedRevision = other, other }, true, "compared"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, want := good, want
			want.AnyOperation = test.any
			test.change(&a)
			ok, missing := a.Deployed(want, now)
			if ok != (test.missing == "") || !strings.Contains(missing, test.missing) {
				t.Errorf("%v, %q; want %q", ok, missing, test.missing)
			}
		})
	}
}

// TestSettled: Argo CD cuts times to the second, so what it notes as the same
// time may be almost a second later.
func TestSettled(t *testing.T) {
	end := time.Date(2026, 3, 1, 12, 0, 10, 950e6, time.UTC)
	noted := end.Truncate(time.Second)
	a := Application{
		Phase: "Succeeded", FinishedAt: noted, SyncedRevision: "r", ComparedRevision: "r", SyncStatus: "Synced", Health: "Healthy",
		ReconciledAt: noted, HealthSince: noted,
	}
	for _, settle := range []time.Duration{time.Nanosecond, 50 * time.Millisecond, time.Second, time.Minute} {
		want := Expectation{Revision: "r", Settle: settle}
		if ok, _ := a.Deployed(want, end.Add(settle-time.Nanosecond)); ok {
			t.Errorf("counts as settled before %s have passed", settle)
		}
		if ok, missing := a.Deployed(want, noted.Add(time.Second+settle)); !ok {
			t.Errorf("%s after the second has passed: %s", settle, missing)
		}
		if until := a.fault(want, noted).until; !until.Equal(noted.Add(time.Second + settle)) {
			t.Errorf("looked at again at %s", until)
		}
	}
	if ok, missing := a.Deployed(Expectation{Revision: "r"}, time.Time{}); !ok {
		t.Errorf("without a clock: %s", missing)
	}
}

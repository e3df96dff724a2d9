package gate

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name, cron string
		duration   time.Duration
		timezone   string
		now        string
		result     Result
		detail     string
		until      string
	}{
		{"inside", "0 9 * * 1-4", 8 * time.Hour, "Europe/Berlin", "2026-11-26T12:00:00+01:00", Pass, "open until Thu 2026-11-26 17:00 CET", "2026-11-26T17:00:00+01:00"},
		{"the first moment", "0 9 * * 1-4", 8 * time.Hour, "Europe/Berlin", "2026-11-26T09:00:00+01:00", Pass, "open until Thu 2026-11-26 17:00 CET", "2026-11-26T17:00:00+01:00"},
		{"before the first moment", "0 9 * * 1-4", 8 * time.Hour, "Europe/Berlin", "2026-11-26T08:59:59.999999999+01:00", Wait, "opens Thu 2026-11-26 09:00 CET", "2026-11-26T09:00:00+01:00"},
		{"the last moment", "0 9 * * 1-4", 8 * time.Hour, "Europe/Berlin", "2026-11-26T16:59:59.999999999+01:00", Pass, "open until Thu 2026-11-26 17:00 CET", "2026-11-26T17:00:00+01:00"},
		{"after the last moment", "0 9 * * 1-4", 8 * time.Hour, "Europe/Berlin", "2026-11-26T17:00:00+01:00", Wait, "opens Mon 2026-11-30 09:00 CET", "2026-11-30T09:00:00+01:00"},
		{"the day of another zone", "0 9 * * 1-4", 8 * time.Hour, "Europe/Berlin", "2026-11-30T03:30:00-05:00", Pass, "open until Mon 2026-11-30 17:00 CET", "2026-11-30T17:00:00+01:00"},
		{"UTC without a zone", "0 9 * * *", time.Hour, "", "2026-11-26T09:30:00Z", Pass, "open until Thu 2026-11-26 10:00 UTC", "2026-11-26T10:00:00Z"},
		{"over midnight", "0 22 * * *", 8 * time.Hour, "Asia/Kolkata", "2026-11-27T01:00:00+05:30", Pass, "open until Fri 2026-11-27 06:00 IST", "2026-11-27T06:00:00+05:30"},
		{"over midnight of the last day", "0 22 * * 5", 8 * time.Hour, "Asia/Kolkata", "2026-11-28T06:00:00+05:30", Wait, "opens Fri 2026-12-04 22:00 IST", "2026-12-04T22:00:00+05:30"},
		{"over the change in spring", "0 22 * * *", 8 * time.Hour, "Europe/Berlin", "2026-03-29T06:59:00+02:00", Pass, "open until Sun 2026-03-29 07:00 CEST", "2026-03-29T07:00:00+02:00"},
		{"over the change in autumn", "0 22 * * *", 8 * time.Hour, "Europe/Berlin", "2026-10-25T05:00:00+01:00", Wait, "opens Sun 2026-10-25 22:00 CET", "2026-10-25T22:00:00+01:00"},
		{"over the change in New York", "0 20 * * 6", 10 * time.Hour, "America/New_York", "2026-03-08T06:30:00-04:00", Pass, "open until Sun 2026-03-08 07:00 EDT", "2026-03-08T07:00:00-04:00"},
		{"over the change on Lord Howe", "0 20 * * 6", 10 * time.Hour, "Australia/Lord_Howe", "2026-10-04T06:29:00+11:00", Pass, "open until Sun 2026-10-04 06:30 +11", "2026-10-04T06:30:00+11:00"},
		{"jumped over", "30 2 * * *", time.Hour, "Europe/Berlin", "2026-03-29T03:00:00+02:00", Pass, "open until Sun 2026-03-29 04:00 CEST", "2026-03-29T04:00:00+02:00"},
		{"before the jump", "30 2 * * *", time.Hour, "Europe/Berlin", "2026-03-29T01:59:59+01:00", Wait, "opens Sun 2026-03-29 03:00 CEST", "2026-03-29T03:00:00+02:00"},
		{"the first of two", "30 2 * * *", 10 * time.Minute, "Europe/Berlin", "2026-10-25T02:35:00+02:00", Pass, "open until Sun 2026-10-25 02:40 CEST", "2026-10-25T02:40:00+02:00"},
		{"between the two", "30 2 * * *", 10 * time.Minute, "Europe/Berlin", "2026-10-25T02:40:00+02:00", Wait, "opens Sun 2026-10-25 02:30 CET", "2026-10-25T02:30:00+01:00"},
		{"the second of two", "30 2 * * *", 10 * time.Minute, "Europe/Berlin", "2026-10-25T02:35:00+01:00", Pass, "open until Sun 2026-10-25 02:40 CET", "2026-10-25T02:40:00+01:00"},
		{"two that overlap", "30 2 * * *", 2 * time.Hour, "Europe/Berlin", "2026-10-25T02:35:00+02:00", Pass, "open until Sun 2026-10-25 04:30 CET", "2026-10-25T04:30:00+01:00"},
		{"overlapping days", "0 9 * * 1-5", 30 * time.Hour, "UTC", "2026-11-25T10:00:00Z", Pass, "open until Sat 2026-11-28 15:00 UTC", "2026-11-28T15:00:00Z"},
		{"touching hours", "0 9-16 * * *", time.Hour, "UTC", "2026-11-25T10:00:00Z", Pass, "open until Wed 2026-11-25 17:00 UTC", "2026-11-25T17:00:00Z"},
		{"always", "* * * * *", 24 * time.Hour, "UTC", "2026-01-01T00:00:00Z", Pass, "open at least until Sun 2026-04-12 00:00 UTC", "2026-04-12T00:00:00Z"},
		{"years ahead", "0 0 29 2 *", time.Hour, "UTC", "2096-03-01T00:00:00Z", Wait, "opens Fri 2104-02-29 00:00 UTC", "2104-02-29T00:00:00Z"},
		{"the longest", "0 0 1 1 *", 366 * 24 * time.Hour, "UTC", "2028-12-31T23:59:00Z", Pass, "open at least until Sat 2129-01-01 00:00 UTC", "2129-01-01T00:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, err := NewWindow(test.cron, test.duration, test.timezone)
			if err != nil {
				t.Fatal(err)
			}
			want := Verdict{Result: test.result, Detail: test.detail, Until: at(t, test.until)}
			if diff := cmp.Diff(want, w.Judge(t.Context(), Subject{Now: at(t, test.now)})); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTimesWithoutAnswer: neither passes when nobody listens any more, nor when
// there is no time.
func TestTimesWithoutAnswer(t *testing.T) {
	window, err := NewWindow("* * * * *", time.Hour, "UTC")
	if err != nil {
		t.Fatal(err)
	}
	repeated, err := NewFreeze(FreezeOptions{Cron: "0 9 * * *", Duration: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	once, err := NewFreeze(FreezeOptions{From: "2026-12-20", Until: "2026-12-21"})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	now := at(t, "2026-11-26T12:00:00Z")
	for name, g := range map[string]Gate{"window": window, "repeated freeze": repeated, "freeze": once} {
		if got := g.Judge(t.Context(), Subject{Now: now}); got.Result != Pass {
			t.Errorf("%s: %+v, want pass", name, got)
		}
		if diff := cmp.Diff(Verdict{Result: Unknown, Detail: "broken off"}, g.Judge(ended, Subject{Now: now})); diff != "" {
			t.Errorf("%s after the end of the context (-want +got):\n%s", name, diff)
		}
		for _, now := range []time.Time{{}, time.Unix(-1<<40, 0), time.Unix(1<<40, 0)} {
			if diff := cmp.Diff(Verdict{Result: Unknown, Detail: "there is no time to judge by"}, g.Judge(t.Context(), Subject{Now: now})); diff != "" {
				t.Errorf("%s at %s (-want +got):\n%s", name, now, diff)
			}
		}
	}
}

// FuzzNewWindow: no expression makes the parser or a judgement panic or hang,
// and a window is open exactly until it says.
func FuzzNewWindow(f *testing.F) {
	for _, cron := range []string{"0 9 * * 1-4", "*/7 2 29 2 ?", "TZ=", "CRON_TZ=UTC 0 0 * * *", "@every 1s", ", , , , ,", "0-59/61 0 31 JAN,feb SUN", "1-2-3 * * * *", "9999999999999999999 * * * *"} {
		f.Add(cron, int64(8*time.Hour), "Europe/Berlin", int64(1_800_000_000))
	}
	f.Add("30 2 * * *", int64(time.Minute), "Australia/Lord_Howe", int64(1_775_314_800))
	f.Fuzz(func(t *testing.T, cron string, duration int64, timezone string, now int64) {
		w, err := NewWindow(cron, time.Duration(duration), timezone)
		if err != nil {
			return
		}
		moment := time.Unix(now, 0)
		if moment.Year() < 1900 || moment.Year() > 2200 {
			return
		}
		got := w.Judge(t.Context(), Subject{Now: moment})
		if got.Result != Pass && got.Result != Wait || !got.Until.After(moment) {
			t.Fatalf("%q for %s in %q at %s: %+v", cron, time.Duration(duration), timezone, moment, got)
		}
		if before := w.Judge(t.Context(), Subject{Now: got.Until.Add(-time.Nanosecond)}); before.Result != got.Result {
			t.Fatalf("%q for %s in %q: %+v at %s, but before it ends %+v", cron, time.Duration(duration), timezone, got, moment, before)
		}
	})
}

package gate

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, cron, timezone, at, last, next string }{
		{"between", "0 17 * * 1-5", "Europe/Berlin", "2026-03-03T12:00:00+01:00", "2026-03-02T17:00:00+01:00", "2026-03-03T17:00:00+01:00"},
		{"over the weekend", "0 17 * * 1-5", "Europe/Berlin", "2026-03-08T12:00:00+01:00", "2026-03-06T17:00:00+01:00", "2026-03-09T17:00:00+01:00"},
		{"the very moment", "0 17 * * *", "UTC", "2026-03-03T17:00:00Z", "2026-03-03T17:00:00Z", "2026-03-04T17:00:00Z"},
		{"just before", "0 17 * * *", "UTC", "2026-03-03T16:59:59Z", "2026-03-02T17:00:00Z", "2026-03-03T17:00:00Z"},
		{"no zone is UTC", "0 17 * * *", "", "2026-03-03T17:00:00Z", "2026-03-03T17:00:00Z", "2026-03-04T17:00:00Z"},
		{"Berlin, after the clock jumped over it", "30 2 * * *", "Europe/Berlin", "2026-03-29T12:00:00+02:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		{"Berlin, before the clock jumps over it", "30 2 * * *", "Europe/Berlin", "2026-03-29T01:59:59+01:00", "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"Berlin, between the two of autumn", "30 2 * * *", "Europe/Berlin", "2026-10-25T02:45:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"Berlin, after the two of autumn", "30 2 * * *", "Europe/Berlin", "2026-10-25T12:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"},
		{"Lord Howe, half an hour jumped over", "15 2 * * *", "Australia/Lord_Howe", "2026-10-04T12:00:00+11:00", "2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"},
		{"leap days", "0 0 29 2 *", "UTC", "2103-06-01T00:00:00Z", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			times, err := NewTimes(test.cron, test.timezone)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := times.Last(at(t, test.at)); !ok || !got.Equal(at(t, test.last)) {
				t.Errorf("last at %s is %s, %v; want %s", test.at, got, ok, test.last)
			}
			if got, ok := times.Next(at(t, test.at)); !ok || !got.Equal(at(t, test.next)) {
				t.Errorf("next after %s is %s, %v; want %s", test.at, got, ok, test.next)
			}
		})
	}
}

// TestTimesMeet: from any moment, what comes next is last once it is there.
func TestTimesMeet(t *testing.T) {
	t.Parallel()
	for _, cron := range []string{"*/7 * * * *", "30 2 * * *", "0 9 13 * 5", "0 0 29 2 *"} {
		for _, timezone := range []string{"UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe"} {
			times, err := NewTimes(cron, timezone)
			if err != nil {
				t.Fatal(err)
			}
			moment := at(t, "2026-03-07T11:59:30Z")
			for range 50 {
				next, _ := times.Next(moment)
				if last, ok := times.Last(next); !ok || !last.Equal(next) {
					t.Fatalf("%s in %s: last at %s is %s", cron, timezone, next, last)
				}
				if last, ok := times.Last(next.Add(-time.Second)); !ok || !last.Before(next) {
					t.Fatalf("%s in %s: last before %s is %s", cron, timezone, next, last)
				}
				moment = next.Add(time.Second)
			}
		}
	}
}

func TestTimesFaults(t *testing.T) {
	t.Parallel()
	for _, test := range [][2]string{{"every day", "UTC"}, {"0 0 30 2 *", "UTC"}, {"TZ=UTC 0 0 * * *", ""}, {"TZ=UTC", ""}, {"0 17 * * *", "Mars/Olympus"}, {"0 17 * * *", "Local"}, {"", ""}} {
		if times, err := NewTimes(test[0], test[1]); err == nil {
			t.Errorf("%q in %q: %v", test[0], test[1], times)
		}
	}
	times, err := NewTimes("0 17 * * *", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	for _, moment := range []time.Time{{}, time.Date(5, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if last, ok := times.Last(moment); ok {
			t.Errorf("last at %s is %s", moment, last)
		}
	}
	if next, ok := times.Next(time.Time{}); ok {
		t.Errorf("next after nothing is %s", next)
	}
}

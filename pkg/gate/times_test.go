package gate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// at reads a moment of RFC 3339.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func mustSchedule(t testing.TB, cron string, duration time.Duration, timezone string) *schedule {
	t.Helper()
	s, err := newSchedule(cron, duration, timezone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBeginnings follows schedules over changes of the clock. The third
// beginning is always one of a regular day.
func TestBeginnings(t *testing.T) {
	for _, test := range []struct {
		name, timezone, cron, after string
		want                        []string
	}{
		{
			"Berlin, jumped over", "Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"},
		},
		{
			"Berlin, several jumped over are one", "Europe/Berlin", "*/20 2 * * *", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T02:20:00+02:00"},
		},
		{
			"Berlin, jumped over and where the jump ends", "Europe/Berlin", "0 2,3 * * *", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T03:00:00+02:00"},
		},
		{
			"Berlin, every hour in spring", "Europe/Berlin", "0 * * * *", "2026-03-29T00:00:00+01:00",
			[]string{"2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		},
		{
			"Berlin, twice", "Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"},
		},
		{
			"Berlin, the moment it is set back", "Europe/Berlin", "0 2,3 * * *", "2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		},
		{
			"New York, jumped over", "America/New_York", "15 2 * * *", "2026-03-07T12:00:00-05:00",
			[]string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:15:00-04:00", "2026-03-10T02:15:00-04:00"},
		},
		{
			"New York, twice", "America/New_York", "15 1 * * *", "2026-10-31T12:00:00-04:00",
			[]string{"2026-11-01T01:15:00-04:00", "2026-11-01T01:15:00-05:00", "2026-11-02T01:15:00-05:00"},
		},
		{
			"New York, a weekday over the change", "America/New_York", "0 9 * * 1-5", "2026-10-30T12:00:00-04:00",
			[]string{"2026-11-02T09:00:00-05:00", "2026-11-03T09:00:00-05:00", "2026-11-04T09:00:00-05:00"},
		},
		{
			"Kolkata, no changes", "Asia/Kolkata", "30 2 * * *", "2026-03-28T12:00:00+05:30",
			[]string{"2026-03-29T02:30:00+05:30", "2026-03-30T02:30:00+05:30", "2026-03-31T02:30:00+05:30"},
		},
		{
			"Lord Howe, half an hour jumped over", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00", "2026-10-06T02:15:00+11:00"},
		},
		{
			"Lord Howe, a full hour after the jump", "Australia/Lord_Howe", "0 3 * * *", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T03:00:00+11:00", "2026-10-05T03:00:00+11:00", "2026-10-06T03:00:00+11:00"},
		},
		{
			"Lord Howe, half an hour twice", "Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00:00+11:00",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30", "2026-04-06T01:45:00+10:30"},
		},
		{
			"Lord Howe, when it was set back", "Australia/Lord_Howe", "0 2 * * *", "2026-04-04T12:00:00+11:00",
			[]string{"2026-04-05T02:00:00+10:30", "2026-04-06T02:00:00+10:30", "2026-04-07T02:00:00+10:30"},
		},
		{
			"Havana, no midnight", "America/Havana", "0 0 * * *", "2026-03-07T12:00:00-05:00",
			[]string{"2026-03-08T01:00:00-04:00", "2026-03-09T00:00:00-04:00", "2026-03-10T00:00:00-04:00"},
		},
		{
			"Apia, no 30 December", "Pacific/Apia", "0 9 30 * *", "2011-12-29T12:00:00-10:00",
			[]string{"2011-12-31T00:00:00+14:00", "2012-01-30T09:00:00+14:00", "2012-03-30T09:00:00+14:00"},
		},
		{
			"leap days, over a year that could be one", "UTC", "0 0 29 2 *", "2092-03-01T00:00:00Z",
			[]string{"2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"},
		},
		{
			"leap days, over many changes of the clock", "Europe/Berlin", "0 0 29 2 *", "2095-03-01T00:00:00Z",
			[]string{"2096-02-29T00:00:00+01:00", "2104-02-29T00:00:00+01:00", "2108-02-29T00:00:00+01:00"},
		},
		{
			// Where package time says that the last part of the year has ended.
			"31 December of a leap year", "Australia/Lord_Howe", "0 12 * * *", "2096-12-31T00:30:00Z",
			[]string{"2096-12-31T12:00:00+11:00", "2097-01-01T12:00:00+11:00", "2097-01-02T12:00:00+11:00"},
		},
		{
			"either day is enough", "UTC", "0 0 13 * 5", "2026-11-05T12:00:00Z",
			[]string{"2026-11-06T00:00:00Z", "2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mustSchedule(t, test.cron, time.Hour, test.timezone)
			moment, got := at(t, test.after), []string(nil)
			for range test.want {
				moment = s.next(moment)
				got = append(got, moment.Format(time.RFC3339))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("beginnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMoments(t *testing.T) {
	for _, test := range []struct{ timezone, wall, first, last string }{
		{"Europe/Berlin", "2026-11-26T09:00", "2026-11-26T09:00:00+01:00", "2026-11-26T09:00:00+01:00"},
		{"Europe/Berlin", "2026-03-29T02:30", "2026-03-29T03:00:00+02:00", "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", "2026-03-29T03:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", "2026-10-25T02:30", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"Europe/Berlin", "2026-10-25T03:00", "2026-10-25T03:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		{"Australia/Lord_Howe", "2026-04-05T01:30", "2026-04-05T01:30:00+11:00", "2026-04-05T01:30:00+10:30"},
		{"Pacific/Apia", "2011-12-30T12:00", "2011-12-31T00:00:00+14:00", "2011-12-31T00:00:00+14:00"},
		{"UTC", "2026-02-28T00:00", "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z"},
	} {
		wall, err := time.Parse("2006-01-02T15:04", test.wall)
		if err != nil {
			t.Fatal(err)
		}
		first, last := moments(wall, zone(t, test.timezone))
		if diff := cmp.Diff([]string{test.first, test.last}, []string{first.Format(time.RFC3339), last.Format(time.RFC3339)}); diff != "" {
			t.Errorf("%s in %s (-want +got):\n%s", test.wall, test.timezone, diff)
		}
	}
}

func TestScheduleFaults(t *testing.T) {
	fields := " is not five fields (minute, hour, day of the month, month, day of the week) such as 0 9 * * 1-5; the time zone is a field of its own"
	for _, test := range []struct {
		name, cron string
		duration   time.Duration
		timezone   string
		want       string
	}{
		{"nothing", "", time.Hour, "UTC", `cron ""` + fields},
		{"four fields", "0 9 * *", time.Hour, "UTC", `cron "0 9 * *"` + fields},
		{"seconds", "0 0 9 * * 1", time.Hour, "UTC", `cron "0 0 9 * * 1"` + fields},
		{"descriptor", "@daily", time.Hour, "UTC", `cron "@daily"` + fields},
		{"interval", "@every 1h", time.Hour, "UTC", `cron "@every 1h"` + fields},
		{"interval of five words", "@every 1h 0 0 0", time.Hour, "UTC", `cron "@every 1h 0 0 0"` + fields},
		{"prefix", "TZ=UTC 0 9 * * *", time.Hour, "UTC", `cron "TZ=UTC 0 9 * * *"` + fields},
		{"prefix alone, on which the parser panics", "TZ=", time.Hour, "UTC", `cron "TZ="` + fields},
		{"two lines", "0 9 *\n* 1", time.Hour, "UTC", `cron "0 9 *\n* 1"` + fields},
		{"list of nothing", ", 9 * * *", time.Hour, "UTC", `cron ", 9 * * *"` + fields},
		{"list that ends with nothing", "0 9 1, * *", time.Hour, "UTC", `cron "0 9 1, * *"` + fields},
		{"list with a hole", "0 9 1,,2 * *", time.Hour, "UTC", `cron "0 9 1,,2 * *"` + fields},
		{"long", strings.Repeat("1,", 100) + "1 * * * *", time.Hour, "UTC", "cron has more than 200 characters"},
		{"minute", "60 9 * * *", time.Hour, "UTC", `cron "60 9 * * *": end of range (60) above maximum (59): 60`},
		{"weekday 7", "0 9 * * 7", time.Hour, "UTC", `cron "0 9 * * 7": end of range (7) above maximum (6): 7`},
		{"step 0", "*/0 9 * * *", time.Hour, "UTC", `cron "*/0 9 * * *": step of range should be a positive number: */0`},
		{"30 February", "0 9 30 2 *", time.Hour, "UTC", `cron "0 9 30 2 *" never fires; no month that it names has such a day`},
		{"31 of short months", "0 9 31 4,6,9,11 *", time.Hour, "UTC", `cron "0 9 31 4,6,9,11 *" never fires; no month that it names has such a day`},
		{"no duration", "0 9 * * *", 0, "UTC", "duration is 0s, must be from 1m0s to 8784h0m0s"},
		{"negative duration", "0 9 * * *", -time.Hour, "UTC", "duration is -1h0m0s, must be from 1m0s to 8784h0m0s"},
		{"seconds of duration", "0 9 * * *", 59 * time.Second, "UTC", "duration is 59s, must be from 1m0s to 8784h0m0s"},
		{"endless duration", "0 9 * * *", 8785 * time.Hour, "UTC", "duration is 8785h0m0s, must be from 1m0s to 8784h0m0s"},
		{"zone", "0 9 * * *", time.Hour, "Europe/Bärlin", `timezone "Europe/Bärlin" is not a time zone such as Europe/Berlin or UTC`},
		{"the machine's zone", "0 9 * * *", time.Hour, "Local", `timezone "Local" is not a time zone such as Europe/Berlin or UTC`},
		{"a path", "0 9 * * *", time.Hour, "../../etc/passwd", `timezone "../../etc/passwd" is not a time zone such as Europe/Berlin or UTC`},
		{
			"all at once", "0 9 30 2 *", 0, "Local",
			"cron \"0 9 30 2 *\" never fires; no month that it names has such a day\nduration is 0s, must be from 1m0s to 8784h0m0s\ntimezone \"Local\" is not a time zone such as Europe/Berlin or UTC",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, windowErr := NewWindow(test.cron, test.duration, test.timezone)
			if got := fmt.Sprint(windowErr); got != "window: "+test.want {
				t.Errorf("window:\n got %s\nwant window: %s", got, test.want)
			}
			if test.cron == "" {
				return // a freeze has another form without
			}
			_, freezeErr := NewFreeze(FreezeOptions{Cron: test.cron, Duration: test.duration, Timezone: test.timezone})
			if got := fmt.Sprint(freezeErr); got != "freeze: "+test.want {
				t.Errorf("freeze:\n got %s\nwant freeze: %s", got, test.want)
			}
		})
	}
	// The two that are nearly as bad and yet can happen.
	for _, cron := range []string{"0 9 29 2 *", "0 9 30 2 1", "0 9 ? JAN-mar SUN"} {
		if _, err := NewWindow(cron, time.Minute, ""); err != nil {
			t.Error(err)
		}
	}
}

// cronField is a field of an expression that was not read by any parser: the
// text and what it means were made together.
type cronField struct {
	text   string
	star   bool
	values map[int]bool
}

func randomField(r *rand.Rand, low, high int) cronField {
	f := cronField{values: map[int]bool{}}
	fill := func(from, to, step int) {
		for v := from; v <= to; v += step {
			f.values[v] = true
		}
	}
	a, b := low+r.IntN(high-low+1), low+r.IntN(high-low+1)
	a, b = min(a, b), max(a, b)
	step := 2 + r.IntN(max(2, (high-low)/2))
	switch r.IntN(5) {
	case 0:
		f.text, f.star = "*", true
		fill(low, high, 1)
	case 1:
		f.text = fmt.Sprintf("*/%d", step)
		fill(low, high, step)
	case 2:
		f.text = fmt.Sprintf("%d-%d", a, b)
		fill(a, b, 1)
	case 3:
		f.text = fmt.Sprintf("%d-%d/%d", a, b, step)
		fill(a, b, step)
	default:
		f.text = fmt.Sprintf("%d,%d", a, b)
		f.values[a], f.values[b] = true, true
	}
	return f
}

// oracle knows a schedule only by looking at every minute.
type oracle struct {
	minute, hour, day, month, weekday cronField
	duration                          time.Duration
}

func (o *oracle) cron() string {
	return strings.Join([]string{o.minute.text, o.hour.text, o.day.text, o.month.text, o.weekday.text}, " ")
}

// names reports whether the expression names a time of the clock.
func (o *oracle) names(wall time.Time) bool {
	day, weekday := o.day.values[wall.Day()], o.weekday.values[int(wall.Weekday())]
	either := day || weekday
	if o.day.star || o.weekday.star {
		either = day && weekday
	}
	return either && o.minute.values[wall.Minute()] && o.hour.values[wall.Hour()] && o.month.values[int(wall.Month())]
}

// begins reports whether a period begins with a minute: the clock shows a time
// that the expression names, or has just jumped over one.
func (o *oracle) begins(minute time.Time, z *time.Location) bool {
	shown := func(t time.Time) time.Time {
		t = t.In(z)
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	}
	now := shown(minute)
	for wall := shown(minute.Add(-time.Minute)).Add(time.Minute); wall.Before(now); wall = wall.Add(time.Minute) {
		if o.names(wall) {
			return true
		}
	}
	return o.names(now)
}

// TestAgreesWithEveryMinute compares windows and freezes with what the clock
// shows, minute by minute, on the days around a change of it.
func TestAgreesWithEveryMinute(t *testing.T) {
	const days = 4
	changes := []struct{ timezone, day string }{
		{"Europe/Berlin", "2026-03-29"},
		{"Europe/Berlin", "2026-10-25"},
		{"America/New_York", "2026-03-08"},
		{"America/New_York", "2026-11-01"},
		{"Australia/Lord_Howe", "2026-04-05"},
		{"Australia/Lord_Howe", "2026-10-04"},
		{"America/Havana", "2026-03-08"},
		{"America/Havana", "2026-11-01"},
		{"Pacific/Apia", "2011-12-30"},
		{"Asia/Kolkata", "2026-11-26"},
	}
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	seen := map[Result]int{}
	for round := range rounds * len(changes) {
		change, seed := changes[round%len(changes)], uint64(round)
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
		o := &oracle{
			minute: randomField(r, 0, 59), hour: randomField(r, 0, 23), day: randomField(r, 1, 31),
			month: randomField(r, 1, 12), weekday: randomField(r, 0, 6),
		}
		if r.IntN(2) == 0 { // or most would be closed on these days
			o.month = cronField{"*", true, map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true, 9: true, 10: true, 11: true, 12: true}}
			o.day = randomField(r, 1, 31)
		}
		o.duration = time.Duration(1+r.IntN([]int{10, 90, 600, 2000}[r.IntN(4)])) * time.Minute
		name := fmt.Sprintf("round %d: %q for %s in %s", round, o.cron(), o.duration, change.timezone)
		z := zone(t, change.timezone)
		window, err := NewWindow(o.cron(), o.duration, change.timezone)
		if err != nil {
			if strings.Contains(err.Error(), "never fires") {
				continue
			}
			t.Fatalf("%s: %v", name, err)
		}
		freeze, err := NewFreeze(FreezeOptions{Cron: o.cron(), Duration: o.duration, Timezone: change.timezone})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		start := at(t, change.day+"T00:00:00Z").Add(-days / 2 * 24 * time.Hour)
		const back, minutes = 2000, days * 24 * 60
		// open[i] is about the minute i-back after start.
		open := make([]bool, back+minutes)
		for i := range open {
			if minute := start.Add(time.Duration(i-back) * time.Minute); o.begins(minute, z) {
				for j := i; j < len(open) && j < i+int(o.duration/time.Minute); j++ {
					open[j] = true
				}
			}
		}
		for i := back; i < len(open); i++ {
			edge := open[i] != open[i-1] || i+1 < len(open) && open[i] != open[i+1]
			if !edge && r.IntN(9) > 0 {
				continue
			}
			// The end of the minute is as good as its beginning.
			minute := start.Add(time.Duration(i-back) * time.Minute)
			now := minute.Add(time.Duration(r.Int64N(int64(time.Minute))))
			if r.IntN(2) == 0 {
				now = minute
			}
			want := Wait
			if open[i] {
				want = Pass
			}
			got := window.Judge(t.Context(), Subject{Now: now})
			seen[got.Result]++
			if got.Result != want {
				t.Fatalf("%s: at %s (%s) %s, want %s", name, now.In(z), now.UTC(), got.Result, want)
			}
			if frozen := freeze.Judge(t.Context(), Subject{Now: now}); (frozen.Result == Pass) == open[i] || !frozen.Until.Equal(got.Until) {
				t.Fatalf("%s: at %s the window says %+v, the freeze %+v", name, now.In(z), got, frozen)
			}
			j := slices.Index(open[i:], !open[i])
			switch until := start.Add(time.Duration(i+j-back) * time.Minute); {
			case strings.Contains(got.Detail, "at least"):
				if j >= 0 && got.Until.After(until) || !got.Until.After(now) {
					t.Fatalf("%s: at %s until %s at least, want at most %s", name, now.In(z), got.Until, until.In(z))
				}
			case j < 0 && got.Until.Before(start.Add(minutes*time.Minute)):
				t.Fatalf("%s: at %s until %s, but nothing changes then", name, now.In(z), got.Until)
			case j >= 0 && !got.Until.Equal(until):
				t.Fatalf("%s: at %s until %s, want %s", name, now.In(z), got.Until, until.In(z))
			}
		}
	}
	if seen[Pass] < 500 || seen[Wait] < 500 {
		t.Errorf("hardly anything was compared: %v", seen)
	}
}

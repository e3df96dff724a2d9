package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFreeze(t *testing.T) {
	year := FreezeOptions{From: "2026-12-20", Until: "2027-01-03", Timezone: "Europe/Berlin", Reason: "year end"}
	evening := FreezeOptions{From: "2026-12-20T18:00", Until: "2026-12-21T06:00:30", Timezone: "America/New_York"}
	moment := FreezeOptions{From: "2026-12-20T18:00:00Z", Until: "2026-12-21T06:00:00+01:00", Timezone: "Asia/Kolkata"}
	autumn := FreezeOptions{From: "2026-10-25T02:30", Until: "2026-10-25T02:30", Timezone: "Europe/Berlin"}
	spring := FreezeOptions{From: "2026-03-29T02:30", Until: "2026-03-29T03:30", Timezone: "Europe/Berlin"}
	night := FreezeOptions{Cron: "30 2 * * *", Duration: 2 * time.Hour, Timezone: "Europe/Berlin", Reason: "backup\nof the \x1b[31mdatabase"}
	always := FreezeOptions{Cron: "0 * * * *", Duration: time.Hour}
	for _, test := range []struct {
		name    string
		options FreezeOptions
		now     string
		result  Result
		detail  string
		until   string
	}{
		{"before", year, "2026-12-19T23:59:59+01:00", Pass, "no freeze until Sun 2026-12-20 00:00 CET", "2026-12-20T00:00:00+01:00"},
		{"the first moment", year, "2026-12-20T00:00:00+01:00", Wait, "frozen until Mon 2027-01-04 00:00 CET: year end", "2027-01-04T00:00:00+01:00"},
		{"the last moment of the last day", year, "2027-01-03T23:59:59+01:00", Wait, "frozen until Mon 2027-01-04 00:00 CET: year end", "2027-01-04T00:00:00+01:00"},
		{"after", year, "2027-01-04T00:00:00+01:00", Pass, "the freeze ended Mon 2027-01-04 00:00 CET", ""},
		{"times, before", evening, "2026-12-20T17:59:59-05:00", Pass, "no freeze until Sun 2026-12-20 18:00 EST", "2026-12-20T18:00:00-05:00"},
		{"times", evening, "2026-12-21T06:00:29-05:00", Wait, "frozen until Mon 2026-12-21 06:00 EST", "2026-12-21T06:00:30-05:00"},
		{"times, after", evening, "2026-12-21T06:00:30-05:00", Pass, "the freeze ended Mon 2026-12-21 06:00 EST", ""},
		{"moments, before", moment, "2026-12-20T17:59:59Z", Pass, "no freeze until Sun 2026-12-20 23:30 IST", "2026-12-20T18:00:00Z"},
		{"moments", moment, "2026-12-21T04:59:59Z", Wait, "frozen until Mon 2026-12-21 10:30 IST", "2026-12-21T05:00:00Z"},
		{"moments, after", moment, "2026-12-21T05:00:00Z", Pass, "the freeze ended Mon 2026-12-21 10:30 IST", ""},
		{"from the first to the second showing", autumn, "2026-10-25T02:30:00+02:00", Wait, "frozen until Sun 2026-10-25 02:30 CET", "2026-10-25T02:30:00+01:00"},
		{"after the second showing", autumn, "2026-10-25T02:30:00+01:00", Pass, "the freeze ended Sun 2026-10-25 02:30 CET", ""},
		{"jumped over", spring, "2026-03-29T03:00:00+02:00", Wait, "frozen until Sun 2026-03-29 03:30 CEST", "2026-03-29T03:30:00+02:00"},
		{"before the jump", spring, "2026-03-29T01:59:59+01:00", Pass, "no freeze until Sun 2026-03-29 03:00 CEST", "2026-03-29T03:00:00+02:00"},
		{"repeated", night, "2026-11-26T04:29:59+01:00", Wait, "frozen until Thu 2026-11-26 04:30 CET: backup of the [31mdatabase", "2026-11-26T04:30:00+01:00"},
		{"repeated, after", night, "2026-11-26T04:30:00+01:00", Pass, "no freeze until Fri 2026-11-27 02:30 CET", "2026-11-27T02:30:00+01:00"},
		{"repeated, jumped over", night, "2026-03-29T03:00:00+02:00", Wait, "frozen until Sun 2026-03-29 05:00 CEST: backup of the [31mdatabase", "2026-03-29T05:00:00+02:00"},
		{"without an end", always, "2026-11-26T00:30:00Z", Wait, "frozen at least until Mon 2026-11-30 05:00 UTC", "2026-11-30T05:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := NewFreeze(test.options)
			if err != nil {
				t.Fatal(err)
			}
			want := Verdict{Result: test.result, Detail: test.detail}
			if test.until != "" {
				want.Until = at(t, test.until)
			}
			if diff := cmp.Diff(want, f.Judge(t.Context(), Subject{Now: at(t, test.now)})); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFreezeFaults(t *testing.T) {
	write := " is not a time; write for instance 2026-12-20, 2026-12-20T18:00 or 2026-12-20T18:00:00+01:00"
	for _, test := range []struct {
		name    string
		options FreezeOptions
		want    string
	}{
		{"nothing", FreezeOptions{}, "says no time; give cron and duration, or from and until"},
		{"no until", FreezeOptions{From: "2026-12-20"}, "says no time; give cron and duration, or from and until"},
		{"no from", FreezeOptions{Until: "2026-12-20"}, "says no time; give cron and duration, or from and until"},
		{"both", FreezeOptions{Cron: "0 9 * * *", Duration: time.Hour, From: "2026-12-20", Until: "2026-12-20"}, "has both cron and from; make them two gates"},
		{"duration with from", FreezeOptions{Duration: time.Hour, From: "2026-12-20", Until: "2026-12-20"}, "has both cron and from; make them two gates"},
		{"cron without duration", FreezeOptions{Cron: "0 9 * * *"}, "duration is 0s, must be from 1m0s to 8784h0m0s"},
		{"no times", FreezeOptions{From: "christmas", Until: "2026-12-32"}, `from "christmas"` + write + "\n" + `until "2026-12-32"` + write},
		{"a day that is not", FreezeOptions{From: "2026-02-29", Until: "2026-03-01"}, `from "2026-02-29"` + write},
		{"backwards", FreezeOptions{From: "2026-12-21", Until: "2026-12-20"}, "until 2026-12-20 is not after from 2026-12-21"},
		{"no length", FreezeOptions{From: "2026-12-21T09:00", Until: "2026-12-21T09:00"}, "until 2026-12-21T09:00 is not after from 2026-12-21T09:00"},
		{"zone", FreezeOptions{From: "2026-12-20", Until: "2026-12-20", Timezone: "Local"}, `timezone "Local" is not a time zone such as Europe/Berlin or UTC`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewFreeze(test.options)
			if got := fmt.Sprint(err); got != "freeze: "+test.want {
				t.Errorf("got %s\nwant freeze: %s", got, test.want)
			}
		})
	}
}

func TestOneLine(t *testing.T) {
	long := strings.Repeat("ä", maxText)
	for text, want := range map[string]string{
		"":                         "",
		"as it is":                 "as it is",
		" a\tb\r\n\n c ":           "a b c",
		"\x1b[31mred\x07\x00":      "[31mred",
		"a\u2028b\u0085c\u00a0d":   "a b c d",
		"right\u202eleft\u200b":    "rightleft",
		"broken \xff\xfe encoding": "broken encoding",
		long:                       long,
		long + "ä":                 long[:2*(maxText-1)] + "…",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", text, got, want)
		}
	}
}

package gate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// FreezeOptions say when nothing may be promoted: either Cron and Duration, or
// From and Until.
type FreezeOptions struct {
	// Cron has five fields; each time that it names, a freeze begins.
	Cron string
	// Duration is how long each of them lasts, in time that passes.
	Duration time.Duration
	// From and Until are one freeze: a moment of RFC 3339, or a time of the clock
	// in Timezone such as 2026-12-20T18:00, or a date. From a date means from its
	// beginning, until a date to its end. Of a time that the clock shows twice,
	// From means the first and Until the second.
	From  string
	Until string
	// Timezone such as Europe/Berlin. Default: UTC.
	Timezone string
	// Reason is told to those who wait. Default: none.
	Reason string
}

// Freeze keeps promotions from beginning at certain times. It is the opposite of
// a [Window], with the same rules about clocks, and never refuses: it ends.
type Freeze struct {
	// schedule is nil for a freeze that happens once.
	schedule    *schedule
	from, until time.Time
	// reason is empty, or what follows the time in a Detail.
	reason string
}

var _ Gate = (*Freeze)(nil)

// NewFreeze makes a freeze.
func NewFreeze(o FreezeOptions) (*Freeze, error) {
	f := &Freeze{}
	if reason := oneLine(o.Reason); reason != "" {
		f.reason = ": " + reason
	}
	repeated, once := o.Cron != "" || o.Duration != 0, o.From != "" || o.Until != ""
	var err error
	switch {
	case repeated && once:
		err = errors.New("has both cron and from; make them two gates")
	case repeated:
		f.schedule, err = newSchedule(o.Cron, o.Duration, o.Timezone)
	case o.From == "" || o.Until == "":
		err = errors.New("says no time; give cron and duration, or from and until")
	default:
		f.from, f.until, err = parseSpan(o.From, o.Until, o.Timezone)
	}
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	return f, nil
}

func parseSpan(from, until, timezone string) (begin, end time.Time, err error) {
	zone, err := loadZone(timezone)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	begin, _, fromErr := parseMoment("from", from, zone, 0)
	_, end, untilErr := parseMoment("until", until, zone, 1)
	if err := errors.Join(fromErr, untilErr); err != nil {
		return time.Time{}, time.Time{}, err
	}
	if !begin.Before(end) {
		return time.Time{}, time.Time{}, fmt.Errorf("until %s is not after from %s", until, from)
	}
	return begin, end, nil
}

// parseMoment returns the first and the last moment that a text can mean; to a
// date, days are added.
func parseMoment(field, text string, zone *time.Location, days int) (first, last time.Time, err error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.In(zone), t.In(zone), nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if wall, err := time.Parse(layout, text); err == nil {
			first, last = moments(wall, zone)
			return first, last, nil
		}
	}
	if wall, err := time.Parse(time.DateOnly, text); err == nil {
		first, last = moments(wall.AddDate(0, 0, days), zone)
		return first, last, nil
	}
	return time.Time{}, time.Time{}, fmt.Errorf("%s %q is not a time; write for instance 2026-12-20, 2026-12-20T18:00 or 2026-12-20T18:00:00+01:00", field, text)
}

// Judge waits during a freeze, with its end as Until, and passes otherwise; Until
// is then the beginning of the next freeze, if there is one.
func (f *Freeze) Judge(ctx context.Context, s Subject) Verdict {
	if fault := timeFault(s.Now); fault != "" {
		return unknown("%s", fault)
	}
	if f.schedule != nil {
		return settle(ctx, f.repeated(s.Now))
	}
	switch {
	case s.Now.Before(f.from):
		return settle(ctx, passUntil(f.from, "no freeze until %s", f.from.Format(stamp)))
	case s.Now.Before(f.until):
		return waitUntil(f.until, "frozen until %s%s", f.until.Format(stamp), f.reason)
	}
	return settle(ctx, passUntil(time.Time{}, "the freeze ended %s", f.until.Format(stamp)))
}

func (f *Freeze) repeated(now time.Time) Verdict {
	inside, until, exact := f.schedule.period(now)
	switch {
	case !inside:
		return passUntil(until, "no freeze until %s", until.Format(stamp))
	case !exact:
		return waitUntil(until, "frozen at least until %s%s", until.Format(stamp), f.reason)
	}
	return waitUntil(until, "frozen until %s%s", until.Format(stamp), f.reason)
}

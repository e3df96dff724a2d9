package gate

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	// Our images are built from nothing: they hold a static program and no
	// files of time zones, without which every zone but UTC would be unknown.
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

// stamp is how a time is told to a person.
const stamp = "Mon 2006-01-02 15:04 MST"

// Bounds of a schedule.
const (
	maxCron = 200
	// minDuration is the resolution of a schedule.
	minDuration = time.Minute
	// maxDuration is a leap year; who wants more wants no schedule.
	maxDuration = 366 * 24 * time.Hour
	// maxChain bounds how many periods, each of which begins before the one
	// before it ends, are followed to find where all of them end.
	maxChain = 100
)

var (
	// cronPattern is five fields. It keeps out what the parser has beside them:
	// @every and the like, and the prefix TZ=, on which it can panic.
	cronPattern = regexp.MustCompile(`^[0-9A-Za-z*?/,-]+([ \t]+[0-9A-Za-z*?/,-]+){4}$`)
	// emptyPattern is a list with nothing in it, which the parser takes for a
	// field that never matches.
	emptyPattern = regexp.MustCompile(`(^|[ \t,]),|,([ \t]|$)`)
)

// schedule is a period that begins at certain times by the clock on the wall of
// a zone and lasts for a while. Periods that touch or overlap are one.
//
// The clock is changed twice a year in many zones:
//
//   - A beginning that the clock jumps over, such as 02:30 in Berlin in spring,
//     is the moment of the jump, 03:00. Several that it jumps over are one.
//   - A beginning that the clock shows twice, such as 02:30 in Berlin in autumn,
//     is a beginning both times.
//   - The duration is the time that passes, whatever the clock shows: eight hours
//     from 22:00 end at 07:00 in that night of spring and at 05:00 in autumn.
//
// The library that reads the expression has other rules. It leaves out what the
// clock jumps over, so that a freeze would not begin, and because it goes hour by
// hour it also misses times of the day that exist where the clock is changed by
// half an hour: on Lord Howe Island 03:00 in spring and 02:00 in autumn. It is
// therefore asked in UTC, where every day is alike, and what it answers is put
// on the zone's own clock here.
type schedule struct {
	cron     *cron.SpecSchedule
	zone     *time.Location
	duration time.Duration
}

// newSchedule refuses an expression that never fires. The day of the week is 0
// (or SUN) to 6; when it is given and the day of the month too, either is enough,
// as everywhere with cron.
func newSchedule(expression string, duration time.Duration, timezone string) (*schedule, error) {
	zone, zoneErr := loadZone(timezone)
	spec, cronErr := parseCron(expression)
	var lasts error
	if duration < minDuration || duration > maxDuration {
		lasts = fmt.Errorf("duration is %s, must be from %s to %s", duration, minDuration, maxDuration)
	}
	if err := errors.Join(cronErr, lasts, zoneErr); err != nil {
		return nil, err
	}
	return &schedule{cron: spec, zone: zone, duration: duration}, nil
}

func parseCron(expression string) (*cron.SpecSchedule, error) {
	if len(expression) > maxCron {
		return nil, fmt.Errorf("cron has more than %d characters", maxCron)
	}
	if !cronPattern.MatchString(expression) || emptyPattern.MatchString(expression) {
		return nil, fmt.Errorf("cron %q is not five fields (minute, hour, day of the month, month, day of the week) such as 0 9 * * 1-5; the time zone is a field of its own", expression)
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", expression, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron %q is not made of fields", expression)
	}
	spec.Location = time.UTC
	// The five years that the library looks at begin with a leap year, and the
	// day of the week decides nothing that is not there in each of them.
	if spec.Next(time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second)).IsZero() {
		return nil, fmt.Errorf("cron %q never fires; no month that it names has such a day", expression)
	}
	return spec, nil
}

// loadZone knows the names of the IANA; none is UTC.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("timezone %q is not a time zone such as Europe/Berlin or UTC", name)
	}
	return zone, nil
}

// wallClock is what the clock shows at t, written as if it were UTC, so that it
// can be compared and added to.
func wallClock(t time.Time, offset int) time.Time {
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// fromWallClock is the opposite of wallClock.
func fromWallClock(wall time.Time, offset int, zone *time.Location) time.Time {
	return wall.Add(-time.Duration(offset) * time.Second).In(zone)
}

// following returns the first time on the clock after wall that the expression
// names.
func (s *schedule) following(wall time.Time) time.Time {
	for {
		if next := s.cron.Next(wall); !next.IsZero() {
			return next
		}
		// The library gives up after five years; from one 29 February to the
		// next there can be eight.
		wall = time.Date(wall.Year()+6, time.January, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second)
	}
}

// next returns the first beginning after a moment. It goes from one change of
// the zone's clock to the next; between them the clock is regular.
func (s *schedule) next(after time.Time) time.Time {
	at := after.In(s.zone)
	_, offset := at.Zone()
	wall := s.following(wallClock(at, offset))
	for {
		begin := fromWallClock(wall, offset, s.zone)
		change := nextChange(at)
		if change.IsZero() || begin.Before(change) {
			return begin
		}
		before := offset
		at = change
		_, offset = at.Zone()
		first := wallClock(at, offset)
		if offset > before && wall.Before(first) {
			return change // the clock jumps over it
		}
		wall = s.following(first.Add(-time.Second))
	}
}

// last returns the last beginning at or before a moment whose period has not
// ended before that moment; one that ends at that very moment counts. A schedule
// only knows what comes next, so the time in which it must be is halved until
// nothing else fits.
func (s *schedule) last(at time.Time) (time.Time, bool) {
	found := s.next(at.Add(-s.duration - time.Nanosecond))
	if found.After(at) {
		return time.Time{}, false
	}
	// No beginning is after until and up to at.
	for until := at; until.Sub(found) >= time.Second; {
		middle := found.Add(until.Sub(found) / 2)
		if next := s.next(middle); next.After(at) {
			until = middle
		} else {
			found = next
		}
	}
	return found, true
}

// period says whether now is inside, and until when that stays so. Inside, it is
// not exact if more than maxChain periods overlap: then it lasts longer.
func (s *schedule) period(now time.Time) (inside bool, until time.Time, exact bool) {
	begin, ok := s.last(now)
	if !ok || !now.Before(begin.Add(s.duration)) {
		return false, s.next(now), true
	}
	for range maxChain {
		end := begin.Add(s.duration)
		if s.next(begin).After(end) {
			return true, end, true
		}
		begin, _ = s.last(end)
	}
	return true, begin.Add(s.duration), false
}

// nextChange returns a moment after t up to which the clock of t's zone is
// regular, or zero if it always is. It need not be changed there: package time
// also ends at the turn of a year, and a day early in leap years, so that on 31
// December the end would have been before.
func nextChange(t time.Time) time.Time {
	_, change := t.ZoneBounds()
	if change.IsZero() || change.After(t) {
		return change
	}
	return time.Date(t.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC).In(t.Location())
}

// moments returns the first and the last moment at which the clock of a zone
// shows a time: two where it was set back, and where it jumps over the time, the
// moment of the jump.
func moments(wall time.Time, zone *time.Location) (first, last time.Time) {
	const around = 48 * time.Hour // more than any zone is or was away from UTC
	add := func(t time.Time) {
		if first.IsZero() {
			first = t
		}
		last = t
	}
	for at := wall.Add(-around).In(zone); at.Before(wall.Add(around)); {
		_, offset := at.Zone()
		change := nextChange(at)
		moment := fromWallClock(wall, offset, zone)
		if !moment.Before(at) && (change.IsZero() || moment.Before(change)) {
			add(moment)
		}
		if change.IsZero() {
			break
		}
		if _, changed := change.Zone(); !moment.Before(change) && wall.Before(wallClock(change, changed)) {
			add(change)
		}
		at = change
	}
	return first, last
}

// timeFault says why a time is none to judge by: the year is one that dates
// cannot be written in.
func timeFault(now time.Time) string {
	if year := now.UTC().Year(); now.IsZero() || year < 1 || year > 9998 {
		return "there is no time to judge by"
	}
	return ""
}

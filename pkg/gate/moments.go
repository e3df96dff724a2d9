package gate

import "time"

// longestBetween is more than lies between two times that an expression of five
// fields names: from one 29 February to the next there can be eight years.
const longestBetween = 9 * 366 * 24 * time.Hour

// Times are those that a cron expression names, by the clock on the wall of a
// zone. A time that the clock jumps over in spring is the moment of the jump,
// and one that it shows twice in autumn comes twice.
type Times struct {
	schedule *schedule
}

// NewTimes reads five fields of cron, in an IANA time zone; none is UTC. An
// expression that never fires is an error.
func NewTimes(cron, timezone string) (*Times, error) {
	s, err := newSchedule(cron, minDuration, timezone)
	if err != nil {
		return nil, err
	}
	s.duration = longestBetween
	return &Times{s}, nil
}

// Last is the newest time at or before a moment; false for a moment that is none
// to judge by, such as the zero time.
func (t *Times) Last(at time.Time) (time.Time, bool) {
	if timeFault(at) != "" || at.Add(-longestBetween).Year() < 1 {
		return time.Time{}, false
	}
	return t.schedule.last(at)
}

// Next is the first time after a moment; false as for Last.
func (t *Times) Next(after time.Time) (time.Time, bool) {
	if timeFault(after) != "" {
		return time.Time{}, false
	}
	return t.schedule.next(after), true
}

package gate

import (
	"context"
	"fmt"
	"time"
)

// Window lets promotions begin at certain times only: from each time that a cron
// expression names, for a while. What it says follows from the Subject's time
// alone.
//
// Times are those of the clock on the wall of a zone. A time that the clock jumps
// over in spring is the moment of the jump, one that it shows twice in autumn
// opens the window twice, and the duration is the time that passes. Windows that
// touch or overlap are one.
type Window struct {
	schedule *schedule
}

var _ Gate = (*Window)(nil)

// NewWindow makes a window of five fields of cron, in an IANA time zone; none is
// UTC. An expression that never fires is an error.
func NewWindow(cron string, duration time.Duration, timezone string) (*Window, error) {
	s, err := newSchedule(cron, duration, timezone)
	if err != nil {
		return nil, fmt.Errorf("window: %w", err)
	}
	return &Window{s}, nil
}

// Judge passes inside the window and waits outside. Until is the window's end or
// its next opening.
func (w *Window) Judge(ctx context.Context, s Subject) Verdict {
	if fault := timeFault(s.Now); fault != "" {
		return unknown("%s", fault)
	}
	inside, until, exact := w.schedule.period(s.Now)
	switch {
	case !inside:
		return waitUntil(until, "opens %s", until.Format(stamp))
	case !exact:
		return settle(ctx, passUntil(until, "open at least until %s", until.Format(stamp)))
	}
	return settle(ctx, passUntil(until, "open until %s", until.Format(stamp)))
}

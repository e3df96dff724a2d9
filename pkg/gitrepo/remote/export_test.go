package remote

import "time"

// SetClock is for tests in which hours pass.
func SetClock(r *Repo, now func() time.Time) {
	if d, ok := r.dial.(*httpDialer); ok {
		d.now = now
	}
}

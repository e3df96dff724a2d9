package remote

import (
	"testing"
	"time"
)

// SetClock is for tests in which hours pass.
func SetClock(r *Repo, now func() time.Time) {
	if d, ok := r.dial.(*httpDialer); ok {
		d.now = now
	}
}

// SetPings is how soon a silent connection that is made in the test is asked, and
// given up.
func SetPings(t testing.TB, soon time.Duration) {
	t.Helper()
	before := pings
	pings.SendPingTimeout, pings.PingTimeout = soon, soon
	t.Cleanup(func() { pings = before })
}

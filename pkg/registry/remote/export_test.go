package remote

import "time"

// SetClock is for tests in which hours pass.
func SetClock(r *Registry, now func() time.Time) { r.auth.now = now }

package simulation

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets more garbage lie: a schedule is some megabytes, and soon over.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

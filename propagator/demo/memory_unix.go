//go:build unix

package demo

import (
	"runtime"
	"syscall"
)

// peakMemory is the largest resident size of this process in bytes.
func peakMemory() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	peak := int64(usage.Maxrss)
	if runtime.GOOS != "darwin" {
		peak *= 1024 // kilobytes everywhere but on macOS (getrusage(2))
	}
	return peak
}

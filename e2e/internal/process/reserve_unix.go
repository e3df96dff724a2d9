//go:build unix && !linux

package process

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// reserve claims a port for the life of this process by a lock on a file of
// that name. The descriptor is left open on purpose; it is the reservation.
func reserve(port int) bool {
	path := filepath.Join(os.TempDir(), "propagator-e2e-port-"+strconv.Itoa(port))
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return false
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = syscall.Close(fd)
		return false
	}
	return true
}

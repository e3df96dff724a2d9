package process

import (
	"strconv"
	"syscall"
)

// reserve claims a port for the life of this process by a socket of that name
// in Linux's abstract namespace, which is as wide as that of the ports and
// forgets a process that dies. The descriptor is left open on purpose; it is
// the reservation.
func reserve(port int) bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@propagator-e2e-port-" + strconv.Itoa(port)}); err != nil {
		_ = syscall.Close(fd)
		return false
	}
	return true
}

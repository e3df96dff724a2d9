//go:build unix && !linux

package process

import "syscall"

// attributes gives the child a process group of its own, away from the
// terminal's signals. Only Linux can tie its life to the suite's.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

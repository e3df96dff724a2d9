//go:build unix && !linux

package extension

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the process the first of a group.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

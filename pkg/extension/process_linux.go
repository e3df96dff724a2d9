package extension

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the process the first of a group. The kernel ends it when we
// end, even if we are killed.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

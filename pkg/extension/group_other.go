//go:build !unix

package extension

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no groups here.
func ownGroup(*exec.Cmd) {}

// killGroup ends the process; its children are not known here.
func killGroup(pid int) {
	if process, err := os.FindProcess(pid); err == nil {
		_ = process.Kill()
	}
}

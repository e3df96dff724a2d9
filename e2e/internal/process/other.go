//go:build !unix

package process

import (
	"os"
	"syscall"
)

// The suite runs on Unix. What follows keeps its packages compiling elsewhere.

func attributes() *syscall.SysProcAttr { return nil }

func signalProcess(pid int, _ syscall.Signal) {
	if process, err := os.FindProcess(pid); err == nil {
		_ = process.Kill()
	}
}

func signalGroup(pid int, signal syscall.Signal) { signalProcess(pid, signal) }

func reserve(int) bool { return true }

//go:build unix

package process

import "syscall"

// A process that is gone needs no signal, and there is no other way to fail
// with children of one's own.

func signalProcess(pid int, signal syscall.Signal) { _ = syscall.Kill(pid, signal) }

func signalGroup(pid int, signal syscall.Signal) { _ = syscall.Kill(-pid, signal) }

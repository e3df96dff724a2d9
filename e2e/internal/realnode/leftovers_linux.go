package realnode

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// killShims ends the shims of one containerd. They are daemons on purpose:
// containers outlive a containerd that restarts.
func killShims(socket string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue
		}
		words := bytes.Split(line, []byte{0})
		if strings.HasPrefix(filepath.Base(string(words[0])), "containerd-shim") &&
			slices.ContainsFunc(words, func(word []byte) bool { return string(word) == socket }) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// unmountBelow detaches every mount under a directory, the newest first.
func unmountBelow(dir string) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	var points []string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		// proc(5): the fifth field is the mount point.
		fields := strings.Fields(scanner.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	slices.Reverse(points)
	for _, point := range points {
		_ = syscall.Unmount(point, syscall.MNT_DETACH)
	}
}

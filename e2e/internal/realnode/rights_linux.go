package realnode

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// tryRights does once what containerd and the network plugins do for each Pod:
// an overlay mount, a control group, a network namespace with an interface.
func tryRights() error {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o750); err != nil {
			return err
		}
	}
	merged := filepath.Join(dir, "merged")
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay: %w", err)
	}
	defer func() { _ = syscall.Unmount(merged, syscall.MNT_DETACH) }()

	groups := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(groups, "memory")); err == nil {
		groups = filepath.Join(groups, "memory") // version 1: a tree for each controller
	}
	group := filepath.Join(groups, filepath.Base(dir))
	if err := os.Mkdir(group, 0o750); err != nil {
		return fmt.Errorf("make a control group: %w", err)
	}
	defer func() { _ = os.Remove(group) }()

	bridge := fmt.Sprintf("try%d", os.Getpid()%1_000_000)
	if output, err := exec.Command("ip", "link", "add", bridge, "type", "bridge").CombinedOutput(); err != nil { //nolint:noctx // answers at once
		return fmt.Errorf("make a bridge: %w: %s", err, output)
	}
	return exec.Command("ip", "link", "delete", bridge).Run() //nolint:noctx // answers at once
}

package toolchain

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A machineProgram is one that has to be installed, named as a file and as the
// package of Debian and Ubuntu that has it.
type machineProgram struct{ name, pkg string }

// The folders that are searched after PATH: system folders that are often
// missing from the PATH of people who are not root, and CNI's own.
func machineDirs() []string {
	return []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/cni", "/opt/cni/bin"}
}

// findOnMachine adds the files of programs to paths. Its error names all that
// are missing at once, and the one command that installs them.
func findOnMachine(paths map[string]string, programs []machineProgram) error {
	var names, packages []string
	for _, p := range programs {
		path, err := lookup(p.name)
		if err != nil {
			names = append(names, p.name)
			packages = append(packages, p.pkg)
			continue
		}
		paths[p.name] = path
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(packages)
	return fmt.Errorf("%s: %w; on Debian and Ubuntu: apt-get install --no-install-recommends %s",
		strings.Join(names, ", "), ErrMissing, strings.Join(slices.Compact(packages), " "))
}

func lookup(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range machineDirs() {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errors.Join(ErrMissing, err)
}

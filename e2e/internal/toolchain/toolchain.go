// Package toolchain provides the programs that an end-to-end suite runs.
//
// Most are built here, by the Go that runs the suite, from the Go module proxy:
// each folder of e2e/tools is a Go module whose go.mod names programs as tools
// and fixes their versions. What was built is kept in a cache beside the
// repository's own files, under a name that changes with everything that goes
// into the build, so that a second suite finds it ready. The few programs that
// no Go module has are taken from the machine.
//
// The cache is ${PROPAGATOR_E2E_CACHE:-~/.cache/propagator-e2e}. It may be
// removed at any time when no suite runs.
package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The modules of e2e/tools, and [Containers], which is none of them.
const (
	Kubernetes = "kubernetes" // kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kubelet; etcd
	KWOK       = "kwok"       // kwok
	ArgoCDv2   = "argocd-v2"  // argocd; redis-server, git, gpg
	ArgoCDv3   = "argocd-v3"  // argocd; redis-server, git, gpg
	Registry   = "registry"   // registry
	Renderers  = "renderers"  // helm, kustomize
	// Containers are the machine's programs that a real node needs:
	// containerd, its shim, ctr, runc and plugins of CNI.
	Containers = "containers"
)

// ErrMissing reports a program that the machine has to provide and has not.
var ErrMissing = errors.New("missing on this machine")

// Tools are programs that are there. It never changes, so it may be used by
// several goroutines at once.
type Tools struct {
	source string            // The folder e2e/tools.
	dirs   map[string]string // Module to the folder of what was built from it.
	paths  map[string]string // Program to its file.
}

// Ensure builds what is not in the cache yet and returns the programs of the
// modules. The first build of all of them takes a quarter of an hour on two
// cores; progress goes to log, and a cache that has everything says nothing.
//
// Of two suites, one builds and the other waits. A build that is cut short
// leaves nothing that a later one could take for complete. A program that the
// machine does not have is [ErrMissing], with the command that installs it, and
// is reported before anything is built.
func Ensure(ctx context.Context, log io.Writer, modules ...string) (*Tools, error) {
	source, err := findSource()
	if err != nil {
		return nil, fmt.Errorf("toolchain: %w", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, fmt.Errorf("toolchain: %w", err)
	}
	t, err := (&builder{source: source, cache: cache, log: log, recipe: recipeOf}).ensure(ctx, modules)
	if err != nil {
		return nil, fmt.Errorf("toolchain: %w", err)
	}
	return t, nil
}

// Path returns the file of a program, for instance "kube-apiserver", "argocd"
// or "etcd". It panics when no module that [Ensure] was given has it. With both
// Argo CDs, "argocd" is the one that was named first; see [Tools.Dir].
func (t *Tools) Path(program string) string {
	path, ok := t.paths[program]
	if !ok {
		panic(fmt.Sprintf("toolchain: no program %q among the modules that Ensure was given", program))
	}
	return path
}

// Dir returns the folder with the programs that were built from a module, for
// use in a PATH. Argo CD's has a folder "path" with the scripts that its repo
// server looks for in PATH. It panics when [Ensure] was not given the module.
func (t *Tools) Dir(module string) string {
	dir, ok := t.dirs[module]
	if !ok {
		panic(fmt.Sprintf("toolchain: Ensure was not given the module %q", module))
	}
	return dir
}

// findSource looks for e2e/tools in the working directory and above it, which
// is where both a test and a command of the repository run.
func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for from := dir; ; from = filepath.Dir(from) {
		source := filepath.Join(from, "e2e", "tools")
		if _, err := os.Stat(filepath.Join(source, Kubernetes, "go.mod")); err == nil {
			return source, nil
		}
		if from == filepath.Dir(from) {
			return "", fmt.Errorf("no folder e2e/tools in %s or above it; run inside a checkout of the repository", dir)
		}
	}
}

func cacheDir() (string, error) {
	dir := os.Getenv("PROPAGATOR_E2E_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("nowhere to keep what is built, set PROPAGATOR_E2E_CACHE to a folder: %w", err)
		}
		dir = filepath.Join(user, "propagator-e2e")
	}
	return filepath.Abs(dir)
}

// Modules lists the modules of e2e/tools, in the
// order in which they are best built: what every suite needs comes first.
func Modules() []string {
	return []string{Kubernetes, KWOK, ArgoCDv2, Registry, Renderers, ArgoCDv3}
}

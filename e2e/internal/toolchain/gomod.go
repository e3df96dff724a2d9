package toolchain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// goCommand prepares the go command in a folder. It is the Go that runs the
// suite and never another that a go.mod might ask for, since that could not be
// loaded from everywhere; and one program is the same on every machine.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOWORK=off", "PWD="+dir)
	// Interrupted, it ends its compilers; killed, it would leave them behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// goOutput runs the go command and returns what it printed. What it complained
// about becomes the error.
func goOutput(ctx context.Context, dir string, args ...string) ([]byte, error) {
	var complaint bytes.Buffer
	cmd := goCommand(ctx, dir, args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("go %s in %s: %w: %s", strings.Join(args, " "), dir, err, lastPart(complaint.Bytes()))
	}
	return out, nil
}

// lastPart is as much of a command's complaint as an error should carry.
func lastPart(text []byte) []byte {
	const most = 4 << 10
	text = bytes.TrimSpace(text)
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return text
}

// goMod is what we want to know of a go.mod.
type goMod struct {
	Require []struct{ Path, Version string }
	Tool    []struct{ Path string }
}

func readGoMod(ctx context.Context, dir string) (goMod, error) {
	var mod goMod
	out, err := goOutput(ctx, dir, "mod", "edit", "-json")
	if err != nil {
		return mod, err
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return mod, fmt.Errorf("go mod edit -json in %s: %w", dir, err)
	}
	return mod, nil
}

// version returns the version at which a module is required.
func (m goMod) version(path string) (string, error) {
	for _, r := range m.Require {
		if r.Path == path {
			return r.Version, nil
		}
	}
	return "", fmt.Errorf("go.mod does not require %s", path)
}

// ModuleDir returns the folder with the source of a Go module that a module of
// e2e/tools uses, at the version that it uses; for instance, of argocd-v2,
// github.com/argoproj/argo-cd/v2 with its manifests. It is loaded from the
// module proxy if it is not on this machine, and it is read-only.
func (t *Tools) ModuleDir(ctx context.Context, toolsModule, goModule string) (string, error) {
	dir, err := moduleDir(ctx, filepath.Join(t.source, toolsModule), goModule)
	if err != nil {
		return "", fmt.Errorf("toolchain: %s: %w", toolsModule, err)
	}
	return dir, nil
}

func moduleDir(ctx context.Context, dir, goModule string) (string, error) {
	var module struct{ Dir string }
	out, err := goOutput(ctx, dir, "mod", "download", "-json", goModule)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("go mod download -json %s: %w", goModule, err)
	}
	if module.Dir == "" {
		return "", fmt.Errorf("go mod download -json %s names no folder", goModule)
	}
	return module.Dir, nil
}

// Version returns the version at which a module of e2e/tools requires a Go
// module, for instance v2.14.21.
func (t *Tools) Version(ctx context.Context, toolsModule, goModule string) (string, error) {
	mod, err := readGoMod(ctx, filepath.Join(t.source, toolsModule))
	if err != nil {
		return "", fmt.Errorf("toolchain: %s: %w", toolsModule, err)
	}
	version, err := mod.version(goModule)
	if err != nil {
		return "", fmt.Errorf("toolchain: %s: %w", toolsModule, err)
	}
	return version, nil
}

// programNames are the names that go build gives to the tools of a go.mod: the
// last element of the path that is not a major version.
func (m goMod) programNames() []string {
	var names []string
	for _, tool := range m.Tool {
		elements := strings.Split(tool.Path, "/")
		name := elements[len(elements)-1]
		if len(elements) > 1 && isMajor(name) {
			name = elements[len(elements)-2]
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func isMajor(element string) bool {
	digits, ok := strings.CutPrefix(element, "v")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How often a build that takes long says that it goes on. CI systems end jobs
// that are silent for some minutes.
const progressInterval = time.Minute

// A builder makes what is missing in a cache. Its parts are fields so that a
// test can have a small module of its own.
type builder struct {
	source string // The folder e2e/tools.
	cache  string
	log    io.Writer
	recipe func(module string) (recipe, bool)
}

func (b *builder) ensure(ctx context.Context, modules []string) (*Tools, error) {
	t := &Tools{source: b.source, dirs: map[string]string{}, paths: map[string]string{}}
	// Before minutes are spent on building.
	if err := b.findMachinePrograms(t, modules); err != nil {
		return nil, err
	}
	for _, module := range modules {
		r, _ := b.recipe(module)
		if !r.builds {
			continue
		}
		dir, programs, err := b.module(ctx, module, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", module, err)
		}
		t.dirs[module] = dir
		for _, name := range programs {
			if _, ok := t.paths[name]; !ok {
				t.paths[name] = filepath.Join(dir, name)
			}
		}
	}
	return t, nil
}

func (b *builder) findMachinePrograms(t *Tools, modules []string) error {
	var programs []machineProgram
	for _, module := range modules {
		r, ok := b.recipe(module)
		if !ok {
			return fmt.Errorf("there is no module %q; there are %s and %s", module, strings.Join(Modules(), ", "), Containers)
		}
		programs = append(programs, r.machine...)
	}
	return findOnMachine(t.paths, programs)
}

// module returns the folder of what was built from a module, and the names of
// the programs in it. It builds them when the folder is not there.
func (b *builder) module(ctx context.Context, module string, r recipe) (dir string, programs []string, err error) {
	source := filepath.Join(b.source, module)
	mod, err := readGoMod(ctx, source)
	if err != nil {
		return "", nil, err
	}
	var version string
	if r.tool != "" {
		if version, err = mod.version(r.tool); err != nil {
			return "", nil, err
		}
	}
	key, err := b.key(ctx, source, r, version)
	if err != nil {
		return "", nil, err
	}
	for _, name := range mod.programNames() {
		if renamed, ok := r.rename[name]; ok {
			name = renamed
		}
		programs = append(programs, name)
	}
	dir = filepath.Join(b.cache, module+"-"+key)
	// A folder with that name is complete, since it came by a rename.
	if isDir(dir) {
		return dir, programs, nil
	}
	if err := os.MkdirAll(b.cache, 0o750); err != nil {
		return "", nil, err
	}
	// One build at a time: each uses all cores and gigabytes of memory.
	unlock, err := lock(ctx, filepath.Join(b.cache, "build.lock"), func() {
		b.printf("%s: waiting for another suite that builds", module)
	})
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	if isDir(dir) {
		return dir, programs, nil
	}
	return dir, programs, b.build(ctx, module, strings.TrimSpace(module+" "+version), dir, r, r.ldflags(version))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// key is a hash of everything that goes into a build.
func (b *builder) key(ctx context.Context, source string, r recipe, version string) (string, error) {
	goVersion, err := goOutput(ctx, source, "env", "GOVERSION", "GOOS", "GOARCH")
	if err != nil {
		return "", err
	}
	var parts []byte
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil && (name == "go.mod" || !errors.Is(err, os.ErrNotExist)) {
			return "", err
		}
		parts = fmt.Appendf(parts, "%s %d\n%s", name, len(text), text)
	}
	parts = fmt.Appendf(parts, "%s\n%s\n%v %v %v\n", goVersion, r.ldflags(version), r.rename, r.scripts, r.links)
	hash := sha256.Sum256(parts)
	return hex.EncodeToString(hash[:])[:16], nil
}

// build makes the folder dir, all or nothing.
func (b *builder) build(ctx context.Context, module, title, dir string, r recipe, ldflags string) error {
	// With the lock in our hands, these are from builds that were killed.
	leftovers, _ := filepath.Glob(filepath.Join(b.cache, ".building-*"))
	for _, leftover := range leftovers {
		_ = os.RemoveAll(leftover)
	}
	temp, err := os.MkdirTemp(b.cache, ".building-"+module+"-")
	if err != nil {
		return err
	}
	// After the rename there is nothing to remove.
	defer func() { _ = os.RemoveAll(temp) }()

	start := time.Now()
	b.printf("%s: building", title)
	stop := b.saysThatItGoesOn(title, start)
	err = b.goBuild(ctx, module, temp, ldflags)
	stop()
	if err != nil {
		return err
	}
	for from, to := range r.rename {
		if err := os.Rename(filepath.Join(temp, from), filepath.Join(temp, to)); err != nil {
			return err
		}
	}
	if err := b.placePath(ctx, module, temp, r); err != nil {
		return err
	}
	// MkdirTemp's are for their owner only, like everything in a cache; but a
	// node's container runtime may run as somebody else.
	if err := os.Chmod(temp, 0o755); err != nil { //nolint:gosec // G302: programs that anybody may run.
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	b.printf("%s: built in %.0f s", title, time.Since(start).Seconds())
	return nil
}

func (b *builder) goBuild(ctx context.Context, module, out, ldflags string) error {
	cmd := goCommand(ctx, filepath.Join(b.source, module),
		"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", out+string(filepath.Separator), "tool")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("go build: %w", ctx.Err())
		}
		return fmt.Errorf("go build in %s: %w:\n%s", cmd.Dir, err, lastPart(said.Bytes()))
	}
	return nil
}

// placePath makes the folder "path" with the scripts and links of a recipe.
func (b *builder) placePath(ctx context.Context, module, temp string, r recipe) error {
	if len(r.scripts)+len(r.links) == 0 {
		return nil
	}
	path := filepath.Join(temp, "path")
	if err := os.Mkdir(path, 0o755); err != nil { //nolint:gosec // G301: programs that anybody may run.
		return err
	}
	for name, program := range r.links {
		// Relative, since the folder is about to be renamed.
		if err := os.Symlink(filepath.Join("..", program), filepath.Join(path, name)); err != nil {
			return err
		}
	}
	if len(r.scripts) == 0 {
		return nil
	}
	source, err := moduleDir(ctx, filepath.Join(b.source, module), r.tool)
	if err != nil {
		return err
	}
	for _, script := range r.scripts {
		text, err := os.ReadFile(filepath.Join(source, script))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, filepath.Base(script)), text, 0o755); err != nil { //nolint:gosec // G306: scripts have to be executable.
			return err
		}
	}
	return nil
}

// saysThatItGoesOn logs a line now and then until stop is called.
func (b *builder) saysThatItGoesOn(title string, start time.Time) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				b.printf("%s: still building after %.0f s", title, time.Since(start).Seconds())
			}
		}
	}()
	// The log is not written to once stop has returned.
	return func() { close(done); <-stopped }
}

func (b *builder) printf(format string, args ...any) {
	if b.log == nil {
		return
	}
	// A log that cannot be written to is no reason not to build.
	_, _ = fmt.Fprintf(b.log, "e2e tools: "+format+"\n", args...)
}

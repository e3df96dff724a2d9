package toolchain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeSource is a folder like e2e/tools with a module "clocks" of two small
// programs. Its dependency is a folder beside it, so no proxy is asked.
func fakeSource(t *testing.T) string {
	t.Helper()
	source := t.TempDir()
	write(t, source, map[string]string{
		"clocks/go.mod": "module example.test/tools/clocks\n\ngo 1.24.0\n\ntool (\n\texample.test/clock/cmd/cuckoo\n\texample.test/clock/cmd/tower/v3\n)\n\n" +
			"require example.test/clock v1.25.7\n\nreplace example.test/clock => ../clock\n",
		"clock/go.mod":               "module example.test/clock\n\ngo 1.24.0\n",
		"clock/cmd/cuckoo/main.go":   "package main\n\nvar version, major string\n\nfunc main() { println(version, major) }\n",
		"clock/cmd/tower/v3/main.go": "package main\n\nfunc main() { println(\"dong\") }\n",
	})
	return source
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// clocks is a builder with the module of fakeSource.
func clocks(t *testing.T, source, cache string) (b *builder, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	return &builder{source: source, cache: cache, log: log, recipe: func(module string) (recipe, bool) {
		return recipe{
			builds: true, tool: "example.test/clock",
			variables: func(version string) map[string]string {
				return map[string]string{"main.version": version, "main.major": "one"}
			},
			rename: map[string]string{"tower": "bigben"},
			links:  map[string]string{"clock": "cuckoo"},
		}, module == "clocks"
	}}, log
}

func run(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestEnsureBuildsOnceAndNamesWhatItBuilt(t *testing.T) {
	source, cache := fakeSource(t), t.TempDir()
	b, log := clocks(t, source, cache)
	tools, err := b.ensure(t.Context(), []string{"clocks"})
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, tools.Path("cuckoo")); got != "v1.25.7 one" {
		t.Errorf("the program reports %q; the version of go.mod is v1.25.7", got)
	}
	if got := run(t, tools.Path("bigben")); got != "dong" {
		t.Errorf("the renamed program says %q", got)
	}
	if got := run(t, filepath.Join(tools.Dir("clocks"), "path", "clock")); got != "v1.25.7 one" {
		t.Errorf("the link leads to a program that says %q", got)
	}
	if filepath.Dir(tools.Dir("clocks")) != cache || !strings.HasPrefix(filepath.Base(tools.Dir("clocks")), "clocks-") {
		t.Errorf("built into %s", tools.Dir("clocks"))
	}
	if said := log.String(); !strings.HasPrefix(said, "e2e tools: clocks v1.25.7: building\ne2e tools: clocks v1.25.7: built in ") {
		t.Errorf("progress: %q", said)
	}

	// A second suite, which must not even ask for the compiler.
	b, log = clocks(t, source, cache)
	again, err := b.ensure(t.Context(), []string{"clocks"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tools.paths, again.paths); diff != "" || log.Len() > 0 {
		t.Errorf("built again: %s %s", log, diff)
	}
	version, err := again.Version(t.Context(), "clocks", "example.test/clock")
	if err != nil || version != "v1.25.7" {
		t.Errorf("version %q, %v", version, err)
	}
}

func TestWhatGoesIntoABuildChangesItsFolder(t *testing.T) {
	source, cache := fakeSource(t), t.TempDir()
	folder := func(change func(*recipe)) string {
		t.Helper()
		b, _ := clocks(t, source, cache)
		r, _ := b.recipe("clocks")
		change(&r)
		key, err := b.key(t.Context(), filepath.Join(source, "clocks"), r, "v1.25.7")
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	same := func(*recipe) {}
	before := folder(same)
	if folder(same) != before {
		t.Error("the same build has two folders")
	}
	seen := map[string]string{before: "nothing"}
	unseen := func(what, key string) {
		t.Helper()
		if other, ok := seen[key]; ok {
			t.Errorf("a change of %s has the folder of a change of %s", what, other)
		}
		seen[key] = what
	}
	unseen("the flags", folder(func(r *recipe) { r.variables = nil }))
	unseen("the names", folder(func(r *recipe) { r.rename = nil }))
	unseen("the scripts", folder(func(r *recipe) { r.scripts = []string{"hack/wrapper.sh"} }))
	write(t, source, map[string]string{"clocks/go.sum": "example.test/clock v1.25.7 h1:x\n"})
	unseen("go.sum", folder(same))
	write(t, source, map[string]string{"clocks/go.mod": "module example.test/tools/clocks\n\ngo 1.25.0\n"})
	unseen("go.mod", folder(same))
}

func TestTwoSuitesBuildOnce(t *testing.T) {
	source, cache := fakeSource(t), t.TempDir()
	var wg sync.WaitGroup
	logs := make([]*bytes.Buffer, 3)
	for i := range logs {
		var b *builder
		b, logs[i] = clocks(t, source, cache)
		wg.Go(func() {
			if _, err := b.ensure(t.Context(), []string{"clocks"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	builds := 0
	for _, log := range logs {
		builds += strings.Count(log.String(), "built in")
	}
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
}

// A cache must never offer what was not finished.
func TestAFailedBuildLeavesNothing(t *testing.T) {
	source, cache := fakeSource(t), t.TempDir()
	write(t, cache, map[string]string{".building-clocks-1/cuckoo": "half a program of a suite that was killed"})
	write(t, source, map[string]string{"clock/cmd/tower/v3/main.go": "package main\n\nfunc main() { strike() }\n"})
	b, _ := clocks(t, source, cache)
	_, err := b.ensure(t.Context(), []string{"clocks"})
	if err == nil || !strings.Contains(err.Error(), "clocks: go build in ") || !strings.Contains(err.Error(), "undefined: strike") {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(cache, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(cache, "build.lock")}, append(left, hidden...)); diff != "" {
		t.Errorf("the cache (-want +got):\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.ensure(ctx, []string{"clocks"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestEnsureRefusesWhatItDoesNotKnow(t *testing.T) {
	b, _ := clocks(t, fakeSource(t), t.TempDir())
	_, err := b.ensure(t.Context(), []string{"sundials"})
	if err == nil || !strings.Contains(err.Error(), `there is no module "sundials"; there are kubernetes, `) {
		t.Errorf("got %v", err)
	}
	tools := &Tools{}
	for name, use := range map[string]func(){
		"program": func() { tools.Path("kube-apiserver") },
		"module":  func() { tools.Dir(Kubernetes) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s that Ensure was not given is returned", name)
				}
			}()
			use()
		}()
	}
}

func TestMissingProgramsAreNamedTogether(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\n"), 0o700); err != nil { //nolint:gosec // G306: a program.
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	paths := map[string]string{}
	err := findOnMachine(paths, []machineProgram{
		{name: "git", pkg: "git"},
		{name: "grandfather-clock", pkg: "clocks"},
		{name: "hourglass", pkg: "antiques"},
		{name: "wristwatch", pkg: "clocks"},
	})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("got %v", err)
	}
	const want = "grandfather-clock, hourglass, wristwatch: missing on this machine; on Debian and Ubuntu: apt-get install --no-install-recommends antiques clocks"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"git": filepath.Join(bin, "git")}, paths); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

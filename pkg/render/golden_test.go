package render_test

import (
	"bytes"
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// The outputs in testdata were printed by the command line tools: kustomize
// v5.8.1 (which has the library version that we link) and helm v4.2.1. To
// print them again:
//
//	go test ./pkg/render -run TestGolden -helm /path/to/helm -kustomize /path/to/kustomize
var (
	helmProgram      = flag.String("helm", "", "rewrite the wanted output of Helm charts with this helm")
	kustomizeProgram = flag.String("kustomize", "", "rewrite the wanted output of kustomizations with this kustomize (needs -helm)")
)

// archive is a set of files written one below the other, each under a line
// "-- name --".
func archive(text string) fstest.MapFS {
	fsys := fstest.MapFS{}
	var name string
	for _, line := range strings.SplitAfter(text, "\n") {
		if n, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(strings.TrimSpace(n), " --") {
			name = strings.TrimSuffix(strings.TrimSpace(n), " --")
			if link, to, ok := strings.Cut(name, " -> "); ok {
				fsys[link] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
				name = ""
				continue
			}
			fsys[name] = &fstest.MapFile{Mode: 0o644}
			continue
		}
		if name != "" {
			fsys[name].Data = append(fsys[name].Data, line...)
		}
	}
	return fsys
}

// goldenCase is one file of testdata: settings, files, wanted output.
type goldenCase struct {
	file, head string
	input      render.Input
	want       []byte
	dependent  bool
}

const wantFile = "WANT"

func loadGolden(t testing.TB, file string) goldenCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\n-- ")
	fsys := archive("-- " + body)
	c := goldenCase{file: file, head: head, want: fsys[wantFile].Data}
	delete(fsys, wantFile)
	app := config.Application{Name: "web"}
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "renderer":
			app.Renderer = value
		case "path":
			app.Path = value
		case "values":
			app.Values = strings.Fields(value)
		case "release":
			app.ReleaseName = value
		case "namespace":
			c.input.Namespace = value
		case "kubeVersion":
			c.input.Capabilities = &config.Capabilities{KubeVersion: value}
		case "apiVersions":
			c.input.Capabilities.APIVersions = strings.Fields(value)
		case "dependent":
			c.dependent = value == "true"
		default:
			if line != "" && !strings.HasPrefix(line, "#") {
				t.Fatalf("%s: unknown setting %q", file, line)
			}
		}
	}
	c.input.FS, c.input.Application = fsys, app
	return c
}

func goldens(t testing.TB) []goldenCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	var cases []goldenCase
	for _, file := range files {
		cases = append(cases, loadGolden(t, file))
	}
	return cases
}

func TestGolden(t *testing.T) {
	for _, c := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(c.file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			if *helmProgram != "" {
				c.rewrite(t)
			}
			out, err := render.Render(t.Context(), c.input)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(c.want), string(out.YAML)); diff != "" {
				t.Errorf("output differs from the tool's (-want +got):\n%s", diff)
			}
			if out.ClusterDependent != c.dependent {
				t.Errorf("ClusterDependent is %v, want %v", out.ClusterDependent, c.dependent)
			}
			again, err := render.Render(t.Context(), c.input)
			if err != nil || !bytes.Equal(out.YAML, again.YAML) {
				t.Errorf("rendered again: other bytes or %v", err)
			}
			onDisk := c.input
			onDisk.FS = os.DirFS(c.write(t))
			again, err = render.Render(t.Context(), onDisk)
			if err != nil || !bytes.Equal(out.YAML, again.YAML) {
				t.Errorf("rendered from disk: other bytes or %v", err)
			}
			same, err := out.Pin(func(r string) (string, error) { return r, nil })
			if err != nil || !bytes.Equal(out.YAML, same) {
				t.Errorf("pinned to themselves: other bytes or %v", err)
			}
		})
	}
}

// write puts the case's files on disk.
func (c goldenCase) write(t testing.TB) string {
	t.Helper()
	return writeFiles(t, c.input.FS.(fstest.MapFS))
}

func writeFiles(t testing.TB, fsys fstest.MapFS) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range fsys {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		var err error
		if f.Mode&fs.ModeSymlink != 0 {
			err = os.Symlink(string(f.Data), path)
		} else {
			err = os.WriteFile(path, f.Data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// rewrite runs the tool and stores its output.
func (c *goldenCase) rewrite(t *testing.T) {
	t.Helper()
	dir := c.write(t)
	app := c.input.Application
	var args []string
	switch app.Renderer {
	case config.RendererHelm:
		args = []string{*helmProgram, "template", app.Name, app.Path, "--include-crds"}
		if app.ReleaseName != "" {
			args[2] = app.ReleaseName
		}
		if c.input.Namespace != "" {
			args = append(args, "--namespace", c.input.Namespace)
		}
		for _, v := range app.Values {
			args = append(args, "--values", v)
		}
		if k := c.input.Capabilities; k != nil {
			args = append(args, "--kube-version", k.KubeVersion)
			for _, v := range k.APIVersions {
				args = append(args, "--api-versions", v)
			}
		}
	case config.RendererKustomize:
		args = []string{*kustomizeProgram, "build", app.Path, "--enable-helm", "--helm-command", *helmProgram}
		if k := c.input.Capabilities; k != nil {
			args = append(args, "--helm-kube-version", k.KubeVersion)
		}
	default:
		return
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // the program is a flag of the test
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KUBECONFIG=/nonexistent")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	c.want = out
	fsys := c.input.FS.(fstest.MapFS)
	var b strings.Builder
	b.WriteString(c.head + "\n")
	for _, name := range slices.Sorted(maps.Keys(fsys)) {
		if fsys[name].Mode&fs.ModeSymlink != 0 {
			b.WriteString("-- " + name + " -> " + string(fsys[name].Data) + " --\n")
			continue
		}
		b.WriteString("-- " + name + " --\n" + string(fsys[name].Data))
	}
	b.WriteString("-- " + wantFile + " --\n" + string(out))
	if err := os.WriteFile(c.file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

package sidecar

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"sigs.k8s.io/yaml"

	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

// run plays the operating system.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, env, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// writeTree puts a repository on disk and returns its root.
func writeTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, file := range snapshotTree(t) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, file.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestGenerateCommand(t *testing.T) {
	root := writeTree(t)
	var env []string
	for name, value := range web(t) {
		env = append(env, name+"="+value)
	}
	want := "---\n" + strings.Replace(deployment, "dev.example/shop/web:1.2", "prod.example/shop/web@"+webDigest, 1)
	withPath := append([]string{"ARGOCD_APP_SOURCE_PATH=envs/prod/web"}, env...)
	for name, test := range map[string]struct {
		directory string
		env       []string
		args      []string
		code      int
		stdout    string
		stderr    string
	}{
		"as argocd-cmp-server does": {"envs/prod/web", withPath, nil, 0, want, ""},
		"root given":                {"envs/prod/web", env, []string{"--root", "../../.."}, 0, want, ""},
		"root unknown":              {"envs/prod/web", env, nil, 2, "", "give --root"},
		"another directory":         {"envs/prod", withPath, nil, 2, "", "does not end in envs/prod/web"},
		"outside the root":          {".", env, []string{"--root", "envs"}, 2, "", "is not below --root"},
		"no such root":              {".", env, []string{"--root", "nowhere"}, 2, "", "--root"},
		"another application":       {"envs/dev/web", env, []string{"--root", root}, 1, "", "cmp-sidecar: snapshot shop/v1.4.0, prod/web: "},
		"argument":                  {".", env, []string{"x"}, 2, "", `unknown argument "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(filepath.Join(root, test.directory))
			code, stdout, stderr := run(t, test.env, append([]string{"generate"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.stderr) || (test.stderr == "" && stderr != "") {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
			if diff := gocmp.Diff(test.stdout, stdout); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		env    []string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"help":           {nil, []string{"--help"}, 0, "[$PROPAGATOR_SOCKET_DIR]", ""},
		"version":        {nil, []string{"--version"}, 0, "cmp-sidecar version ", ""},
		"unknown flag":   {nil, []string{"--nope"}, 2, "", "--nope"},
		"unknown word":   {nil, []string{"nope"}, 2, "", "nope"},
		"bad options":    {nil, []string{"serve", "--name", "../x", "--workers", "0"}, 2, "", "--workers"},
		"bad variable":   {[]string{"PROPAGATOR_WORKERS=hush"}, nil, 2, "", "PROPAGATOR_WORKERS"},
		"relative":       {[]string{"PROPAGATOR_SOCKET_DIR=x"}, nil, 2, "", "absolute"},
		"long directory": {nil, []string{"--socket-dir", "/" + strings.Repeat("x", 120)}, 2, "", "shorter --socket-dir"},
		"no directory":   {nil, []string{"--socket-dir", "/nonexistent/x", "--operator-listen", "127.0.0.1:0"}, 1, "", "/nonexistent/x/propagator.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(t, test.env, test.args...)
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit %d\nstdout %s\nstderr %s", code, stdout, stderr)
			}
			if code != 0 && stdout != "" {
				t.Errorf("an error on stdout: %s", stdout)
			}
		})
	}
}

func TestServeIsTheDefault(t *testing.T) {
	o := testOptions(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- Main(ctx, []string{"--socket-dir", o.SocketDir, "--operator-listen", "127.0.0.1:0"}, nil, nil, io.Discard, testWriter{t})
	}()
	until(t, "listening", func() bool { _, err := os.Lstat(o.socket()); return err == nil })
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

// The exec form offers the same parameters as the server.
func TestPluginYAML(t *testing.T) {
	text, err := os.ReadFile("../plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Kind     string
		Metadata struct{ Name string }
		Spec     struct {
			Version    string
			Discover   any
			Generate   struct{ Command []string }
			Parameters struct{ Static []map[string]any }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if file.Kind != "ConfigManagementPlugin" || file.Metadata.Name != DefaultOptions().Name || file.Spec.Version != "" || file.Spec.Discover != nil {
		t.Errorf("got %+v", file)
	}
	if diff := gocmp.Diff([]string{"cmp-sidecar", "generate"}, file.Spec.Generate.Command); diff != "" {
		t.Error(diff)
	}
	var listed []*pluginpb.ParameterAnnouncement
	for _, parameter := range file.Spec.Parameters.Static {
		text, err := yaml.Marshal(parameter)
		if err == nil {
			text, err = yaml.YAMLToJSON(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		announcement := &pluginpb.ParameterAnnouncement{}
		if err := protojson.Unmarshal(text, announcement); err != nil {
			t.Fatal(err)
		}
		listed = append(listed, announcement)
	}
	if diff := gocmp.Diff(announcements(), listed, protocmp.Transform()); diff != "" {
		t.Errorf("plugin.yaml (-server +file):\n%s", diff)
	}
}

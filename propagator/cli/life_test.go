package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestLife plays the whole life of a pipeline with nothing but the program,
// git tags of people and an Argo CD that deploys what it is told.
func TestLife(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	t.Chdir(dir)
	w.must("init", "--name", "shop", "--registry", "stage=stage.registry.example/shop")
	written, err := os.ReadFile(filepath.Join(dir, "propagator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.commit(shop(strings.Replace(string(written), "promote: auto", "promote: manual", 1), "1.0"))

	w.must("status")
	w.must("snapshot", "list")
	before := w.git.Git("shop.git", "for-each-ref")
	w.writes()
	w.must("snapshot", "create", "--dry-run")
	if after := w.git.Git("shop.git", "for-each-ref"); after != before || w.writes() != 0 {
		t.Errorf("a dry run wrote something: refs %s", after)
	}
	w.must("snapshot", "create")
	w.must("snapshot", "list")
	w.must("snapshot", "show", "v0.1.0")
	w.must("snapshot", "verify", "0.1.0")
	w.fails(3, []string{"promote", "prod"}, "NOT_VALIDATED", "next: propagator status")
	w.must("promote", "stage", "--dry-run")
	w.must("promote", "stage")
	w.must("status")
	w.fails(3, []string{"promote", "prod"}, "NOT_VALIDATED")
	w.deployed()
	w.fails(3, []string{"promote", "prod"}, "APPROVAL_MISSING", "next: git fetch --tags && git tag -a approve/prod/shop/v0.1.0/<you>")
	w.approve("shop/v0.1.0")
	w.must("promote", "prod", "v0.1.0", "--dry-run")
	w.must("promote", "prod", "v0.1.0", "--actor", "linus")
	w.deployed()
	w.must("history", "prod")

	// A second release goes to Stage and is taken back.
	w.image("dev.registry.example/shop", "orders", "1.1", true)
	w.commit(shop(pipeline(), "1.1"))
	w.must("snapshot", "create")
	w.must("promote", "stage", "shop/v0.2.0")
	w.deployed()
	w.must("status")
	w.fails(3, []string{"promote", "stage", "v0.1.0"}, "OLDER_THAN_CURRENT", "--rollback")
	w.must("promote", "stage", "--rollback", "--reason", "orders lose money")
	w.must("status")
	w.must("history", "stage", "-n", "3")
	w.must("snapshot", "list")
	w.must("snapshot", "verify", "v0.1.0", "--environment", "prod")
	w.must("render", "prod", "orders")
	w.must("mirror", "copy", "prod", "v0.1.0")
	w.must("mirror", "verify", "stage", "v0.2.0")
	w.golden("life.txt")
}

// TestInvariantTree checks with git what the design promises (I3): Prod has
// exactly the tree that Stage tested.
func TestInvariantTree(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.0"))
	out := w.must("snapshot", "create")
	if !strings.Contains(out, "stage now points at shop/v0.1.0") {
		t.Errorf("an environment with promote: auto did not take it:\n%s", out)
	}
	w.deployed()
	w.approve("shop/v0.1.0")
	w.must("promote", "prod")
	trees := strings.Fields(w.git.Git("shop.git", "rev-parse", "environments/stage^{tree}", "environments/prod^{tree}", "shop/v0.1.0^{tree}"))
	if trees[0] != trees[1] || trees[1] != trees[2] {
		t.Errorf("trees differ: %v", trees)
	}
}

// TestFormats: JSON and YAML have the same names and values, and the ones that
// docs/cli.md lists.
func TestFormats(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create", "-o", "json")
	w.must("promote", "stage", "-o", "yaml")
	w.deployed()
	for _, args := range [][]string{
		{"status"},
		{"history", "stage"},
		{"snapshot", "list"},
		{"snapshot", "show", "v0.1.0"},
		{"snapshot", "verify", "v0.1.0"},
		{"mirror", "verify", "stage", "v0.1.0"},
		{"promote", "stage", "v0.1.0", "--dry-run"},
		{"version"},
	} {
		var fromJSON, fromYAML any
		asJSON, asYAML := w.run(append(args, "-o", "json")...), w.run(append(args, "-o", "yaml")...)
		if asJSON.code != asYAML.code {
			t.Fatalf("%v: exit %d and %d", args, asJSON.code, asYAML.code)
		}
		if asJSON.code != 0 {
			continue
		}
		if err := json.Unmarshal([]byte(asJSON.stdout), &fromJSON); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, asJSON.stdout)
		}
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(asYAML.stdout), &node); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, asYAML.stdout)
		}
		untime(&node)
		if err := node.Decode(&fromYAML); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbers(fromJSON), numbers(fromYAML)); diff != "" {
			t.Errorf("%v: JSON and YAML differ:\n%s", args, diff)
		}
	}
	w.transcript.Reset()
	w.must("status", "-o", "json")
	w.must("history", "stage", "-n", "1", "-o", "yaml")
	w.must("snapshot", "list", "-o", "yaml")
	w.must("mirror", "verify", "stage", "v0.1.0", "-o", "yaml")
	w.golden("formats.txt")
}

// untime makes times text, as they are in JSON.
func untime(node *yaml.Node) {
	if node.ShortTag() == "!!timestamp" {
		node.Tag = "!!str"
	}
	for _, child := range node.Content {
		untime(child)
	}
}

// numbers makes all numbers of one type.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case int:
		return float64(v)
	}
	return v
}

func TestRender(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	w.must("render", "dev")                           // as Argo CD deploys the source branch
	w.must("render", "stage", "--snapshot", "v0.1.0") // as the sidecar would
	dir := t.TempDir()
	for path, text := range shop(pipeline(), "2.0-not-pushed") {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing is asked over the network.
	w.env = []string{"PROPAGATOR_REPOSITORY=http://127.0.0.1:1/nowhere"}
	t.Chdir(dir)
	w.must("render", "prod", "orders", "--dir", ".")
	w.golden("render.txt")
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "propagator.yaml"), []byte(pipeline()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"promote", ""}, []string{"stage", "prod"}},
		{[]string{"render", "d"}, []string{"dev"}},
		{[]string{"promote", "stage", ""}, []string{"shop/v0.1.0"}},
		{[]string{"snapshot", "show", "shop/v9"}, nil},
	} {
		out := w.must(append([]string{"__complete"}, test.args...)...)
		var got []string
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, ":") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.args, diff)
		}
	}
	if out := w.must("completion", "bash"); !strings.Contains(out, "__start_propagator") {
		t.Error("no script for bash")
	}
}

package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// TestBad compares the faults of every file in testdata/bad with the messages
// beside it.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(text, "")
			if p != nil || err == nil {
				t.Fatal("the file was accepted")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if strings.Contains(got, "s3cret") {
				t.Error("a credential is in the messages")
			}
		})
	}
}

func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(text, file); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseEverything(t *testing.T) {
	text, err := os.ReadFile("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text, "")
	if err != nil {
		t.Fatal(err)
	}
	want := &Pipeline{
		Name:   "shop",
		Source: Source{Branch: "develop", Capture: []CaptureMode{CaptureSync, CaptureTag}, Tags: "shop-v*", Host: CodeHost{Kind: Gitea, API: "https://git.example/api/v1"}},
		Registries: map[string]Registry{
			"dev":   {Name: "dev", URL: "localhost:5000/shop", Endpoint: "http://127.0.0.1:5000/shop", Retention: Ephemeral},
			"stage": {Name: "stage", URL: "stage.registry.example/shop", Endpoint: "https://stage.registry.example/shop", Retention: Keep},
			"hub":   {Name: "hub", URL: "docker.io/shop", Endpoint: "https://index.docker.io/shop", Retention: Keep},
		},
		Upstreams: []Upstream{{Host: "quay.io", Endpoint: "https://cache.example/quay"}},
		Images:    []ImagePath{{Kind: "Rollout", Group: "argoproj.io", Path: "spec.sidecars[].image"}},
		Hotfixes:  Hotfixes{Compose: Manual, BackMerge: BackMergePullRequest, WarnAfter: 24 * time.Hour},
		Services: []Service{
			{Image: "localhost:5000/shop/*", Repository: "https://git.example/shop/all.git"},
			{Image: "localhost:5000/shop/orders", Repository: "git@git.example:shop/orders.git"},
		},
		Identity: Identity{Name: "Release Train", Email: "train@shop.example"},
		Environments: []Environment{
			{
				Name: "dev", Path: "envs/dev", Registry: "dev",
				Destinations: []Destination{{Cluster: "in-cluster", Namespace: "shop-dev"}},
			},
			{
				Name: "stage", After: []string{"dev"}, Path: "envs/stage", Branch: "environments/stage", Registry: "stage", Promote: Auto, Admit: AdmitLatest,
				Destinations: []Destination{{Cluster: "in-cluster", Namespace: "shop-stage"}},
				Applications: []Application{
					{Name: "orders", Path: "envs/stage/orders", ReleaseName: "orders"},
					{
						Name: "catalog", Path: "charts/catalog", Renderer: RendererHelm, ReleaseName: "shop-catalog",
						Values: []string{"envs/catalog.yaml", "envs/stage/catalog.yaml"}, Namespace: "catalog", Empty: true,
					},
				},
				Capabilities: &Capabilities{KubeVersion: "1.33", APIVersions: []string{"monitoring.coreos.com/v1"}},
			},
			{
				Name: "prod", After: []string{"stage"}, Path: "envs/prod", Branch: "live", Registry: "hub", Promote: Manual, Admit: AdmitLatest,
				Gates: []Gate{{Soak: &SoakGate{For: 4 * time.Hour}}, {Approval: &ApprovalGate{Count: 2}}},
				Destinations: []Destination{
					{Cluster: "prod-eu", Namespace: "shop"},
					{Server: "https://us.example:6443", Namespace: "shop-prod"},
				},
			},
			{
				Name: "dr", After: []string{"stage", "prod"}, Path: "envs/dr", Branch: "environments/dr", Registry: "hub", Promote: Manual, Admit: AdmitLatest,
				Gates:        []Gate{{Approval: &ApprovalGate{Count: 1}}},
				Destinations: []Destination{{Cluster: "in-cluster", Namespace: "shop-dr"}},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pipeline (-want +got):\n%s", diff)
	}
}

// TestHostile holds what is too big or too strange for a file in testdata.
func TestHostile(t *testing.T) {
	const head = "apiVersion: propagator/v1alpha1\nkind: Pipeline\nmetadata: {name: shop}\n"
	many := func(n int, s string) string { return "[" + strings.Repeat(s+",", n-1) + s + "]" }
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "the file is empty"},
		{"only a comment", "# nothing yet\n", "the file is empty"},
		{"only a separator", "---\n", "the file is empty"},
		{"not text", "\xff\xfe\x00", "propagator.yaml:1: "},
		{"too large", "# " + strings.Repeat("x", 1<<20), "at most 1048576 are read"},
		{"alias bomb", "a: &a " + many(900, "x") + "\nb: &b " + many(900, "*a") + "\nenvironments: [{after: *a}, {after: *a}]\n" + head +
			"registries: &r {r: {url: *b}}\nimages: " + many(30, "&i {kind: *b}") + "\nupstreams: &u " + many(900, "{host: h, endpoint: e}"), ""},
		{"nested aliases", head + "environments:\n- &e {name: e, applications: &a " + many(500, "{path: p, values: &v "+many(20, "v")+"}") + "}\n" + strings.Repeat("- *e\n", 500), "more than 20000 values"},
		{"alias to itself", head + "environments: &e [*e]\n", "expected fields"},
		{"long list", head + "environments: " + many(1001, "{name: e}"), "has 1001 elements"},
		{"many environments", head + "environments: " + many(201, "{name: e}"), "there are 201"},
		{"deep", strings.Repeat("[", 20000), "propagator.yaml:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text), "")
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error %v is not Faults", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if lines := strings.Count(err.Error(), "\n"); lines > maxPrinted {
				t.Errorf("the error has %d lines", lines)
			}
		})
	}
}

func TestFaultPositions(t *testing.T) {
	_, err := Parse([]byte("apiVersion: propagator/v1alpha1\nkind: Pipeline\nmetadata:\n  name: Shop\nregistries: {dev: {url: dev.example}}\nenvironments:\n- name: dev\n  registry: dev\n"), "a/propagator.yaml")
	var got Faults
	if !errors.As(err, &got) {
		t.Fatalf("error %v is not Faults", err)
	}
	want := Faults{
		{
			File: "a/propagator.yaml", Line: 4, Column: 9, Field: "metadata.name",
			Message: `"Shop" may only have lower-case letters, digits and dashes, and must start and end with a letter or digit`,
		},
		{File: "a/propagator.yaml", Line: 7, Column: 3, Field: "environments[0].path", Message: "is missing"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text, "")
		var faults Faults
		switch {
		case err == nil && p == nil:
			t.Fatal("neither pipeline nor error")
		case err == nil:
			if p.First().Name == "" {
				t.Error("a valid pipeline without a first environment")
			}
			for _, e := range p.Environments {
				if _, ok := p.Registries[e.Registry]; !ok {
					t.Errorf("environment %s without registry", e.Name)
				}
			}
		case !errors.As(err, &faults) || len(faults) == 0:
			t.Errorf("error %v is not Faults", err)
		default:
			for _, fault := range faults {
				if fault.Line < 1 {
					t.Errorf("fault without line: %v", fault)
				}
			}
		}
	})
}

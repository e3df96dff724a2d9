package config

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStarter(t *testing.T) {
	for _, test := range []struct {
		name         string
		environments []string
		registries   map[string]string
		want         []Environment
		wantURLs     map[string]Registry
	}{
		{
			name: "defaults",
			want: []Environment{
				{Name: "dev", Path: "envs/dev", Registry: "dev", Destinations: inClusterIn("shop-dev")},
				{Name: "stage", After: []string{"dev"}, Path: "envs/stage", Branch: "environments/stage", Registry: "stage", Promote: Auto, Admit: AdmitLatest, Destinations: inClusterIn("shop-stage")},
				{Name: "prod", After: []string{"stage"}, Path: "envs/prod", Branch: "environments/prod", Registry: "prod", Promote: Manual, Admit: AdmitLatest, Gates: []Gate{{Approval: &ApprovalGate{Count: 1}}}, Destinations: inClusterIn("shop-prod")},
			},
			wantURLs: map[string]Registry{
				"dev":   {Name: "dev", URL: "dev.registry.example/shop", Endpoint: "https://dev.registry.example/shop", Retention: Ephemeral},
				"stage": {Name: "stage", URL: "stage.registry.example/shop", Endpoint: "https://stage.registry.example/shop", Retention: Keep},
				"prod":  {Name: "prod", URL: "prod.registry.example/shop", Endpoint: "https://prod.registry.example/shop", Retention: Keep},
			},
		},
		{
			name:         "one registry for all, names that YAML takes for something else",
			environments: []string{"no", "1e3"},
			registries:   map[string]string{"no": "127.0.0.1:5000", "1e3": "127.0.0.1:5000"},
			want: []Environment{
				{Name: "no", Path: "envs/no", Registry: "no", Destinations: inClusterIn("shop-no")},
				{Name: "1e3", After: []string{"no"}, Path: "envs/1e3", Branch: "environments/1e3", Registry: "no", Promote: Manual, Admit: AdmitLatest, Gates: []Gate{{Approval: &ApprovalGate{Count: 1}}}, Destinations: inClusterIn("shop-1e3")},
			},
			wantURLs: map[string]Registry{
				"no": {Name: "no", URL: "127.0.0.1:5000", Endpoint: "https://127.0.0.1:5000", Retention: Keep},
			},
		},
		{
			name:         "a single environment",
			environments: []string{"dev"},
			want:         []Environment{{Name: "dev", Path: "envs/dev", Registry: "dev", Destinations: inClusterIn("shop-dev")}},
			wantURLs: map[string]Registry{
				"dev": {Name: "dev", URL: "dev.registry.example/shop", Endpoint: "https://dev.registry.example/shop", Retention: Ephemeral},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := Starter("shop", test.environments, test.registries)
			p, err := Parse(text, "")
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if diff := cmp.Diff(test.want, p.Environments); diff != "" {
				t.Errorf("environments (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantURLs, p.Registries); diff != "" {
				t.Errorf("registries (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStarterInjection: whatever people type becomes a value and never a
// field, so that Parse can say what is wrong with it.
func TestStarterInjection(t *testing.T) {
	text := Starter("shop\nkind: Other", []string{"dev", "a]\n  promote: auto", ""}, map[string]string{"dev": "x: y # {"})
	_, err := Parse(text, "")
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error %v\n%s", err, text)
	}
	fields := map[string]bool{}
	for _, fault := range faults {
		fields[fault.Field] = true
	}
	for _, field := range []string{"metadata.name", "registries.dev.url", "environments[1].name", "environments[1].path", "environments[2].name"} {
		if !fields[field] {
			t.Errorf("no fault of %s in\n%v", field, faults)
		}
	}
	for _, fault := range faults {
		if fault.Message == "is given twice" || fault.Field == "" {
			t.Errorf("the text is not what was meant: %v\n%s", fault, text)
		}
	}
}

func inClusterIn(namespace string) []Destination {
	return []Destination{{Cluster: "in-cluster", Namespace: namespace}}
}

package gates_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gates"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func subject() gate.Subject {
	return gate.Subject{
		Pipeline: "shop", Environment: "prod", Version: snapshot.Version{Pipeline: "shop", Minor: 1},
		Now: time.Date(2026, 12, 24, 12, 0, 0, 0, time.UTC),
	}
}

// TestOpen: each gate of a configuration judges as it says.
func TestOpen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/v1/query"):
			_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"scalar","result":[0,"0.002"]}}`))
		default:
			_, _ = w.Write([]byte(`{"status":{"phase":"ok"}}`))
		}
	}))
	t.Cleanup(server.Close)
	for _, test := range []struct {
		name string
		gate string
		want gate.Result
	}{
		{"open window", `window: {cron: "0 9 * * *", duration: 8h}`, gate.Pass},
		{"closed window", `window: {cron: "0 9 * * *", duration: 1h}`, gate.Wait},
		{"in a freeze", `freeze: {from: 2026-12-20, until: 2026-12-27, reason: Christmas}`, gate.Wait},
		{"after a freeze", `freeze: {cron: "0 0 * * *", duration: 1h}`, gate.Pass},
		{"metric", `prometheus: {server: "` + server.URL + `", query: errors, pass: "< 0.01"}`, gate.Pass},
		{"bad metric", `prometheus: {server: "` + server.URL + `", query: errors, pass: "< 0.001"}`, gate.Wait},
		{"service", `http: {url: "` + server.URL + `/{version}", field: status.phase, value: ok}`, gate.Pass},
		{"unhappy service", `http: {url: "` + server.URL + `", field: status.phase, value: great}`, gate.Wait},
	} {
		t.Run(test.name, func(t *testing.T) {
			opened, err := (&gates.Set{}).Open(parsed(t, test.gate), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := opened.Judge(t.Context(), subject()); got.Result != test.want {
				t.Errorf("%+v, want %s", got, test.want)
			}
		})
	}
}

// parsed is a gate as propagator.yaml has it.
func parsed(t *testing.T, text string) config.Gate {
	t.Helper()
	p, err := config.Parse([]byte(`
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries: {dev: {url: dev.example, retention: ephemeral}, prod: {url: prod.example}}
environments:
- {name: dev, path: envs/dev, registry: dev}
- name: prod
  after: [dev]
  path: envs/prod
  registry: prod
  gates:
  - `+text+"\n"), config.File)
	if err != nil {
		t.Fatal(err)
	}
	return p.Environments[1].Gates[0]
}

// TestTokens: a token goes to the host whose name its file has, and to no other.
func TestTokens(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "127.0.0.1"), []byte("s3cret-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	t.Cleanup(server.Close)
	set := &gates.Set{Tokens: dir}
	for address, want := range map[string]string{
		server.URL: "Bearer s3cret-token",
		strings.Replace(server.URL, "127.0.0.1", "localhost", 1): "",
	} {
		got = "nobody asked"
		opened, err := set.Open(config.Gate{HTTP: &config.HTTPGate{URL: address}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if verdict := opened.Judge(t.Context(), subject()); verdict.Result != gate.Pass || got != want {
			t.Errorf("%s: sent %q, want %q (%+v)", address, got, want, verdict)
		}
	}
}

// TestUnknownGate: what cannot be asked is an error, never a pass.
func TestUnknownGate(t *testing.T) {
	if _, err := (&gates.Set{}).Open(config.Gate{Soak: &config.SoakGate{For: time.Hour}}, nil); err == nil {
		t.Error("a gate of the engine was opened")
	}
}

// TestPlugins: a program is started from the directory of plugins only, and only
// the one with the checksum.
func TestPlugins(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ticket"), []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	g := config.Gate{Plugin: &config.PluginGate{Command: "ticket", SHA256: strings.Repeat("0", 64)}}
	if _, err := (&gates.Set{}).Open(g, nil); err == nil || !strings.Contains(err.Error(), "--gate-plugins") {
		t.Errorf("without a directory: %v", err)
	}
	opened, err := (&gates.Set{Plugins: dir}).Open(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := opened.Judge(t.Context(), subject()); got.Result != gate.Unknown || !strings.Contains(got.Detail, strings.Repeat("0", 64)) {
		t.Errorf("another program: %+v", got)
	}
}

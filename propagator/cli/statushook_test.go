package cli_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hookAt plays a notifications-hook.
func hookAt(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/api/v1/status":
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("Authorization") != "Bearer hook-token-1":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestStatusAsksTheHook: what only the cluster knows stands beside what git says.
func TestStatusAsksTheHook(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	answer := `[
		{"repository":"https://git.example/other.git","at":"2026-03-04T10:11:13Z","waits":[{"environment":"stage","reason":"SYNC_FAILED","detail":"of another"}]},
		{"repository":"` + w.url + `","at":"2026-03-04T10:11:13Z","seconds":0.4,"owner":"propagator-notifications-hook-6b7-x","error":"promote shop/v0.1.0 to prod: registry: away","done":[],
		 "waits":[{"environment":"dev","reason":"HEALTH_UNKNOWN","detail":"Application dev-web is Progressing"},
			{"environment":"stage","version":"shop/v0.1.0","reason":"IMAGE_NOT_PULLED","detail":"Application stage-orders is Degraded: Pod orders-x: image stage/orders@sha256:1: ErrImagePull"},
			{"environment":"stage","version":"shop/v0.1.0","reason":"MANUAL_PROMOTION"}],
		 "warnings":[{"environment":"dev","version":"shop/v0.1.0","reason":"DIGEST_MISMATCH","detail":"Pod web-x runs another"}],
		 "hops":[{"version":"shop/v0.1.0","from":"dev","to":"stage","pushed":"2026-03-04T10:11:12.345Z"}]}]`
	url := hookAt(t, http.StatusOK, answer)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("\nhook-token-1\nhook-token-0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := w.must("status", "--hook-url", url+"/", "--token-file", file)
	for _, part := range []string{
		"HEALTH_UNKNOWN: Application dev-web is Progressing; warning: DIGEST_MISMATCH: Pod web-x runs another",
		"shop/v0.1.0 IMAGE_NOT_PULLED: Application stage-orders is Degraded: Pod orders-x",
		"the hook looked at 2026-03-04 10:11:13 UTC and failed: promote shop/v0.1.0 to prod: registry: away; propagator-notifications-hook-6b7-x looks after the pipeline",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("status lacks %q:\n%s", part, out)
		}
	}
	if strings.Contains(out, "of another") || strings.Contains(out, "MANUAL_PROMOTION") {
		t.Errorf("status has what is not the hook's to say:\n%s", out)
	}
	w.env = append(w.env, "PROPAGATOR_TOKEN=hook-token-1", "PROPAGATOR_HOOK_URL="+url)
	out = w.must("status", "-o", "json")
	for _, part := range []string{`"pushed": "2026-03-04T10:11:12.345Z"`, `"reason": "IMAGE_NOT_PULLED"`, `"owner": "propagator-notifications-hook-6b7-x"`, `"error": "promote shop/v0.1.0 to prod: registry: away"`} {
		if !strings.Contains(out, part) {
			t.Errorf("status lacks %q:\n%s", part, out)
		}
	}
}

// TestStatusWithoutAnswer: git's part is shown all the same, and the exit code
// says that it is not all.
func TestStatusWithoutAnswer(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler("https://elsewhere.example/", http.StatusFound))
	t.Cleanup(elsewhere.Close)
	for _, test := range []struct {
		name, url, token string
		code             int
		says             []string
	}{
		{"down", gone.URL, "hook-token-1", 1, []string{"ask the hook at " + gone.URL + ": ", "port-forward"}},
		{"wrong token", hookAt(t, 200, "[]"), "hook-token-2", 1, []string{"it answers 401", "--token-file"}},
		{"not a hook", hookAt(t, 200, "<html>"), "hook-token-1", 1, []string{"does not answer as a hook does"}},
		{"failing", hookAt(t, 500, "x"), "hook-token-1", 1, []string{"it answers 500"}},
		{"redirect", elsewhere.URL, "hook-token-1", 1, []string{"it answers 302"}},
		{"nothing seen yet", hookAt(t, 200, "[]"), "hook-token-1", 1, []string{"has not looked at " + w.url, "knows nothing yet"}},
		{"another repository", hookAt(t, 200, `[{"repository":"https://git.example/x.git"}]`), "hook-token-1", 1, []string{"it knows https://git.example/x.git"}},
		{"no token", gone.URL, "", 2, []string{"no bearer token for the hook", "PROPAGATOR_TOKEN"}},
		{"no address", "127.0.0.1:8080", "hook-token-1", 2, []string{"--hook-url is not an address"}},
		{"a password in it", "http://ada:hunter2@127.0.0.1", "hook-token-1", 2, []string{"without user or query"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := w.env
			w.env = append(env[:len(env):len(env)], "PROPAGATOR_TOKEN="+test.token)
			r := w.fails(test.code, []string{"status", "--hook-url", test.url}, test.says...)
			w.env = env
			if !strings.HasPrefix(r.stdout, "ENVIRONMENT") || strings.Contains(r.stderr, "hook-token") || strings.Contains(r.stderr, "hunter2") {
				t.Errorf("%s%s", r.stdout, r.stderr)
			}
		})
	}
	w.fails(2, []string{"status", "--hook-url", gone.URL, "--token-file", "no/such/file"}, "token file: open no/such/file")
}

// TestStatusOfReleases: where an environment keeps releases, status says how far
// each of them is.
func TestStatusOfReleases(t *testing.T) {
	w := newWorld(t)
	keeping := gatedPipeline(", admit: release", "")
	w.staged(", admit: release", "")
	w.capture(keeping, "1.1")
	w.capture(keeping, "1.2")
	w.transcript.Reset()
	w.must("status")
	w.must("promote", "prod", "v0.1.0")
	w.deployed() // v0.1.0 is released, and the newest that waited is next
	w.must("status")
	w.must("reject", "stage", "v0.3.0", "--reason", "prices are wrong")
	w.must("status")
	w.must("status", "-o", "json")
	w.must("status", "-o", "yaml")
	w.golden("releases.txt")
}

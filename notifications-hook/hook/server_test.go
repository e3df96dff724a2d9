package hook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// running is a server on a loopback port.
type running struct {
	t    testing.TB
	url  string
	stop func() error
}

func serve(t testing.TB, shops ...*shop) *running {
	t.Helper()
	s := newServer(t, nil, shops...)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	r := &running{t: t, url: "http://" + s.Addr().String(), stop: func() error {
		cancel()
		select {
		case err := <-done:
			done <- err // a second stop sees the same
			return err
		case <-time.After(10 * time.Second):
			return errors.New("the server does not stop")
		}
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (r *running) send(method, path, body, authorization string) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

const (
	good       = "Bearer " + token
	eventPath  = "/api/v1/argocd"
	wakePath   = "/api/v1/wake"
	statusPath = "/api/v1/status"
)

// status decodes what the status endpoint says.
func (r *running) status() []Status {
	r.t.Helper()
	answer := r.send(http.MethodGet, statusPath, "", good)
	var all []Status
	if err := json.Unmarshal([]byte(answer.body), &all); err != nil || answer.status != 200 || answer.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("%d %s: %v", answer.status, answer.body, err)
	}
	return all
}

// until waits for a condition that something else brings about.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline, look := time.After(20*time.Second), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

// event is what the notifications controller posts.
const event = `{"application":"dev-orders","namespace":"argocd","pipeline":"shop","repoURL":"https://git.example/shop.git",` +
	`"phase":"Succeeded","revision":"3f2a9c4100000000000000000000000000000001","finishedAt":"2026-03-01T12:00:00Z"}`

// events are accepted whatever they say: Argo CD would send a refused one
// again and again, or lose it.
var events = []struct{ name, path, body, result string }{
	{"usual", eventPath, event, "ok"},
	{"without anything", eventPath, "{}", "ok"},
	{"null", eventPath, "null", "ok"},
	{"unknown fields", eventPath, `{"later":{"x":[1]}}`, "ok"},
	{"unknown repository", eventPath, `{"repoURL":"https://git.example/other.git"}`, "ok"},
	{"empty", eventPath, "", "malformed"},
	{"malformed", eventPath, "{", "malformed"},
	{"template that found nothing", eventPath, `{"revision":<no value>}`, "malformed"},
	{"wrong types", eventPath, `{"application":["x"]}`, "malformed"},
	{"a list", eventPath, `[]`, "malformed"},
	{"binary", eventPath, "\x00\xff\xfe", "malformed"},
	{"too large", eventPath, `{"application":"` + strings.Repeat("x", maxEvent) + `"}`, "too_large"},
	{"wake", wakePath, "", ""},
	{"wake one", wakePath + "?repository=" + repoURL, "", ""},
	{"wake with a git host's event", wakePath, `{"ref":"refs/heads/main"}`, ""},
}

// TestEventsWhileBusy: an event is answered while the engine is held up, and
// holding it up until all are answered proves that none waits for it.
func TestEventsWhileBusy(t *testing.T) {
	s := newShop(t, configuration)
	gate := make(chan struct{})
	s.gate = gate
	r := serve(t, s)
	until(t, "first run", func() bool { return len(s.asked()) == 1 })
	for _, test := range events {
		t.Run(test.name, func(t *testing.T) {
			if answer := r.send(http.MethodPost, test.path, test.body, good); answer.status != 202 || answer.body != "" {
				t.Errorf("%d %s", answer.status, answer.body)
			}
		})
	}
	if n := len(s.asked()); n != 1 {
		t.Errorf("%d runs at a time", n)
	}
	if all := r.status(); len(all) != 0 {
		t.Errorf("status before the first run has ended: %+v", all)
	}
	metrics := r.send(http.MethodGet, "/metrics", "", "").body
	for _, line := range []string{`propagator_hook_events_total{result="ok"} 5`, `propagator_hook_events_total{result="malformed"} 6`, `propagator_hook_events_total{result="too_large"} 1`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	close(gate)
	until(t, "Prod", func() bool {
		entry := s.entry("prod")
		return !entry.Deployed.IsZero()
	})
}

func TestStatus(t *testing.T) {
	s := newShop(t, configuration)
	r := serve(t, s)
	until(t, "first run", func() bool { return len(r.status()) == 1 })
	status := r.status()[0]
	var steps []string
	for _, step := range status.Done {
		steps = append(steps, step.String())
	}
	want := []string{"capture shop/v0.1.0 into stage", "record shop/v0.1.0 deployed to stage", "promote shop/v0.1.0 to prod", "record shop/v0.1.0 deployed to prod"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if status.Repository != repoURL || status.Error != "" || status.At.IsZero() || status.Seconds <= 0 || len(status.Waits) == 0 {
		t.Errorf("status: %+v", status)
	}

	// A run that fails has lists too, and a reason that is safe to show.
	s.set(func(s *shop) { s.err = errDown })
	r.send(http.MethodPost, wakePath, "", good)
	until(t, "failing run", func() bool { return r.status()[0].Error != "" })
	body := r.send(http.MethodGet, statusPath, "", good).body
	for _, part := range []string{`"repository":"https://git.example/shop.git"`, `"error":"observe: argo cd: the API server is down"`, `"done":[]`, `"waits":[]`} {
		if !strings.Contains(body, part) {
			t.Errorf("status lacks %s: %s", part, body)
		}
	}
	metrics := r.send(http.MethodGet, "/metrics", "", "").body
	for _, line := range []string{
		`propagator_hook_steps_total{kind="capture",repository="https://git.example/shop.git"} 1`,
		`propagator_hook_steps_total{kind="record",repository="https://git.example/shop.git"} 2`,
		`propagator_hook_reconciles_total{repository="https://git.example/shop.git",result="ok"}`,
		`propagator_hook_reconciles_total{repository="https://git.example/shop.git",result="error"}`,
		`propagator_hook_reconcile_seconds_count{repository="https://git.example/shop.git"}`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestWrongRequests(t *testing.T) {
	s := newShop(t, configuration)
	r := serve(t, s)
	until(t, "first run", func() bool { return len(r.status()) == 1 })
	before := len(s.asked())
	for _, test := range []struct {
		name, method, path, authorization string
		status                            int
	}{
		{"no token", "POST", eventPath, "", 401},
		{"wrong token", "POST", eventPath, "Bearer 0123456789abcdeX", 401},
		{"unresolved reference", "POST", eventPath, "Bearer $propagator-token", 401},
		{"another scheme", "POST", eventPath, "Basic " + token, 401},
		{"wake without token", "POST", wakePath, "", 401},
		{"status without token", "GET", statusPath, "", 401},
		{"GET an event", "GET", eventPath, good, 405},
		{"POST the status", "POST", statusPath, good, 405},
		{"another path", "POST", "/api/v1/argo", good, 404},
		{"slash behind", "POST", eventPath + "/", good, 404},
		{"health needs no token", "GET", "/healthz", "", 200},
		{"readiness needs no token", "GET", "/readyz", "", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := r.send(test.method, test.path, event, test.authorization)
			if answer.status != test.status || answer.header.Get("Location") != "" || strings.Contains(answer.body, token) {
				t.Errorf("%d, want %d: %s", answer.status, test.status, answer.body)
			}
		})
	}
	if n := len(s.asked()); n != before {
		t.Errorf("requests that were refused led to %d runs", n-before)
	}
}

// TestWhoIsWoken looks at the wake-ups themselves; no worker runs.
func TestWhoIsWoken(t *testing.T) {
	a, b := newShop(t, configuration), newShop(t, configuration)
	b.server = gitrepo.NewMemory("https://git.example/web.git")
	for _, test := range []struct {
		name, path, query, body string
		want                    []int
	}{
		{"its own", eventPath, "", event, []int{1, 0}},
		{"the other", eventPath, "", `{"repoURL":"https://git.example/web"}`, []int{0, 1}},
		{"unknown", eventPath, "", `{"repoURL":"https://git.example/api.git"}`, []int{1, 1}},
		{"nothing said", eventPath, "", `{}`, []int{1, 1}},
		{"malformed", eventPath, "", `{`, []int{1, 1}},
		{"wake all", wakePath, "", "", []int{1, 1}},
		{"wake one", wakePath, "?repository=https://git.example/shop", "", []int{1, 0}},
		{"wake an unknown one", wakePath, "?repository=x", "", []int{1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, nil, a, b)
			handle := s.notify
			if test.path == wakePath {
				handle = s.wakeAll
			}
			for range 3 { // any number is one
				w := httptest.NewRecorder()
				handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.path+test.query, strings.NewReader(test.body)))
				if w.Code != 202 {
					t.Errorf("%d", w.Code)
				}
			}
			if diff := cmp.Diff(test.want, []int{len(s.workers[0].wake), len(s.workers[1].wake)}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestShutdown: the server stops although a run is held up, and nothing is
// left half-done.
func TestShutdown(t *testing.T) {
	s := newShop(t, configuration)
	s.gate = make(chan struct{})
	r := serve(t, s)
	until(t, "first run", func() bool { return len(s.asked()) == 1 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if refs := gitrepotest.MustRefs(t, s.server.Client()); len(refs) != 1 {
		t.Errorf("refs: %v", refs)
	}
}

func TestNewRefuses(t *testing.T) {
	s := newShop(t, configuration)
	tokens := newServer(t, nil, s).config.Tokens
	one := []Pipeline{s.pipeline()}
	for _, test := range []struct {
		name   string
		config Config
		says   string
	}{
		{"no pipeline", Config{Tokens: tokens}, "no repository"},
		{"no token", Config{Pipelines: one}, "no token"},
		{"interval", Config{Pipelines: one, Tokens: tokens, Interval: -1}, "--interval is -1ns; it must be positive"},
		{"timeout", Config{Pipelines: one, Tokens: tokens, Timeout: -1}, "--timeout is -1ns; it must be positive"},
	} {
		if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	server, err := New(Config{Pipelines: one, Tokens: tokens})
	if err != nil || server.config.Interval != time.Minute || server.config.Timeout != 30*time.Minute {
		t.Errorf("defaults: %+v, %v", server, err)
	}
}

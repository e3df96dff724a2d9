package service

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testLog sends log lines to the test's own output.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// start runs a server and returns it with a function that stops it and
// returns what Serve returned.
func start(t *testing.T, c Config) (*Server, func() error) {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := New(c)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop := func() error {
		cancel()
		select {
		case err := <-done:
			done <- err // a second stop sees the same
			return err
		case <-time.After(10 * time.Second):
			return errors.New("the server does not stop")
		}
	}
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

func loopback() Options { return DefaultOptions("127.0.0.1:0", "") }

type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, url string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	// A transport of its own, so that no idle connection outlives the test.
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestOperatorEndpoints(t *testing.T) {
	s, _ := start(t, Config{Options: loopback(), Log: testLog(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "own")
	})})
	url := "http://" + s.Addr().String()

	if a := get(t, url+"/healthz"); a.status != http.StatusOK || a.body != "ok\n" {
		t.Errorf("healthz: %d %q", a.status, a.body)
	}
	if a := get(t, url+"/readyz"); a.status != http.StatusOK {
		t.Errorf("readyz: %d %q", a.status, a.body)
	}
	if a := get(t, url+"/anything"); a.body != "own" {
		t.Errorf("own handler: %q", a.body)
	}
	s.Health().Register("state", func(context.Context) error { return errors.New("not loaded yet") })
	s.Health().Register("broken", func(context.Context) error { panic("secret") })
	s.Health().Register("fine", func(context.Context) error { return nil })
	a := get(t, url+"/readyz")
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d", a.status)
	}
	var got struct {
		Ready   bool
		Reasons map[string]string
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"state": "not loaded yet", "broken": "the check panicked"}
	if diff := cmp.Diff(want, got.Reasons); diff != "" || got.Ready {
		t.Errorf("readyz reasons (-want +got):\n%s", diff)
	}
	metrics := get(t, url+"/metrics").body
	for _, name := range []string{"propagator_build_info{", "go_goroutines", "process_start_time_seconds", `propagator_http_requests_total{code="200",method="GET"} 1`} {
		if !strings.Contains(metrics, name) {
			t.Errorf("metrics lack %s", name)
		}
	}
}

func TestSlowCheckIsNamed(t *testing.T) {
	var h Health
	release := make(chan struct{})
	defer close(release)
	h.Register("slow", func(context.Context) error { <-release; return nil })
	h.Register("fine", func(context.Context) error { return nil })
	want := map[string]string{"slow": "no answer within 900ms"}
	if diff := cmp.Diff(want, h.Readiness(t.Context())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSeparateOperatorAddress(t *testing.T) {
	o := loopback()
	o.OperatorListen = "127.0.0.1:0"
	s, _ := start(t, Config{Options: o, Handler: http.NotFoundHandler()})
	if a := get(t, "http://"+s.Addr().String()+"/metrics"); a.status != http.StatusNotFound {
		t.Errorf("metrics are public: %d", a.status)
	}
	if a := get(t, "http://"+s.OperatorAddr().String()+"/metrics"); a.status != http.StatusOK {
		t.Errorf("metrics: %d", a.status)
	}
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own listener
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()

	for name, test := range map[string]struct {
		options Options
		handler http.Handler
		flag    string
	}{
		"handler":       {DefaultOptions(address, ""), http.NotFoundHandler(), "--listen"},
		"operator":      {DefaultOptions("127.0.0.1:0", address), http.NotFoundHandler(), "--operator-listen"},
		"operator only": {DefaultOptions("", address), nil, "--operator-listen"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New(Config{Options: test.options, Handler: test.handler}).Run(t.Context())
			want := "listen " + address + ": address already in use; choose another with " + test.flag
			if err == nil || err.Error() != want {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

// A request that is under way when the program is asked to stop still gets its
// answer, while the operator's address says unready and new work is refused.
func TestShutdownDrains(t *testing.T) {
	before := runtime.NumGoroutine()
	entered, release := make(chan struct{}), make(chan struct{})
	o := loopback()
	o.OperatorListen = "127.0.0.1:0"
	s := New(Config{Options: o, Log: testLog(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		if r.Context().Err() != nil {
			t.Error("the request's context ended before the request")
		}
		_, _ = io.WriteString(w, "done")
	})})
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()

	answered := make(chan answer, 1)
	go func() { answered <- get(t, "http://"+s.Addr().String()+"/work") }()
	<-entered
	cancel()

	until(t, "unready", func() bool {
		return get(t, "http://"+s.OperatorAddr().String()+"/readyz").status == http.StatusServiceUnavailable
	})
	until(t, "refused", func() bool {
		conn, err := net.Dial("tcp", s.Addr().String()) //nolint:noctx // a test's own connection
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(release)
	if a := <-answered; a.body != "done" {
		t.Errorf("the request under way got %d %q", a.status, a.body)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	until(t, "no goroutines left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestShutdownIsBounded(t *testing.T) {
	entered := make(chan struct{})
	ended := make(chan struct{})
	o := loopback()
	o.ShutdownTimeout = 20 * time.Millisecond
	s, stop := start(t, Config{Options: o, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(ended)
	})})
	go func() {
		conn, err := net.Dial("tcp", s.Addr().String()) //nolint:noctx // a test's own connection
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}()
	<-entered
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	<-ended
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
		runtime.Gosched()
	}
}

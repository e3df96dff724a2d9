package sidecar

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

func testOptions(t *testing.T) Options {
	t.Helper()
	o := DefaultOptions()
	// t.TempDir contains the test's name and can be longer than a socket's path.
	directory, err := os.MkdirTemp("", "cmp") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	o.SocketDir = directory
	o.Service.OperatorListen = "127.0.0.1:0"
	o.Service.ShutdownTimeout = 5 * time.Second
	return o
}

// start runs a server and returns it with a connection and a function to stop
// it. generate replaces the real one unless nil.
func start(t *testing.T, o Options, generate func(context.Context, Request) ([]string, error)) (*Server, *grpc.ClientConn, func() error) {
	t.Helper()
	s, err := New(o, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if generate != nil {
		s.plugin.generate = generate
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	conn, err := cmpwire.Dial(s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() error {
		cancel()
		err := <-served
		return errors.Join(err, conn.Close())
	})
	t.Cleanup(func() { _ = stop() })
	return s, conn, stop
}

func webRequest(t *testing.T) cmpwire.Metadata {
	m := cmpwire.Metadata{AppPath: "envs/prod/web"}
	for name, value := range web(t) {
		m.Env = append(m.Env, name+"="+value)
	}
	return m
}

func TestServe(t *testing.T) {
	before := runtime.NumGoroutine()
	s, conn, stop := start(t, testOptions(t), nil)
	client := pluginpb.NewConfigManagementPluginServiceClient(conn)

	configuration, err := client.CheckPluginConfiguration(t.Context(), &emptypb.Empty{})
	if err != nil || configuration.GetIsDiscoveryConfigured() || configuration.GetProvideGitCreds() {
		t.Errorf("configuration: %v %v", configuration, err)
	}
	tree := snapshotTree(t)
	got, err := cmpwire.Generate(t.Context(), conn, tree, webRequest(t), cmpwire.SendOptions{ChunkSize: 1024})
	if err != nil {
		t.Fatal(err)
	}
	want, err := Generate(t.Context(), Request{Tree: tree, AppPath: "envs/prod/web", Env: web(t)})
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("over the socket (-want +got): %v\n%s", err, diff)
	}

	match, err := client.MatchRepository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cmpwire.Send(t.Context(), match, tree, webRequest(t), cmpwire.SendOptions{}); err != nil {
		t.Error(err)
	}
	matched, err := match.CloseAndRecv()
	if err != nil || !matched.GetIsSupported() || matched.GetIsDiscoveryEnabled() {
		t.Errorf("match: %v %v", matched, err)
	}
	announce, err := client.GetParametersAnnouncement(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cmpwire.Send(t.Context(), announce, tree, webRequest(t), cmpwire.SendOptions{}); err != nil {
		t.Error(err)
	}
	announced, err := announce.CloseAndRecv()
	if diff := gocmp.Diff(announcements(), announced.GetParameterAnnouncements(), protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("announcements: %v\n%s", err, diff)
	}
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", health, err)
	}

	if body := get(t, s, "/readyz"); !strings.Contains(body, `"ready":true`) {
		t.Errorf("readyz: %s", body)
	}
	metrics := get(t, s, "/metrics")
	for _, line := range []string{`propagator_cmp_renders_total{result="ok"} 1`, "propagator_cmp_archive_bytes_count 1", "propagator_cmp_queue_wait_seconds_count 1", "propagator_cmp_render_duration_seconds_count 1", "propagator_build_info{"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Lstat(s.Socket()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	until(t, "no goroutines left", func() bool { return runtime.NumGoroutine() <= before })
}

func get(t *testing.T, s *Server, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.OperatorAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}

// The client must see our text, not a broken pipe, whatever goes wrong and
// however much it still had to send.
func TestErrorsArriveWhole(t *testing.T) {
	o := testOptions(t)
	o.MaxKept, o.MaxCompressed = 4, 4
	_, conn, _ := start(t, o, nil)
	noise := make([]byte, 6<<20) // does not compress
	seed := uint32(1)
	for i := range noise {
		seed = seed*1664525 + 1013904223
		noise[i] = byte(seed >> 24)
	}
	withLarge := func(data []byte) fstest.MapFS {
		tree := snapshotTree(t)
		tree["large.bin"] = &fstest.MapFile{Data: data}
		return tree
	}
	for name, test := range map[string]struct {
		tree fs.FS
		code codes.Code
		says string
	}{
		"render":     {sourceTree(), codes.FailedPrecondition, "there is no .propagator/snapshot.yaml"},
		"compressed": {withLarge(noise), codes.InvalidArgument, "raise --max-compressed"},
		"kept":       {withLarge(make([]byte, 6<<20)), codes.InvalidArgument, "more than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cmpwire.Generate(t.Context(), conn, test.tree, webRequest(t), cmpwire.SendOptions{ChunkSize: 1024})
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPanicsAreContained(t *testing.T) {
	s, conn, _ := start(t, testOptions(t), func(context.Context, Request) ([]string, error) { panic("hush") })
	_, err := cmpwire.Generate(t.Context(), conn, snapshotTree(t), webRequest(t), cmpwire.SendOptions{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
	if metrics := get(t, s, "/metrics"); !strings.Contains(metrics, `propagator_cmp_renders_total{result="panic"} 1`) {
		t.Error("the panic is not counted")
	}
}

func TestLargeAnswersAreRefused(t *testing.T) {
	large := strings.Repeat("x", 60<<20)
	_, conn, _ := start(t, testOptions(t), func(context.Context, Request) ([]string, error) { return []string{large, large}, nil })
	_, err := cmpwire.Generate(t.Context(), conn, snapshotTree(t), webRequest(t), cmpwire.SendOptions{})
	if err == nil || !strings.Contains(err.Error(), "120 MiB") {
		t.Errorf("got %v", err)
	}
}

// More requests than workers: the rest waits, in order, and gets a reason when
// its time is over.
func TestWorkersAreBounded(t *testing.T) {
	o := testOptions(t)
	o.Workers = 1
	entered, release := make(chan struct{}, 8), make(chan struct{})
	var mu sync.Mutex
	running, most := 0, 0
	_, conn, _ := start(t, o, func(ctx context.Context, _ Request) ([]string, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		entered <- struct{}{}
		defer func() { mu.Lock(); running--; mu.Unlock() }()
		select {
		case <-release:
			return []string{"kind: X\n"}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	tree, request := snapshotTree(t), webRequest(t)
	first := make(chan error, 1)
	go func() {
		_, err := cmpwire.Generate(t.Context(), conn, tree, request, cmpwire.SendOptions{})
		first <- err
	}()
	<-entered
	hurried, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := cmpwire.Generate(hurried, conn, tree, request, cmpwire.SendOptions{})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "raise --workers") {
		t.Errorf("got %v", err)
	}
	patient := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := cmpwire.Generate(t.Context(), conn, tree, request, cmpwire.SendOptions{})
			patient <- err
		}()
	}
	close(release)
	for range 3 {
		if err := <-patient; err != nil {
			t.Errorf("a waiting request: %v", err)
		}
	}
	if err := <-first; err != nil {
		t.Errorf("the first request: %v", err)
	}
	if most != 1 {
		t.Errorf("%d renders ran at once", most)
	}
}

func TestDeadlineIsExplained(t *testing.T) {
	_, conn, _ := start(t, testOptions(t), func(ctx context.Context, _ Request) ([]string, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err := cmpwire.Generate(ctx, conn, snapshotTree(t), webRequest(t), cmpwire.SendOptions{})
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "controller.repo.server.timeout.seconds") {
		t.Errorf("got %v", err)
	}
}

// A request that goes away frees its worker.
func TestCancelledRequest(t *testing.T) {
	o := testOptions(t)
	o.Workers = 1
	entered := make(chan struct{})
	once := sync.OnceFunc(func() { close(entered) })
	_, conn, _ := start(t, o, func(ctx context.Context, r Request) ([]string, error) {
		if r.AppPath == "blocks" {
			once()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	m := webRequest(t)
	m.AppPath = "blocks"
	if _, err := cmpwire.Generate(ctx, conn, snapshotTree(t), m, cmpwire.SendOptions{}); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	if _, err := cmpwire.Generate(t.Context(), conn, snapshotTree(t), webRequest(t), cmpwire.SendOptions{}); err != nil {
		t.Errorf("the worker is not free again: %v", err)
	}
}

func TestSocketFile(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(o.SocketDir, "propagator.sock")

	// What a killed process leaves behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	s, _, stop := start(t, o, nil)
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	second, err := New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a second server: %v", err)
	}

	// Another plugin takes the name: we are unready and leave its file alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path) //nolint:noctx // a test's own listener
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if body := get(t, s, "/readyz"); !strings.Contains(body, "replaced the socket") {
		t.Errorf("readyz: %s", body)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another process's socket is gone: %v", err)
	}
	if err := second.Run(t.Context()); err == nil {
		t.Error("took a socket on which somebody listens")
	}

	o.Name = "file"
	if err := os.WriteFile(filepath.Join(o.SocketDir, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	third, err := New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a plain file: %v", err)
	}
}

// A server that is told to stop at once, or while it renders, ends cleanly.
func TestStop(t *testing.T) {
	early, err := New(testOptions(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := early.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := early.Serve(ctx); err != nil {
		t.Errorf("stopped at once: %v", err)
	}

	entered, release := make(chan struct{}), make(chan struct{})
	s, conn, stop := start(t, testOptions(t), func(context.Context, Request) ([]string, error) {
		close(entered)
		<-release
		return []string{"kind: X\n"}, nil
	})
	answer := make(chan error, 1)
	go func() {
		_, err := cmpwire.Generate(t.Context(), conn, snapshotTree(t), webRequest(t), cmpwire.SendOptions{})
		answer <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	until(t, "the socket is gone", func() bool { _, err := os.Lstat(s.Socket()); return err != nil })
	close(release)
	if err := <-answer; err != nil {
		t.Errorf("the render under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

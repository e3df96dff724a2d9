//go:build linux

package extension

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fleeting-taas/propagator/pkg/extension/gatev1"
	"github.com/fleeting-taas/propagator/pkg/gate"
)

// built is the program of testdata/misbehave. Its name is that of this run, so
// that its processes can be told from all others.
type built struct{ path, name, sum string }

// builtIn is the folder of the test program; empty as long as no test needed it.
var builtIn string

var misbehave = sync.OnceValues(func() (built, error) {
	dir, err := os.MkdirTemp("", "misbehave-")
	if err != nil {
		return built{}, err
	}
	builtIn = dir
	b := built{name: filepath.Base(dir)}
	b.path = filepath.Join(dir, b.name)
	if out, err := exec.Command("go", "build", "-o", b.path, "./testdata/misbehave").CombinedOutput(); err != nil { //nolint:gosec // a program of this folder
		return b, fmt.Errorf("go build: %w\n%s", err, out)
	}
	content, err := os.ReadFile(b.path)
	sum := sha256.Sum256(content)
	b.sum = hex.EncodeToString(sum[:])
	return b, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

func helper(t *testing.T) built {
	t.Helper()
	b, err := misbehave()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// extensionOf asks the test program, which leaves no process and no file.
func extensionOf(t *testing.T, o Options, args ...string) *Extension {
	t.Helper()
	b := helper(t)
	if o.Command == "" {
		o.Command = b.path
	}
	if o.SHA256 == "" {
		o.SHA256 = b.sum
	}
	o.Args = args
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Cleanup(func() {
		assertNoProcess(t, b.name)
		assertEmpty(t, temporary)
	})
	return e
}

func passing(more ...string) map[string]string {
	settings := map[string]string{"result": "pass", "detail": "good"}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	return settings
}

func TestVerdicts(t *testing.T) {
	name := helper(t).name
	tests := []struct {
		name     string
		settings map[string]string
		want     gate.Verdict
	}{
		{"pass", passing(), gate.Verdict{Result: gate.Pass, Detail: "good"}},
		{"wait", passing("result", "wait", "until", "2026-03-04T05:06:07Z"), gate.Verdict{Result: gate.Wait, Detail: "good", Until: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}},
		{"refuse", passing("result", "refuse", "detail", "no\nticket \x1b[31m"), gate.Verdict{Result: gate.Refuse, Detail: "no ticket [31m"}},
		{"unknown", passing("result", "unknown"), gate.Verdict{Result: gate.Unknown, Detail: "good"}},
		{"secret", passing("detail", "used hunter2", "db-password", "hunter2"), gate.Verdict{Result: gate.Pass, Detail: "used REDACTED"}},
		{"long", passing("detail", strings.Repeat("x", 300)), gate.Verdict{Result: gate.Pass, Detail: strings.Repeat("x", maxText-1-len(name+": ")) + "…"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := extensionOf(t, Options{Settings: test.settings})
			test.want.Detail = name + ": " + test.want.Detail
			if diff := cmp.Diff(test.want, e.Judge(t.Context(), subject())); diff != "" {
				t.Errorf("Judge (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailures: none of them passes, whatever the program would have said, and
// each says what went wrong.
func TestFailures(t *testing.T) {
	b := helper(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plain"), "", 0o600)
	write(t, filepath.Join(dir, "script"), "#!/does/not/exist\n", 0o700)
	write(t, filepath.Join(dir, "data"), "no program", 0o700)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o700); err != nil {
		t.Fatal(err)
	}
	sumOf := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	other := sumOf("another program")
	tests := []struct {
		name    string
		args    []string
		options Options
		// want is the detail after the program's name, or the beginning of it when
		// it ends with an ellipsis.
		want string
	}{
		{"missing", nil, Options{Command: filepath.Join(dir, "missing")}, "there is no file " + dir + "/missing"},
		{"directory", nil, Options{Command: dir}, dir + " is not a file"},
		{"named pipe", nil, Options{Command: dir + "/pipe"}, dir + "/pipe is not a file"},
		{"not executable", nil, Options{Command: dir + "/plain"}, dir + "/plain is not executable; see: chmod +x"},
		{"checksum", nil, Options{SHA256: other}, "its checksum is " + b.sum + ", and " + other + " is expected"},
		{"no interpreter", nil, Options{Command: dir + "/script", SHA256: sumOf("#!/does/not/exist\n")}, "cannot be started: no such file or directory"},
		{"no program", nil, Options{Command: dir + "/data", SHA256: sumOf("no program")}, "cannot be started: exec format error"},

		{"garbage", []string{"garbage"}, Options{}, `is no plugin: it printed "usage: garbage [flags]"`},
		{"no end of line", []string{"unended"}, Options{}, `is no plugin: it printed "no end of line"`},
		{"endless line", []string{"endless"}, Options{}, "is no plugin: its first line is longer than 16384 bytes"},
		{"exits", []string{"exit"}, Options{}, "ended with exit status 3, and did not say where it listens; is it a plugin?"},
		{"exits well", []string{"nothing"}, Options{}, "ended with exit status 0, and did not say where it listens; is it a plugin?"},
		{"closes its output", []string{"silent"}, Options{}, "did not say where it listens; is it a plugin?"},
		{"hangs", []string{"hang"}, Options{Timeout: 2 * time.Second}, "gave no verdict within 2s"},
		{"cookie", []string{"cookie"}, Options{}, "ended with exit status 1, and did not say where it listens; is it a plugin?"},
		{"version", []string{"version"}, Options{}, `speaks version "2" of the gate protocol, and this Propagator speaks 1`},
		{"net/rpc", []string{"netrpc"}, Options{}, "does not speak gRPC"},
		{"no certificate", []string{"plaintext"}, Options{}, "has no certificate, so that anybody could answer in its place; see PLUGIN_CLIENT_CERT"},
		{"elsewhere", []string{"line", "1|1|unix|/run/other.sock|grpc|" + certificate(t)}, Options{}, `listens on unix "/run/other.sock"; it has to be …`},
		{"nobody listens", []string{"line", "1|1|tcp|127.0.0.1:1|grpc|" + certificate(t)}, Options{}, "could not judge: …"},

		{"other service", []string{"empty"}, Options{}, "does not know the method Judge of propagator.gate.v1.Gate"},
		{"exits in Judge", []string{"crash"}, Options{}, "ended while it judged, with exit status 3"},
		{"killed in Judge", []string{"kill"}, Options{}, "ended while it judged, with signal: killed"},
		{"panics in Judge", []string{"panic"}, Options{}, "could not judge: panic: assignment to entry in nil map"},
		{"panics elsewhere", []string{"far-panic"}, Options{}, "ended while it judged, with exit status 2"},
		{"hangs in Judge", []string{"hang-in-judge"}, Options{Timeout: 3 * time.Second}, "gave no verdict within 3s"},
		{"error", []string{"error"}, Options{}, "could not judge: the other service is down"},
		{"enumeration", []string{"enumeration"}, Options{}, "answered with result 99, which is none"},
		{"unspecified", []string{"unspecified"}, Options{}, "answered with result 0, which is none"},
		{"no detail", []string{"no-detail"}, Options{}, "answered pass without a detail, and so without a reason"},
		{"time", []string{"until"}, Options{}, "answered pass until a time that is none: …"},
		{"large", []string{"large"}, Options{}, "did not keep to the limit of 65536 bytes for an answer: …"},
		{"no result", []string{"good"}, Options{Settings: map[string]string{"result": "yes", "detail": "good"}}, `could not judge: the gate answers "yes", which is no result`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.options.Settings == nil {
				test.options.Settings = passing()
			}
			e := extensionOf(t, test.options, test.args...)
			begin := time.Now()
			got := e.Judge(t.Context(), subject())
			took := time.Since(begin)
			if got.Result != gate.Unknown || !got.Until.IsZero() {
				t.Errorf("Judge = %+v", got)
			}
			want, isBegin := strings.CutSuffix(e.name+": "+test.want, "…")
			if got.Detail != want && (!isBegin || !strings.HasPrefix(got.Detail, want)) {
				t.Errorf("detail: %s\n  want: %s", got.Detail, e.name+": "+test.want)
			}
			// The limit of the program, and what it takes to end it.
			if most := e.timeout + 20*time.Second; took > most {
				t.Errorf("took %s, at most %s are right", took, most)
			}
		})
	}
}

// TestListensButIsSilent: somebody accepts connections and says nothing.
func TestListensButIsSilent(t *testing.T) {
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	e := extensionOf(t, Options{Timeout: 2 * time.Second}, "line", "1|1|tcp|"+listener.Addr().String()+"|grpc|"+certificate(t))
	want := gate.Verdict{Result: gate.Unknown, Detail: e.name + ": gave no verdict within 2s"}
	if diff := cmp.Diff(want, e.Judge(t.Context(), subject())); diff != "" {
		t.Errorf("Judge (-want +got):\n%s", diff)
	}
}

// report is what the test program says that it saw.
type report struct {
	Arguments   []string
	Environment []string
	Directory   string
	Input       int64
	Subject     gate.Subject
	Settings    map[string]string
	Deadline    bool
	Process     int
}

// TestEnvironment: a program sees what it is told, and nothing else.
func TestEnvironment(t *testing.T) {
	t.Setenv("PROPAGATOR_TOKEN", "secret")
	file := filepath.Join(t.TempDir(), "report")
	settings := passing("report", file)
	e := extensionOf(t, Options{Settings: settings}, "good", "-v", "")
	if got := e.Judge(t.Context(), subject()); got.Result != gate.Pass {
		t.Fatalf("Judge = %+v", got)
	}
	seen := readReport(t, file)
	variables := map[string]string{}
	for _, variable := range seen.Environment {
		name, value, _ := strings.Cut(variable, "=")
		variables[name] = value
	}
	private := seen.Directory
	if !strings.HasPrefix(private, os.Getenv("TMPDIR")+"/gate-") {
		t.Errorf("it works in %s", private)
	}
	for name, want := range map[string]string{"PLUGIN_CLIENT_CERT": "-----BEGIN CERTIFICATE-----", "PLUGIN_UNIX_SOCKET_DIR": filepath.Dir(private) + "/"} {
		if !strings.HasPrefix(variables[name], want) {
			t.Errorf("%s=%q", name, variables[name])
		}
		delete(variables, name)
	}
	want := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": private, "TMPDIR": private, "LANG": "C.UTF-8",
		"PROPAGATOR_GATE_PLUGIN": "a-gate-of-propagator", "PLUGIN_PROTOCOL_VERSIONS": "1",
		"PLUGIN_MIN_PORT": "10000", "PLUGIN_MAX_PORT": "25000",
	}
	if diff := cmp.Diff(want, variables); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{e.name, "good", "-v", ""}, seen.Arguments); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(subject(), seen.Subject); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(settings, seen.Settings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if seen.Input != 0 || !seen.Deadline {
		t.Errorf("standard input has %d bytes, the call has a deadline: %t", seen.Input, seen.Deadline)
	}
}

// TestEnds: programs that do not want to end do, and the verdict counts.
func TestEnds(t *testing.T) {
	for _, mode := range []string{"stubborn", "child"} {
		t.Run(mode, func(t *testing.T) {
			e := extensionOf(t, Options{Settings: passing()}, mode)
			if got := e.Judge(t.Context(), subject()); got.Result != gate.Pass {
				t.Errorf("Judge = %+v", got)
			}
		})
	}
	t.Run("files", func(t *testing.T) {
		e := extensionOf(t, Options{Settings: passing("write", "a/b/c")})
		if got := e.Judge(t.Context(), subject()); got.Result != gate.Pass {
			t.Errorf("Judge = %+v", got)
		}
	})
	// A child that leaves its group lives on; nobody waits for it all the same.
	t.Run("escaped child", func(t *testing.T) {
		e := extensionOf(t, Options{Settings: passing()}, "escaped-child")
		if got := e.Judge(t.Context(), subject()); got.Result != gate.Pass {
			t.Errorf("Judge = %+v", got)
		}
		for _, pid := range processes(t, e.name) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

func TestBrokenOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report")
	e := extensionOf(t, Options{Settings: passing("report", file)}, "hang-in-judge")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verdict := make(chan gate.Verdict, 1)
	go func() { verdict <- e.Judge(ctx, subject()) }()
	within(t, "the program judges", func() bool { return exists(file) })
	cancel()
	want := gate.Verdict{Result: gate.Unknown, Detail: e.name + ": broken off"}
	if diff := cmp.Diff(want, <-verdict); diff != "" {
		t.Errorf("Judge (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, e.Judge(ctx, subject())); diff != "" {
		t.Errorf("Judge with an ended context (-want +got):\n%s", diff)
	}
}

// TestBrokenOffAtTheStart: nobody waits for the limit of a program that says
// nothing when the verdict is not wanted any more.
func TestBrokenOffAtTheStart(t *testing.T) {
	e := extensionOf(t, Options{Timeout: MaxTimeout}, "hang")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verdict := make(chan gate.Verdict, 1)
	go func() { verdict <- e.Judge(ctx, subject()) }()
	within(t, "the program runs", func() bool { return len(processes(t, e.name)) == 1 })
	cancel()
	select {
	case got := <-verdict:
		if diff := cmp.Diff(gate.Verdict{Result: gate.Unknown, Detail: e.name + ": broken off"}, got); diff != "" {
			t.Errorf("Judge (-want +got):\n%s", diff)
		}
	case <-time.After(time.Minute):
		t.Fatal("it is still waited for")
	}
}

// TestHostIsKilled: the kernel ends the program.
func TestHostIsKilled(t *testing.T) {
	b := helper(t)
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "report")
	host := exec.CommandContext(t.Context(), b.path, "host", b.path, b.sum, file) //nolint:gosec // the same
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "the program judges", func() bool { return exists(file) })
	if got := processes(t, b.name); !slices.Contains(got, readReport(t, file).Process) {
		t.Fatalf("processes %v without %d", got, readReport(t, file).Process)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	assertNoProcess(t, b.name)
}

func TestConcurrently(t *testing.T) {
	e := extensionOf(t, Options{Settings: passing()})
	verdicts := make([]gate.Verdict, 8)
	var group sync.WaitGroup
	for i := range verdicts {
		group.Go(func() { verdicts[i] = e.Judge(t.Context(), subject()) })
	}
	group.Wait()
	for _, got := range verdicts {
		if got.Result != gate.Pass {
			t.Errorf("Judge = %+v", got)
		}
	}
}

func TestWhatItPrints(t *testing.T) {
	tests := []struct {
		mode string
		want []string
	}{
		{"chatty", []string{"INFO before: standard error", "INFO during: standard error, REDACTED, https://REDACTED@example.com/", "DEBUG during: standard output [31m", "INFO last words"}},
		{"early", []string{"INFO Authorization: Basic REDACTED", "INFO end without an end", "INFO " + strings.Repeat("y", maxLine)}},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			var log logged
			e := extensionOf(t, Options{Settings: passing("api-token", "hunter2"), Logger: slog.New(&log)}, test.mode)
			if got := e.Judge(t.Context(), subject()); got.Result != gate.Pass {
				t.Errorf("Judge = %+v", got)
			}
			lines := log.all()
			for _, want := range test.want {
				if !slices.Contains(lines, want) {
					t.Errorf("%q is not logged", want)
				}
			}
			// Standard output, and standard error on both of its ways.
			if len(lines) > 3*maxLines {
				t.Errorf("%d lines are logged, at most %d are right", len(lines), 3*maxLines)
			}
		})
	}
}

// TestByHand is how docs/gate-plugins.md says that one tries a program.
func TestByHand(t *testing.T) {
	b := helper(t)
	cmd := exec.CommandContext(t.Context(), b.path) //nolint:gosec // the same
	cmd.Env = []string{"PROPAGATOR_GATE_PLUGIN=a-gate-of-propagator", "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR=" + t.TempDir()}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Split(strings.TrimSpace(line), "|")
	if len(fields) != 6 || fields[0] != "1" || fields[1] != "1" || fields[2] != "unix" || fields[4] != "grpc" || fields[5] != "" {
		t.Fatalf("it says %q", line)
	}
	conn, err := grpc.NewClient("unix://"+fields[3], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	response, err := gatev1.NewGateClient(conn).Judge(t.Context(), requestOf(subject(), passing()))
	if err != nil || response.GetResult() != gatev1.Result_RESULT_PASS || response.GetDetail() != "good" {
		t.Errorf("Judge = %v, %v", response, err)
	}
}

// TestStartedByHand: without the host's variable a program says what it is.
func TestStartedByHand(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), helper(t).path) //nolint:gosec // the same
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "plugin") {
		t.Errorf("%v, output %q", err, out)
	}
}

func readReport(t *testing.T, file string) report {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// within looks again and again, for as long as is right on a busy machine.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	limit := time.After(20 * time.Second)
	for !done() {
		select {
		case <-look.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// assertNoProcess waits a moment for init to bury what was killed.
func assertNoProcess(t *testing.T, name string) {
	t.Helper()
	within(t, "no process of "+name+" is left", func() bool { return len(processes(t, name)) == 0 })
}

// processes are those that were started as name, wherever they have gone since.
func processes(t *testing.T, name string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, file := range files {
		// It may have ended since.
		line, _ := os.ReadFile(file)
		argument, _, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(argument) == name {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
	}
	return found
}

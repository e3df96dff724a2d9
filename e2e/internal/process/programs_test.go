//go:build unix

package process_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

// The test binary plays the programs, chosen by this variable.
const role = "PROCESS_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "serve":
		serve(os.Args[1])
	case "complain":
		fmt.Println("first line")
		fmt.Fprintln(os.Stderr, "no such flag: --bananas")
		os.Exit(3)
	case "leave":
		os.Exit(0)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("deaf now")
		select {}
	case "parent":
		child := self("child")
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Println("child", child.Process.Pid)
		_ = child.Wait()
	case "child":
		select {}
	case "environment":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		fmt.Println("in", must(os.Getwd()))
		select {}
	case "suite":
		p, err := process.Start(context.Background(), process.Spec{Name: "orphan", Path: os.Args[0], Env: []string{role + "=child"}})
		if err != nil {
			panic(err)
		}
		fmt.Println("child", p.PID())
		select {}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func self(as string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), os.Args[0]) //nolint:gosec // G702: this very test.
	cmd.Env = append(os.Environ(), role+"="+as)
	return cmd
}

// serve answers 503 twice and 200 from then on, and ends on TERM.
func serve(port string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	asked := 0
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked <= 2 {
			http.Error(w, "[-]cache still cold", http.StatusServiceUnavailable)
		}
	})
	listener := must((&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:"+port))
	fmt.Println("listening")
	go func() { _ = (&http.Server{ReadHeaderTimeout: time.Second}).Serve(listener) }()
	<-stop
	fmt.Println("bye")
}

func spec(t *testing.T, as string, args ...string) process.Spec {
	t.Helper()
	return process.Spec{
		Name: as, Path: os.Args[0], Args: args,
		Env: []string{role + "=" + as}, Log: filepath.Join(t.TempDir(), "logs", as+".log"),
	}
}

func port(t *testing.T) string {
	t.Helper()
	p, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(p)
}

// eventually waits for a condition of the machine, which has no events for us.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.Done():
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// alive says whether a process runs; one that is dead and unreaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// processesWith lists the living processes with an entry in their environment.
func processesWith(t *testing.T, entry string) []int {
	t.Helper()
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs /proc")
	}
	var found []int
	for _, dir := range must(filepath.Glob("/proc/[0-9]*")) {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if err == nil && strings.Contains("\x00"+string(env), "\x00"+entry+"\x00") && alive(pid) {
			found = append(found, pid)
		}
	}
	return found
}

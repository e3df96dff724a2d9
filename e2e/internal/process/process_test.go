//go:build unix

package process_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

func TestStartWaitsUntilReadyAndStopEndsInOrder(t *testing.T) {
	p := port(t)
	s := spec(t, "serve", p)
	s.Ready = process.Answers(nil, "http://127.0.0.1:"+p+"/readyz")
	server, err := process.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	if !server.LogContains("listening") || server.LogContains("bye") {
		t.Errorf("log of a running program: %s", must(os.ReadFile(server.LogPath())))
	}
	if err := server.Err(); err != nil {
		t.Errorf("error of a running program: %v", err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	<-server.Done()
	if !server.LogContains("bye") {
		t.Error("the program was not given the time to end by itself")
	}
	if err := server.Err(); err != nil {
		t.Errorf("error of a program that ended well: %v", err)
	}
	// Twice is as good as once.
	if err := server.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	server.Kill()

	// The port is free again, and what the first wrote is not the second's.
	again, err := process.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Kill()
	if again.LogContains("bye") {
		t.Error("the second program's log contains the first one's last words")
	}
	again.Kill()
	if alive(again.PID()) {
		t.Error("alive after Kill")
	}
	var exit *exec.ExitError
	if err := again.Err(); !errors.As(err, &exit) {
		t.Errorf("error of a killed program: %v, want an ExitError", err)
	}
}

func TestStartSaysWhyItIsNotReady(t *testing.T) {
	never := func(context.Context) error { return errors.New("the cache is cold") }
	for _, tc := range []struct {
		name   string
		spec   func(*testing.T) process.Spec
		is     error
		says   []string
		silent []string
	}{
		{
			name: "ended with a complaint",
			spec: func(t *testing.T) process.Spec { return spec(t, "complain") },
			is:   process.ErrExited,
			says: []string{"start complain: ", "exit status 3", "no such flag: --bananas", "first line"},
		},
		{
			name: "ended well, but ended",
			spec: func(t *testing.T) process.Spec { return spec(t, "leave") },
			is:   process.ErrExited,
			says: []string{"exit status 0", "it wrote nothing to "},
		},
		{
			name: "runs, but is never ready",
			spec: func(t *testing.T) process.Spec {
				s := spec(t, "deaf")
				s.ReadyWithin = 300 * time.Millisecond
				return s
			},
			is:   context.DeadlineExceeded,
			says: []string{"not ready within 300ms", "the cache is cold"},
		},
		{
			name: "no log",
			spec: func(t *testing.T) process.Spec {
				s := spec(t, "complain")
				s.Log = ""
				return s
			},
			is:     process.ErrExited,
			says:   []string{"exit status 3"},
			silent: []string{"the end of"},
		},
		{
			name: "no such program",
			spec: func(t *testing.T) process.Spec {
				return process.Spec{Name: "ghost", Path: filepath.Join(t.TempDir(), "ghost")}
			},
			is:   os.ErrNotExist,
			says: []string{"start ghost: ", "no such file"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.spec(t)
			s.Ready = never
			p, err := process.Start(t.Context(), s)
			if err == nil {
				p.Kill()
				t.Fatal("started")
			}
			if !errors.Is(err, tc.is) {
				t.Errorf("%v is not %v", err, tc.is)
			}
			for _, want := range tc.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			for _, not := range tc.silent {
				if strings.Contains(err.Error(), not) {
					t.Errorf("%q says %q", err, not)
				}
			}
		})
	}
}

// A program that answers nothing must not live on when its start is given up.
func TestStartKillsWhatIsNotReadyInTime(t *testing.T) {
	s := spec(t, "deaf")
	ctx, cancel := context.WithCancel(t.Context())
	s.Ready = func(context.Context) error {
		log, err := os.ReadFile(s.Log)
		if err == nil && strings.Contains(string(log), "deaf now") {
			// Only one that really runs is given up.
			cancel()
		}
		return errors.New("not yet")
	}
	s.Env = append(s.Env, "MARK="+t.TempDir())
	_, err := process.Start(ctx, s)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	for _, p := range processesWith(t, s.Env[1]) {
		t.Errorf("process %d lives on", p)
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	s := spec(t, "deaf")
	s.Grace = 50 * time.Millisecond
	p, err := process.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	eventually(t, "it ignores TERM", func() bool { return p.LogContains("deaf now") })
	err = p.Stop(t.Context())
	if err == nil || !strings.Contains(err.Error(), "stop deaf: it did not end within 50ms") {
		t.Errorf("got %v", err)
	}
	if alive(p.PID()) {
		t.Error("alive")
	}

	s.Grace = time.Hour
	if p, err = process.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	eventually(t, "it ignores TERM", func() bool { return p.LogContains("deaf now") })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if alive(p.PID()) {
		t.Error("alive")
	}
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*process.Process)
	}{
		{"killed", func(p *process.Process) { p.Kill() }},
		{"stopped", func(p *process.Process) { _ = p.Stop(context.Background()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := process.Start(t.Context(), spec(t, "parent"))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Kill()
			eventually(t, "it has a child", func() bool { return p.LogContains("child ") })
			log := string(must(os.ReadFile(p.LogPath())))
			child := must(strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(log, "child "))))
			if !alive(child) {
				t.Skip("needs /proc")
			}
			tc.end(p)
			eventually(t, "its child is gone", func() bool { return !alive(child) })
		})
	}
}

// The suite itself may be killed: by a time limit, by CI, by hand.
func TestProgramsDieWithTheSuite(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux ties processes together")
	}
	suite := self("suite")
	out, err := suite.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := suite.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child := must(strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "child "))))
	if !alive(child) {
		t.Fatal("the child did not start")
	}
	if err := suite.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = suite.Wait()
	eventually(t, "the child is gone", func() bool { return !alive(child) })
}

func TestEnvironmentAndFolderAreWhatTheSpecSays(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SUITE", "hunter2")
	s := spec(t, "environment")
	s.Dir = must(filepath.EvalSymlinks(t.TempDir()))
	p, err := process.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	eventually(t, "it has told its folder", func() bool { return p.LogContains("in " + s.Dir) })
	if p.LogContains("hunter2") {
		t.Error("the suite's environment was inherited")
	}
	if !p.LogContains(role + "=environment") {
		t.Error("its own environment is missing")
	}
	if log := must(os.Stat(p.LogPath())); log.Mode().Perm() != 0o600 {
		t.Errorf("others may read the log: %s", log.Mode())
	}
}

// Scenarios plays the end-to-end suite's scenarios, on a machine with more than
// two processors in several suites at once, each with a Kubernetes and an Argo CD
// of its own: many of them kill what others would need.
//
//	go run ./e2e/internal/cmd/scenarios [-suites 1] [-together 5] [-run regexp] [-skip regexp]
//
// Every suite goes through the same list, and plays what no other has begun. The
// exit code is 0 if each scenario passed, or was skipped for a reason of its own,
// which is printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// endTimeout is how long a suite may take to end its programs.
const endTimeout = time.Minute

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("scenarios", flag.ContinueOnError)
	suites := flags.Int("suites", max(1, min(runtime.NumCPU()/2, 4)), "how many suites play at once; each keeps two processors busy and takes about 2.5 GiB of memory")
	only := flags.String("run", "", "play the scenarios that match only")
	skip := flags.String("skip", "", "do not play those that match")
	together := flags.Int("together", 5, "how many scenarios that disturb nobody a suite plays side by side")
	timeout := flags.Duration("timeout", time.Hour, "end everything after this time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *suites < 1 || *together < 1 || flags.NArg() > 0 {
		return fmt.Errorf("scenarios: -suites and -together must be 1 or more, and there are no arguments: %q", flags.Args())
	}
	dir, err := os.MkdirTemp("", "scenarios")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "e2e.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "e2e", "-ldflags=-w", "-o", binary, "./e2e")
	build.Stdout, build.Stderr = stdout, stdout
	if err := build.Run(); err != nil {
		return fmt.Errorf("go test -c ./e2e: %w", err)
	}
	// One more: who has to be the last waits for the others.
	chosen := []string{"-test.v", "-test.count=1", "-test.parallel=" + strconv.Itoa(*together+1), "-test.timeout=" + timeout.String(), "-test.run=" + *only, "-test.skip=" + *skip}
	names, err := list(ctx, binary, *only, *skip)
	if err != nil {
		return err
	}

	programs := filepath.Join(dir, "bin")
	if err := workload.Build(ctx, programs); err != nil {
		return err
	}

	r := newReport(stdout)
	claims := filepath.Join(dir, "claims")
	if err := os.Mkdir(claims, 0o750); err != nil {
		return err
	}
	var running sync.WaitGroup
	for i := range min(*suites, len(names)) {
		c := exec.CommandContext(ctx, binary, chosen...)
		c.Dir = "e2e" // as go test has it
		c.Env = append(os.Environ(), "PROPAGATOR_E2E_CLAIMS="+claims, "PROPAGATOR_E2E_PROGRAMS="+programs)
		// A folder of each suite's own, where somebody wants to keep it.
		if kept := os.Getenv("PROPAGATOR_E2E_DIR"); kept != "" {
			c.Env = append(c.Env, "PROPAGATOR_E2E_DIR="+filepath.Join(kept, fmt.Sprint(i+1)))
		}
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		c.WaitDelay = endTimeout
		output := r.suite(i + 1)
		c.Stdout, c.Stderr = output, output
		running.Go(func() { output.ended(c.Run()) })
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("scenarios: interrupted: %w", err)
	}
	return r.finish(names)
}

// list asks the suite for its scenarios; it starts nothing for that.
func list(ctx context.Context, binary, only, skip string) ([]string, error) {
	if only == "" {
		only = "."
	}
	// A scenario's parts cannot be listed.
	only, _, _ = strings.Cut(only, "/")
	output, err := exec.CommandContext(ctx, binary, "-test.list="+only).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -test.list: %w", filepath.Base(binary), err)
	}
	skipped, err := regexp.Compile(skip)
	if err != nil {
		return nil, fmt.Errorf("scenarios: -skip: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(output)) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(name, "Test") && (skip == "" || strings.Contains(skip, "/") || !skipped.MatchString(name)) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("scenarios: none is left of -run %q -skip %q", only, skip)
	}
	return names, nil
}

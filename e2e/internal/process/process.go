// Package process starts the programs of an end-to-end suite and ends them.
//
// A [Process] is one running program with its log file. It is started by
// [Start], which returns once the program says that it is ready, and ended by
// [Process.Stop] as a kubelet would (TERM, then KILL) or by [Process.Kill] as
// a crash would. Each program leads a process group of its own, and what it
// left running is killed with it. On Linux the kernel kills the program when
// the suite dies, however it dies, so that nothing is left behind.
//
// All methods may be called from several goroutines at once. Nothing here
// restarts a program; a supervisor does that with [Process.Done].
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// How long a program may take to become ready when its Spec does not say.
	// The slowest of the suite, a kube-apiserver on two busy cores, needs a third.
	defaultReadyWithin = 90 * time.Second
	// How long a program has between TERM and KILL when its Spec does not say.
	defaultGrace = 10 * time.Second
	// How often readiness is asked for: often enough not to be felt.
	readyInterval = 50 * time.Millisecond
	// One question about readiness may not use up all the time there is.
	readyAttempt = 5 * time.Second
)

// ErrExited reports that a program has ended.
var ErrExited = errors.New("process ended")

// Spec says how a program is run.
type Spec struct {
	// Name is how the program is called in errors.
	Name string
	// Path is the program's file. It is not looked up in PATH.
	Path string
	// Args are its arguments, without the name of the program.
	Args []string
	// Env is its complete environment, as NAME=value. Nothing is inherited.
	Env []string
	// Dir is the folder it is started in; the suite's own when empty.
	Dir string
	// Log is the file that both its output streams are appended to. It is
	// made when needed. When empty, the output is lost.
	Log string
	// Ready is asked again and again until it returns nil. When nil, the
	// program counts as ready as soon as it runs.
	Ready func(ctx context.Context) error
	// ReadyWithin is the time it may take to become ready, 90 s when zero.
	ReadyWithin time.Duration
	// Grace is the time between TERM and KILL of a stop, 10 s when zero.
	Grace time.Duration
}

// Process is a program that was started.
type Process struct {
	spec   Spec
	pid    int
	offset int64 // Where its part of the log begins.
	done   chan struct{}
	err    error // Written before done is closed.
}

// Start runs a program and waits until it is ready. Ctx bounds this wait and
// nothing else: a program that is ready goes on until it is stopped.
//
// When it is not ready in time, the program is killed. That error, and the one
// for a program that ended by itself (which is [ErrExited]), carries the last
// lines of its log and what Ready said last.
func Start(ctx context.Context, s Spec) (*Process, error) {
	p := &Process{spec: s, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(ctx, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	if s.Ready == nil {
		return p, nil
	}
	if err := p.awaitReady(ctx); err != nil {
		p.Kill()
		return nil, fmt.Errorf("start %s: %w%s", s.Name, err, p.logTail())
	}
	return p, nil
}

// run starts the program, says so, and lives as long as it does.
func (p *Process) run(ctx context.Context, started chan<- error) {
	// The kernel ties the death signal to the thread that made the child, not
	// to the process. So this thread stays until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// The caller's context ends the start, never the program.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.spec.Path, p.spec.Args...)
	cmd.Dir = p.spec.Dir
	// Never nil, which would mean the suite's own environment.
	cmd.Env = append([]string{}, p.spec.Env...)
	cmd.SysProcAttr = attributes()
	log, err := p.openLog()
	if err != nil {
		started <- err
		return
	}
	if log != nil {
		cmd.Stdout, cmd.Stderr = log, log
		// The child has its own handles by the time this runs.
		defer func() { _ = log.Close() }()
	}
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	// Children that it did not wait for would keep its ports and sockets.
	signalGroup(p.pid, syscall.SIGKILL)
	close(p.done)
}

func (p *Process) awaitReady(ctx context.Context) error {
	within := p.spec.ReadyWithin
	if within == 0 {
		within = defaultReadyWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		attempt, end := context.WithTimeout(ctx, readyAttempt)
		err := p.spec.Ready(attempt)
		end()
		// Asked first: something else may answer on the port of a dead program.
		select {
		case <-p.done:
			return fmt.Errorf("%w before it was ready: %w", ErrExited, exit(p))
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%w before it was ready: %w", ErrExited, exit(p))
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s: %w; it said last: %w", within, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// exit is Err of a program that should not have ended, so that exit status 0 is
// an error as well.
func exit(p *Process) error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// Stop asks the program to end and kills it when it has not ended after its
// grace, or when ctx ends. It returns an error only if the program had to be
// killed; one that was gone already is no error.
func (p *Process) Stop(ctx context.Context) error {
	if p.ended() {
		return nil
	}
	grace := p.spec.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	// Only the program itself, as a kubelet would: it cares for its children.
	signalProcess(p.pid, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("stop %s: it did not end within %s of TERM and was killed", p.spec.Name, grace)
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop %s: killed: %w", p.spec.Name, ctx.Err())
	}
}

// Kill ends the program and its children at once and returns when it is gone,
// so that its port is free again.
func (p *Process) Kill() {
	if p.ended() {
		return
	}
	signalGroup(p.pid, syscall.SIGKILL)
	<-p.done
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Done is closed when the program has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the program ended: nil for exit status 0 and while it runs, an
// [*exec.ExitError] otherwise.
func (p *Process) Err() error {
	if !p.ended() {
		return nil
	}
	return p.err
}

// PID is the number of the process, which is also that of its group.
func (p *Process) PID() int { return p.pid }

// Name is the name of the [Spec].
func (p *Process) Name() string { return p.spec.Name }

// HostEnv is the part of the suite's own environment that programs of the
// machine need (PATH, HOME and TMPDIR), as a start for [Spec].Env.
func HostEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

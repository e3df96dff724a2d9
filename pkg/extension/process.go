package extension

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// drain is how long the output of a program is read that has ended. Only a child
// that has left its group still holds it open by then.
const drain = 2 * time.Second

// process runs a program for the library, whose own way would hand it our
// standard input and leave its children behind.
//
// The program and its children are one process group, which is killed when the
// program ends, however it ends.
type process struct {
	cmd    *exec.Cmd
	stdout *hello
	stderr *os.File
	// read are the ends of the pipes that we keep.
	read []*os.File

	// done is closed after the process has ended and its group was killed.
	done chan struct{}
	// err is how the process ended; to be read after done.
	err error

	mu      sync.Mutex
	pid     int
	ended   bool
	stopped bool
}

var _ runner.Runner = (*process)(nil)

// newProcess describes the process of a program.
func newProcess(p *program, name string, args []string, out io.Writer) *process {
	cmd := &exec.Cmd{
		Path: p.file,
		Args: append([]string{name}, args...),
		Dir:  p.temporary,
		Env: []string{
			"PATH=/usr/local/bin:/usr/bin:/bin",
			"HOME=" + p.temporary,
			"TMPDIR=" + p.temporary,
			"LANG=C.UTF-8",
		},
		// No standard input: that is the null device.
	}
	ownGroup(cmd)
	done := make(chan struct{})
	return &process{cmd: cmd, stdout: &hello{log: out, exited: done}, done: done}
}

// tell adds what the library has to say to the program: variables, and the
// directory for its socket.
func (p *process) tell(env []string, sockets string) {
	p.cmd.Env = append(p.cmd.Env, env...)
	p.stdout.sockets = sockets
}

// Start implements runner.Runner.
func (p *process) Start(context.Context) error {
	var write []*os.File
	defer func() {
		for _, file := range write {
			_ = file.Close()
		}
	}()
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return errors.Join(err, p.close())
		}
		p.read, write = append(p.read, r), append(write, w)
	}
	p.cmd.Stdout, p.cmd.Stderr = write[0], write[1]
	p.stdout.from, p.stderr = p.read[0], p.read[1]
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return errors.Join(err, p.close())
	}
	return nil
}

// run starts the process and waits for it, on one thread: the kernel would take
// the end of the thread that started it for our end.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.begin(); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	// The number of the group is not given away as long as somebody is in it.
	killGroup(p.pid)
	for _, file := range p.read {
		_ = file.SetReadDeadline(time.Now().Add(drain))
	}
	close(p.done)
}

// begin does not let a process begin that was stopped before.
func (p *process) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errors.New("stopped")
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	return nil
}

func (p *process) close() error {
	var faults []error
	for _, file := range p.read {
		faults = append(faults, file.Close())
	}
	return errors.Join(faults...)
}

// Kill implements runner.AttachedRunner.
func (p *process) Kill(context.Context) error {
	p.stop()
	return nil
}

func (p *process) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.stopped = true
	if p.pid != 0 {
		killGroup(p.pid)
	}
}

// await waits for the end of the process, but not for long.
func (p *process) await(atMost time.Duration) {
	select {
	case <-p.done:
	case <-time.After(atMost):
	}
}

// Wait implements runner.AttachedRunner. The library calls it after it has read
// all output, which is when nobody needs the pipes any more.
func (p *process) Wait(context.Context) error {
	<-p.done
	return errors.Join(p.err, p.close())
}

// fate says how a process ended that was not stopped by us; nil if it was, or
// has not ended.
func (p *process) fate() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped:
		return nil
	case p.err != nil:
		return p.err
	}
	return errors.New("exit status 0")
}

// Stdout implements runner.Runner.
func (p *process) Stdout() io.ReadCloser { return p.stdout }

// Stderr implements runner.Runner.
func (p *process) Stderr() io.ReadCloser { return p.stderr }

// Name implements runner.Runner.
func (p *process) Name() string { return p.cmd.Args[0] }

// ID implements runner.AttachedRunner. A process that was not started has none.
func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return ""
	}
	return strconv.Itoa(p.pid)
}

// Diagnose implements runner.Runner. We have our own words.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.AddrTranslator.
func (p *process) PluginToHost(network, address string) (hostNetwork, hostAddress string, err error) {
	return network, address, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (p *process) HostToPlugin(network, address string) (pluginNetwork, pluginAddress string, err error) {
	return network, address, nil
}

package workload

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

const (
	// A process that ends is restarted after firstBackoff, then after twice
	// that and so on, up to lastBackoff; one that ran for calm begins anew. A
	// kubelet does the same with 10 s, 5 min and 10 min.
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 5 * time.Second
	calm         = 10 * time.Second
	// stopWithin bounds an orderly stop whose caller has no deadline.
	stopWithin = 20 * time.Second
	// rolloutWithin is how long the next replica of a rollout waits for this
	// one to be ready.
	rolloutWithin = 30 * time.Second
)

// replica is the container of one Pod. One goroutine, run, owns its process;
// the others ask it by wake.
type replica struct {
	workload *Workload
	index    int
	pod      string
	stop     context.CancelFunc
	ended    chan struct{} // Closed when run has ended.
	wake     chan struct{}

	// Used by run only.
	backoff time.Duration
	rolling bool // It holds the token of the rollout.

	mu      sync.Mutex
	status  Status
	process *process.Process
	depends map[object]bool // What it was made from.
	dirty   bool            // One of them has changed.
	ports   map[int]int     // Local ports by container port, kept for ever.
}

func startReplica(ctx context.Context, w *Workload, index int) *replica {
	ctx, stop := context.WithCancel(ctx)
	pod := podName(w.ref.Name, index)
	r := &replica{
		workload: w, index: index, pod: pod, stop: stop,
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
		ports: map[int]int{},
		status: Status{
			Pod: pod, Reason: "not started yet",
			Log: filepath.Join(w.kubelet.podDir(pod), w.ref.Container+".log"),
		},
	}
	go r.run(ctx)
	return r
}

func (r *replica) end() {
	r.stop()
	<-r.ended
}

// run is the life of the replica.
func (r *replica) run(ctx context.Context) {
	defer close(r.ended)
	defer r.rolledOut()
	for ctx.Err() == nil {
		wait := retryAfter
		if r.workload.isUp() {
			wait = r.once(ctx)
		} else {
			r.rolledOut()
			r.update(func(s *Status) { s.Reason = "stopped by the suite" })
			wait = 0 // Until it is woken.
		}
		if wait >= 0 && !pause(ctx, r.wake, wait) {
			return
		}
	}
}

// once runs the process one time. It returns how long to wait before the next
// time: 0 until woken, negative not at all.
func (r *replica) once(ctx context.Context) time.Duration {
	c, cmd, err := r.prepare(ctx)
	if err != nil {
		r.fails(err)
		return retryAfter
	}
	p, err := process.Start(ctx, process.Spec{
		Name: r.workload.ref.String(), Path: cmd.path, Args: cmd.args, Env: cmd.env, Dir: cmd.dir,
		Log: r.get().Log,
	})
	if err != nil {
		r.fails(&StartError{Reason: ReasonRun, Err: err})
		return retryAfter
	}
	started := time.Now()
	r.workload.kubelet.config.Log.Info("started", "pod", r.pod, "container", c.Name, "pid", p.PID(), "generation", c.Generation)
	r.mu.Lock()
	r.process = p
	r.mu.Unlock()
	r.update(func(s *Status) {
		s.PID, s.Ports, s.Generation, s.Reason = p.PID(), cmd.ports, c.Generation, "not ready yet"
	})
	byItself := r.accompany(ctx, p, c, cmd)
	r.mu.Lock()
	r.process = nil
	r.mu.Unlock()
	reason := "stopped"
	if byItself {
		reason = ended(p)
	}
	r.workload.kubelet.config.Log.Info("ended", "pod", r.pod, "container", c.Name, "pid", p.PID(), "reason", reason)
	r.update(func(s *Status) {
		s.PID, s.Ready, s.Ports, s.Reason = 0, false, nil, reason
		if byItself {
			s.Restarts++
		}
	})
	if !byItself {
		return -1
	}
	r.rolledOut()
	if time.Since(started) >= calm {
		r.backoff = 0
	}
	r.backoff = min(max(2*r.backoff, firstBackoff), lastBackoff)
	return r.backoff
}

// ended says how a process ended.
func ended(p *process.Process) string {
	if err := p.Err(); err != nil {
		return "ended: " + err.Error()
	}
	return "ended: exit status 0"
}

// fails notes why the container does not start. A replica that cannot start
// does not hold up the others.
func (r *replica) fails(err error) {
	r.rolledOut()
	if reason := err.Error(); reason != r.get().Reason {
		r.workload.kubelet.config.Log.Warn("does not start", "pod", r.pod, "container", r.workload.ref.Container, "reason", reason)
		r.update(func(s *Status) { s.Reason = reason })
	}
}

// prepare reads the container, translates it and writes its files.
func (r *replica) prepare(ctx context.Context) (*Container, *command, error) {
	c, err := r.resolve(ctx)
	if err != nil {
		return nil, nil, err
	}
	cmd, err := r.workload.kubelet.translate(ctx, c, r.port)
	if err != nil {
		return nil, nil, err
	}
	return c, cmd, nil
}

// resolve reads the container and remembers what it was made from.
func (r *replica) resolve(ctx context.Context) (*Container, error) {
	k := r.workload.kubelet
	reader := newReader(k.config.Cluster.Dynamic(), k.config.Namespace)
	// A change that comes while it is read is seen afterwards.
	r.mu.Lock()
	r.dirty = false
	r.mu.Unlock()
	c, err := resolve(ctx, reader, r.workload.ref, r.index)
	depends := map[object]bool{}
	for o := range reader.known {
		depends[o] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		// Not all was read, so what it depended on before still counts.
		maps.Copy(depends, r.depends)
		var missing *StartError
		r.dirty = r.dirty || !errors.As(err, &missing) && !errors.Is(err, ErrGone)
	}
	r.depends = depends
	return c, err
}

// port returns the local port of a container port.
func (r *replica) port(number int) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if port, ok := r.ports[number]; ok {
		return port, nil
	}
	port, err := process.FreePort()
	if err == nil {
		r.ports[number] = port
	}
	return port, err
}

// changed notes that something has changed, if it concerns this container.
func (r *replica) changed(o object) {
	r.mu.Lock()
	concerned := r.depends[o]
	r.dirty = r.dirty || concerned
	r.mu.Unlock()
	if concerned {
		poke(r.wake)
	}
}

func (r *replica) isDirty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dirty
}

func (r *replica) get() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Ports = maps.Clone(s.Ports)
	return s
}

func (r *replica) update(change func(*Status)) {
	r.mu.Lock()
	change(&r.status)
	r.mu.Unlock()
	r.workload.mu.Lock()
	r.workload.announce()
	r.workload.mu.Unlock()
}

func (r *replica) kill() {
	if p := r.current(); p != nil {
		p.Kill()
	}
}

func (r *replica) freeze(frozen bool) {
	p := r.current()
	if p == nil {
		return
	}
	signal := syscall.SIGCONT
	if frozen {
		signal = syscall.SIGSTOP
	}
	// One that has just ended needs no signal.
	_ = syscall.Kill(p.PID(), signal)
}

func (r *replica) current() *process.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process
}

// stopProcess ends a process in an orderly way, also when ctx has ended.
func (r *replica) stopProcess(ctx context.Context, p *process.Process) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	// A frozen one would not hear of it.
	r.freeze(false)
	if err := p.Stop(ctx); err != nil {
		r.workload.kubelet.config.Log.Warn("stopped late", "pod", r.pod, "error", err)
	}
}

// rollOut waits until no other replica is being replaced.
func (r *replica) rollOut(ctx context.Context) bool {
	if r.rolling {
		return true
	}
	select {
	case r.workload.rollout <- struct{}{}:
		r.rolling = true
		return true
	case <-ctx.Done():
		return false
	}
}

// rolledOut lets the next replica be replaced.
func (r *replica) rolledOut() {
	if r.rolling {
		r.rolling = false
		<-r.workload.rollout
	}
}

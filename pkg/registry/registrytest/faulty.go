package registrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// ErrInjected is the failure that Faults injects.
var ErrInjected = errors.New("injected fault")

// Fault is what happens to a write.
type Fault int

// The two ways to lose a write.
const (
	// Lost: an error, and nothing was done.
	Lost Fault = iota + 1
	// Unanswered: it was done, and then an error.
	Unanswered
)

func (f Fault) String() string {
	return map[Fault]string{Lost: "lost", Unanswered: "unanswered"}[f]
}

// Faults is a registry that fails one of its writes (PutBlob, MountBlob,
// MountSource, PutManifest), counted from 1. With one writer at a time the
// count is deterministic.
type Faults struct {
	registry.Registry

	mu     sync.Mutex // guards the rest
	writes int
	at     int
	fault  Fault
	after  error // every write after the fault fails, too
	dead   bool
	log    []string
}

var (
	_ registry.Registry      = (*Faults)(nil)
	_ registry.ReferrersAPI  = (*Faults)(nil)
	_ registry.SourceMounter = (*Faults)(nil)
)

// Faulty wraps a registry. Until FailAt is called it only counts.
func Faulty(inner registry.Registry) *Faults { return &Faults{Registry: inner} }

// FailAt makes the n-th write from now on fail in the way given, and no other.
func (f *Faults) FailAt(n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.fault, f.writes, f.log, f.dead, f.after = n, fault, 0, nil, false, nil
}

// DieAt makes the n-th write from now on fail in the way given and every later
// one be lost: what a destination sees of a process that was killed there.
func (f *Faults) DieAt(n int, fault Fault) {
	f.FailAt(n, fault)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = fmt.Errorf("%w: the writer is dead", ErrInjected)
}

// Writes counts the writes since the start or the last FailAt.
func (f *Faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Log names the writes that were counted.
func (f *Faults) Log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.log...)
}

// write does a write, or not.
func (f *Faults) write(what string, do func() error) error {
	f.mu.Lock()
	f.writes++
	n := f.writes
	f.log = append(f.log, what)
	hit := n == f.at
	fault := f.fault
	dead := f.dead
	if hit && f.after != nil {
		f.dead = true
	}
	after := f.after
	f.mu.Unlock()
	switch {
	case dead:
		return after
	case hit && fault == Lost:
		return fmt.Errorf("%w: write %d (%s) was lost", ErrInjected, n, what)
	case hit && fault == Unanswered:
		if err := do(); err != nil {
			return err
		}
		return fmt.Errorf("%w: write %d (%s) was not answered", ErrInjected, n, what)
	}
	return do()
}

// PutBlob implements [registry.Writer].
func (f *Faults) PutBlob(ctx context.Context, repo string, blob registry.Descriptor, open func() (io.ReadCloser, error)) error {
	return f.write("blob "+repo+"@"+blob.Digest, func() error { return f.Registry.PutBlob(ctx, repo, blob, open) })
}

// MountBlob implements [registry.Writer].
func (f *Faults) MountBlob(ctx context.Context, repo, from, digest string) (bool, error) {
	var mounted bool
	err := f.write("mount "+repo+"@"+digest, func() error {
		var err error
		mounted, err = f.Registry.MountBlob(ctx, repo, from, digest)
		return err
	})
	return mounted && err == nil, err
}

// MountSource implements [registry.SourceMounter]; it is false without being a
// write when the inner registry cannot.
func (f *Faults) MountSource(ctx context.Context, repo string, source registry.Reader, sourceRepo, digest string) (bool, error) {
	inner, ok := f.Registry.(registry.SourceMounter)
	if !ok {
		return false, ctx.Err()
	}
	if s, ok := source.(*Faults); ok {
		source = s.Registry
	}
	var mounted bool
	err := f.write("mount "+repo+"@"+digest, func() error {
		var err error
		mounted, err = inner.MountSource(ctx, repo, source, sourceRepo, digest)
		return err
	})
	return mounted && err == nil, err
}

// PutManifest implements [registry.Writer].
func (f *Faults) PutManifest(ctx context.Context, repo string, manifest registry.Manifest, tags ...string) error {
	return f.write("manifest "+repo+"@"+manifest.Digest(), func() error {
		return f.Registry.PutManifest(ctx, repo, manifest, tags...)
	})
}

// LacksReferrersAPI implements [registry.ReferrersAPI].
func (f *Faults) LacksReferrersAPI(repo string) bool {
	inner, ok := f.Registry.(registry.ReferrersAPI)
	return ok && inner.LacksReferrersAPI(repo)
}

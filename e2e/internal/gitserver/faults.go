package gitserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Fault is how the server treats some requests on purpose.
type Fault struct {
	// Repo, User, Kind and Write narrow the requests: those to one repository,
	// of one user, of one kind, those of pushes (advertisements included). The
	// zero value takes all.
	Repo  string
	User  string
	Kind  Kind
	Write bool
	// Status, if not 0, is answered instead of asking git: 503.
	Status int
	// Lose lets git do it and then breaks the connection without an answer.
	Lose bool
	// Delay is waited before anything else is done.
	Delay time.Duration
	// Call, if set, is called for each of the requests, and the request waits
	// for it: before git is asked, or, with Lose, when git has done it and
	// nobody has been told.
	Call func()
	// Times is how many requests are treated so; 0 means until it is lifted.
	Times int
}

// faults are the ones in force. Safe for concurrent use.
type faults struct {
	mu     sync.Mutex // guards active
	active []*Fault
}

// Inject puts a fault in force. The function that it returns lifts it; it may
// be called more than once. Of several faults that match a request, the oldest
// is used.
func (s *Server) Inject(fault Fault) (lift func()) {
	f := &fault
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = append(s.faults.active, f)
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.remove(f)
	}
}

// Unavailable lets the server answer 503 to everybody until it is lifted.
func (s *Server) Unavailable() (lift func()) {
	return s.Inject(Fault{Status: 503})
}

// take returns the fault for a request, if there is one, and counts it.
func (f *faults) take(r Request) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.active {
		if fault.Repo != "" && fault.Repo != r.Repo || fault.User != "" && fault.User != r.User || fault.Kind != "" && fault.Kind != r.Kind || fault.Write && !r.Write {
			continue
		}
		taken := *fault
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.remove(fault)
			}
		}
		return taken
	}
	return Fault{}
}

// remove needs the lock.
func (f *faults) remove(gone *Fault) {
	for i, fault := range f.active {
		if fault == gone {
			f.active = append(f.active[:i:i], f.active[i+1:]...)
			return
		}
	}
}

// wait pauses for a fault's delay; false means that the client has gone.
func (f Fault) wait(ctx context.Context) bool {
	if f.Delay <= 0 {
		return true
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// RefusePushes makes a repository's update hook refuse every ref, with this
// reason, as a host under maintenance does. An empty reason ends it. Reading
// goes on.
func (s *Server) RefusePushes(repo, reason string) error {
	dir, err := s.dir(repo)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, refusalFile)
	if reason == "" {
		err = os.RemoveAll(file)
	} else {
		err = os.WriteFile(file, []byte(reason+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("refuse pushes to %s: %w", repo, err)
	}
	return nil
}

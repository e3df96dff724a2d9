package servicenet

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Action is what happens to a request that meets a [Fault].
type Action string

// The actions.
const (
	// Delay only lets the request wait; it is the action of a Fault that has
	// a Delay and no other.
	Delay Action = "delay"
	// Drop accepts the request and resets the connection; the Service never
	// hears of it.
	Drop Action = "drop"
	// DropAnswer lets the Service do its work and resets the connection
	// instead of answering.
	DropAnswer Action = "drop-answer"
	// Answer answers with a status instead of the Service.
	Answer Action = "answer"
	// Double sends the request twice, one after the other, and answers with
	// the second answer.
	Double Action = "double"
)

// Fault says what happens to which requests. When several match, the one that
// was injected first acts.
type Fault struct {
	// Match says which. CONNECT and TCP connections have an empty path; only
	// Delay and Drop concern them.
	Match Match
	// Action says what. Empty means Delay.
	Action Action
	// Delay is how long the request waits before that.
	Delay time.Duration
	// Status of Answer, and its Body.
	Status int
	Body   string
	// Times is how many requests meet the fault; 0 means all until it is
	// removed.
	Times int
}

func (f *Fault) validate() error {
	switch f.Action {
	case "", Delay:
		f.Action = Delay
		if f.Delay <= 0 {
			return errors.New("fault: nothing to do: it has no action and no delay")
		}
	case Answer:
		if f.Status < 200 || f.Status > 599 {
			return fmt.Errorf("fault: %d is no status to answer with", f.Status)
		}
	case Drop, DropAnswer, Double:
	default:
		return fmt.Errorf("fault: unknown action %q", f.Action)
	}
	return nil
}

// faults are those that are injected at present.
type faults struct {
	mu     sync.Mutex
	active []*active
}

type active struct {
	Fault
	left int // How many times more, when Times is set.
}

// Inject adds a fault, until remove is called. Removing twice does no harm.
func (n *Network) Inject(f Fault) (remove func(), err error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	added := &active{Fault: f, left: f.Times}
	n.faults.mu.Lock()
	defer n.faults.mu.Unlock()
	n.faults.active = append(n.faults.active, added)
	return func() { n.faults.remove(added) }, nil
}

func (f *faults) remove(gone *active) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = slices.DeleteFunc(f.active, func(a *active) bool { return a == gone })
}

// take returns the fault that a request meets, or none, and counts it.
func (f *faults) take(method, hostport, path string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, a := range f.active {
		raw := method == TCP || method == http.MethodConnect
		if raw && a.Action != Delay && a.Action != Drop {
			continue
		}
		if !a.Match.matches(method, hostport, path) {
			continue
		}
		if a.Times > 0 {
			a.left--
			if a.left == 0 {
				f.active = slices.Delete(f.active, i, i+1)
			}
		}
		return a.Fault, true
	}
	return Fault{}, false
}

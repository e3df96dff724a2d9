package servicenet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxRecordedBody is how much of a body a record keeps: more than any
	// notification has.
	maxRecordedBody = 64 << 10
	// maxRecorded is how many requests are remembered; the oldest go first.
	maxRecorded = 20_000
)

// TCP is the method under which connections of [Network.Forward] are recorded.
const TCP = "TCP"

// Request is one request that went through the network, or failed to.
type Request struct {
	// Time is when it arrived; Duration until its answer was complete, or the
	// connection was cut.
	Time     time.Time
	Duration time.Duration
	// Method is the request's, or CONNECT or TCP, which have no path.
	Method string
	// Host is host:port as the client gave them; Path has no query.
	Host, Path string
	// Body is what a client sent, cut at 64 KiB.
	Body []byte
	// Status is what the client got: 0 when there was no answer.
	Status int
	// Fault names the injected fault that met it, if any.
	Fault Action
	// Err says why there was no answer. Without credentials.
	Err string
}

// Match selects requests. Empty fields match everything.
type Match struct {
	// Host is the whole host, with or without its port.
	Host string
	// Path is the whole path, or, when it ends in a star, how it begins.
	Path string
	// Method is compared exactly.
	Method string
}

func (m Match) matches(method, hostport, path string) bool {
	if m.Method != "" && m.Method != method {
		return false
	}
	if m.Host != "" && m.Host != hostport && m.Host != withoutPort(hostport) {
		return false
	}
	if prefix, ok := strings.CutSuffix(m.Path, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return m.Path == "" || m.Path == path
}

func withoutPort(hostport string) string {
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && !strings.HasSuffix(hostport, "]") {
		return hostport[:i]
	}
	return hostport
}

// record is the list of requests that are complete.
type record struct {
	mu       sync.Mutex
	requests []Request
	changed  chan struct{} // Closed and replaced with each new entry.
}

func (r *record) add(request Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.requests) == maxRecorded {
		r.requests = slices.Delete(r.requests, 0, maxRecorded/10)
	}
	r.requests = append(r.requests, request)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *record) find(m Match) ([]Request, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Request
	for _, request := range r.requests {
		if m.matches(request.Method, request.Host, request.Path) {
			found = append(found, request)
		}
	}
	return found, r.changed
}

// Requests are the complete requests that match, in the order in which they
// were completed. One may be missing for a moment after its client has the
// answer; [Network.Await] waits for it.
func (n *Network) Requests(m Match) []Request {
	found, _ := n.record.find(m)
	return found
}

// Await returns the matching requests as soon as there are at least count.
func (n *Network) Await(ctx context.Context, m Match, count int) ([]Request, error) {
	for {
		found, changed := n.record.find(m)
		if len(found) >= count {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return found, fmt.Errorf("await %d requests %s %s%s: there were %d: %w", count, m.Method, m.Host, m.Path, len(found), ctx.Err())
		}
	}
}

// Forget empties the record.
func (n *Network) Forget() {
	n.record.mu.Lock()
	defer n.record.mu.Unlock()
	n.record.requests = nil
}

package gitserver

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Kind says what a request wants.
type Kind string

// The kinds of request. A fetch in git's protocol version 2 is Advertise,
// List, Fetch; in version 0 and for a push the refs are in the advertisement.
const (
	// Advertise asks what the server can do, and in version 0 for the refs.
	Advertise Kind = "advertise"
	// List asks for refs (version 2).
	List Kind = "list"
	// Fetch asks for objects.
	Fetch Kind = "fetch"
	// Push sends refs and objects.
	Push Kind = "push"
)

// Request is one request that the server has answered.
type Request struct {
	At time.Time
	// Took is the time from the request's first byte to the answer's last.
	Took time.Duration
	// User is empty for those who gave no or wrong credentials.
	User string
	Repo string
	Kind Kind
	// Write says that the request belongs to a push.
	Write bool
	// Status of the answer; 0 when the answer was lost on command. A push that
	// a hook refuses has status 200.
	Status int
	// Received and Sent count the bytes of the bodies.
	Received, Sent int64
}

// String is the request as a line of the log.
func (r Request) String() string {
	user := r.User
	if user == "" {
		user = "-"
	}
	direction := "read"
	if r.Write {
		direction = "write"
	}
	return fmt.Sprintf("%s %s %s %s %s %d %s in=%d out=%d", r.At.UTC().Format("15:04:05.000"), user, r.Repo, r.Kind, direction, r.Status, r.Took.Round(time.Millisecond), r.Received, r.Sent)
}

// journal remembers requests and writes them to a log.
type journal struct {
	mu       sync.Mutex // guards the rest
	requests []Request
	log      io.Writer
}

func (j *journal) add(r Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests = append(j.requests, r)
	if j.log != nil {
		// The log is for people who look for a cause; losing a line of it must
		// not fail a request.
		_, _ = fmt.Fprintln(j.log, r)
	}
}

// Requests returns the requests answered so far, in the order of their ends.
func (s *Server) Requests() []Request {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return slices.Clone(s.journal.requests)
}

// Count returns how many requests satisfy the condition.
func (s *Server) Count(condition func(Request) bool) int {
	n := 0
	for _, r := range s.Requests() {
		if condition(r) {
			n++
		}
	}
	return n
}

// kindOf tells a list of refs from a fetch by the body's first bytes.
func kindOf(service string, advertise bool, body []byte) Kind {
	switch {
	case advertise:
		return Advertise
	// Before a large push git asks with an empty request whether it may.
	case service == "receive-pack" && string(body) == "0000":
		return Advertise
	case service == "receive-pack":
		return Push
	// The first line of a request in version 2, after four digits of length.
	case len(body) > 4 && bytes.HasPrefix(body[4:], []byte("command=ls-refs")):
		return List
	default:
		return Fetch
	}
}

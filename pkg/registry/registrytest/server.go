// Package registrytest holds what tests of and against registries need: the
// behaviour suite that every registry.Registry passes, a real HTTP registry that
// misbehaves on request, and a wrapper that loses writes.
package registrytest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// Options say how a Server behaves. The zero value is a plain registry without
// the referrers API, open to everybody.
type Options struct {
	// Referrers switches the referrers API on.
	Referrers bool
	// Subject makes the registry answer a manifest with OCI-Subject.
	Subject bool
	// Username and Password, when set, are required by HTTP Basic.
	Username, Password string
	// Tokens asks for bearer tokens, which the server itself hands out in
	// exchange for Username and Password.
	Tokens bool
	// NoMounts answers every mount with a new upload.
	NoMounts bool
	// NoDigestHeader leaves Docker-Content-Digest away.
	NoDigestHeader bool
	// PageSize splits lists of tags; 0 sends them whole.
	PageSize int
}

// Server is a registry on a loopback port: go-containerregistry's, made strict
// (blobs belong to repositories, a manifest needs its blobs, mounts work).
// Faults are arranged while it runs. Its methods are safe for concurrent use.
type Server struct {
	// URL is "http://127.0.0.1:port", Host the same without the scheme.
	URL, Host string

	options  Options
	blobs    *blobStore
	registry http.Handler
	tokens   tokens

	mu       sync.Mutex // guards the rest
	faults   []*HTTPFault
	corrupt  map[string]bool
	requests []string
	denied   func(*http.Request) bool
}

// NewServer starts a registry that stops when the test ends.
func NewServer(t testing.TB, options Options) *Server {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	s := &Server{options: options, blobs: newBlobStore(), corrupt: map[string]bool{}}
	s.registry = ggcr.New(ggcr.Logger(quiet), ggcr.WithBlobHandler(s.blobs), ggcr.WithReferrersSupport(options.Referrers))
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = quiet // aborted connections are the point
	server.Start()
	t.Cleanup(server.Close)
	s.URL = server.URL
	s.Host = strings.TrimPrefix(server.URL, "http://")
	return s
}

// HTTPFault is a failure to come. Exactly one of the ways is used: Status,
// Reset, CutAfter or LoseAnswer.
type HTTPFault struct {
	// Method and Path (a part of it) select requests; empty selects all.
	Method, Path string
	// Times is how many requests fail.
	Times int
	// Status answers with this code, and RetryAfter with that header.
	Status     int
	RetryAfter string
	// Code is the error code in the body of the answer.
	Code string
	// Reset closes the connection without an answer, before anything is done.
	Reset bool
	// CutAfter closes the connection after so many bytes of the body.
	CutAfter int64
	// LoseAnswer does what was asked and closes the connection.
	LoseAnswer bool
}

// Fail arranges failures; the first that matches a request is used up.
func (s *Server) Fail(faults ...HTTPFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// Corrupt makes the registry serve altered bytes for a blob.
func (s *Server) Corrupt(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corrupt[digest] = true
}

// Deny answers 403 to the requests that match; nil allows all again.
func (s *Server) Deny(match func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = match
}

// DeleteBlob loses a blob of one repository (a path on the host).
func (s *Server) DeleteBlob(repo, digest string) { s.blobs.remove(repo, digest) }

// Requests returns "METHOD /path" of every request since the last call.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.requests
	s.requests = nil
	return seen
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, req.Method+" "+req.URL.Path)
	fault := s.next(req)
	denied := s.denied != nil && s.denied(req)
	s.mu.Unlock()

	if req.URL.Path == tokenPath {
		s.serveToken(w, req)
		return
	}
	if !s.admit(w, req) {
		return
	}
	if denied {
		refuse(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied")
		return
	}
	if fault == nil {
		s.serve(w, req)
		return
	}
	switch {
	case fault.Status != 0:
		if fault.RetryAfter != "" {
			w.Header().Set("Retry-After", fault.RetryAfter)
		}
		refuse(w, fault.Status, fault.Code, "arranged by the test")
	case fault.Reset:
		panic(http.ErrAbortHandler)
	case fault.LoseAnswer:
		s.serve(&discard{header: http.Header{}}, req)
		panic(http.ErrAbortHandler)
	default:
		s.serve(&cutter{ResponseWriter: w, left: fault.CutAfter}, req)
	}
}

// next takes the first fault that matches. s.mu is held.
func (s *Server) next(req *http.Request) *HTTPFault {
	for _, f := range s.faults {
		if f.Times > 0 && (f.Method == "" || f.Method == req.Method) && strings.Contains(req.URL.RequestURI(), f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}

// discard swallows an answer.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// cutter closes the connection in the middle of an answer.
type cutter struct {
	http.ResponseWriter
	left int64
}

func (c *cutter) Write(p []byte) (int, error) {
	if int64(len(p)) < c.left {
		c.left -= int64(len(p))
		return c.ResponseWriter.Write(p)
	}
	if _, err := c.ResponseWriter.Write(p[:c.left]); err == nil {
		if f, ok := c.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
	}
	panic(http.ErrAbortHandler)
}

package registries

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// agent is how this package introduces itself, so that its questions do not
// count as others'.
const agent = "propagator-e2e"

// Request is one request that a registry has answered.
type Request struct {
	// At is when it was answered, to the second.
	At     time.Time
	Method string
	// Path with the query.
	Path   string
	Status int
	// Sent is the size of the answer, in bytes.
	Sent int64
	// Agent is how the client introduced itself.
	Agent string
}

// Requests returns what the registry was asked since its first start, but for
// questions of this package and those about its health.
func (r *Registry) Requests() ([]Request, error) {
	log, err := os.ReadFile(r.LogPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.name, err)
	}
	var requests []Request
	for line := range strings.Lines(string(log)) {
		request, ok := parseRequest(line)
		if ok && request.Agent != agent && strings.HasPrefix(request.Path, "/v2/") {
			requests = append(requests, request)
		}
	}
	return requests, nil
}

// Count returns how many requests satisfy the condition.
func (r *Registry) Count(condition func(Request) bool) (int, error) {
	requests, err := r.Requests()
	n := 0
	for _, request := range requests {
		if condition(request) {
			n++
		}
	}
	return n, err
}

// logLine is the "combined" format of web servers: address, two unused names,
// [time], "method path protocol", status, size, "referer", "agent".
var logLine = regexp.MustCompile(`^\S+ \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+) [^"]*" (\d{3}) (\d+|-) "[^"]*" "([^"]*)"\s*$`)

// parseRequest reads a line of the log; false for lines that are no requests.
func parseRequest(line string) (Request, bool) {
	m := logLine.FindStringSubmatch(line)
	if m == nil {
		return Request{}, false
	}
	at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[1])
	if err != nil {
		return Request{}, false
	}
	status, err := strconv.Atoi(m[4])
	if err != nil {
		return Request{}, false
	}
	sent, _ := strconv.ParseInt(m[5], 10, 64) // "-" is no body
	return Request{At: at, Method: m[2], Path: m[3], Status: status, Sent: sent, Agent: m[6]}, true
}

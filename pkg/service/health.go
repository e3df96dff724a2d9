package service

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// checkTimeout bounds one round of readiness checks; the kubelet gives up
// after a second unless told otherwise, and a slow check must name itself.
const checkTimeout = 900 * time.Millisecond

// Check says whether a part of the program is ready. It must honour its
// context and may run at the same time as itself. The error's text is
// published on /readyz, so it must hold no secret.
type Check func(ctx context.Context) error

// Health collects the readiness checks of a program. The zero value is ready
// to use; all methods may run at the same time.
type Health struct {
	mu       sync.Mutex // guards what follows
	checks   map[string]Check
	stopping bool
}

// Register adds a check, or replaces the one of that name.
func (h *Health) Register(name string, check Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]Check{}
	}
	h.checks[name] = check
}

// Stop makes the program unready for good, so that nobody sends it more work.
func (h *Health) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// Readiness runs all checks at once and returns why the program is not ready,
// by name of the check; empty means ready.
func (h *Health) Readiness(ctx context.Context) map[string]string {
	h.mu.Lock()
	checks, stopping := maps.Clone(h.checks), h.stopping
	h.mu.Unlock()

	reasons := map[string]string{}
	if stopping {
		reasons["shutdown"] = "shutting down"
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	type result struct {
		name string
		err  error
	}
	// Buffered, so that a check that ignores its context can still end.
	results := make(chan result, len(checks))
	for name, check := range checks {
		go func() { results <- result{name, runCheck(ctx, check)} }()
	}
	waiting := maps.Clone(checks)
	for range checks {
		select {
		case r := <-results:
			delete(waiting, r.name)
			if r.err != nil {
				reasons[r.name] = r.err.Error()
			}
		case <-ctx.Done():
			for name := range waiting {
				reasons[name] = "no answer within " + checkTimeout.String()
			}
			return reasons
		}
	}
	return reasons
}

func runCheck(ctx context.Context, check Check) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the check panicked")
		}
	}()
	return check(ctx)
}

// live answers /healthz: the process is alive and can serve HTTP.
func (h *Health) live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// ready answers /readyz: 200, or 503 with the reasons.
func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	reasons := h.Readiness(r.Context())
	status := http.StatusOK
	answer := struct {
		Ready   bool              `json:"ready"`
		Message string            `json:"message,omitempty"`
		Reasons map[string]string `json:"reasons,omitempty"`
	}{Ready: len(reasons) == 0, Reasons: reasons}
	if !answer.Ready {
		status = http.StatusServiceUnavailable
		answer.Message = "not ready: " + strings.Join(slices.Sorted(maps.Keys(reasons)), ", ")
	}
	WriteJSON(w, status, answer)
}

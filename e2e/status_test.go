//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// hookStatus is what the hook tells about one pipeline: GET /api/v1/status.
type hookStatus struct {
	Repository string           `json:"repository"`
	At         time.Time        `json:"at"`
	Error      string           `json:"error"`
	Hint       string           `json:"hint"`
	Done       []promotion.Step `json:"done"`
	Waits      []promotion.Wait `json:"waits"`
	Warnings   []promotion.Wait `json:"warnings"`
	Hops       []hop            `json:"hops"`
}

// hop is a hop as the hook reports it: moments by their names.
type hop struct {
	Version, From, To string
	Moments           map[string]time.Time
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *hop) UnmarshalJSON(text []byte) error {
	var fields map[string]string
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	h.Version, h.From, h.To = fields["version"], fields["from"], fields["to"]
	h.Moments = map[string]time.Time{}
	for name, value := range fields {
		if name == "version" || name == "from" || name == "to" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return fmt.Errorf("hop %s: %w", name, err)
		}
		h.Moments[name] = at
	}
	return nil
}

// hookStatus asks the hook about the company's pipeline.
func (c *company) hookStatus() hookStatus {
	c.t.Helper()
	status, err := c.askHook(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return status
}

// askHook is hookStatus for those who go on without.
func (c *company) askHook(ctx context.Context) (hookStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	response, err := world.hookRequest(ctx, http.MethodGet, "/api/v1/status")
	if err != nil {
		return hookStatus{}, err
	}
	defer func() { _ = response.Body.Close() }()
	var all []hookStatus
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		return hookStatus{}, fmt.Errorf("the hook's status (%s): %w", response.Status, err)
	}
	for _, status := range all {
		if strings.TrimSuffix(status.Repository, ".git") == strings.TrimSuffix(c.URL(), ".git") {
			return status, nil
		}
	}
	return hookStatus{}, nil
}

// waits reports whether the hook gives a reason for not promoting to an
// environment.
func (s hookStatus) waits(environment string, reason promotion.Reason) bool {
	for _, wait := range s.Waits {
		if wait.Environment == environment && wait.Reason == reason {
			return true
		}
	}
	return false
}

package workload

import (
	"os"
	"strings"
)

// Status is how one replica is.
type Status struct {
	// Pod is its name.
	Pod string
	// PID is that of its process, 0 when none runs.
	PID int
	// Ready says whether it serves.
	Ready bool
	// Restarts is how often it ended by itself, or was killed.
	Restarts int
	// Reason says why it is not ready, as `kubectl describe pod` would.
	Reason string
	// Generation is that of the workload that it runs.
	Generation int64
	// Ports are its local addresses, by the container's port.
	Ports map[int]string
	// Log is the file of its output, over all restarts.
	Log string
}

// Status returns that of each replica, in order.
func (w *Workload) Status() []Status {
	var all []Status
	for _, r := range w.all() {
		all = append(all, r.get())
	}
	return all
}

// Address returns the local address of a container port of the first replica
// that has it, ready or not, and false when none runs.
func (w *Workload) Address(port int) (string, bool) {
	for _, s := range w.Status() {
		if address, ok := s.Ports[port]; ok {
			return address, true
		}
	}
	return "", false
}

// Logs returns what all replicas have written so far.
func (w *Workload) Logs() string {
	var out strings.Builder
	for _, s := range w.Status() {
		text, err := os.ReadFile(s.Log)
		if err == nil {
			out.Write(text)
		}
	}
	return out.String()
}

// LogContains says whether any replica has written s, ever.
func (w *Workload) LogContains(s string) bool { return strings.Contains(w.Logs(), s) }

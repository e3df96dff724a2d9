package hook

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// maxEvent bounds an event's body; the template of the notifications
// configuration makes about one kilobyte.
const maxEvent = 64 << 10

// Event is what Argo CD's notification template sends. Everything in it is a
// hint: it tells which pipeline to look at, never what to do.
type Event struct {
	Application string `json:"application"`
	Namespace   string `json:"namespace"`
	Pipeline    string `json:"pipeline"`
	RepoURL     string `json:"repoURL"`
	Phase       string `json:"phase"`
	Revision    string `json:"revision"`
	FinishedAt  string `json:"finishedAt"`
}

// notify serves POST /api/v1/argocd. It always answers 202 to an authenticated
// sender: an event that cannot be understood wakes every pipeline, which is
// harmless, whereas an error would make Argo CD send it again every minute.
func (s *Server) notify(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	var event Event
	body, err := service.ReadBody(w, r, maxEvent)
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	result := "ok"
	switch {
	case errors.Is(err, service.ErrBodyTooLarge):
		result = "too_large"
	case err != nil:
		result = "malformed"
	}
	s.metrics.events.WithLabelValues(result).Inc()
	if err != nil {
		s.config.Log.WarnContext(r.Context(), "event not understood, looking at every pipeline", "error", err)
	}
	for _, worker := range s.concerned(event.RepoURL) {
		worker.engine.Hops.Notified(received)
		worker.notified()
	}
	w.WriteHeader(http.StatusAccepted)
}

// wakeAll serves POST /api/v1/wake: a git host's webhook, CI or a person says
// that something may have changed.
func (s *Server) wakeAll(w http.ResponseWriter, r *http.Request) {
	for _, worker := range s.concerned(r.URL.Query().Get("repository")) {
		worker.poke()
	}
	w.WriteHeader(http.StatusAccepted)
}

// concerned are the workers of a repository, or all of them when none is known
// by that name.
func (s *Server) concerned(repository string) []*worker {
	var found []*worker
	for _, worker := range s.workers {
		if repository != "" && promotion.SameRepository(worker.name, repository) {
			found = append(found, worker)
		}
	}
	if len(found) == 0 {
		return s.workers
	}
	return found
}

// status serves GET /api/v1/status: what each pipeline's newest run did, what it
// waits for, and the timelines of the last promotions.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	all := []Status{}
	for _, worker := range s.workers {
		if status, ok := worker.status(); ok {
			all = append(all, status)
		}
	}
	service.WriteJSON(w, http.StatusOK, all)
}

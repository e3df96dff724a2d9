package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/fleeting-taas/propagator/pkg/service"
)

// maxBody bounds a request; a real one has a few hundred bytes.
const maxBody = 64 << 10

// patience is how long a request waits for a look at the repository that began
// after it. The controller itself waits 30 s. An answer from memory in its
// place could be older than one that another replica has given, and would take
// Production back to it.
const patience = 10 * time.Second

// request is the body that the ApplicationSet controller posts
// (applicationset/services/plugin in argo-cd).
type request struct {
	ApplicationSetName string `json:"applicationSetName"`
	Input              struct {
		Parameters input `json:"parameters"`
	} `json:"input"`
}

// input is what an ApplicationSet asks for under input.parameters.
type input struct {
	Pipeline string `json:"pipeline"`
	// Environments and Applications narrow the answer; empty means all.
	Environments []string `json:"environments"`
	Applications []string `json:"applications"`
}

// response is the answer that the controller expects.
type response struct {
	Output struct {
		Parameters []Set `json:"parameters"`
	} `json:"output"`
}

// problem is an error with its HTTP status. The controller shows the message
// in the ApplicationSet's conditions.
type problem struct {
	status  int
	message string
}

func (p *problem) Error() string { return p.message }

// getParams serves POST /api/v1/getparams.execute.
func (s *Server) getParams(w http.ResponseWriter, r *http.Request) {
	sets, err := s.answer(w, r)
	if err != nil {
		var p *problem
		if !errors.As(err, &p) {
			p = &problem{http.StatusServiceUnavailable, err.Error()}
		}
		s.requests.WithLabelValues(fmt.Sprint(p.status)).Inc()
		service.WriteError(w, p.status, p.message)
		return
	}
	var answer response
	answer.Output.Parameters = sets
	s.requests.WithLabelValues("200").Inc()
	service.WriteJSON(w, http.StatusOK, answer)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) ([]Set, error) {
	body, err := service.ReadBody(w, r, maxBody)
	if err != nil {
		return nil, &problem{service.BodyStatus(err), err.Error()}
	}
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("malformed request: %v", err)}
	}
	in := req.Input.Parameters
	if in.Pipeline == "" {
		return nil, &problem{http.StatusBadRequest, "input.parameters.pipeline is missing; name the pipeline (metadata.name of propagator.yaml)"}
	}
	x, err := s.exposure(r.Context(), in.Pipeline)
	if err != nil {
		return nil, err
	}
	return in.choose(x)
}

// exposure returns the state of a pipeline as a look that began after the
// request found it. Whatever stands in the way is an error, which leaves every
// Application as it is.
func (s *Server) exposure(ctx context.Context, pipeline string) (*exposure, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	loads := make([]<-chan struct{}, len(s.sources))
	for i, source := range s.sources {
		// The pipeline's name stands in the repository, so before the first
		// load any source may be the one.
		if last := source.state().last; last == nil || last.pipeline == pipeline {
			loads[i] = source.refresh(s.background)
		}
	}
	for i, loaded := range loads {
		if loaded == nil {
			continue
		}
		select {
		case <-loaded:
		case <-timeout.C:
			return nil, &problem{http.StatusServiceUnavailable, fmt.Sprintf("repository %s could not be read within %s", s.sources[i].url, patience)}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.find(pipeline)
}

// find returns the state of a pipeline, if the newest look at it succeeded.
func (s *Server) find(pipeline string) (*exposure, error) {
	var found *source
	var newest state
	var unloaded error
	for _, source := range s.sources {
		switch now := source.state(); {
		case now.last == nil:
			unloaded = &problem{http.StatusServiceUnavailable, fmt.Sprintf("repository %s is not loaded yet: %v", source.url, orPending(now.err))}
		case now.last.pipeline != pipeline:
		case found != nil:
			// Taking either would let the Applications depend on which of them
			// could be read first.
			return nil, &problem{http.StatusConflict, fmt.Sprintf("%s and %s both call themselves pipeline %q; change metadata.name in one of them", found.url, source.url, pipeline)}
		default:
			found, newest = source, now
		}
	}
	switch {
	case found == nil && unloaded != nil:
		return nil, unloaded
	case found == nil:
		return nil, &problem{http.StatusNotFound, fmt.Sprintf("unknown pipeline %q", pipeline)}
	case errors.Is(newest.err, errShrunk):
		return nil, &problem{http.StatusConflict, newest.err.Error()}
	case newest.err != nil:
		return nil, &problem{http.StatusServiceUnavailable, newest.err.Error()}
	}
	return newest.last, nil
}

func orPending(err error) error {
	if err == nil {
		return errors.New("still reading")
	}
	return err
}

// choose narrows the sets. A name that does not exist is an error, never an
// empty answer: a misspelt environment must not delete its Applications.
func (in input) choose(x *exposure) ([]Set, error) {
	known := map[string]bool{}
	sets := []Set{}
	for _, e := range x.environments {
		if len(in.Environments) > 0 && !slices.Contains(in.Environments, e.name) {
			continue
		}
		if e.err != nil {
			return nil, &problem{http.StatusServiceUnavailable, e.err.Error()}
		}
		for _, set := range e.sets {
			known[set.Application] = true
			if len(in.Applications) == 0 || slices.Contains(in.Applications, set.Application) {
				sets = append(sets, set)
			}
		}
	}
	for _, name := range in.Environments {
		if _, ok := x.environment(name); !ok {
			return nil, &problem{http.StatusNotFound, fmt.Sprintf("pipeline %s has no environment %q that is promoted to", x.pipeline, name)}
		}
	}
	for _, name := range in.Applications {
		// Before the first promotion no application is known anywhere.
		if len(known) > 0 && !known[name] {
			return nil, &problem{http.StatusNotFound, fmt.Sprintf("pipeline %s has no application %q in what was asked for", x.pipeline, name)}
		}
	}
	return sets, nil
}

package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// maxBody bounds a request; a real one has a few hundred bytes.
const maxBody = 64 << 10

// freshness is how long an answer waits for a look at the repository that
// began after the request. A push that was finished before the request is then
// in the answer; a slow git server costs this much and no more.
const freshness = 800 * time.Millisecond

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
	sets, err := s.answer(r.Context(), http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var p *problem
		if !errors.As(err, &p) {
			p = &problem{http.StatusServiceUnavailable, err.Error()}
		}
		s.requests.WithLabelValues(fmt.Sprint(p.status)).Inc()
		writeJSON(w, p.status, map[string]string{"message": p.message})
		return
	}
	var answer response
	answer.Output.Parameters = sets
	s.requests.WithLabelValues("200").Inc()
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) answer(ctx context.Context, body interface{ Read([]byte) (int, error) }) ([]Set, error) {
	var req request
	decoder := json.NewDecoder(body)
	if err := decoder.Decode(&req); err != nil {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("malformed request: %v", err)}
	}
	in := req.Input.Parameters
	if in.Pipeline == "" {
		return nil, &problem{http.StatusBadRequest, "input.parameters.pipeline is missing; name the pipeline (metadata.name of propagator.yaml)"}
	}
	x, err := s.exposure(ctx, in.Pipeline)
	if err != nil {
		return nil, err
	}
	return in.choose(x)
}

// exposure returns the newest state of a pipeline, as fresh as git allows
// within the time.
func (s *Server) exposure(ctx context.Context, pipeline string) (*exposure, error) {
	timeout := time.NewTimer(freshness)
	defer timeout.Stop()
	loads := make([]<-chan struct{}, len(s.sources))
	for i, source := range s.sources {
		// The pipeline's name stands in the repository, so before the first
		// load any source may be the one.
		if last, _, _ := source.state(); last == nil || last.pipeline == pipeline {
			loads[i] = source.refresh(s.background)
		}
	}
	for _, loaded := range loads {
		if loaded == nil {
			continue
		}
		select {
		case <-loaded:
			continue
		case <-timeout.C:
			timeout.Reset(0)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var unloaded error
	for _, source := range s.sources {
		last, err, _ := source.state()
		switch {
		case last == nil:
			unloaded = &problem{http.StatusServiceUnavailable, fmt.Sprintf("repository %s is not loaded yet: %v", source.url, orPending(err))}
		case last.pipeline != pipeline:
		case errors.Is(err, errShrunk):
			return nil, &problem{http.StatusConflict, err.Error()}
		default:
			return last, nil
		}
	}
	if unloaded != nil {
		return nil, unloaded
	}
	return nil, &problem{http.StatusNotFound, fmt.Sprintf("unknown pipeline %q", pipeline)}
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

func writeJSON(w http.ResponseWriter, status int, value any) {
	// Encoded before the status is sent: a half-written 200 would be taken for
	// an empty list.
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, `{"message":"answer cannot be encoded"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone; nobody is left to tell
}

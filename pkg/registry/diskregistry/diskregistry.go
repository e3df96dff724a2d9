// Package diskregistry is a small OCI registry that keeps everything in a
// directory and survives a restart. It is what the demo runs on: it has no
// users, no clean-up and no limits, and belongs on a loopback address.
//
// Layout of the directory:
//
//	blobs/sha256/<hex>                               blobs, shared by all repositories
//	manifests/sha256/<hex>                           manifests
//	repositories/<escaped name>/<tag or digest>      media type and digest, as JSON
//
// The protocol is served by go-containerregistry's registry. A manifest is
// written to the directory before the client hears that it was stored, each file
// by renaming a complete one into place, and all are fed back at the start.
//
//	r, err := diskregistry.Open(dir, diskregistry.Options{})
//	server := &http.Server{Handler: r}
package diskregistry

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// Options tune a registry. The zero value is usable.
type Options struct {
	// NoReferrersAPI makes the registry answer as older ones do, so that
	// clients list referrers under the fallback tag.
	NoReferrersAPI bool
	// OnRequest is told of every answered request; status is 0 while the
	// registry is not available. It may be called from several goroutines.
	OnRequest func(method, path string, status int)
}

// Registry is an http.Handler. Its methods are safe for concurrent use. Only
// one Registry may use a directory at a time.
type Registry struct {
	dir     string
	options Options
	inner   http.Handler
	down    atomic.Bool

	writes sync.Mutex // one change of manifests at a time, in memory and on disk alike
}

var _ http.Handler = (*Registry)(nil)

// Open opens the registry in a directory, which is created if need be. A
// directory whose files do not fit together is an error that names the file.
func Open(dir string, options Options) (*Registry, error) {
	for _, sub := range []string{"blobs/sha256", "manifests/sha256", "repositories"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(sub)), 0o750); err != nil {
			return nil, fmt.Errorf("registry directory: %w", err)
		}
	}
	if err := removeLeftovers(filepath.Join(dir, "blobs")); err != nil {
		return nil, err
	}
	r := &Registry{dir: dir, options: options}
	r.inner = ggcr.New(
		ggcr.Logger(log.New(io.Discard, "", 0)),
		ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(filepath.Join(dir, "blobs"))),
		ggcr.WithReferrersSupport(!options.NoReferrersAPI),
	)
	if err := r.replay(); err != nil {
		return nil, err
	}
	return r, nil
}

// removeLeftovers deletes uploads that a killed process left unfinished.
func removeLeftovers(blobs string) error {
	left, err := filepath.Glob(filepath.Join(blobs, "upload-*"))
	if err != nil {
		return fmt.Errorf("registry directory: %w", err)
	}
	for _, file := range left {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("registry directory: %w", err)
		}
	}
	return nil
}

// SetAvailable switches the registry off and on. While it is off, connections
// are closed without an answer, as if nobody were there.
func (r *Registry) SetAvailable(on bool) { r.down.Store(!on) }

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.down.Load() {
		r.tell(req, 0)
		hangUp(w)
		return
	}
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	r.serve(seen, req)
	r.tell(req, seen.status)
}

func (r *Registry) tell(req *http.Request, status int) {
	if r.options.OnRequest != nil {
		r.options.OnRequest(req.Method, req.URL.Path, status)
	}
}

// hangUp closes the connection; where that is impossible it answers 503.
func hangUp(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			_ = conn.Close() // there is nobody to tell
			return
		}
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	repo, kind, last := split(req.URL.Path)
	if kind != "" && !repositoryPattern.MatchString(repo) {
		refuse(w, http.StatusBadRequest, "NAME_INVALID", "invalid repository name")
		return
	}
	query := req.URL.Query()
	switch {
	case kind == "manifests" && (req.Method == http.MethodPut || req.Method == http.MethodDelete):
		if !referencePattern.MatchString(last) {
			refuse(w, http.StatusBadRequest, "TAG_INVALID", "invalid tag or digest")
			return
		}
		r.changeManifest(w, req, repo, last)
	case kind == "blobs" && req.Method == http.MethodPost && query.Get("mount") != "" && r.hasBlob(query.Get("mount")):
		// Blobs are shared by all repositories: nothing needs to be done.
		w.Header().Set("Location", "/v2/"+repo+"/blobs/"+query.Get("mount"))
		w.Header().Set("Docker-Content-Digest", query.Get("mount"))
		w.WriteHeader(http.StatusCreated)
	default:
		r.inner.ServeHTTP(w, req)
	}
}

// split takes "/v2/<repository>/<kind>/…/<last>" apart.
func split(path string) (repo, kind, last string) {
	elements := strings.Split(strings.Trim(path, "/"), "/")
	for i := len(elements) - 1; i > 1; i-- {
		switch elements[i] {
		case "manifests", "tags", "referrers":
			if i == len(elements)-2 {
				return strings.Join(elements[1:i], "/"), elements[i], elements[i+1]
			}
		case "blobs":
			return strings.Join(elements[1:i], "/"), elements[i], elements[len(elements)-1]
		}
	}
	return "", "", ""
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

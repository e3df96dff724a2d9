package registrytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// blobStore keeps blobs by repository, unlike the stores of ggcr's registry,
// where a blob of one repository is visible in all.
type blobStore struct {
	mu    sync.Mutex
	blobs map[string]map[string][]byte
}

var (
	_ ggcr.BlobHandler     = (*blobStore)(nil)
	_ ggcr.BlobStatHandler = (*blobStore)(nil)
	_ ggcr.BlobPutHandler  = (*blobStore)(nil)
)

func newBlobStore() *blobStore { return &blobStore{blobs: map[string]map[string][]byte{}} }

func (b *blobStore) find(repo, digest string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	content, ok := b.blobs[repo][digest]
	return content, ok
}

func (b *blobStore) store(repo, digest string, content []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs[repo] == nil {
		b.blobs[repo] = map[string][]byte{}
	}
	b.blobs[repo][digest] = content
}

func (b *blobStore) remove(repo, digest string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.blobs[repo], digest)
}

func (b *blobStore) Get(_ context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	content, ok := b.find(repo, h.String())
	if !ok {
		return nil, ggcr.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (b *blobStore) Stat(_ context.Context, repo string, h v1.Hash) (int64, error) {
	content, ok := b.find(repo, h.String())
	if !ok {
		return 0, ggcr.ErrNotFound
	}
	return int64(len(content)), nil
}

func (b *blobStore) Put(_ context.Context, repo string, h v1.Hash, rc io.ReadCloser) error {
	defer rc.Close()
	content, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	// ggcr's registry leaves "/blobs" at the end of the name of an upload's
	// repository.
	b.store(strings.TrimSuffix(repo, "/blobs"), h.String(), content)
	return nil
}

// serve is the strict registry.
func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	if s.options.NoDigestHeader {
		w = &withoutDigest{ResponseWriter: w}
	}
	repo, kind, last := split(req.URL.Path)
	query := req.URL.Query()
	switch {
	case kind == "blobs" && req.Method == http.MethodPost && query.Get("mount") != "":
		content, ok := s.blobs.find(query.Get("from"), query.Get("mount"))
		if ok && !s.options.NoMounts {
			s.blobs.store(repo, query.Get("mount"), content)
			w.Header().Set("Location", "/v2/"+repo+"/blobs/"+query.Get("mount"))
			w.WriteHeader(http.StatusCreated)
			return
		}
	case kind == "blobs" && req.Method == http.MethodGet && s.isCorrupt(last):
		content, ok := s.blobs.find(repo, last)
		if ok && len(content) > 0 {
			altered := slices.Clone(content)
			altered[len(altered)/2] ^= 1
			w.Header().Set("Content-Length", fmt.Sprint(len(altered)))
			_, _ = w.Write(altered) // the test looks at the client
			return
		}
	case kind == "manifests" && req.Method == http.MethodPut:
		if !s.checkManifest(w, req, repo) {
			return
		}
	case kind == "tags" && req.Method == http.MethodGet && s.options.PageSize > 0:
		query.Set("n", fmt.Sprint(s.options.PageSize))
		req.URL.RawQuery = query.Encode()
		s.page(w, req, repo)
		return
	}
	s.registry.ServeHTTP(w, req)
}

func (s *Server) isCorrupt(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.corrupt[digest]
}

// checkManifest refuses a manifest whose blobs are not there.
func (s *Server) checkManifest(w http.ResponseWriter, req *http.Request, repo string) bool {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return false
	}
	req.Body = io.NopCloser(bytes.NewReader(raw))
	parts, err := registry.Manifest{Raw: raw}.Parse()
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return false
	}
	for _, blob := range parts.Blobs {
		if _, ok := s.blobs.find(repo, blob.Digest); !ok && len(blob.URLs) == 0 {
			refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", blob.Digest)
			return false
		}
	}
	if parts.Subject != nil && s.options.Subject {
		w.Header().Set("OCI-Subject", parts.Subject.Digest)
	}
	return true
}

// page adds the Link header that ggcr's registry lacks.
func (s *Server) page(w http.ResponseWriter, req *http.Request, repo string) {
	recorded := &recorder{discard: discard{header: http.Header{}}}
	s.registry.ServeHTTP(recorded, req)
	var list struct {
		Tags []string `json:"tags"`
	}
	if recorded.status == http.StatusOK && json.Unmarshal(recorded.body.Bytes(), &list) == nil && len(list.Tags) == s.options.PageSize {
		last := list.Tags[len(list.Tags)-1]
		all := &recorder{discard: discard{header: http.Header{}}}
		everything := req.Clone(req.Context())
		everything.URL.RawQuery = ""
		s.registry.ServeHTTP(all, everything)
		var whole struct {
			Tags []string `json:"tags"`
		}
		if json.Unmarshal(all.body.Bytes(), &whole) == nil && whole.Tags[len(whole.Tags)-1] != last {
			w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repo, s.options.PageSize, last))
		}
	}
	w.WriteHeader(recorded.status)
	_, _ = w.Write(recorded.body.Bytes()) // the test looks at the client
}

type recorder struct {
	discard
	status int
	body   bytes.Buffer
}

func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// withoutDigest drops the header that the specification does not require.
type withoutDigest struct{ http.ResponseWriter }

func (w *withoutDigest) WriteHeader(status int) {
	w.Header().Del("Docker-Content-Digest")
	w.ResponseWriter.WriteHeader(status)
}

// split takes "/v2/<repository>/<kind>/…" apart.
func split(path string) (repo, kind, last string) {
	elements := strings.Split(strings.Trim(path, "/"), "/")
	for i := len(elements) - 1; i > 0; i-- {
		switch elements[i] {
		case "blobs", "manifests", "tags", "referrers":
			return strings.Join(elements[1:i], "/"), elements[i], elements[len(elements)-1]
		}
	}
	return "", "", ""
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the test looks at the client
		"errors": []map[string]string{{"code": code, "message": message}},
	})
}

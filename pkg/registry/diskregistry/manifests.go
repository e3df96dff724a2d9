package diskregistry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	referencePattern  = regexp.MustCompile(`^([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}|sha256:[0-9a-f]{64})$`)
)

// entry is what a file below repositories/ says.
type entry struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
}

// changeManifest stores or deletes a manifest, on disk and in the registry.
func (r *Registry) changeManifest(w http.ResponseWriter, req *http.Request, repo, reference string) {
	raw, err := io.ReadAll(io.LimitReader(req.Body, registry.MaxManifestSize+1))
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the manifest broke off")
		return
	}
	if len(raw) > registry.MaxManifestSize {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the manifest is too large")
		return
	}
	if req.Method == http.MethodPut {
		if status, code, message := r.check(raw, reference); status != 0 {
			refuse(w, status, code, message)
			return
		}
	}
	r.writes.Lock()
	defer r.writes.Unlock()
	answer := &buffer{header: http.Header{}}
	req.Body = io.NopCloser(bytes.NewReader(raw))
	r.inner.ServeHTTP(answer, req)
	if answer.status < 300 {
		if req.Method == http.MethodPut {
			err = r.save(repo, reference, registry.Manifest{MediaType: req.Header.Get("Content-Type"), Raw: raw})
		} else {
			err = os.Remove(r.file(repo, reference))
		}
		if err != nil {
			refuse(w, http.StatusInternalServerError, "UNKNOWN", "the change could not be written to the registry's directory")
			return
		}
	}
	if parts, err := (registry.Manifest{Raw: raw}).Parse(); err == nil && parts.Subject != nil && !r.options.NoReferrersAPI {
		w.Header().Set("OCI-Subject", parts.Subject.Digest)
	}
	answer.copyTo(w)
}

// check refuses manifests whose digest or blobs are not right, which ggcr's
// registry would take.
func (r *Registry) check(raw []byte, reference string) (status int, code, message string) {
	m := registry.Manifest{Raw: raw}
	if registry.IsDigest(reference) && m.Digest() != reference {
		return http.StatusBadRequest, "DIGEST_INVALID", "the manifest has another digest"
	}
	parts, err := m.Parse()
	if err != nil {
		return http.StatusBadRequest, "MANIFEST_INVALID", err.Error()
	}
	for _, blob := range parts.Blobs {
		if len(blob.URLs) == 0 && !r.hasBlob(blob.Digest) {
			return http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", blob.Digest
		}
	}
	return 0, "", ""
}

func (r *Registry) hasBlob(digest string) bool {
	if !registry.IsDigest(digest) {
		return false
	}
	_, err := os.Stat(filepath.Join(r.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
	return err == nil
}

func (r *Registry) file(repo, reference string) string {
	return filepath.Join(r.dir, "repositories", url.PathEscape(repo), url.PathEscape(reference))
}

func (r *Registry) manifestFile(digest string) string {
	return filepath.Join(r.dir, "manifests", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// save writes a manifest, then what names it.
func (r *Registry) save(repo, reference string, m registry.Manifest) error {
	digest := m.Digest()
	if _, err := os.Stat(r.manifestFile(digest)); errors.Is(err, os.ErrNotExist) {
		if err := writeFile(r.manifestFile(digest), m.Raw); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.file(repo, reference)), 0o750); err != nil {
		return err
	}
	content, err := json.Marshal(entry{MediaType: m.MediaType, Digest: digest})
	if err != nil {
		return err
	}
	for _, name := range []string{digest, reference} {
		if err := writeFile(r.file(repo, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces a file by a complete new one.
func writeFile(name string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error says more
		}
	}()
	if _, err = f.Write(content); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	if err = f.Sync(); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// replay feeds the manifests on disk to the registry.
func (r *Registry) replay() error {
	dirs, err := os.ReadDir(filepath.Join(r.dir, "repositories"))
	if err != nil {
		return fmt.Errorf("registry directory: %w", err)
	}
	for _, dir := range dirs {
		repo, err := url.PathUnescape(dir.Name())
		if err != nil || !dir.IsDir() || !repositoryPattern.MatchString(repo) {
			return fmt.Errorf("registry directory: repositories/%s does not belong there", dir.Name())
		}
		if err := r.replayRepository(repo, filepath.Join(r.dir, "repositories", dir.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) replayRepository(repo, dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("registry directory: %w", err)
	}
	waiting := map[string]registry.Manifest{} // by reference
	for _, file := range files {
		if strings.HasPrefix(file.Name(), ".new-") {
			if err := os.Remove(filepath.Join(dir, file.Name())); err != nil {
				return fmt.Errorf("registry directory: %w", err)
			}
			continue
		}
		reference, err := url.PathUnescape(file.Name())
		if err != nil || !referencePattern.MatchString(reference) {
			return fmt.Errorf("registry directory: repository %s: file %s does not belong there", repo, file.Name())
		}
		m, err := r.load(filepath.Join(dir, file.Name()))
		if err != nil {
			return fmt.Errorf("registry directory: repository %s: %s: %w", repo, reference, err)
		}
		waiting[reference] = m
	}
	// The registry takes an index only after its children: those whose
	// children are still missing wait for the next round.
	for len(waiting) > 0 {
		before := len(waiting)
		var refused error
		for reference, m := range waiting {
			if err := r.feed(repo, reference, m); err != nil {
				refused = err
				continue
			}
			delete(waiting, reference)
		}
		if len(waiting) == before {
			return fmt.Errorf("registry directory: repository %s: %w", repo, refused)
		}
	}
	return nil
}

// load reads a file below repositories/ and its manifest.
func (r *Registry) load(file string) (registry.Manifest, error) {
	content, err := os.ReadFile(file) //nolint:gosec // the name comes from listing our own directory
	if err != nil {
		return registry.Manifest{}, err
	}
	var e entry
	if err := json.Unmarshal(content, &e); err != nil || !registry.IsDigest(e.Digest) {
		return registry.Manifest{}, errors.New("the file is damaged")
	}
	raw, err := os.ReadFile(r.manifestFile(e.Digest))
	if err != nil {
		return registry.Manifest{}, err
	}
	m := registry.Manifest{MediaType: e.MediaType, Raw: raw}
	if m.Digest() != e.Digest {
		return registry.Manifest{}, fmt.Errorf("the file of manifest %s is damaged", e.Digest)
	}
	return m, nil
}

func (r *Registry) feed(repo, reference string, m registry.Manifest) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, "/v2/"+repo+"/manifests/"+reference, bytes.NewReader(m.Raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", m.MediaType)
	answer := &buffer{header: http.Header{}}
	r.inner.ServeHTTP(answer, req)
	if answer.status != http.StatusCreated {
		return fmt.Errorf("%s: the registry refuses it: %s", reference, strings.TrimSpace(answer.body.String()))
	}
	return nil
}

// buffer keeps an answer.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

func (b *buffer) copyTo(w http.ResponseWriter) {
	for key, values := range b.header {
		w.Header()[key] = values
	}
	w.WriteHeader(b.status)
	_, _ = w.Write(b.body.Bytes()) // the client has gone if this fails
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client has gone if this fails
		"errors": []map[string]string{{"code": code, "message": message}},
	})
}

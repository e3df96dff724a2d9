package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

var manifestTypes = strings.Join([]string{
	registry.MediaTypeOCIIndex, registry.MediaTypeOCIManifest,
	registry.MediaTypeDockerList, registry.MediaTypeDockerManifest,
}, ", ")

// Resolve implements [registry.Reader].
func (r *Registry) Resolve(ctx context.Context, repo, reference string) (registry.Descriptor, error) {
	d, err := r.resolve(ctx, repo, reference)
	if err != nil {
		return registry.Descriptor{}, r.fail(repo, "manifest "+reference, err)
	}
	return d, nil
}

func (r *Registry) resolve(ctx context.Context, repo, reference string) (registry.Descriptor, error) {
	resp, err := r.do(ctx, call{
		what: "manifest " + reference, method: http.MethodHead, path: "manifests/" + url.PathEscape(reference),
		header: map[string]string{"Accept": manifestTypes},
		access: access{repo: r.path(repo)}, accept: []int{http.StatusOK, http.StatusMethodNotAllowed},
	})
	if err != nil {
		return registry.Descriptor{}, err
	}
	if err := resp.Body.Close(); err != nil {
		return registry.Descriptor{}, classify(ctx, err)
	}
	d := registry.Descriptor{
		MediaType: mediaType(resp.Header.Get("Content-Type"), nil),
		Digest:    resp.Header.Get("Docker-Content-Digest"),
		Size:      resp.ContentLength,
	}
	if d.Digest == "" && registry.IsDigest(reference) {
		d.Digest = reference
	}
	// What the header does not say must be read: the digest is optional in
	// the distribution specification, and some proxies drop lengths.
	if resp.StatusCode != http.StatusOK || !registry.IsDigest(d.Digest) || d.Size < 0 || d.MediaType == "" {
		m, err := r.manifest(ctx, repo, reference)
		if err != nil {
			return registry.Descriptor{}, err
		}
		return m.Descriptor(), nil
	}
	if registry.IsDigest(reference) && d.Digest != reference {
		return registry.Descriptor{}, fmt.Errorf("%w: the registry answered %s", registry.ErrDigestMismatch, d.Digest)
	}
	return d, nil
}

// Manifest implements [registry.Reader].
func (r *Registry) Manifest(ctx context.Context, repo, digest string) (registry.Manifest, error) {
	if !registry.IsDigest(digest) {
		return registry.Manifest{}, r.fail(repo, fmt.Sprintf("manifest %q", digest), errors.New("not a sha256 digest"))
	}
	m, err := r.manifest(ctx, repo, digest)
	if err != nil {
		return registry.Manifest{}, r.fail(repo, "manifest "+digest, err)
	}
	return m, nil
}

// manifest gets a manifest; one asked for by digest is checked.
func (r *Registry) manifest(ctx context.Context, repo, reference string) (registry.Manifest, error) {
	var m registry.Manifest
	err := r.retry(ctx, "manifest "+reference, func() error {
		resp, err := r.do(ctx, call{
			method: http.MethodGet, path: "manifests/" + url.PathEscape(reference),
			header: map[string]string{"Accept": manifestTypes},
			access: access{repo: r.path(repo)}, accept: []int{http.StatusOK}, once: true,
		})
		if err != nil {
			return err
		}
		raw, err := readAll(ctx, resp)
		if err != nil {
			return err
		}
		m = registry.Manifest{MediaType: mediaType(resp.Header.Get("Content-Type"), raw), Raw: raw}
		return nil
	})
	if err != nil {
		return registry.Manifest{}, err
	}
	if got := m.Digest(); registry.IsDigest(reference) && got != reference {
		return registry.Manifest{}, fmt.Errorf("%w: content hashes to %s", registry.ErrDigestMismatch, got)
	}
	return m, nil
}

// readAll reads a bounded body. A body that breaks off is worth another try.
func readAll(ctx context.Context, resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, registry.MaxManifestSize+1))
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &errRetry{error: fmt.Errorf("%w: the answer broke off: %s", registry.ErrUnreachable, printable(err.Error()))}
	}
	if len(raw) > registry.MaxManifestSize {
		return nil, fmt.Errorf("larger than %d bytes", registry.MaxManifestSize)
	}
	return raw, nil
}

// mediaType is what the manifest says of itself, as its digest covers that;
// otherwise the header, unless that is too general (some registries answer
// text/plain or application/json).
func mediaType(header string, raw []byte) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil {
		t = ""
	}
	if raw == nil {
		return t
	}
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Config    json.RawMessage   `json:"config"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return t
	}
	switch {
	case m.MediaType != "":
		return m.MediaType
	case strings.HasPrefix(t, "application/vnd."):
		return t
	case m.Manifests != nil:
		return registry.MediaTypeOCIIndex
	case m.Config != nil:
		return registry.MediaTypeOCIManifest
	}
	return t
}

// HasBlob implements [registry.Reader].
func (r *Registry) HasBlob(ctx context.Context, repo, digest string) (bool, error) {
	resp, err := r.do(ctx, call{
		what: "blob " + digest, method: http.MethodHead, path: "blobs/" + url.PathEscape(digest),
		access: access{repo: r.path(repo)}, accept: []int{http.StatusOK},
	})
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, r.fail(repo, "blob "+digest, err)
	}
	return true, resp.Body.Close()
}

// maxPages bounds a list that a registry sends in pages.
const maxPages = 1000

// Tags implements [registry.Reader].
func (r *Registry) Tags(ctx context.Context, repo string) ([]string, error) {
	var tags []string
	// No page size is asked for: a registry that truncates without saying so
	// would make us lose signatures.
	err := r.pages(ctx, repo, "tags", "tags/list", []int{http.StatusOK}, func(_ *http.Response, raw []byte) error {
		var page struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return fmt.Errorf("malformed list: %w", err)
		}
		tags = append(tags, page.Tags...)
		return nil
	})
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, r.fail(repo, "tags", err)
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// pages gets a list and the pages that its Link headers name.
func (r *Registry) pages(ctx context.Context, repo, what, path string, accept []int, page func(*http.Response, []byte) error) error {
	query, seen := "", map[string]bool{}
	for range maxPages {
		var next string
		err := r.retry(ctx, what, func() error {
			resp, err := r.do(ctx, call{
				method: http.MethodGet, path: path, query: query,
				header: map[string]string{"Accept": registry.MediaTypeOCIIndex + ", application/json"},
				access: access{repo: r.path(repo)}, accept: accept, once: true,
			})
			if err != nil {
				return err
			}
			raw, err := readAll(ctx, resp)
			if err != nil {
				return err
			}
			next = nextQuery(resp.Header.Get("Link"))
			return page(resp, raw)
		})
		if err != nil || next == "" {
			return err
		}
		if seen[next] {
			return errors.New("the registry's pages lead in a circle")
		}
		seen[next] = true
		query = next
	}
	return fmt.Errorf("more than %d pages", maxPages)
}

// nextQuery takes the query of a Link header's rel="next". Only the query: the
// rest of the address is ours, so a registry cannot send us elsewhere.
func nextQuery(link string) string {
	target, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(rest, "next") {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.RawQuery
}

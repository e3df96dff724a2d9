package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// PutManifest implements [registry.Writer].
func (r *Registry) PutManifest(ctx context.Context, repo string, manifest registry.Manifest, tags ...string) error {
	digest := manifest.Digest()
	err := r.putManifest(ctx, repo, manifest, tags)
	if err != nil {
		return r.fail(repo, "manifest "+digest, err)
	}
	return nil
}

func (r *Registry) putManifest(ctx context.Context, repo string, manifest registry.Manifest, tags []string) error {
	parts, err := manifest.Parse()
	if err != nil {
		return err
	}
	// A tag is a way to store the manifest under its digest, too: one request
	// each, and none more.
	references := tags
	if len(references) == 0 {
		references = []string{manifest.Digest()}
	}
	var listed bool
	for _, reference := range references {
		subject, err := r.putReference(ctx, repo, manifest, reference)
		if err != nil {
			return err
		}
		listed = listed || parts.Subject != nil && subject == parts.Subject.Digest
	}
	if parts.Subject == nil || listed {
		return nil
	}
	has, err := r.referrersAPI(ctx, repo, parts.Subject.Digest)
	if err != nil || has {
		return err
	}
	return r.addReferrer(ctx, repo, parts.Subject.Digest, manifest.Referrer(parts))
}

// putReference stores a manifest under a tag or its digest and returns the
// subject that the registry says it has listed it for.
func (r *Registry) putReference(ctx context.Context, repo string, manifest registry.Manifest, reference string) (string, error) {
	resp, err := r.do(ctx, call{
		what: "manifest " + reference, method: http.MethodPut, path: "manifests/" + url.PathEscape(reference),
		header: map[string]string{"Content-Type": manifest.MediaType}, body: manifest.Raw,
		access: access{repo: r.path(repo), push: true},
		accept: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
	})
	if err != nil {
		return "", err
	}
	if err := resp.Body.Close(); err != nil {
		return "", classify(ctx, err)
	}
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != manifest.Digest() {
		return "", fmt.Errorf("%w: the registry stored it as %s", registry.ErrDigestMismatch, printable(got))
	}
	return resp.Header.Get("OCI-Subject"), nil
}

// outgoing is the content of an upload. It remembers a failure of its own,
// which is not the registry's fault, and serialises reading and closing: the
// transport may still read while the answer is already there.
type outgoing struct {
	mu      sync.Mutex // guards the rest
	content io.ReadCloser
	err     error
	closed  bool
}

func (o *outgoing) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, errors.New("read after close")
	}
	n, err := o.content.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && o.err == nil {
		o.err = err
	}
	return n, err
}

func (o *outgoing) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	return o.content.Close()
}

func (o *outgoing) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

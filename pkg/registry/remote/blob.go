package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Blob implements [registry.Reader].
func (r *Registry) Blob(ctx context.Context, repo, digest string) (io.ReadCloser, error) {
	if !registry.IsDigest(digest) {
		return nil, r.fail(repo, fmt.Sprintf("blob %q", digest), errors.New("not a sha256 digest"))
	}
	d := &download{ctx: ctx, registry: r, repo: repo, digest: digest, size: -1}
	if err := d.open(); err != nil {
		return nil, r.fail(repo, "blob "+digest, err)
	}
	return registry.Verify(d, digest, d.size), nil
}

// download reads a blob and takes it up again where it broke off.
type download struct {
	// ctx is that of the Blob call: a reader's methods have none of their own.
	ctx      context.Context
	registry *Registry
	repo     string
	digest   string
	size     int64 // -1 when the registry does not say
	offset   int64
	resumed  int // without progress since
	body     io.ReadCloser
}

func (d *download) open() error {
	header := map[string]string{}
	if d.offset > 0 {
		end := ""
		if d.size > 0 {
			end = strconv.FormatInt(d.size-1, 10)
		}
		header["Range"] = fmt.Sprintf("bytes=%d-%s", d.offset, end)
	}
	resp, err := d.registry.do(d.ctx, call{ //nolint:bodyclose // it becomes d.body, which Close closes
		what: "blob " + d.digest, method: http.MethodGet, path: "blobs/" + url.PathEscape(d.digest), header: header,
		access: access{repo: d.registry.path(d.repo)}, accept: []int{http.StatusOK, http.StatusPartialContent},
	})
	if err != nil {
		return err
	}
	d.body = resp.Body
	if resp.StatusCode == http.StatusPartialContent && d.offset > 0 {
		return nil
	}
	if d.offset == 0 {
		d.size = resp.ContentLength
		return nil
	}
	// The registry knows no ranges: read over what is known.
	if _, err := io.CopyN(io.Discard, d.body, d.offset); err != nil {
		_ = d.body.Close() // it is broken already
		return fmt.Errorf("%w: the answer broke off", registry.ErrUnreachable)
	}
	return nil
}

func (d *download) Read(p []byte) (int, error) {
	for {
		n, err := d.body.Read(p)
		d.offset += int64(n)
		if n > 0 {
			d.resumed = 0
		}
		complete := d.size < 0 || d.offset >= d.size
		if err == nil || n > 0 || errors.Is(err, io.EOF) && complete {
			if err != nil && !errors.Is(err, io.EOF) {
				err = nil // the next read meets it again
			}
			return n, err
		}
		if d.ctx.Err() != nil {
			return 0, d.fail(context.Cause(d.ctx))
		}
		_ = d.body.Close() // it is broken already
		if d.resumed >= max(d.registry.config.Retries, 0) {
			return 0, d.fail(fmt.Errorf("%w: the content broke off after %d bytes", registry.ErrUnreachable, d.offset))
		}
		if err := d.registry.config.Wait(d.ctx, d.registry.backoff(d.resumed)); err != nil {
			return 0, d.fail(err)
		}
		d.resumed++
		if err := d.open(); err != nil {
			d.body = http.NoBody
			return 0, d.fail(err)
		}
	}
}

func (d *download) fail(err error) error {
	return d.registry.fail(d.repo, "blob "+d.digest, err)
}

func (d *download) Close() error { return d.body.Close() }

// PutBlob implements [registry.Writer].
func (r *Registry) PutBlob(ctx context.Context, repo string, blob registry.Descriptor, open func() (io.ReadCloser, error)) error {
	what := "blob " + blob.Digest
	if !registry.IsDigest(blob.Digest) || blob.Size < 0 {
		return r.fail(repo, fmt.Sprintf("blob %q", blob.Digest), errors.New("an upload needs a sha256 digest and a size"))
	}
	err := r.retry(ctx, what, func() error { return r.upload(ctx, repo, blob, open) })
	if err != nil {
		return r.fail(repo, what, err)
	}
	return nil
}

func (r *Registry) upload(ctx context.Context, repo string, blob registry.Descriptor, open func() (io.ReadCloser, error)) error {
	what, write := "blob "+blob.Digest, access{repo: r.path(repo), push: true}
	resp, err := r.do(ctx, call{
		what: what, method: http.MethodPost, path: "blobs/uploads/", access: write,
		body: []byte{}, accept: []int{http.StatusAccepted},
	})
	if err != nil {
		return err
	}
	target, err := r.uploadURL(resp, blob.Digest)
	if err != nil {
		return err
	}
	content, err := open()
	if err != nil {
		return &contentError{err}
	}
	body := &outgoing{content: registry.Verify(content, blob.Digest, blob.Size)}
	defer func() { _ = body.Close() }() // read only
	resp, err = r.do(ctx, call{
		what: what, method: http.MethodPut, url: target, access: write, once: true,
		header: map[string]string{"Content-Type": "application/octet-stream"},
		stream: body, length: blob.Size, accept: []int{http.StatusCreated, http.StatusNoContent},
	})
	if err == nil {
		return resp.Body.Close()
	}
	if failure := body.failure(); failure != nil {
		return failure
	}
	var again *errRetry
	if !errors.As(err, &again) && errors.Is(err, registry.ErrNotFound) {
		return &errRetry{error: fmt.Errorf("%w: the registry lost the upload", registry.ErrUnreachable)}
	}
	return err
}

// uploadURL is where a started upload continues.
func (r *Registry) uploadURL(resp *http.Response, digest string) (string, error) {
	if err := resp.Body.Close(); err != nil {
		return "", &errRetry{error: fmt.Errorf("%w: the answer broke off", registry.ErrUnreachable)}
	}
	location, err := resp.Location()
	if err != nil {
		return "", errors.New("the registry started an upload but did not say where")
	}
	if location.Host == r.at.host {
		location.Scheme = r.at.scheme // some registries behind a proxy say http
	} else if err := r.at.checkElsewhere(location.Scheme, location.Host); err != nil {
		return "", err
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	return location.String(), nil
}

// MountBlob implements [registry.Writer].
func (r *Registry) MountBlob(ctx context.Context, repo, from, digest string) (bool, error) {
	return r.mount(ctx, repo, r.path(from), digest)
}

// MountSource implements [registry.SourceMounter] for a source on the same host.
func (r *Registry) MountSource(ctx context.Context, repo string, source registry.Reader, sourceRepo, digest string) (bool, error) {
	s, ok := source.(*Registry)
	if !ok || s.at.host != r.at.host || s.at.scheme != r.at.scheme {
		return false, ctx.Err()
	}
	return r.mount(ctx, repo, s.path(sourceRepo), digest)
}

func (r *Registry) mount(ctx context.Context, repo, from, digest string) (bool, error) {
	if !registry.IsDigest(digest) {
		return false, r.fail(repo, fmt.Sprintf("blob %q", digest), errors.New("not a sha256 digest"))
	}
	resp, err := r.do(ctx, call{
		what: "mount of blob " + digest, method: http.MethodPost, path: "blobs/uploads/", body: []byte{},
		query:  url.Values{"mount": {digest}, "from": {from}}.Encode(),
		access: access{repo: r.path(repo), push: true, from: from},
		// Registries refuse a mount in many ways, and none of them matters: the
		// upload that follows meets whatever is really wrong.
		accept: []int{http.StatusCreated, http.StatusAccepted, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented},
	})
	if errors.Is(err, registry.ErrUnauthorized) {
		return false, nil // no token that reads from the other repository
	}
	if err != nil {
		return false, r.fail(repo, "mount of blob "+digest, err)
	}
	return resp.StatusCode == http.StatusCreated, resp.Body.Close()
}

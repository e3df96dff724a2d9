package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// call is one request to make, as often as needed.
type call struct {
	what   string // for messages: "manifest sha256:…"
	method string
	path   string // below the repository: "blobs/sha256:…"
	query  string
	url    string // instead of path and query, when the registry named one
	header map[string]string
	access access
	body   []byte
	// stream is a body that cannot be sent again; the call is then tried once.
	stream io.ReadCloser
	length int64
	accept []int // statuses to hand back
	// once leaves retries to the caller.
	once bool
}

// errRetry marks failures that another try may cure.
type errRetry struct {
	error
	after time.Duration // what the registry asked for
}

func (e *errRetry) Unwrap() error { return e.error }

// do makes a call and returns an accepted response, whose body the caller
// closes. Errors carry a sentinel of package registry, no URL and no secret,
// and do not yet name the registry (see fail).
func (r *Registry) do(ctx context.Context, c call) (*http.Response, error) {
	if !repositoryPattern.MatchString(c.access.repo) {
		return nil, errors.New("not a valid repository name")
	}
	c.access.push = c.access.push || r.config.Writable
	if c.once {
		return r.try(ctx, c)
	}
	var resp *http.Response
	err := r.retry(ctx, c.what, func() error {
		var err error
		resp, err = r.try(ctx, c) //nolint:bodyclose // the caller closes it
		return err
	})
	return resp, err
}

// retry runs try until it succeeds, fails for good or has used up its tries.
func (r *Registry) retry(ctx context.Context, what string, try func() error) error {
	for n := 0; ; n++ {
		if err := r.pause(ctx); err != nil {
			return err
		}
		err := try()
		var again *errRetry
		if err == nil || !errors.As(err, &again) || ctx.Err() != nil {
			return err
		}
		if n >= r.config.Retries {
			return again.error
		}
		d := r.backoff(n)
		r.config.Logger.DebugContext(ctx, "registry request is repeated", "registry", r.Name(), "what", what, "try", n+2, "wait", d, "cause", again.error)
		if again.after > 0 {
			r.holdBack(again.after)
			continue
		}
		if err := r.config.Wait(ctx, d); err != nil {
			return err
		}
	}
}

// backoff grows from 100 ms by doubling, with half of it left to chance so that
// clients that failed together do not return together.
func (r *Registry) backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 16), r.config.MaxWait)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter needs no secrecy
}

// holdBack makes every request wait as long as the registry asked for.
func (r *Registry) holdBack(d time.Duration) {
	until := time.Now().Add(min(d, r.config.MaxWait))
	r.mu.Lock()
	defer r.mu.Unlock()
	if until.After(r.pausedUntil) {
		r.pausedUntil = until
	}
}

func (r *Registry) pause(ctx context.Context) error {
	r.mu.Lock()
	d := time.Until(r.pausedUntil)
	r.mu.Unlock()
	if d > 0 {
		return r.config.Wait(ctx, d+rand.N(d/8+1)) //nolint:gosec // jitter needs no secrecy
	}
	return ctx.Err()
}

// try makes a call once, and once more with fresh credentials when they are
// refused.
func (r *Registry) try(ctx context.Context, c call) (*http.Response, error) {
	for {
		s, fresh, err := r.auth.session(ctx, c.access)
		if err != nil {
			return nil, classifyAccess(ctx, err)
		}
		resp, err := r.send(ctx, s, c)
		// A token that has expired is exchanged by the round tripper itself, with the
		// credentials that it began with: no answer at all may be the token server's no.
		expired := true
		switch {
		case err != nil:
			err = classifyAccess(ctx, err)
		case slices.Contains(c.accept, resp.StatusCode):
			return resp, nil
		default:
			expired = resp.StatusCode == http.StatusUnauthorized
			err = statusError(resp)
		}
		if !errors.Is(err, registry.ErrUnauthorized) || !r.auth.refused(s, expired, fresh) || fresh {
			return nil, err
		}
		if c.stream != nil {
			return nil, &errRetry{error: err} // some of it was read
		}
	}
}

func (r *Registry) send(ctx context.Context, s *session, c call) (*http.Response, error) {
	ctx, alive, release := watch(ctx, r.config.Stall)
	target := c.url
	if target == "" {
		target = r.at.scheme + "://" + r.at.host + "/v2/" + c.access.repo + "/" + c.path
		if c.query != "" {
			target += "?" + c.query
		}
	}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, sessionKey{}, s), c.method, target, nil)
	if err != nil {
		release()
		return nil, err
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	switch {
	case c.stream != nil:
		req.Body = &lively{ReadCloser: c.stream, alive: alive}
		req.ContentLength = c.length
		if c.length == 0 {
			req.Body = http.NoBody
		}
	case c.body != nil:
		setBody(req, c.body)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
		release()
		return nil, err
	}
	resp.Body = &lively{ReadCloser: resp.Body, alive: alive, release: release}
	return resp, nil
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(resp *http.Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// fail names the registry, the repository and what was asked for.
func (r *Registry) fail(repo, what string, err error) error {
	return fmt.Errorf("registry %s: repository %s: %s: %w", r.Name(), repo, what, err)
}

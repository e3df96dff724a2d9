package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// wire is the innermost layer: it settles the scheme, says who we are and
// counts.
type wire struct {
	inner     http.RoundTripper
	at        place
	userAgent string
	onRequest func(Request)
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	if out.URL.Host == w.at.host {
		out.URL.Scheme = w.at.scheme
	}
	out.Header.Set("User-Agent", w.userAgent)
	if w.onRequest == nil {
		return w.inner.RoundTrip(out)
	}
	seen := &Request{Method: req.Method, Path: req.URL.Path}
	sent := &counter{}
	if out.Body != nil && out.Body != http.NoBody {
		sent.ReadCloser = out.Body
		out.Body = sent
	}
	resp, err := w.inner.RoundTrip(out)
	if err != nil {
		seen.Sent = sent.n.Load()
		w.onRequest(*seen)
		return nil, err
	}
	seen.Status = resp.StatusCode
	received := &counter{ReadCloser: resp.Body}
	received.closed = func() {
		seen.Sent, seen.Received = sent.n.Load(), received.n.Load()
		w.onRequest(*seen)
	}
	resp.Body = received
	return resp, nil
}

// counter counts what is read from a body.
type counter struct {
	io.ReadCloser
	n      atomic.Int64
	once   sync.Once
	closed func()
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *counter) Close() error {
	err := c.ReadCloser.Close()
	if c.closed != nil {
		c.once.Do(c.closed)
	}
	return err
}

// checkRedirect lets a registry send clients to its blob storage, but not from
// https to http, nor to addresses that only mean something on this machine.
func (at place) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return fmt.Errorf("%w more than 10 times", errRedirect)
	}
	if req.URL.Host == at.host {
		return nil
	}
	return at.checkElsewhere(req.URL.Scheme, req.URL.Host)
}

var errRedirect = errors.New("the registry redirects")

func (at place) checkElsewhere(scheme, host string) error {
	if scheme != "https" && (scheme != "http" || at.scheme == "https") {
		return fmt.Errorf("%w to an unprotected %s address", errRedirect, scheme)
	}
	if isLoopback(host) && !isLoopback(at.host) {
		return fmt.Errorf("%w to a loopback address", errRedirect)
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(host); ip != nil && (ip.IsLinkLocalUnicast() || ip.IsUnspecified()) {
		return fmt.Errorf("%w to a link-local address", errRedirect)
	}
	return nil
}

// watch returns a context that is cancelled when nothing calls alive for the
// time given, and its release.
func watch(ctx context.Context, stall time.Duration) (watched context.Context, alive, release func()) {
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	return watched, func() { timer.Reset(stall) }, func() { timer.Stop(); cancel(context.Canceled) }
}

var errStalled = errors.New("the connection fell silent")

// lively reports each read as a sign of life.
type lively struct {
	io.ReadCloser
	alive   func()
	release func()
}

func (l *lively) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if n > 0 {
		l.alive()
	}
	return n, err
}

func (l *lively) Close() error {
	err := l.ReadCloser.Close()
	if l.release != nil {
		l.release()
	}
	return err
}

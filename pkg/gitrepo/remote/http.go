package remote

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

const (
	maxRedirects = 10
	// compressFrom is the size in bytes from which a request is sent
	// compressed, as git does.
	compressFrom = 1024
)

// httpDialer speaks git's smart http protocol.
type httpDialer struct {
	base        string // without trailing slash and without userinfo
	client      *http.Client
	secrets     *credentials
	onRoundTrip func(RoundTrip)
	log         *slog.Logger

	now func() time.Time

	mu sync.Mutex // guards the rest
	// moved is where the server has redirected to; empty if it has not, and after
	// movedUntil.
	moved      string
	movedUntil time.Time
	// plain is until when the server is taken for one that knows version 0 only.
	plain time.Time
	// takes is what it said that its receive-pack can do, and gives that of its
	// upload-pack, if that gives every reachable commit.
	takes *packp.AdvRefs
	gives *packp.AdvRefs
	// heard is when the server answered last.
	heard time.Time
}

// fresh is how long after an answer a connection is sure not to be closed by the
// server just now, because it was idle. The shortest usual limit is that of Apache
// httpd, 5 s.
const fresh = 4 * time.Second

// movedLife is how long a redirect is believed. Its repository may be renamed again,
// and another one take the name that is configured; nothing would tell at the new
// place.
const movedLife = 10 * time.Minute

func (d *httpDialer) stateless() bool { return true }

// known is where the repository is, and whether its server is taken for one that
// knows version 0 only.
func (d *httpDialer) known() (base string, plain bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.place(), d.now().Before(d.plain)
}

// place is where the repository is. It needs the lock.
func (d *httpDialer) place() string {
	if d.moved != "" && !d.now().Before(d.movedUntil) {
		d.forget()
	}
	return cmp.Or(d.moved, d.base)
}

// forget lets the next request go to where the repository is configured to be. It
// needs the lock.
func (d *httpDialer) forget() { d.moved, d.takes, d.gives = "", nil, nil }

func (d *httpDialer) host() string {
	u, err := url.Parse(d.base)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// httpClient makes the client of one Repo, with redirects under our rules.
func httpClient(o Options) (*http.Client, error) {
	client := &http.Client{}
	if o.HTTPClient != nil {
		if len(o.CABundle) > 0 || o.InsecureSkipTLS {
			return nil, errors.New("give an HTTP client or TLS options, not both")
		}
		*client = *o.HTTPClient
	} else {
		t, err := transportFor(o)
		if err != nil {
			return nil, err
		}
		client.Transport = t
	}
	client.CheckRedirect = checkRedirect
	return client, nil
}

// transports are shared by all Repos that trust the same: many of a process are on
// one host, and each connection that is kept open takes memory at both ends.
var transports = struct {
	sync.Mutex
	by map[trust]*http.Transport
}{by: map[trust]*http.Transport{}}

// trust is what decides whether a server is the right one.
type trust struct {
	bundle   string
	insecure bool
}

// idlePerHost is how many connections to one host are kept for later requests.
const idlePerHost = 32

// pings are for the one connection of http/2 that all requests to a host share. If
// its path is gone without a word, as when a firewall restarts, each of them would
// wait for its whole time limit, for as long as the kernel repeats what it has sent:
// about a quarter of an hour.
var pings = http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}

func transportFor(o Options) (*http.Transport, error) {
	key := trust{string(o.CABundle), o.InsecureSkipTLS}
	transports.Lock()
	defer transports.Unlock()
	if t := transports.by[key]; t != nil {
		return t, nil
	}
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the process has replaced http.DefaultTransport; give an HTTP client")
	}
	t := base.Clone()
	t.MaxIdleConnsPerHost = idlePerHost
	config := pings
	t.HTTP2 = &config
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.InsecureSkipTLS} //nolint:gosec // asked for by name
	if len(o.CABundle) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(o.CABundle) {
			return nil, errors.New("the CA bundle has no PEM certificate")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	transports.by[key] = t
	return t, nil
}

// checkRedirect follows redirects of the first request only, never from https
// to http, and takes the credentials along only within their origin.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if req.Method != http.MethodGet || via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return errors.New("too many redirects")
	}
	for _, hop := range append(via[1:len(via):len(via)], req) {
		if via[0].URL.Scheme == "https" && hop.URL.Scheme != "https" {
			return errors.New("redirect from https to http refused")
		}
		if !sameOrigin(via[0].URL, hop.URL) {
			req.Header.Del("Authorization")
		}
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// authorize adds the credentials of this moment to a request to their own
// origin.
func (d *httpDialer) authorize(req *http.Request) error {
	home, err := url.Parse(d.base)
	if err != nil || !sameOrigin(home, req.URL) {
		return nil
	}
	auth, err := d.secrets.now()
	switch {
	case err != nil:
		return err
	case auth.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+auth.BearerToken)
	case auth.Username != "" || auth.Password != "":
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	return nil
}

func (d *httpDialer) open(ctx context.Context, s service) (session, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+"/info/refs?service=git-"+string(s), nil)
	if err != nil {
		return nil, err
	}
	res, err := d.send(req, string(s)+" refs", 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := wantType(res, "application/x-git-"+string(s)+"-advertisement"); err != nil {
		return nil, err
	}
	adv, err := readAdvertisement(res.Body)
	if err != nil {
		return nil, err
	}
	// Later requests go where the first was redirected to.
	final := *res.Request.URL
	final.RawQuery = ""
	base, ok := strings.CutSuffix(final.String(), "/info/refs")
	if !ok {
		return nil, fmt.Errorf("%w: redirected to a page that is no repository", errMalformed)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved = ""
	if base != d.base {
		d.moved, d.movedUntil = base, d.now().Add(movedLife)
	}
	if s == receivePack {
		d.takes = &packp.AdvRefs{Capabilities: adv.Capabilities}
	} else if direct, final := directWants(adv, true); direct && final {
		d.gives = &packp.AdvRefs{Capabilities: adv.Capabilities}
	}
	return &httpSession{dialer: d, service: s, base: base, adv: adv}, nil
}

// again implements [dialer].
func (d *httpDialer) again(s service) session {
	d.mu.Lock()
	defer d.mu.Unlock()
	base := d.place()
	adv := d.gives
	if s == receivePack {
		// A push is not tried again by net/http, so it needs a connection that holds.
		if d.now().Sub(d.heard) > fresh {
			return nil
		}
		adv = d.takes
		d.takes = nil // kept again when the exchange was understood
	}
	if adv == nil {
		return nil
	}
	return &httpSession{dialer: d, service: s, base: base, adv: adv}
}

// httpSession keeps the advertisement; there is no connection state.
type httpSession struct {
	dialer  *httpDialer
	service service
	base    string
	adv     *packp.AdvRefs
}

func (s *httpSession) advertised() *packp.AdvRefs { return s.adv }
func (s *httpSession) close()                     {}

func (s *httpSession) exchange(ctx context.Context, request []byte) (io.ReadCloser, error) {
	answer, err := s.dialer.post(ctx, s.base, s.service, request, "", string(s.service))
	if err == nil && s.service == receivePack {
		s.dialer.mu.Lock()
		defer s.dialer.mu.Unlock()
		s.dialer.takes = &packp.AdvRefs{Capabilities: s.adv.Capabilities}
	}
	return answer, err
}

// post sends a request to a service. protocol is the version that is asked for,
// kind the one of the [RoundTrip].
func (d *httpDialer) post(ctx context.Context, base string, to service, request []byte, protocol, kind string) (io.ReadCloser, error) {
	body, encoding := request, ""
	if to == uploadPack && len(request) >= compressFrom {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(request) // a bytes.Buffer does not fail
		_ = z.Close()
		body, encoding = b.Bytes(), "gzip"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/git-"+string(to), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-git-"+string(to)+"-request")
	req.Header.Set("Accept", "application/x-git-"+string(to)+"-result")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	if protocol != "" {
		req.Header.Set("Git-Protocol", protocol)
	}
	if to == uploadPack {
		// It only reads. With this, which is not sent, net/http tries again if the
		// server has just closed the connection that was idle, as it does for a GET.
		req.Header["Idempotency-Key"] = nil
	}
	res, err := d.send(req, kind, int64(len(body)))
	if err == nil {
		if err = wantType(res, "application/x-git-"+string(to)+"-result"); err == nil {
			return res.Body, nil
		}
		_ = res.Body.Close()
	}
	if base != d.base && !busy(err) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.forget() // it may be somewhere else by now
	}
	return nil, err
}

// send does one request. The body of the response counts what is read and
// reports the round trip when it is closed.
func (d *httpDialer) send(req *http.Request, kind string, sent int64) (*http.Response, error) {
	req.Header.Set("User-Agent", capability.DefaultAgent())
	if err := d.authorize(req); err != nil {
		return nil, err
	}
	authenticated := req.Header.Get("Authorization") != ""
	res, err := d.client.Do(req)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err // without the URL, which the message has already
		}
		return nil, err
	}
	res.Body = &countedBody{ReadCloser: res.Body, report: func(received int64) {
		d.log.DebugContext(req.Context(), "git round trip", "kind", kind, "status", res.StatusCode, "sent", sent, "received", received)
		if d.onRoundTrip != nil {
			d.onRoundTrip(RoundTrip{Kind: kind, BytesSent: sent, BytesReceived: received})
		}
	}}
	d.mu.Lock()
	d.heard = d.now()
	d.mu.Unlock()
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, &statusCode{statusError(res.StatusCode, plainText(res), authenticated), res.StatusCode}
}

// plainText is the server's explanation unless it is a page for browsers.
func plainText(res *http.Response) string {
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/plain" {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxText)) // as much as there is
	return strings.TrimSpace(string(text))
}

func wantType(res *http.Response, want string) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind == want {
		return nil
	}
	return fmt.Errorf("%w: content type %q where %s is expected; is this the URL of a git repository?", errMalformed, kind, want)
}

type countedBody struct {
	io.ReadCloser
	n      int64
	closed bool
	report func(int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

func (b *countedBody) Close() error {
	if !b.closed {
		b.closed = true
		// Read to the end, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, b, 4096)
		b.report(b.n)
	}
	return b.ReadCloser.Close()
}

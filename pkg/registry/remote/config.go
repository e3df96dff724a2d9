package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Config says which registry to use and how. Only Name is required.
type Config struct {
	// Name is host, optional port and optional path prefix as they appear in
	// image references: "stage.registry.example/shop".
	Name string
	// Endpoint is where that registry is reached if not at https://Name, for
	// example "http://127.0.0.1:5000/stage"; its path replaces the prefix of
	// Name. Plain http needs an Endpoint that says so, or a loopback host.
	Endpoint string
	// Keychain finds the credentials. Default: the docker (or podman)
	// configuration of the user.
	Keychain authn.Keychain
	// Writable asks for the right to push from the start, even to read: some
	// registries answer a reader 401 for a repository that does not exist yet
	// (Docker Hub), but 404 to those who may create it. Set it for destinations.
	Writable bool
	// Transport makes the connections. Default: a transport of its own with
	// the proxy settings of the environment.
	Transport http.RoundTripper
	// Logger is told of retries, at debug level. Default: silent.
	Logger *slog.Logger
	// Retries is how often a request is repeated. Default: 6; negative: never.
	Retries int
	// MaxWait bounds one wait between tries, whatever the registry asks for.
	// Default: 30 s.
	MaxWait time.Duration
	// Stall is how long a connection may stay silent before it counts as
	// broken. Default: 5 min, as a registry may take long to file a large blob.
	Stall time.Duration
	// UserAgent is sent with every request. Default: "propagator".
	UserAgent string
	// OnRequest is told of every finished HTTP request, including those for
	// tokens. It may be called from several goroutines at once.
	OnRequest func(Request)
	// Wait pauses between tries; it returns early when ctx ends. Default: a
	// timer. Tests use it as a clock.
	Wait func(ctx context.Context, d time.Duration) error
}

// Request is one finished HTTP request.
type Request struct {
	Method string
	// Path without host and query.
	Path string
	// Status is 0 when there was no answer.
	Status int
	// Sent and Received count the bytes of the bodies.
	Sent, Received int64
}

// place is where a registry is reached.
type place struct {
	scheme, host string
	prefix       string // path of the repositories below, without slashes at the ends
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// complete fills in defaults and reports every fault at once.
func (c Config) complete() (Config, place, error) {
	at, errs := c.locate()
	if c.Keychain == nil {
		c.Keychain = authn.DefaultKeychain
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Retries == 0 {
		c.Retries = 6
	}
	if c.MaxWait <= 0 {
		c.MaxWait = 30 * time.Second
	}
	if c.Stall <= 0 {
		c.Stall = 5 * time.Minute
	}
	if c.UserAgent == "" {
		c.UserAgent = "propagator"
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	return c, at, errors.Join(errs...)
}

func (c Config) locate() (place, []error) {
	var errs []error
	host, prefix, _ := strings.Cut(c.Name, "/")
	u, err := url.Parse("//" + host)
	if err != nil || host == "" || u.Host != host {
		errs = append(errs, errors.New("registry name must be host[:port][/prefix], without scheme or credentials"))
		host = ""
	}
	if prefix != "" && !prefixPattern.MatchString(prefix) {
		errs = append(errs, fmt.Errorf("registry name %q: the prefix must be lower case path elements", host+"/…"))
	}
	at := place{scheme: "https", host: host, prefix: prefix}
	if host == "docker.io" {
		at.host = "index.docker.io" // where Docker Hub serves its API
	}
	if isLoopback(host) {
		at.scheme = "http"
	}
	if c.Endpoint == "" {
		return at, errs
	}
	e, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https":
		return at, append(errs, fmt.Errorf("registry %s: the endpoint must be an http:// or https:// URL", c.Name))
	case e.User != nil:
		return at, append(errs, fmt.Errorf("registry %s: the endpoint must not contain credentials; give a keychain", c.Name))
	case e.RawQuery != "" || e.Fragment != "":
		return at, append(errs, fmt.Errorf("registry %s: the endpoint must have no query or fragment", c.Name))
	}
	at = place{scheme: e.Scheme, host: e.Host, prefix: strings.Trim(e.Path, "/")}
	if at.prefix != "" && !prefixPattern.MatchString(at.prefix) {
		errs = append(errs, fmt.Errorf("registry %s: the path of the endpoint must be lower case path elements", c.Name))
	}
	return at, errs
}

// isLoopback reports whether host[:port] can only be this machine.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 15 * time.Second,
		ForceAttemptHTTP2:   true,
		// One connection is shared, and its path may be gone without a word.
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   64, // all transfers go to one host
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

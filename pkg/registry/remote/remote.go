package remote

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Registry is a registry reached over HTTP. Its methods are safe for
// concurrent use; it needs no closing.
type Registry struct {
	config Config
	at     place
	ggcr   name.Registry
	client *http.Client
	auth   *authenticator

	referrers keyedLocks // one writer per fallback tag
	probes    keyedLocks // one goroutine finds out about a repository

	mu           sync.Mutex      // guards the rest
	pausedUntil  time.Time       // what a Retry-After asked for
	hasReferrers map[string]bool // by repository
}

var (
	_ registry.Registry      = (*Registry)(nil)
	_ registry.ReferrersAPI  = (*Registry)(nil)
	_ registry.SourceMounter = (*Registry)(nil)
)

// New returns the registry that config describes. It makes no request.
func New(config Config) (*Registry, error) {
	config, at, err := config.complete()
	if err != nil {
		return nil, err
	}
	options := []name.Option{}
	if at.scheme == "http" {
		options = append(options, name.Insecure)
	}
	ggcr, err := name.NewRegistry(at.host, options...)
	if err != nil {
		return nil, fmt.Errorf("registry %s: unusable host: %w", config.Name, err)
	}
	r := &Registry{config: config, at: at, ggcr: ggcr, hasReferrers: map[string]bool{}}
	wire := &wire{inner: config.Transport, at: at, userAgent: config.UserAgent, onRequest: config.OnRequest}
	r.auth = newAuthenticator(config, at, ggcr, wire)
	r.client = &http.Client{Transport: authorized{}, CheckRedirect: at.checkRedirect}
	return r, nil
}

// Name implements [registry.Reader].
func (r *Registry) Name() string { return r.config.Name }

var repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// path is the repository's full path on the host.
func (r *Registry) path(repo string) string {
	full := repo
	if r.at.prefix != "" {
		full = r.at.prefix + "/" + repo
	}
	if r.at.host == "index.docker.io" && !strings.Contains(full, "/") {
		full = "library/" + full // Docker Hub's official images
	}
	return full
}

// keyedLocks is a mutex per key.
type keyedLocks struct {
	mu    sync.Mutex
	locks map[string]chan struct{}
}

// lock waits for the key's lock and returns its release.
func (k *keyedLocks) lock(ctx context.Context, key string) (func(), error) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]chan struct{}{}
	}
	c, ok := k.locks[key]
	if !ok {
		c = make(chan struct{}, 1)
		k.locks[key] = c
	}
	k.mu.Unlock()
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

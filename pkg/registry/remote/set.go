package remote

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Set opens the registries that a pipeline names, each once. It is safe for
// concurrent use after its fields are set.
type Set struct {
	// Endpoints reroutes registries, by the beginning of their names: a host,
	// or a host and path, to http(s)://host[:port][/path]. They win over the
	// pipeline's configuration.
	Endpoints map[string]string
	// Keychain, Transport, Logger, Retries and OnRequest are handed to Config.
	Keychain  authn.Keychain
	Transport http.RoundTripper
	Logger    *slog.Logger
	Retries   int
	OnRequest func(Request)

	mu   sync.Mutex // guards open
	open map[string]*Registry
}

// Bind adds the flag of the endpoints.
func (s *Set) Bind(flags *pflag.FlagSet) {
	flags.StringToStringVar(&s.Endpoints, "registry-endpoint", s.Endpoints,
		"where a registry is reached if not at https://<its name>: NAME=URL, for instance registry.example=http://127.0.0.1:5000; may be repeated")
}

// Open returns a registry of a pipeline.
func (s *Set) Open(r config.Registry) (registry.Registry, error) {
	// Only what keeps its images is ever written to.
	return s.registry(r.URL, r.Endpoint, r.LongLiving())
}

// Upstream returns a third-party registry by its host.
func (s *Set) Upstream(host, endpoint string) (registry.Reader, error) {
	return s.registry(host, endpoint, false)
}

func (s *Set) registry(name, endpoint string, writable bool) (*Registry, error) {
	if rerouted, ok, err := s.reroute(name); err != nil {
		return nil, err
	} else if ok {
		endpoint = rerouted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprint(name, " ", endpoint, " ", writable)
	if r, ok := s.open[key]; ok {
		return r, nil
	}
	r, err := New(Config{
		Name: name, Endpoint: endpoint, Keychain: s.Keychain, Transport: s.Transport, Logger: s.Logger, Retries: s.Retries, Writable: writable, OnRequest: s.OnRequest,
	})
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*Registry{}
	}
	s.open[key] = r
	return r, nil
}

// reroute finds the endpoint of the longest matching name.
func (s *Set) reroute(name string) (string, bool, error) {
	best, found := "", false
	for from := range s.Endpoints {
		if (name == from || strings.HasPrefix(name, from+"/")) && len(from) >= len(best) {
			best, found = from, true
		}
	}
	if !found {
		return "", false, nil
	}
	to, err := url.Parse(s.Endpoints[best])
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" || to.User != nil {
		return "", false, fmt.Errorf("--registry-endpoint %s: write NAME=http(s)://host[:port][/path]", best)
	}
	return strings.TrimSuffix(to.String(), "/") + strings.TrimPrefix(name, best), true, nil
}

package generator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// Config describes a Server.
type Config struct {
	// Repositories are the pipelines' repositories; at least one.
	Repositories []gitrepo.Opener
	// Branch is the source branch of all of them. Default: main.
	Branch string
	// PublicURL is the repository's URL as Argo CD shall use it, when that is
	// not the one this program uses; only with a single repository.
	PublicURL string
	// Tokens are what callers must send. Required.
	Tokens *service.Tokens
	// Interval is how often the repositories are looked at without being
	// asked. Default: 1 minute.
	Interval time.Duration
	Service  service.Options
	// Log is optional.
	Log *slog.Logger
}

// Server answers the ApplicationSet controller.
type Server struct {
	sources    []*source
	interval   time.Duration
	http       *service.Server
	requests   *prometheus.CounterVec
	background context.Context //nolint:containedctx // the life of the loads, which outlive the request that asked for them
	stop       context.CancelFunc
}

// New makes a server that does not listen yet.
func New(c Config) (*Server, error) {
	switch {
	case len(c.Repositories) == 0:
		return nil, errors.New("no repository; name one with --repository")
	case c.Tokens == nil:
		return nil, errors.New("no token")
	case c.PublicURL != "" && len(c.Repositories) > 1:
		return nil, errors.New("--public-url needs a single --repository")
	case hasSecret(c.PublicURL):
		return nil, errors.New("--public-url holds credentials, which every Application would show; Argo CD has its own, in a repository Secret")
	case c.Interval < 0:
		return nil, fmt.Errorf("--interval is %s; it must be positive", c.Interval)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Branch == "" {
		c.Branch = "main"
	}
	if c.Interval == 0 {
		c.Interval = time.Minute
	}
	s := &Server{interval: c.Interval}
	for _, open := range c.Repositories {
		repo, err := open()
		if err != nil {
			return nil, err
		}
		s.sources = append(s.sources, &source{
			repo: repo, url: repo.URL(), open: open, branch: c.Branch, publicURL: c.PublicURL, renderer: service.Version().Version, log: c.Log,
		})
	}
	s.background, s.stop = context.WithCancel(context.Background())
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "propagator_generator_requests_total", Help: "Answers to the ApplicationSet controller by HTTP status.",
	}, []string{"status"})
	mux := http.NewServeMux()
	mux.Handle("POST /api/v1/getparams.execute", c.Tokens.Require(http.HandlerFunc(s.getParams), c.Log))
	s.http = service.New(service.Config{Options: c.Service, Handler: mux, Log: c.Log})
	s.http.Registry().MustRegister(s.requests, s.ageGauge())
	s.http.Health().Register("repositories", s.ready)
	return s, nil
}

// hasSecret reports whether a URL has a password, or, where the user alone can
// be a token, a user.
func hasSecret(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return false // git@host:path is no URL, and its user no secret
	}
	_, password := u.User.Password()
	return password || u.Scheme == "http" || u.Scheme == "https"
}

// ageGauge shows how old the state is that would be served.
func (s *Server) ageGauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "propagator_generator_state_age_seconds", Help: "Age of the oldest repository state that is served; -1 before the first.",
	}, func() float64 {
		oldest := 0.0
		for _, source := range s.sources {
			now := source.state()
			if now.last == nil {
				return -1
			}
			oldest = max(oldest, time.Since(now.loadedAt).Seconds())
		}
		return oldest
	})
}

// ready reports why an answer could not be given for some repository.
func (s *Server) ready(context.Context) error {
	var missing []string
	for _, source := range s.sources {
		if now := source.state(); now.last == nil {
			missing = append(missing, fmt.Sprintf("%s: %v", source.url, orPending(now.err)))
		}
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "; "))
	}
	return nil
}

// Listen takes the addresses.
func (s *Server) Listen(ctx context.Context) error { return s.http.Listen(ctx) }

// Addr is where requests are served; after Listen.
func (s *Server) Addr() net.Addr { return s.http.Addr() }

// Serve answers until the context ends. When it returns, nothing is under way.
func (s *Server) Serve(ctx context.Context) error {
	defer func() {
		s.stop()
		for _, source := range s.sources {
			source.idle.Wait()
		}
	}()
	var loops sync.WaitGroup
	defer loops.Wait()
	ticking, cancel := context.WithCancel(ctx)
	defer cancel()
	loops.Go(func() { s.tick(ticking) })
	return s.http.Serve(ctx)
}

// tick looks at every repository now and then, so that readiness and metrics
// are true without a request, and a request has little left to fetch.
func (s *Server) tick(ctx context.Context) {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		for _, source := range s.sources {
			select {
			case <-source.refresh(s.background):
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

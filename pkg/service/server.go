package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Bounds of one connection. Callers are controllers inside a cluster: their
// requests are small and come at once. Idle connections go early because some
// of Argo CD's clients open a new one each time and never close the old.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 30 * time.Second
	maxHeader     = 64 << 10
)

// Config describes a Server.
type Config struct {
	// Options must be valid ([Options.Validate]).
	Options Options
	// Handler is the program's own; nil means health and metrics only.
	Handler http.Handler
	// Log is optional.
	Log *slog.Logger
	// Registry is what /metrics shows. Default: NewRegistry().
	Registry *prometheus.Registry
	// Health holds the readiness checks. Default: none.
	Health *Health
}

// Server serves the program's handler and, for the operator, /healthz (the
// process is alive), /readyz (every check passes) and /metrics.
type Server struct {
	options  Options
	handler  http.Handler
	operator http.Handler
	log      *slog.Logger
	registry *prometheus.Registry
	health   *Health

	// Set by Listen; the second is nil when both share one address.
	main, admin net.Listener
}

// New makes a server that does not listen yet.
func New(c Config) *Server {
	s := &Server{
		options:  c.Options,
		log:      orDiscard(c.Log),
		registry: c.Registry,
		health:   c.Health,
	}
	if s.registry == nil {
		s.registry = NewRegistry()
	}
	if s.health == nil {
		s.health = &Health{}
	}
	operator := http.NewServeMux()
	operator.HandleFunc("GET /healthz", s.health.live)
	operator.HandleFunc("GET /readyz", s.health.ready)
	operator.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	s.operator = operator
	if c.Handler != nil {
		// Outermost first: a panic is logged as the 500 it becomes, and every
		// line has the request's id.
		s.handler = identify(observe(contain(c.Handler, s.log), s.log, newRequestMetrics(s.registry)))
	}
	return s
}

// Health holds the readiness checks.
func (s *Server) Health() *Health { return s.health }

// Registry is where metrics are registered.
func (s *Server) Registry() *prometheus.Registry { return s.registry }

// Run listens and serves until the context ends. It returns nil after an
// orderly shutdown.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	return s.Serve(ctx)
}

// Listen takes the addresses, so that a start that cannot succeed fails at
// once. It is called once, before Serve.
func (s *Server) Listen(ctx context.Context) (err error) {
	shared := s.options.OperatorListen == "" || s.handler == nil
	if shared {
		address, flag := s.options.Listen, flagListen
		if s.handler == nil && s.options.OperatorListen != "" {
			address, flag = s.options.OperatorListen, flagOperator
		}
		s.main, err = listen(ctx, address, flag)
		return err
	}
	if s.main, err = listen(ctx, s.options.Listen, flagListen); err != nil {
		return err
	}
	if s.admin, err = listen(ctx, s.options.OperatorListen, flagOperator); err != nil {
		_ = s.main.Close()
	}
	return err
}

func listen(ctx context.Context, address, flag string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen %s: address already in use; choose another with --%s", address, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen %s: permission denied; choose a port above 1023 with --%s", address, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen %s: this machine does not have the address; choose another with --%s", address, flag)
	}
	return listener, err
}

// Addr is where the handler is served; after Listen.
func (s *Server) Addr() net.Addr { return s.main.Addr() }

// OperatorAddr is where health and metrics are served; after Listen.
func (s *Server) OperatorAddr() net.Addr {
	if s.admin == nil {
		return s.main.Addr()
	}
	return s.admin.Addr()
}

// Close gives the addresses back when Serve is not going to be called.
func (s *Server) Close() error {
	if s.admin == nil {
		return s.main.Close()
	}
	return errors.Join(s.main.Close(), s.admin.Close())
}

// Serve serves until the context ends, then stops in order: unready, no new
// connections, requests under way finish within the shutdown timeout, the rest
// is cut off. The operator's address answers until the last request is done.
// It is called once, after Listen.
func (s *Server) Serve(ctx context.Context) error {
	// Requests outlive ctx, so that they can finish; they end with the server.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()

	group, failed := errgroup.WithContext(ctx)
	main := s.newServer(requests, s.mainHandler())
	var admin *http.Server
	group.Go(func() error { return serve(main, s.main) })
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("address", s.main.Addr().String()), slog.String("version", Version().String()))
	if s.admin != nil {
		admin = s.newServer(requests, s.operator)
		group.Go(func() error { return serve(admin, s.admin) })
		s.log.LogAttrs(ctx, slog.LevelInfo, "serving health and metrics", slog.String("address", s.admin.Addr().String()))
	}
	group.Go(func() error {
		<-failed.Done()
		s.health.Stop()
		drain, cancel := context.WithTimeout(requests, s.options.ShutdownTimeout)
		defer cancel()
		err := shutdown(drain, main)
		if admin != nil {
			err = errors.Join(err, shutdown(drain, admin))
		}
		if err != nil {
			s.log.LogAttrs(requests, slog.LevelWarn, "requests were cut off at shutdown", slog.Duration("after", s.options.ShutdownTimeout))
		}
		return nil
	})
	return group.Wait()
}

// mainHandler serves the operator's paths too when there is one address only.
func (s *Server) mainHandler() http.Handler {
	switch {
	case s.handler == nil:
		return s.operator
	case s.admin != nil:
		return s.handler
	}
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.operator)
	mux.Handle("GET /readyz", s.operator)
	mux.Handle("GET /metrics", s.operator)
	mux.Handle("/", s.handler)
	return mux
}

func (s *Server) newServer(requests context.Context, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

func serve(server *http.Server, listener net.Listener) error {
	err := server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", listener.Addr(), err)
}

// shutdown drains a server; what does not end in time is cut off.
func shutdown(ctx context.Context, server *http.Server) error {
	err := server.Shutdown(ctx)
	if err != nil {
		_ = server.Close()
	}
	return err
}

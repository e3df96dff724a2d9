package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// sendAhead is how many bytes a request may send before they are wanted.
const sendAhead = 512 << 10

// Server serves the plugin on its socket, and health and metrics over HTTP.
type Server struct {
	options  Options
	log      *slog.Logger
	operator *service.Server
	plugin   *plugin
	grpc     *grpc.Server
	health   *health.Server

	socket *socket // set by Listen
}

// New makes a server that does not listen yet. log may be nil.
func New(options Options, log *slog.Logger) (*Server, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		options:  options,
		log:      log,
		operator: service.New(service.Config{Options: options.Service, Log: log}),
		health:   health.NewServer(),
	}
	s.plugin = &plugin{
		limits:   options.limits(),
		workers:  newWorkers(options.Workers),
		metrics:  newMetrics(s.operator.Registry()),
		log:      log,
		generate: Generate,
	}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(cmpwire.MaxMessage),
		grpc.MaxSendMsgSize(cmpwire.MaxMessage),
		// What a waiting request may send ahead; left to itself, gRPC lets that
		// grow to 16 MiB for each.
		grpc.StaticStreamWindowSize(sendAhead),
		grpc.StaticConnWindowSize(sendAhead),
		// Without this, a render of a minute is ended with "too many pings".
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.containUnary),
		grpc.StreamInterceptor(s.containStream),
	)
	pluginpb.RegisterConfigManagementPluginServiceServer(s.grpc, s.plugin)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	return s, nil
}

// Run listens and serves until the context ends.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	return s.Serve(ctx)
}

// Listen takes the socket and the operator's address. It is called once.
func (s *Server) Listen(ctx context.Context) error {
	// The operator's address first: repo-server dials as soon as the socket is
	// there, and remembers failures for an hour.
	if err := s.operator.Listen(ctx); err != nil {
		return err
	}
	var err error
	if s.socket, err = listenSocket(ctx, s.options.socket()); err != nil {
		return errors.Join(err, s.operator.Close())
	}
	s.operator.Health().Register("socket", func(context.Context) error { return s.socket.present() })
	return nil
}

// Socket is the path that repo-server dials.
func (s *Server) Socket() string { return s.options.socket() }

// OperatorAddr is where health and metrics are served; after Listen.
func (s *Server) OperatorAddr() net.Addr { return s.operator.OperatorAddr() }

// Serve serves until the context ends; then the socket is removed, renders
// under way finish within the shutdown timeout, and the rest is cut off. It is
// called once, after Listen.
func (s *Server) Serve(ctx context.Context) error {
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving the plugin; Applications refer to it as spec.source.plugin.name",
		slog.String("name", s.options.Name), slog.String("socket", s.socket.path), slog.Int("workers", s.options.Workers))
	group, failed := errgroup.WithContext(ctx)
	group.Go(func() error { return s.serveSocket(s.socket) })
	group.Go(func() error {
		<-failed.Done()
		s.stop()
		return nil
	})
	group.Go(func() error { return s.operator.Serve(failed) })
	return group.Wait()
}

func (s *Server) serveSocket(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	}
	return nil
}

// stop ends the gRPC server in order. It relies on every call to end with its
// context: gRPC waits for handlers even when it is told to hurry.
func (s *Server) stop() {
	s.health.Shutdown()
	cut := time.AfterFunc(s.options.Service.ShutdownTimeout, s.grpc.Stop)
	defer cut.Stop()
	s.grpc.GracefulStop()
}

func (s *Server) containUnary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	defer s.contain(ctx, &err)
	return handler(ctx, request)
}

func (s *Server) containStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.contain(stream.Context(), &err)
	return handler(server, stream)
}

// contain ends a panicking call instead of the process.
func (s *Server) contain(ctx context.Context, err *error) {
	if fault := recover(); fault != nil {
		s.plugin.logPanic(ctx, fault)
		*err = asStatus(errPanic)
	}
}

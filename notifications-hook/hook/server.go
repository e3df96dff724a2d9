package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/githost"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// Config describes a Server.
type Config struct {
	// Pipelines to work on; at least one.
	Pipelines []Pipeline
	// Tokens are what Argo CD must send. Required.
	Tokens *service.Tokens
	// Interval is how often each pipeline is looked at without an event.
	// Default: 1 minute.
	Interval time.Duration
	// Timeout bounds one run; a mirror that takes longer goes on in the next.
	// Default: 30 minutes.
	Timeout time.Duration
	// Watch, when set, calls changed with the pipeline of every Application that
	// changes, until the context ends; "" for one whose pipeline is not known. It
	// only saves time: nothing is lost without it.
	Watch func(ctx context.Context, changed func(pipeline string))
	// Members, when set, are the replicas that share the pipelines: what another
	// one owns is looked at when an event came to this one, and seldom else. It
	// only saves work: any number of replicas may work on the same pipeline.
	Members Members
	// Webhooks are the secrets that git hosts share with us. Without them none is
	// listened to.
	Webhooks *githost.Secrets
	Service  service.Options
	// Log is optional.
	Log *slog.Logger
}

// maxLooks is how many pipelines are looked at at the same time. Most of a look is
// waiting for a git host: with a tenth of a second each, a thousand take 6 s.
const maxLooks = 16

// Pipeline is one repository and the engine that works on it. The engine
// belongs to the server from then on.
type Pipeline struct {
	Engine *promotion.Engine
	// Open, when set, gives a new view of Engine.Repo.
	Open gitrepo.Opener
}

// Server receives events and runs the engines.
type Server struct {
	config  Config
	workers []*worker
	webhook *webhook // nil: no git host is listened to
	metrics *metrics
	http    *service.Server
}

// New makes a server that does not listen yet.
func New(c Config) (*Server, error) {
	if len(c.Pipelines) == 0 {
		return nil, errors.New("no repository; name one with --repository")
	}
	if c.Tokens == nil {
		return nil, errors.New("no token")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Interval < 0 {
		return nil, fmt.Errorf("--interval is %s; it must be positive", c.Interval)
	}
	if c.Timeout < 0 {
		return nil, fmt.Errorf("--timeout is %s; it must be positive", c.Timeout)
	}
	if c.Interval == 0 {
		c.Interval = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Minute
	}
	s := &Server{config: c}
	mux := http.NewServeMux()
	mux.Handle("POST /api/v1/argocd", c.Tokens.Require(http.HandlerFunc(s.notify), c.Log))
	mux.Handle("POST /api/v1/wake", c.Tokens.Require(http.HandlerFunc(s.wakeAll), c.Log))
	mux.Handle("GET /api/v1/status", c.Tokens.Require(http.HandlerFunc(s.status), c.Log))
	if c.Webhooks == nil {
		mux.HandleFunc("POST /api/v1/webhook", noWebhook)
	} else {
		s.webhook = newWebhook(c.Webhooks)
		mux.HandleFunc("POST /api/v1/webhook", s.pushed)
	}
	s.http = service.New(service.Config{Options: c.Service, Handler: mux, Log: c.Log})
	s.metrics = newMetrics(s.http.Registry())
	looks := promotion.NewLooks(maxLooks)
	for _, pipeline := range c.Pipelines {
		pipeline.Engine.Looks = looks
		s.workers = append(s.workers, newWorker(pipeline, c, s.metrics))
	}
	return s, nil
}

// Listen takes the addresses.
func (s *Server) Listen(ctx context.Context) error { return s.http.Listen(ctx) }

// Addr is where events are received; after Listen.
func (s *Server) Addr() net.Addr { return s.http.Addr() }

// Serve works until the context ends. A run that is under way is cancelled: it
// leaves nothing half-done in git, and the next start continues it.
func (s *Server) Serve(ctx context.Context) error {
	working, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	for _, worker := range s.workers {
		loops.Go(func() { worker.run(working) })
	}
	if s.config.Members != nil {
		loops.Go(func() {
			s.config.Members.Run(working, func() {
				for _, worker := range s.workers {
					worker.shift()
				}
			})
		})
	}
	if s.config.Watch != nil {
		loops.Go(func() {
			s.config.Watch(working, func(pipeline string) {
				for _, worker := range s.workers {
					if worker.concerns(pipeline) {
						worker.nudge()
					}
				}
			})
		})
	}
	return s.http.Serve(ctx)
}

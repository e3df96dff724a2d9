package servicenet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
)

// headerTimeout bounds how long a client may take to say what it wants, so
// that a client that was stopped in mid-request does not stay for ever.
const headerTimeout = 30 * time.Second

// Config is what a [Network] needs.
type Config struct {
	// Client reads the Services.
	Client dynamic.Interface
	// Namespace is that of Services whose name is given without one, as in a
	// Pod of this namespace. Empty means argocd.
	Namespace string
	// Log receives one debug line for each request. Nil means none.
	Log *slog.Logger
}

// Network is a Service network. Make one with [Start].
type Network struct {
	client    dynamic.Interface
	namespace string
	log       *slog.Logger
	server    *http.Server
	address   string
	forwarder *httputil.ReverseProxy
	stop      context.CancelFunc
	running   context.Context // Ends with the network; it has no other owner.
	work      sync.WaitGroup
	record    record
	faults    faults

	// Guarded by mu.
	mu        sync.Mutex
	closed    bool
	endpoints map[int]Endpoint
	next      int                     // Number of the next endpoint.
	turn      map[string]int          // Round robin by Service.
	forwards  map[string]net.Listener // By address that was asked for.
	conns     map[net.Conn]struct{}   // Of forwards and CONNECT.
}

// Start listens on a free port of loopback. Ctx bounds the start only; the
// network lives until it is closed.
func Start(ctx context.Context, c Config) (*Network, error) {
	if c.Client == nil {
		return nil, errors.New("service network: no client to read Services with")
	}
	if c.Namespace == "" {
		c.Namespace = "argocd"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("service network: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n := &Network{
		client:    c.Client,
		namespace: c.Namespace,
		log:       c.Log,
		address:   listener.Addr().String(),
		stop:      stop,
		running:   running,
		record:    record{changed: make(chan struct{})},
		endpoints: map[int]Endpoint{},
		turn:      map[string]int{},
		forwards:  map[string]net.Listener{},
		conns:     map[net.Conn]struct{}{},
	}
	n.forwarder = n.newForwarder()
	n.server = &http.Server{
		Handler:           http.HandlerFunc(n.serve),
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return running },
	}
	n.work.Go(func() { _ = n.server.Serve(listener) })
	return n, nil
}

// Close ends the network and every connection through it.
func (n *Network) Close() error {
	n.stop()
	err := n.server.Close()
	n.mu.Lock()
	n.closed = true
	for _, listener := range n.forwards {
		err = errors.Join(err, listener.Close())
	}
	for conn := range n.conns {
		_ = conn.Close()
	}
	n.mu.Unlock()
	n.work.Wait()
	return err
}

// URL is that of the proxy.
func (n *Network) URL() string { return "http://" + n.address }

// Environment makes a program use the network for HTTP: the variables of the
// proxy, in the two spellings that programs look for. Loopback stays direct.
func (n *Network) Environment() []string {
	const direct = "127.0.0.1,localhost,::1"
	return []string{
		"HTTP_PROXY=" + n.URL(), "http_proxy=" + n.URL(),
		"NO_PROXY=" + direct, "no_proxy=" + direct,
	}
}

// Endpoint is a container that serves requests: what a ready Pod is to a
// Service.
type Endpoint struct {
	// Namespace and Pod name it; Labels are the Pod's.
	Namespace, Pod string
	Labels         map[string]string
	// Ports are those that the container serves.
	Ports []Port
}

// Port is one port of an [Endpoint].
type Port struct {
	// Name is the container port's, or empty; Number is that in the Pod.
	Name   string
	Number int
	// Address is host:port of the process that serves it.
	Address string
}

// Add makes a container reachable, until remove is called. Removing twice does
// no harm. Connections that are open stay open, as they do in a cluster.
func (n *Network) Add(e Endpoint) (remove func()) {
	e.Labels = maps.Clone(e.Labels)
	e.Ports = slices.Clone(e.Ports)
	n.mu.Lock()
	defer n.mu.Unlock()
	number := n.next
	n.next++
	n.endpoints[number] = e
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.endpoints, number)
	}
}

package servicenet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// connect serves CONNECT: bytes to and fro.
func (n *Network) connect(w http.ResponseWriter, r *http.Request) {
	entry := &Request{Time: time.Now(), Method: r.Method, Host: r.Host}
	defer n.finish(entry)
	server, err := n.open(r.Context(), entry)
	if err != nil {
		entry.Err = err.Error()
		reset(w)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		entry.Err = err.Error()
		_ = server.Close()
		return
	}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		entry.Err = err.Error()
		_, _ = client.Close(), server.Close()
		return
	}
	entry.Status = http.StatusOK
	n.pipe(client, buffered, server)
}

// open connects a tunnel to where it leads, faults permitting.
func (n *Network) open(ctx context.Context, entry *Request) (net.Conn, error) {
	if fault, ok := n.faults.take(entry.Method, entry.Host, ""); ok {
		entry.Fault = fault.Action
		if err := wait(ctx, fault.Delay); err != nil {
			return nil, err
		}
		if fault.Action == Drop {
			return nil, fmt.Errorf("%w: a fault was injected", ErrUnreachable)
		}
	}
	return n.dial(ctx, entry.Host)
}

// Forward returns a local address, host:port, whose connections go to address,
// that of a port of a Service. Each connection is resolved when it is made, so
// the Service need not exist yet and its endpoints may come and go. The same
// address gets the same answer.
func (n *Network) Forward(ctx context.Context, address string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return "", fmt.Errorf("forward %s: the network is closed", address)
	}
	if listener, ok := n.forwards[address]; ok {
		return listener.Addr().String(), nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "", fmt.Errorf("forward %q: %w", address, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("forward %s: %w", address, err)
	}
	n.forwards[address] = listener
	n.work.Go(func() { n.accept(listener, address) })
	return listener.Addr().String(), nil
}

func (n *Network) accept(listener net.Listener, address string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // Closed.
		}
		n.work.Go(func() { n.tunnel(client, address) })
	}
}

// tunnel is one connection of a forward.
func (n *Network) tunnel(client net.Conn, address string) {
	entry := &Request{Time: time.Now(), Method: TCP, Host: address}
	defer n.finish(entry)
	server, err := n.open(n.running, entry)
	if err != nil {
		entry.Err = err.Error()
		abort(client)
		return
	}
	n.pipe(client, client, server)
}

// pipe copies between two connections until both directions have ended, or the
// network is closed. From is where the client's bytes are read, which may have
// a buffer before the connection.
func (n *Network) pipe(client net.Conn, from io.Reader, server net.Conn) {
	if !n.keep(client, server) {
		_, _ = client.Close(), server.Close()
		return
	}
	defer n.release(client, server)
	var both sync.WaitGroup
	both.Go(func() { relay(server, from) })
	both.Go(func() { relay(client, server) })
	both.Wait()
}

// relay copies one direction and hands on its end.
func relay(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		abort(to)
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
}

// keep notes connections that Close has to close. It reports false when the
// network is closed already.
func (n *Network) keep(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	for _, conn := range conns {
		n.conns[conn] = struct{}{}
	}
	return true
}

func (n *Network) release(conns ...net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range conns {
		delete(n.conns, conn)
		_ = conn.Close()
	}
}

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// The headers of a forwarded connection's two streams, and the protocol.
const (
	forwardProtocol = "portforward.k8s.io"
	headerStream    = "streamType"
	headerPort      = "port"
	headerRequest   = "requestID"
	streamError     = "error"
	streamData      = "data"
	// maxSaid bounds what the kubelet says about a connection it cannot make.
	maxSaid = 1 << 10
)

// Forward returns an HTTP client that sends every request to one port of a Pod,
// whatever host its URL names, through the API server. Unlike the server's own
// proxy it lets an Authorization header through, and it arrives inside the Pod,
// so no NetworkPolicy stands in the way. It needs the right to create
// pods/portforward. Connections are made when they are needed and closed after
// each request.
func (c *Client) Forward(namespace, pod string, port int) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, namespace, pod, port) }
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dial opens a tunnel. The library has no contexts, so a dial that is given up
// goes on in the background until the server answers or the network gives up.
func (c *Client) dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	path := Path("v1", namespace, "pods", pod) + "/portforward"
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := c.tunnel(path, port)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, refused(path, r.err)
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				_ = r.conn.Close()
			}
		}()
		return nil, &Error{Path: path, Err: ErrUnreachable, Said: "no answer in time"}
	}
}

func (c *Client) tunnel(path string, port int) (net.Conn, error) {
	target, err := url.Parse(c.Server() + path)
	if err != nil {
		return nil, err
	}
	// Servers since 1.31 speak WebSocket, which passes every proxy; the others SPDY.
	first, err := portforward.NewSPDYOverWebsocketDialer(target, c.config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	second := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	dialer := portforward.NewFallbackDialer(first, second, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	conn, err := open(connection, port)
	if err != nil {
		_ = connection.Close()
		return nil, err
	}
	return conn, nil
}

// open makes the two streams of a connection: bytes, and what went wrong.
func open(connection httpstream.Connection, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(headerPort, strconv.Itoa(port))
	headers.Set(headerRequest, "0")
	headers.Set(headerStream, streamError)
	said, err := connection.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	if err := said.Close(); err != nil { // this side has nothing to say
		return nil, err
	}
	headers.Set(headerStream, streamData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	f := &forwarded{Stream: data, connection: connection, failed: make(chan struct{})}
	go f.listen(said)
	return f, nil
}

// forwarded is a connection to a port of a Pod.
type forwarded struct {
	httpstream.Stream
	connection httpstream.Connection
	failed     chan struct{} // closed when err is set or will not be
	err        error         // owned by listen until failed is closed
}

// listen waits for the kubelet's word that it cannot connect.
func (f *forwarded) listen(said io.Reader) {
	text, err := io.ReadAll(io.LimitReader(said, maxSaid))
	if err != nil || len(text) == 0 {
		close(f.failed)
		return
	}
	f.err = errors.New(oneLine(string(text)))
	close(f.failed)
	_ = f.Reset() // ends a Read that waits
}

func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.Stream.Read(p)
	if err != nil && n == 0 {
		select {
		case <-f.failed:
			if f.err != nil {
				return 0, f.err
			}
		default:
		}
	}
	return n, err
}

func (f *forwarded) Close() error {
	_ = f.Reset() // nobody reads what is still under way
	return f.connection.Close()
}

func (*forwarded) LocalAddr() net.Addr              { return podAddress{} }
func (*forwarded) RemoteAddr() net.Addr             { return podAddress{} }
func (*forwarded) SetDeadline(time.Time) error      { return nil } // the request's context ends it
func (*forwarded) SetReadDeadline(time.Time) error  { return nil }
func (*forwarded) SetWriteDeadline(time.Time) error { return nil }

type podAddress struct{}

func (podAddress) Network() string { return forwardProtocol }
func (podAddress) String() string  { return "pod" }

// refused gives a failed dial its sentinel, by the status with which the server
// refused. Without one it is nobody's word but the network's, whatever it says.
func refused(path string, err error) error {
	e := &Error{Path: path, Err: ErrUnreachable, Said: oneLine(err.Error())}
	var status *apierrors.StatusError
	if errors.As(err, &status) {
		e.Err = sentinel(int(status.ErrStatus.Code))
	}
	return fmt.Errorf("port-forward: %w", e)
}

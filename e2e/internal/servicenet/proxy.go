package servicenet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

const (
	// maxBody bounds what a client may send. Bodies are held in memory, since
	// a fault may have to send one twice.
	maxBody = 16 << 20
	// dialTimeout bounds connections to hosts outside the cluster; endpoints
	// are on loopback.
	dialTimeout = 10 * time.Second
)

// errAnswerDropped stands for an answer that a fault keeps back.
var errAnswerDropped = errors.New("the answer was dropped")

// newForwarder sends requests on as they came, each on a connection of its
// own, so that each one is resolved anew.
func (n *Network) newForwarder() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.Host
			// Rewrite takes these for forgeries; here nobody adds any.
			for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := r.In.Header[header]; ok {
					r.Out.Header[header] = values
				}
			}
		},
		Transport: &http.Transport{
			DisableKeepAlives:  true,
			DisableCompression: true,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return n.dial(ctx, address)
			},
		},
		FlushInterval:  -1,
		ModifyResponse: modifyResponse,
		ErrorHandler:   fail,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
}

// exchange is what the parts of one request know about each other.
type exchange struct {
	dropAnswer bool
	entry      *Request
}

type exchangeKey struct{}

func modifyResponse(response *http.Response) error {
	if x, ok := response.Request.Context().Value(exchangeKey{}).(*exchange); ok {
		if x.dropAnswer {
			return errAnswerDropped
		}
		x.entry.Status = response.StatusCode
	}
	return nil
}

// fail is what happens when a request has no answer: the client sees what it
// would see in a cluster, a connection that is reset.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		x.entry.Err = err.Error()
	}
	reset(w)
}

// reset cuts the client's connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	abort(conn)
}

// abort closes a connection so that the other side sees a reset, not an end.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (n *Network) dial(ctx context.Context, address string) (net.Conn, error) {
	target, err := n.Resolve(ctx, address)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", target)
}

// serve is the proxy's handler.
func (n *Network) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		n.connect(w, r)
		return
	}
	if !r.URL.IsAbs() || r.URL.Scheme != "http" {
		http.Error(w, "this is a proxy: ask for the whole http:// URL, or CONNECT", http.StatusBadRequest)
		return
	}
	entry := &Request{Time: time.Now(), Method: r.Method, Host: r.URL.Host, Path: r.URL.Path}
	defer n.finish(entry)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		entry.Err = err.Error()
		reset(w)
		return
	}
	entry.Body = body[:min(len(body), maxRecordedBody)]

	fault, faulty := n.faults.take(r.Method, r.URL.Host, r.URL.Path)
	if faulty {
		entry.Fault = fault.Action
		if err := wait(r.Context(), fault.Delay); err != nil {
			entry.Err = err.Error()
			reset(w)
			return
		}
	}
	x := &exchange{entry: entry}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	switch fault.Action {
	case Drop:
		reset(w)
		return
	case Answer:
		entry.Status = fault.Status
		w.WriteHeader(fault.Status)
		_, _ = io.WriteString(w, fault.Body)
		return
	case DropAnswer:
		x.dropAnswer = true
	case Double:
		n.once(r, body)
	case Delay:
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	n.forwarder.ServeHTTP(w, r)
}

// once sends a request whose answer nobody sees.
func (n *Network) once(r *http.Request, body []byte) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.Header.Del("Proxy-Connection") // Meant for this proxy, as in newForwarder's.
	out.Body = io.NopCloser(bytes.NewReader(body))
	response, err := n.forwarder.Transport.RoundTrip(out)
	if err != nil {
		return
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
}

// wait lets time pass, or says why it did not.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish records a request that is over.
func (n *Network) finish(entry *Request) {
	entry.Duration = time.Since(entry.Time)
	n.log.Debug("request", "method", entry.Method, "host", entry.Host, "path", entry.Path,
		"status", entry.Status, "fault", entry.Fault, "error", entry.Err, "duration", entry.Duration)
	n.record.add(*entry)
}

package remote_test

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// relay is a router on the way to a server that can lose its table of
// connections: those that were there are open on both ends, and nothing passes.
type relay struct {
	net.Listener
	to   string
	mu   sync.Mutex
	lost *atomic.Bool // of the connections that are made from now on
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: listener, to: to, lost: &atomic.Bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			r.mu.Lock()
			lost := r.lost
			r.mu.Unlock()
			context.AfterFunc(t.Context(), func() { _ = near.Close(); _ = far.Close() })
			serving.Go(func() { pass(near, far, lost) })
			serving.Go(func() { pass(far, near, lost) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return r
}

func pass(from, to net.Conn, lost *atomic.Bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if lost.Load() {
			_, _ = io.Copy(io.Discard, from) // nobody is told
			return
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			_ = to.Close()
			return
		}
	}
}

func (r *relay) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost.Store(true)
	r.lost = &atomic.Bool{}
}

// TestDeadConnection: all looks at a host share one connection of http/2. When
// nothing passes on it any more, which nobody says, it is given up, rather than each
// look in turn waiting for an answer that cannot come.
func TestDeadConnection(t *testing.T) {
	remote.SetPings(t, 200*time.Millisecond)
	plain := gitrepotest.Server(t, githttp.Options{})
	plain.Init("shop.git")
	server := httptest.NewUnstartedServer(plain.Handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	router := newRelay(t, server.Listener.Addr().String())
	url := "https://" + router.Addr().String() + "/shop.git"
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	repo := open(t, url, remote.Options{CABundle: certificate})
	gitrepotest.MustRefs(t, repo, gitrepo.Heads)

	router.lose()
	for begin := time.Now(); ; {
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := repo.Refs(limited, gitrepo.Heads)
		cancel()
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "deadline exceeded") && !strings.Contains(err.Error(), "connection") {
			t.Logf("meanwhile: %v", err)
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("ten looks later: %v", err)
		}
	}
}

package sidecar

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
)

// repo-server pings twice as rarely as ARGOCD_GRPC_KEEP_ALIVE_MIN (default
// 10 s); gRPC never pings more often than every 10 s. A render that is silent
// for five minutes must survive both. The minutes are virtual.
func TestSilentRenderSurvivesPings(t *testing.T) {
	for name, interval := range map[string]time.Duration{"default": 20 * time.Second, "fastest": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			tree, request := snapshotTree(t), webRequest(t)
			o := testOptions(t)
			synctest.Test(t, func(t *testing.T) {
				s, err := New(o, nil)
				if err != nil {
					t.Fatal(err)
				}
				s.plugin.generate = func(ctx context.Context, _ Request) ([]string, error) {
					select {
					case <-time.After(5 * time.Minute):
						return []string{"kind: X\n"}, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
				listener := bufconn.Listen(1 << 20)
				served := make(chan error, 1)
				go func() { served <- s.serveSocket(listener) }()
				conn, err := grpc.NewClient("passthrough:memory",
					grpc.WithTransportCredentials(insecure.NewCredentials()),
					grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
					grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: interval}))
				if err != nil {
					t.Fatal(err)
				}
				got, err := cmpwire.Generate(t.Context(), conn, tree, request, cmpwire.SendOptions{})
				if err != nil || len(got) != 1 {
					t.Errorf("after five minutes: %q %v", got, err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				s.stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

package doctor_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
	"github.com/fleeting-taas/propagator/pkg/doctor"
)

// plugin answers the first question of repo-server.
type plugin struct {
	pluginpb.UnimplementedConfigManagementPluginServiceServer
	discovery bool
}

func (p plugin) CheckPluginConfiguration(context.Context, *emptypb.Empty) (*pluginpb.CheckPluginConfigurationResponse, error) {
	return &pluginpb.CheckPluginConfigurationResponse{IsDiscoveryConfigured: p.discovery}, nil
}

// TestSocketFiles: what can be seen inside repo-server's Pod.
func TestSocketFiles(t *testing.T) {
	tests := []struct {
		name      string
		prepare   func(t *testing.T, dir string)
		want, fix string
	}{
		{"ours", func(t *testing.T, dir string) {
			listen(t, dir, "propagator", plugin{})
			listen(t, dir, "other-v1", plugin{})
		}, "", ""},
		{"no socket", func(t *testing.T, dir string) { listen(t, dir, "propagator-v1.0", plugin{}) }, "there is no such socket; the folder has propagator-v1.0", "rollout restart"},
		{"an empty folder", func(*testing.T, string) {}, "there is no such socket; the folder has none", "rollout restart"},
		{"another plugin", func(t *testing.T, dir string) { listen(t, dir, "propagator", plugin{discovery: true}) }, "another plugin answers there", "rename"},
		{"a dead socket", func(t *testing.T, dir string) {
			listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "propagator.sock"))
			if err != nil {
				t.Fatal(err)
			}
			listener.(*net.UnixListener).SetUnlinkOnClose(false)
			_ = listener.Close()
		}, "nobody answers there", "rollout restart"},
		{"a file", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "propagator.sock"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "there is no such socket", "rollout restart"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			dir, err := os.MkdirTemp("", "plugins") //nolint:usetesting // a socket's path must be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			test.prepare(t, dir)
			c := doctor.Config{PluginsDir: dir} // no cluster: repo-server's Pod has no access to it
			check(t, w.examine(c, "socket"), test.want, test.fix)
		})
	}
}

func listen(t *testing.T, dir, name string, p plugin) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pluginpb.RegisterConfigManagementPluginServiceServer(server, p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with Stop
	}()
	t.Cleanup(func() { server.Stop(); <-done })
}

// Command notifications-hook promotes snapshots from environment to
// environment, woken by Argo CD's notifications.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/argo"
)

func main() {
	// Only this program links Argo CD's types; everything below knows the port.
	connect := func(kubeconfig, namespace string, log *slog.Logger) (hook.Cluster, error) {
		client, err := argo.Connect(kubeconfig, namespace)
		if err != nil {
			return hook.Cluster{}, err
		}
		watch := func(ctx context.Context, changed func(pipeline string)) { client.Watch(ctx, log, changed) }
		return hook.Cluster{Applications: client, Live: client, Watch: watch}, nil
	}
	os.Exit(hook.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr, connect))
}

// Command notifications-hook promotes snapshots from environment to
// environment, woken by Argo CD's notifications.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	leases "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/argo"
	"github.com/fleeting-taas/propagator/pkg/lease"
)

var _ hook.Members = (*lease.Members)(nil)

// gcPercent makes garbage wait less than Go's own 100 does: with many pipelines most
// of the memory would be garbage, and collecting it twice as often costs little
// beside waiting for git hosts.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(hook.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr, connect))
}

// connect joins the hook with Kubernetes. Only this program links Argo CD's
// types; everything below knows the port.
func connect(kubeconfig, namespace string, log *slog.Logger) (hook.Cluster, error) {
	client, err := argo.Connect(kubeconfig, namespace)
	if err != nil {
		return hook.Cluster{}, err
	}
	return hook.Cluster{
		Applications: client,
		Live:         client,
		Watch:        func(ctx context.Context, changed func(pipeline string)) { client.Watch(ctx, log, changed) },
		Share:        func(m hook.Member) (hook.Members, error) { return share(kubeconfig, m, log) },
	}, nil
}

// share joins the replicas in the same cluster.
func share(kubeconfig string, m hook.Member, log *slog.Logger) (hook.Members, error) {
	config, err := argo.RESTConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	kube, err := leases.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return lease.New(lease.Config{Leases: kube.Leases(m.Namespace), Identity: m.Name, Group: m.Group, Log: log})
}

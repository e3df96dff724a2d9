// Command notifications-hook promotes snapshots from environment to
// environment, woken by Argo CD's notifications.
package main

import (
	"context"
	"os"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/argo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

func main() {
	// Only this program links Argo CD's types; everything below knows the port.
	connect := func(kubeconfig, namespace string) (promotion.Applications, error) {
		return argo.Connect(kubeconfig, namespace)
	}
	os.Exit(hook.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr, connect))
}

// Command cmp-sidecar renders snapshots for Argo CD's repo-server, as a config
// management plugin. See package sidecar.
package main

import (
	"context"
	"os"

	"github.com/fleeting-taas/propagator/cmp-sidecar/sidecar"
)

func main() {
	os.Exit(sidecar.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Command propagator is the release train by hand: look at a pipeline, take
// snapshots, promote them and check what was promised.
package main

import (
	"context"
	"os"

	"github.com/fleeting-taas/propagator/propagator/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

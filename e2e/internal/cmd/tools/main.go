// Tools builds the programs of the end-to-end suite ahead of its first run,
// and says where they are.
//
//	go run ./e2e/internal/cmd/tools [module...]
//
// Without arguments it builds all modules of e2e/tools.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, modules []string, stdout, stderr io.Writer) error {
	if len(modules) == 0 {
		modules = toolchain.Modules()
	}
	tools, err := toolchain.Ensure(ctx, stderr, modules...)
	if err != nil {
		return err
	}
	for _, module := range modules {
		if module == toolchain.Containers {
			continue
		}
		if _, err := fmt.Fprintf(stdout, "%-10s %s\n", module, tools.Dir(module)); err != nil {
			return err
		}
	}
	return nil
}

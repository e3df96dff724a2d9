package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/registry/diskregistry"
)

func registriesDir(dir string) string { return filepath.Join(dir, "registries") }

// openRegistry opens one registry of a kept folder, or a new one.
func openRegistry(dir, name string, onRequest func(method string, status int)) (*diskregistry.Registry, error) {
	return diskregistry.Open(filepath.Join(registriesDir(dir), name), diskregistry.Options{
		OnRequest: func(method, _ string, status int) { onRequest(method, status) },
	})
}

// serveCommand is "propagator demo serve".
func serveCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "serve DIR",
		Short: "serve what a demo with --keep left behind",
		Long: `serve brings the git repository and the three registries of a finished demo
back, on free ports of loopback, until it is interrupted. Read them with any
client, for instance: crane ls 127.0.0.1:PORT/shop/orders`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return Serve(cmd.Context(), args[0], func(addresses map[string]string) error {
				table := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
				for _, name := range []string{"git", "dev", "stage", "prod"} {
					if address, ok := addresses[name]; ok {
						_, _ = fmt.Fprintf(table, "%s\t%s\n", name, address)
					}
				}
				return table.Flush()
			})
		},
	}
}

// Serve serves a kept folder until the context ends. ready is told the
// addresses: git's URL under "git", each registry's host:port under its name.
func Serve(ctx context.Context, dir string, ready func(addresses map[string]string) error) error {
	entries, err := os.ReadDir(registriesDir(dir))
	if err != nil {
		return fmt.Errorf("%s was not kept by a demo: %w", dir, err)
	}
	w := &world{log: slog.New(slog.DiscardHandler)}
	defer w.close()
	addresses := map[string]string{}
	for _, entry := range entries {
		registry, err := openRegistry(dir, entry.Name(), func(string, int) {})
		if err != nil {
			return err
		}
		if addresses[entry.Name()], err = w.serve(ctx, registry); err != nil {
			return err
		}
	}
	handler, err := githttp.New(filepath.Join(dir, "git"), githttp.Options{})
	if err != nil {
		return err
	}
	addr, err := w.serve(ctx, handler)
	if err != nil {
		return err
	}
	addresses["git"] = "http://" + addr + "/" + repositoryName
	if err := ready(addresses); err != nil {
		return err
	}
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return ctx.Err()
}

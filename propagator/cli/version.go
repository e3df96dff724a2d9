package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/service"
)

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "which build this is",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			build := service.Version()
			value := struct {
				Version  string `json:"version"`
				Revision string `json:"revision,omitempty"`
				Modified bool   `json:"modified"`
				Go       string `json:"go"`
			}{build.Version, build.Revision, build.Modified, build.Go}
			return a.print(value, func(w io.Writer) { _, _ = fmt.Fprintln(w, "propagator "+build.String()) })
		},
	}
}

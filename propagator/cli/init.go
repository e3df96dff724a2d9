package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
)

func initCommand(a *app) *cobra.Command {
	var (
		name, dir    string
		environments []string
		registries   map[string]string
		dryRun       bool
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "write propagator.yaml for a new pipeline",
		Long: `init writes a commented propagator.yaml, the one file that makes a GitOps
repository a pipeline. An existing file is never overwritten, nothing else is
created, and nothing is sent anywhere.

Environments are in the order of promotion; the first one follows the source
branch. Registries that are not given are invented under .example, for you to
replace.`,
		Example: `  propagator init
  propagator init --name shop --environments dev,stage,prod --registry stage=stage.registry.example/shop
  propagator init --dry-run`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				top, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				name = pipelineName(filepath.Base(top))
			}
			for environment := range registries {
				if !slices.Contains(environments, environment) {
					return usage(cmd, "--registry %s=...: there is no such environment among %s", environment, strings.Join(environments, ", "))
				}
			}
			text := config.Starter(name, environments, registries)
			pipeline, err := config.Parse(text, config.File)
			if err != nil {
				return usage(cmd, "%w", starterFaults(err))
			}
			if dryRun {
				_, err := a.stdout.Write(text)
				return err
			}
			file := filepath.Join(dir, config.File)
			if err := writeNew(file, text); err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, nextSteps(file, dir, pipeline))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "pipeline's name, the first half of versions (default: the folder's name)")
	f.StringSliceVar(&environments, "environments", []string{"dev", "stage", "prod"}, "environments in the order of promotion")
	f.StringToStringVar(&registries, "registry", nil, "an environment's registry: `ENVIRONMENT=HOST[/PREFIX]`; may be repeated")
	f.StringVar(&dir, "dir", ".", "root of the GitOps repository's checkout")
	f.BoolVar(&dryRun, "dry-run", false, "print the file, write nothing")
	return cmd
}

// pipelineName makes a folder's name one that a pipeline can have.
func pipelineName(folder string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, folder)
	name = strings.Trim(name, "-")
	return strings.Trim(name[:min(len(name), 40)], "-")
}

// starterFaults says what is wrong with names and URLs, without the lines of a
// file that does not exist.
func starterFaults(err error) error {
	var faults config.Faults
	if !errors.As(err, &faults) {
		return err
	}
	lines := make([]string, len(faults))
	for i, fault := range faults {
		lines[i] = fault.Field + ": " + fault.Message
	}
	return errors.New(strings.Join(lines, "\n"))
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a file of the repository, for everybody to read
	if errors.Is(err, fs.ErrExist) {
		return usageHint("edit it, or look at a fresh one with: propagator init --dry-run", "%s exists and is not overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

func nextSteps(file, dir string, p *config.Pipeline) string {
	var b strings.Builder
	fmt.Fprintf(&b, "wrote %s\n\nnext:\n", file)
	var missing []string
	for _, e := range p.Environments {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(e.Path))); err != nil {
			missing = append(missing, e.Path)
		}
	}
	steps := []string{"check the registries in " + config.File}
	if len(missing) > 0 {
		steps = append(steps, "give each environment its folder, or correct the path: "+strings.Join(missing, ", "))
	}
	steps = append(steps,
		"look at what is deployed from here: propagator render "+p.First().Name+" --dir "+dir,
		"git add "+config.File+" && git commit -m 'Add the release pipeline' && git push",
		"freeze what "+p.First().Name+" runs: propagator snapshot create",
	)
	for i, step := range steps {
		fmt.Fprintf(&b, "  %d. %s\n", i+1, step)
	}
	return b.String()
}

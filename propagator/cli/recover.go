package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// recovery is the result of recover.
type recovery struct {
	Pipeline     string      `json:"pipeline"`
	DryRun       bool        `json:"dryRun"`
	Environments []recovered `json:"environments"`
	// Next is what to type for Argo CD to deploy all of it again.
	Next []string `json:"next"`
}

// recovered is one snapshot that an environment needs.
type recovered struct {
	Environment string `json:"environment"`
	Version     string `json:"version"`
	// Use is why it is needed: current, or rollback.
	Use      string `json:"use"`
	Registry string `json:"registry"`
	Images   int    `json:"images"`
	Missing  int    `json:"missing"`
	// From is the registry that gave what was missing.
	From  string `json:"from,omitempty"`
	Error string `json:"error,omitempty"`
}

func recoverCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "make everything deployable again, from Git and the registries alone",
		Long: `recover is for the day after: a cluster is gone, or a registry. Propagator keeps
nothing but Git and the registries, so there is no state to restore. recover reads
the ledgers, and makes sure that what each environment points at, and what it would
be rolled back to, can be deployed: the snapshot is as it was made, and its images
are complete in the environment's registry. What is missing there is copied from
whichever registry of the pipeline still has it, by digest. Nothing moves in Git.

Then it says what to apply, so that Argo CD has its Applications again.`,
		Example: `  propagator recover --dry-run
  propagator recover`,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what is missing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		mode := writing
		if dryRun {
			mode = reading
		}
		s, err := a.open(cmd, mode, "")
		if err != nil {
			return err
		}
		state, err := s.Observe(cmd.Context())
		if err != nil {
			return err
		}
		result, err := s.recover(cmd.Context(), state, dryRun)
		s.progress.close()
		if err != nil {
			return err
		}
		if err := a.print(result, result.table); err != nil {
			return err
		}
		return result.err()
	}
	return cmd
}

func (s *session) recover(ctx context.Context, state *promotion.State, dryRun bool) (recovery, error) {
	name := state.Pipeline.Name
	result := recovery{Pipeline: name, DryRun: dryRun, Environments: []recovered{}, Next: []string{
		"kubectl apply -k <the folder with your installation>        # docs/install.md, from \"Generator and hook\" on",
		"kubectl apply -k <the folder with the pipeline>             # docs/install.md, \"The pipeline\"",
		"propagator doctor",
	}}
	for _, e := range state.Environments {
		for _, need := range needs(e) {
			one := s.recoverOne(ctx, state, e, need.version, dryRun)
			one.Use = need.use
			result.Environments = append(result.Environments, one)
			if ctx.Err() != nil {
				return result, ctx.Err()
			}
		}
	}
	return result, nil
}

type need struct {
	version snapshot.Version
	use     string
}

// needs are the snapshots that an environment cannot do without.
func needs(e promotion.Environment) []need {
	current := e.Current().Snapshot
	if current.IsZero() {
		return nil
	}
	all := []need{{current, "current"}}
	for _, entry := range e.History {
		if entry.Event == snapshot.EventDeployed && entry.Snapshot.Compare(current) < 0 {
			return append(all, need{entry.Snapshot, "rollback"})
		}
	}
	return all
}

func (s *session) recoverOne(ctx context.Context, state *promotion.State, e promotion.Environment, version snapshot.Version, dryRun bool) recovered {
	one := recovered{Environment: e.Name, Version: version.String()}
	fail := func(err error) recovered {
		one.Error = brief(err)
		return one
	}
	if e.Unreadable != "" {
		return fail(errors.New(e.Unreadable))
	}
	found, pipeline, err := s.read(ctx, &catalog{found: state}, version)
	if err != nil {
		return fail(err)
	}
	configured, ok := pipeline.Environment(e.Name)
	if !ok {
		return fail(fmt.Errorf("the snapshot does not know the environment %s", e.Name))
	}
	one.Registry = pipeline.Registries[configured.Registry].URL
	report, err := s.VerifyImages(ctx, pipeline, found.Lock, configured)
	one.Images = len(report.Images)
	for _, image := range report.Images {
		if image.Error != "" {
			one.Missing++
		}
	}
	switch {
	case err == nil:
		return one
	case report.Images == nil:
		return fail(err)
	case dryRun:
		return one
	}
	if one.From, _, err = s.Restore(ctx, pipeline, found.Lock, configured); err != nil {
		return fail(err)
	}
	return one
}

// brief is the first line of an error.
func brief(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}

func (r recovery) err() error {
	for _, one := range r.Environments {
		if one.Error != "" {
			return faultFound(fmt.Sprintf("propagator mirror verify %s %s says which images; build them again with the same digests, or roll back", one.Environment, one.Version),
				fmt.Errorf("%s cannot be deployed to %s again: %s", one.Version, one.Environment, one.Error))
		}
		if r.DryRun && one.Missing > 0 {
			return faultFound("propagator recover", fmt.Errorf("%s: %d of %s not complete in %s", one.Version, one.Missing, plural(one.Images, "image"), one.Registry))
		}
	}
	return nil
}

func (r recovery) table(w io.Writer) {
	var rows [][]string
	for _, one := range r.Environments {
		state := "complete"
		switch {
		case one.Error != "":
			state = "LOST: " + one.Error
		case one.From != "":
			state = fmt.Sprintf("restored %s from %s", plural(one.Missing, "image"), one.From)
		case one.Missing > 0:
			state = fmt.Sprintf("%d of %s missing", one.Missing, plural(one.Images, "image"))
		}
		rows = append(rows, []string{one.Environment, one.Version, one.Use, one.Registry, state})
	}
	if len(rows) == 0 {
		_, _ = fmt.Fprintln(w, "no environment points at anything yet")
		return
	}
	writeTable(w, []string{"ENVIRONMENT", "VERSION", "USE", "REGISTRY", "IMAGES"}, rows)
	_, _ = fmt.Fprintln(w, "next, for Argo CD to deploy it again:")
	for _, line := range r.Next {
		_, _ = fmt.Fprintln(w, "  "+line)
	}
}

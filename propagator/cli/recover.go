package cli

import (
	"cmp"
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
	// Use is why it is needed: current, or rollback; ledger where the branch itself
	// cannot be used.
	Use      string `json:"use"`
	Registry string `json:"registry"`
	Images   int    `json:"images"`
	Missing  int    `json:"missing"`
	// From is the registry that gave what was missing.
	From  string `json:"from,omitempty"`
	Error string `json:"error,omitempty"`

	// branch is set when the ledger itself cannot be used.
	branch string
	// unknown is why a registry could not be asked: nothing is lost as far as anybody
	// knows.
	unknown error
}

func recoverCommand(a *app) *cobra.Command {
	var dryRun bool
	var reopen, reason string
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "make everything deployable again, from Git and the registries alone",
		Long: `recover is for the day after: a cluster is gone, or a registry. Propagator keeps
nothing but Git and the registries, so there is no state to restore. recover reads
the ledgers, and makes sure that what each environment points at, and what it would
be rolled back to, can be deployed: the snapshot is as it was made, and its images
are complete in the environment's registry. What is missing there is copied from
whichever registry of the pipeline still has it, by digest. Nothing moves in Git.

Then it says what to apply, so that Argo CD has its Applications again.

An environment's branch that somebody deleted, set back or wrote anew is never made
again by itself. recover says how to restore it. Only when nobody has its commits any
more, --reopen begins it anew: it points at nothing and is on hold then, until a
person promotes.`,
		Example: `  propagator recover --dry-run
  propagator recover
  propagator recover --reopen prod --reason 'the branch was deleted, and no clone has it'`,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what is missing")
	cmd.Flags().StringVar(&reopen, "reopen", "", "`environment` whose branch is lost for good, to begin it anew")
	cmd.Flags().StringVar(&reason, "reason", "", "why it is begun anew; recorded")
	by := bindActor(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case reopen != "" && strings.TrimSpace(reason) == "":
			return usageHint("add --reason 'why'", "a ledger that is begun anew is recorded with its reason")
		case reopen != "":
			return a.reopen(cmd, reopen, reason, *by, dryRun)
		case reason != "":
			return usage(cmd, "--reason goes with --reopen only")
		}
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

// reopen begins the ledger of an environment anew.
func (a *app) reopen(cmd *cobra.Command, name, reason, by string, dryRun bool) error {
	s, err := a.openToWrite(cmd, by, dryRun)
	if err != nil {
		return err
	}
	state, err := s.Observe(cmd.Context())
	if err != nil {
		return err
	}
	environment, err := ledgerArgument(cmd, state.Pipeline, name)
	if err != nil {
		return err
	}
	step, err := promotion.PlanReopen(state, environment.Name, reason)
	if err != nil {
		return err
	}
	return a.write(cmd, s, state, step, environment.Branch, dryRun)
}

func (s *session) recover(ctx context.Context, state *promotion.State, dryRun bool) (recovery, error) {
	name := state.Pipeline.Name
	result := recovery{Pipeline: name, DryRun: dryRun, Environments: []recovered{}, Next: []string{
		"# the Secrets: docs/install.md, \"Secrets\"; then, of the folder with your installation:",
		"kubectl apply --server-side --field-manager=propagator -k \"$INSTALL/suite\"",
		"kubectl apply --server-side --field-manager=propagator -k \"$INSTALL/argocd\"",
		"kubectl apply -k \"$INSTALL/pipelines/" + name + "\"",
		"propagator doctor",
	}}
	for _, e := range state.Environments {
		if e.Unreadable != "" {
			result.Environments = append(result.Environments, recovered{
				Environment: e.Name, Version: e.Current().Snapshot.String(), Use: "ledger", Error: brief(errors.New(e.Unreadable)), branch: e.Branch,
			})
			continue
		}
		for _, need := range needs(state, e) {
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
func needs(state *promotion.State, e promotion.Environment) []need {
	current := e.Current().Snapshot
	if current.IsZero() {
		return nil
	}
	all := []need{{current, "current"}}
	if back, _ := state.BackTo(e); !back.IsZero() {
		all = append(all, need{back, "rollback"})
	}
	return all
}

func (s *session) recoverOne(ctx context.Context, state *promotion.State, e promotion.Environment, version snapshot.Version, dryRun bool) recovered {
	one := recovered{Environment: e.Name, Version: version.String()}
	fail := func(err error) recovered {
		one.Error = brief(err)
		if cannotAsk(ctx, err) {
			one.unknown = err
		}
		return one
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
	case cannotAsk(ctx, err):
		// Whatever else is missing: of some images nobody knows.
		one.Missing, one.unknown = 0, firstOf(report, err)
		one.Error = brief(one.unknown)
		return one
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
	var unknown error
	for _, one := range r.Environments {
		if one.unknown != nil {
			unknown = cmp.Or(unknown, one.unknown)
			continue
		}
		if one.branch != "" {
			return faultFound(restoreHint(one), fmt.Errorf("the ledger of %s cannot be used: %s", one.Environment, one.Error))
		}
		if one.Error != "" {
			return faultFound(fmt.Sprintf("propagator mirror verify %s %s says which images; build them again with the same digests, or roll back", one.Environment, one.Version),
				fmt.Errorf("%s cannot be deployed to %s again: %s", one.Version, one.Environment, one.Error))
		}
		if r.DryRun && one.Missing > 0 {
			return faultFound("propagator recover", fmt.Errorf("%s: %d of %s not complete in %s", one.Version, one.Missing, plural(one.Images, "image"), one.Registry))
		}
	}
	return unknown
}

// restoreHint says how an environment's branch becomes what it was.
func restoreHint(r recovered) string {
	return fmt.Sprintf(`find the commit that %[1]s had: git rev-parse origin/%[1]s in a clone, the audit log of the git host, or the hook's log
put it back, which takes an administrator: git push --force origin <commit>:refs/heads/%[1]s
if nobody has it any more, and the branch is gone: propagator recover --reopen %[2]s --reason '...'
more: docs/operations.md, "A ledger that is not as it was"`, r.branch, r.Environment)
}

func (r recovery) table(w io.Writer) {
	var rows [][]string
	for _, one := range r.Environments {
		state := "complete"
		switch {
		case one.branch != "":
			state = "LEDGER: " + one.Error
		case one.unknown != nil:
			state = "UNKNOWN: " + one.Error
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

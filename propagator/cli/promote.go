package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// promoted is the result of promote.
type promoted struct {
	Environment string       `json:"environment"`
	Version     string       `json:"version"`
	From        string       `json:"from,omitempty"`
	Rollback    bool         `json:"rollback"`
	Reason      string       `json:"reason,omitempty"`
	DryRun      bool         `json:"dryRun"`
	Gates       []verdict    `json:"gates"`
	ApprovedBy  []string     `json:"approvedBy"`
	Mirrored    mirrored     `json:"mirrored"`
	Branch      string       `json:"branch"`
	BranchFrom  gitrepo.Hash `json:"branchFrom,omitempty"`
	BranchTo    gitrepo.Hash `json:"branchTo,omitempty"`
	// Next is what to type when Argo CD has deployed it.
	Next string `json:"next"`
}

func promoteCommand(a *app) *cobra.Command {
	p := promoting{app: a}
	cmd := &cobra.Command{
		Use:   "promote ENVIRONMENT [VERSION]",
		Short: "let an environment run a snapshot",
		Long: `promote mirrors the snapshot's images to the environment's registry, verifies
them, and then points the environment at the snapshot, all rules and gates
permitting. Without a version it takes the newest snapshot that may enter.

--override names a rule that need not hold for this promotion, as explain calls
it; with a --reason, which is recorded. What is true of the snapshot cannot be
overridden: that it was healthy in the environment before, that its images are
there.

--skip goes past an environment before this one in an emergency: its evidence is
not waited for. It needs a version and a --reason, and both are recorded.

--rollback is what propagator rollback does.

It may be interrupted at any time; run again, it continues.

With --request nothing is done here: a signed tag asks the hook to do it.`,
		Example: `  propagator promote stage
  propagator promote prod shop/v0.2.0 --dry-run
  propagator promote prod v0.2.0
  propagator promote prod v0.2.1 --override ENV_FROZEN --reason 'payments time out'
  propagator promote prod v0.2.1 --skip stage --reason 'nobody can pay'
  propagator promote prod v0.2.0 --request`,
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.complete(completeLedger, completeVersion),
	}
	f := cmd.Flags()
	f.BoolVar(&p.request.Rollback, "rollback", false, "go back to an older snapshot, and hold the environment there")
	p.bindRules(f)
	p.bind(f)
	p.signed = bindRequest(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.checkRules(cmd); err != nil {
			return err
		}
		if len(p.request.Skip) > 0 && len(args) < 2 {
			return usage(cmd, "who skips an environment has to name the snapshot")
		}
		if len(p.request.Skip) > 0 && *p.signed {
			return usage(cmd, "the hook cannot be asked to skip an environment; whoever may push environments/* does it without --request")
		}
		return p.run(cmd, args)
	}
	return cmd
}

// bindRules adds the flags by which a person goes against a rule.
func (p *promoting) bindRules(f *pflag.FlagSet) {
	f.StringSliceVar(&p.overrides, "override", nil, "the `REASON` of a rule that need not hold; wants a --reason")
	f.StringSliceVar(&p.request.Skip, "skip", nil, "an `ENVIRONMENT` before this one that need not have proven it; wants a --reason")
}

// checkRules reads them.
func (p *promoting) checkRules(cmd *cobra.Command) error {
	reason := strings.TrimSpace(p.request.Reason)
	against := len(p.overrides) > 0 || len(p.request.Skip) > 0
	switch {
	case len(p.overrides) > 0 && p.request.Rollback:
		return usage(cmd, "a rollback needs no --override: no gate is asked")
	case len(p.request.Skip) > 0 && p.request.Rollback:
		return usage(cmd, "a rollback needs no --skip: no evidence is asked for")
	case len(p.overrides) > 0 && reason == "":
		return usageHint("add --reason 'why'", "an override is recorded with its reason")
	case len(p.request.Skip) > 0 && reason == "":
		return usageHint("add --reason 'why'", "skipping an environment is recorded with its reason")
	case !p.request.Rollback && !against && reason != "":
		return usage(cmd, "--reason is recorded with a --rollback, an --override or a --skip only")
	}
	for _, name := range p.overrides {
		named := promotion.Reason(strings.ToUpper(strings.TrimSpace(name)))
		if !named.Overridable() {
			return usage(cmd, "%s cannot be overridden; these can: %s", named, strings.Join(overridable(), ", "))
		}
		p.request.Overrides = append(p.request.Overrides, named)
	}
	return nil
}

func overridable() []string {
	var names []string
	for _, reason := range promotion.Reasons() {
		if reason.Overridable() {
			names = append(names, string(reason))
		}
	}
	return names
}

func rollbackCommand(a *app) *cobra.Command {
	p := promoting{app: a, request: promotion.Request{Rollback: true}}
	cmd := &cobra.Command{
		Use:   "rollback ENVIRONMENT [VERSION]",
		Short: "let an environment run an older snapshot again",
		Long: `rollback goes back to a snapshot that the environment ran before: the one that was
healthy there last and that nobody has rejected or rolled back from, or the version
given. Its images are in the environment's registry already. No gate is asked.

The environment is then on hold: automation leaves it alone until somebody resumes
it or promotes there by hand, and the snapshot it was rolled back from comes again
only when named.`,
		Example: `  propagator rollback prod --reason 'payments time out'
  propagator rollback prod v0.1.0 --reason 'payments time out' --dry-run`,
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.complete(completeLedger, completeVersion),
		RunE:              p.run,
	}
	p.bind(cmd.Flags())
	p.signed = bindRequest(cmd.Flags())
	return cmd
}

// promoting is what promote, rollback and hotfix promote have in common.
type promoting struct {
	*app
	request promotion.Request
	// overrides are as they were typed.
	overrides []string
	dryRun    bool
	by        *string
	// signed says that the hook is asked to do it; hotfix promote has no such flag.
	signed *bool
}

func (p *promoting) bind(f *pflag.FlagSet) {
	f.StringVar(&p.request.Reason, "reason", "", "why; recorded")
	f.BoolVar(&p.dryRun, "dry-run", false, "say what would be done, write nothing")
	p.by = bindActor(f)
}

func (p *promoting) run(cmd *cobra.Command, args []string) error {
	request := p.request
	if request.Rollback && strings.TrimSpace(request.Reason) == "" {
		return usageHint("add --reason 'why'", "a rollback is recorded with its reason")
	}
	if *p.signed {
		return p.requestPromotion(cmd, args, request)
	}
	s, err := p.openToWrite(cmd, *p.by, p.dryRun)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	state, err := s.Observe(ctx)
	if err != nil {
		return err
	}
	configured, err := ledgerArgument(cmd, state.Pipeline, args[0])
	if err != nil {
		return err
	}
	for _, name := range request.Skip {
		if !slices.Contains(configured.After, name) {
			return usage(cmd, "%s does not come directly before %s; there is %s", name, args[0], strings.Join(configured.After, ", "))
		}
	}
	request.Environment = args[0]
	if len(args) > 1 {
		if request.Version, err = versionArgument(cmd, state.Pipeline, args[1]); err != nil {
			return err
		}
	}
	step, err := s.PlanRequest(ctx, state, request)
	var refused *promotion.RefusedError
	if request.Rollback && errors.As(err, &refused) && refused.Wait.Reason == promotion.NotValidated {
		return &hinted{err, "what ran there, and what became of it: propagator history " + request.Environment}
	}
	if err != nil {
		return err
	}
	result, err := s.promote(ctx, state, step, p.dryRun)
	if err != nil {
		return err
	}
	return p.print(result, result.table)
}

func (s *session) promote(ctx context.Context, state *promotion.State, step promotion.Step, dryRun bool) (promoted, error) {
	environment, _ := state.Environment(step.Environment) // PlanRequest found it
	result := promoted{
		Environment: step.Environment, Version: step.Version.String(), From: environment.Current().Snapshot.String(),
		Rollback: step.Rollback, Reason: step.Reason, DryRun: dryRun,
		Gates: verdicts(step.Gates), ApprovedBy: append([]string{}, step.ApprovedBy...),
		Branch: environment.Branch, BranchFrom: environment.Tip, Next: nextAfter(state.Pipeline, step),
	}
	found, pipeline, err := s.read(ctx, &catalog{found: state}, step.Version)
	if err != nil {
		return result, err
	}
	configured, ok := pipeline.Environment(step.Environment)
	if !ok {
		return result, usageHint("propagator snapshot create takes a new one, from a commit that has it",
			"snapshot %s was taken before environment %s was configured", step.Version, step.Environment)
	}
	if dryRun {
		result.Mirrored, err = s.wouldMirror(ctx, pipeline, found.Lock, configured)
		return result, err
	}
	err = s.Execute(ctx, state, step)
	s.progress.close()
	if err != nil {
		return result, err
	}
	if moved := s.journal.moved(environment.Branch); moved.New != "" {
		result.BranchFrom, result.BranchTo = moved.Old, moved.New
	}
	result.Mirrored, err = s.mirrored(pipeline, found.Lock, configured)
	return result, err
}

// nextAfter is what comes after a promotion.
func nextAfter(p *config.Pipeline, step promotion.Step) string {
	if step.Rollback {
		return fmt.Sprintf("propagator resume %s --reason '...'", step.Environment)
	}
	for _, e := range p.Environments {
		for _, before := range e.After {
			if before == step.Environment {
				return fmt.Sprintf("propagator promote %s %s", e.Name, step.Version)
			}
		}
	}
	return "propagator history " + step.Environment
}

func (p promoted) table(w io.Writer) {
	verb := "promoted " + p.Environment + " to " + p.Version
	if p.Rollback {
		verb = "rolled " + p.Environment + " back to " + p.Version
	}
	if p.DryRun {
		verb = "would have " + verb + " (dry run, nothing was written)"
	}
	_, _ = fmt.Fprintln(w, printable(verb))
	branch := fmt.Sprintf("%s %s → %s", p.Branch, tipOrNew(p.BranchFrom), p.BranchTo.Short())
	if p.DryRun {
		branch = fmt.Sprintf("%s (%s)", p.Branch, tipOrNew(p.BranchFrom))
	}
	writeFacts(w,
		fact{"from", p.From},
		fact{"images", p.Mirrored.summary(p.DryRun)},
		fact{"branch", branch},
		fact{"gates", ledgerEntry{Gates: p.Gates, ApprovedBy: p.ApprovedBy}.remarks()},
		fact{"reason", p.Reason},
	)
	if p.DryRun {
		p.Mirrored.listMissing(w)
		return
	}
	if p.Rollback {
		_, _ = fmt.Fprintf(w, "%s is on hold; when it may move on: %s\n", p.Environment, p.Next)
		return
	}
	_, _ = fmt.Fprintf(w, "Argo CD deploys it now; see propagator status. Once it is healthy: %s\n", p.Next)
}

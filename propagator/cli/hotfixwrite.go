package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// composedPatches is the result of hotfix compose.
type composedPatches struct {
	DryRun  bool            `json:"dryRun"`
	Patches []composedPatch `json:"patches"`
}

// composedPatch is a snapshot with hotfixes.
type composedPatch struct {
	Version  string       `json:"version"`
	Commit   gitrepo.Hash `json:"commit"`
	Onto     string       `json:"onto"`
	Hotfixes []string     `json:"hotfixes"`
	// LeftOut cannot be built: what hotfix show says about them.
	LeftOut  []string   `json:"leftOut"`
	Mirrored []mirrored `json:"mirrored"`
}

func hotfixComposeCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "compose [NAME...]",
		Short: "merge hotfixes onto the releases that they belong to",
		Long: `compose makes the patches that are due: on each line that an environment runs, the
hotfixes cut from it, and those that earlier environments have had and it lacks, are
merged onto the newest snapshot. Images that the fix does not touch keep their
digests. With names it composes those hotfixes only. It moves no environment.

The hook does this by itself, unless hotfixes.compose is manual.`,
		Example: `  propagator hotfix compose --dry-run
  propagator hotfix compose pay-timeout`,
		Args:              arguments(cobra.ArbitraryArgs),
		ValidArgsFunction: a.complete(completeHotfix, completeHotfix, completeHotfix, completeHotfix),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "work the patches out and show them, write nothing")
	by := bindActor(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, state, err := a.observeToWrite(cmd, *by, dryRun)
		if err != nil {
			return err
		}
		for _, name := range args {
			if _, err := hotfixArgument(state, name); err != nil {
				return err
			}
		}
		steps, err := promotion.PlanCompose(state, args...)
		if err != nil {
			return err
		}
		result := composedPatches{DryRun: dryRun, Patches: []composedPatch{}}
		for _, step := range steps {
			patch, err := s.compose(cmd.Context(), state, step, "", dryRun)
			if err != nil {
				return err
			}
			result.Patches = append(result.Patches, patch)
		}
		return a.print(result, result.table)
	}
	return cmd
}

// observeToWrite opens a session that may write, unless it is a dry run, and
// reads the state.
func (a *app) observeToWrite(cmd *cobra.Command, by string, dryRun bool) (*session, *promotion.State, error) {
	s, err := a.openToWrite(cmd, by, dryRun)
	if err != nil {
		return nil, nil, err
	}
	state, err := s.Observe(cmd.Context())
	return s, state, err
}

// compose makes one patch, or only works it out. It is refused without the hotfix
// that is asked for, if there is one.
func (s *session) compose(ctx context.Context, state *promotion.State, step promotion.Step, asked string, dryRun bool) (composedPatch, error) {
	patch := composedPatch{Version: step.Version.String(), Onto: step.Onto.String(), Mirrored: []mirrored{}, Hotfixes: []string{}, LeftOut: []string{}}
	captured, err := s.PrepareComposition(ctx, state, step)
	if err != nil {
		return patch, err
	}
	patch.Commit = captured.Snapshot.ID
	for _, h := range captured.Snapshot.Composed() {
		patch.Hotfixes = append(patch.Hotfixes, h.Name)
	}
	for _, h := range step.Hotfixes {
		if !slices.Contains(patch.Hotfixes, h.Name) {
			patch.LeftOut = append(patch.LeftOut, h.Name)
		}
	}
	if slices.Contains(patch.LeftOut, asked) {
		return patch, &promotion.RefusedError{Wait: promotion.Wait{
			Environment: hotfixPrefix + asked, Version: patch.Version, Reason: promotion.HotfixUnusable, Detail: "the patch cannot be built with it; propagator hotfix show " + asked,
		}}
	}
	if !dryRun {
		err := s.Publish(ctx, state, step, captured)
		s.progress.close()
		if err != nil {
			return patch, err
		}
	}
	for _, e := range captured.Pipeline.Environments {
		if e.First() || e.After[0] != captured.Pipeline.First().Name {
			continue
		}
		one, err := s.afterCapture(ctx, captured, e.Name, dryRun)
		if err != nil {
			return patch, err
		}
		patch.Mirrored = append(patch.Mirrored, one)
	}
	return patch, nil
}

func (r composedPatches) table(w io.Writer) {
	if len(r.Patches) == 0 {
		_, _ = fmt.Fprintln(w, "nothing is due")
	}
	for _, patch := range r.Patches {
		patch.write(w, r.DryRun)
		if !r.DryRun {
			_, _ = fmt.Fprintln(w, "next: propagator hotfix promote "+printable(patch.Version))
		}
	}
}

func (p composedPatch) write(w io.Writer, dryRun bool) {
	text := "composed " + p.Version
	if dryRun {
		text = "would compose " + p.Version + " (dry run, nothing was written)"
	}
	_, _ = fmt.Fprintln(w, printable(text))
	facts := []fact{{"onto", p.Onto}, {"hotfixes", strings.Join(p.Hotfixes, ", ")}}
	if len(p.LeftOut) > 0 {
		facts = append(facts, fact{"left out", strings.Join(p.LeftOut, ", ")})
	}
	facts = append(facts, fact{"commit", p.Commit.Short()})
	for _, m := range p.Mirrored {
		facts = append(facts, fact{"mirror", m.summary(dryRun)})
	}
	writeFacts(w, facts...)
}

// closedHotfix is the result of hotfix close and drop.
type closedHotfix struct {
	Name        string       `json:"name"`
	Head        gitrepo.Hash `json:"head"`
	Dropped     bool         `json:"dropped"`
	Reason      string       `json:"reason"`
	Environment string       `json:"environment"`
	DryRun      bool         `json:"dryRun"`
	Branch      string       `json:"branch"`
	BranchFrom  gitrepo.Hash `json:"branchFrom,omitempty"`
	BranchTo    gitrepo.Hash `json:"branchTo,omitempty"`
}

func hotfixCloseCommand(a *app) *cobra.Command {
	return closing(a, false, &cobra.Command{
		Use:   "close NAME",
		Short: "say where a hotfix went, so that it is owed no more",
		Long: `close records that a hotfix need not be looked for any more: it is somewhere in
another form, which nothing can prove, or it is not needed later. Snapshots without
it may enter from now on. The reason says where it went; it becomes an entry of the
ledger of an environment that has had the hotfix.`,
		Example: `  propagator hotfix close pay-timeout --reason 'rewritten in 9c41d07, tested by hand'`,
	})
}

func hotfixDropCommand(a *app) *cobra.Command {
	return closing(a, true, &cobra.Command{
		Use:   "drop NAME",
		Short: "a hotfix is not wanted after all",
		Long: `drop records that a hotfix is not wanted: compositions leave it out from now on, and
the next patch is made without it. An environment that runs it goes on running it
until then; to take it away at once, roll back.`,
		Example: `  propagator hotfix drop pay-timeout --reason 'it made things worse'`,
	})
}

func closing(a *app, dropped bool, cmd *cobra.Command) *cobra.Command {
	var reason string
	var dryRun bool
	cmd.Args, cmd.ValidArgsFunction = arguments(cobra.ExactArgs(1)), a.complete(completeHotfix)
	cmd.Flags().StringVar(&reason, "reason", "", "why; recorded")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, write nothing")
	by := bindActor(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.TrimSpace(reason) == "" {
			return usageHint("add --reason 'why'", "a hotfix is closed or dropped with a reason, which is recorded")
		}
		s, state, err := a.observeToWrite(cmd, *by, dryRun)
		if err != nil {
			return err
		}
		h, err := hotfixArgument(state, args[0])
		if err != nil {
			return err
		}
		step, err := promotion.PlanClose(state, args[0], dropped, reason)
		if err != nil {
			return err
		}
		environment, _ := state.Environment(step.Environment)
		result := closedHotfix{
			Name: h.Name, Head: h.Head, Dropped: dropped, Reason: step.Reason, Environment: step.Environment, DryRun: dryRun,
			Branch: environment.Branch, BranchFrom: environment.Tip,
		}
		if !dryRun {
			if err := s.Execute(cmd.Context(), state, step); err != nil {
				return err
			}
			result.BranchTo = s.journal.moved(environment.Branch).New
		}
		return a.print(result, result.table)
	}
	return cmd
}

func (r closedHotfix) table(w io.Writer) {
	is, done := "is", "closed"
	if r.Dropped {
		done = "dropped"
	}
	suffix := ""
	if r.DryRun {
		is, suffix = "would be", " (dry run, nothing was written)"
	}
	text := fmt.Sprintf("hotfix %s (%s) %s %s%s", r.Name, r.Head.Short(), is, done, suffix)
	branch := fmt.Sprintf("%s %s → %s", r.Branch, tipOrNew(r.BranchFrom), r.BranchTo.Short())
	if r.DryRun {
		branch = fmt.Sprintf("%s (%s)", r.Branch, tipOrNew(r.BranchFrom))
	}
	_, _ = fmt.Fprintln(w, printable(text))
	writeFacts(w, fact{"reason", r.Reason}, fact{"branch", branch})
}

// newestOf lists the snapshots of a line from a version on, newest first.
func newestOf(state *promotion.State, since snapshot.Version) []snapshot.Version {
	var versions []snapshot.Version
	for _, v := range state.Versions() {
		if v.SameLine(since) && v.Compare(since) >= 0 {
			versions = append(versions, v)
		}
	}
	return versions
}

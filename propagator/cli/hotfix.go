package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// hotfixPrefix begins the names of hotfix branches.
var hotfixPrefix = strings.TrimPrefix(snapshot.HotfixBranches, gitrepo.Heads)

func hotfixCommand(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "hotfix",
		Short: "fixes on branches of their own, and where they have got to",
		Long: `A hotfix is a branch hotfix/<name>, cut from what an environment runs. Plain git
is enough: cut, commit, push. Propagator merges it onto that release, as its next
patch, brings that through the environments, and lets nothing in afterwards that
lacks the fix. docs/hotfixes.md tells the whole story.`,
		Example: `  propagator hotfix start pay-timeout
  propagator hotfix list
  propagator hotfix promote pay-timeout
  propagator hotfix finish pay-timeout`,
	})
	a.add(cmd,
		hotfixStartCommand(a),
		hotfixListCommand(a),
		hotfixShowCommand(a),
		hotfixComposeCommand(a),
		hotfixPromoteCommand(a),
		hotfixFinishCommand(a),
		hotfixCloseCommand(a),
		hotfixDropCommand(a),
	)
	return cmd
}

// hotfixArgument finds the hotfix that was typed.
func hotfixArgument(state *promotion.State, name string) (promotion.Hotfix, error) {
	h, err := state.FindHotfix(name)
	if err != nil {
		return h, usageHint("propagator hotfix list --all", "%w", err)
	}
	return h, nil
}

// completeHotfix asks the repository for its hotfix branches: one round trip.
func completeHotfix(a *app, cmd *cobra.Command) []string {
	if service.FromEnvironment(cmd.Flags(), a.env) != nil {
		return nil
	}
	repo, err := a.repository(cmd)
	if err != nil {
		return nil
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background() // cobra runs completions without the program's
	}
	ctx, cancel := context.WithTimeout(parent, completionTimeout)
	defer cancel()
	refs, err := repo.Refs(ctx, snapshot.HotfixBranches)
	if err != nil {
		return nil
	}
	var names []string
	for ref := range refs.Filter(snapshot.HotfixBranches) {
		names = append(names, strings.TrimPrefix(ref, snapshot.HotfixBranches))
	}
	return names
}

// started is the result of hotfix start.
type started struct {
	Name        string `json:"name"`
	Branch      string `json:"branch"`
	Environment string `json:"environment"`
	// From is the snapshot that the environment runs, Base the commit.
	From   string       `json:"from"`
	Base   gitrepo.Hash `json:"base"`
	DryRun bool         `json:"dryRun"`
	Next   string       `json:"next"`
}

func hotfixStartCommand(a *app) *cobra.Command {
	var from string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "start NAME",
		Short: "cut a hotfix branch from what an environment runs",
		Long: `start makes the branch hotfix/NAME on the server, at what the environment runs, and
says how to go on. It needs the right to push that branch, and nothing else; git
alone can do the same: git push origin origin/environments/prod:refs/heads/hotfix/NAME

Without --from it is the last environment.`,
		Example: `  propagator hotfix start pay-timeout
  propagator hotfix start slow-search --from stage`,
		Args: arguments(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&from, "from", "", "the `environment` that needs the fix (default: the last one)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, write nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := strings.TrimPrefix(args[0], hotfixPrefix)
		if !snapshot.ValidHotfixName(name) {
			return usage(cmd, "%q cannot be a hotfix: write at most 100 letters, digits, dots, dashes, underscores and slashes", name)
		}
		mode := writing
		if dryRun {
			mode = reading
		}
		s, err := a.open(cmd, mode, "")
		if err != nil {
			return err
		}
		c, err := s.catalog(cmd.Context())
		if err != nil {
			return err
		}
		environment, err := cutFrom(cmd, c.pipeline, from)
		if err != nil {
			return err
		}
		result, err := s.start(cmd.Context(), c, name, environment, dryRun)
		if err != nil {
			return err
		}
		return a.print(result, result.table)
	}
	return cmd
}

// cutFrom is the environment that was named, or the only one that nothing comes
// after.
func cutFrom(cmd *cobra.Command, p *config.Pipeline, named string) (config.Environment, error) {
	if named != "" {
		return ledgerArgument(cmd, p, named)
	}
	var last []config.Environment
	var names []string
	for _, e := range p.Environments {
		if !e.First() && len(p.Downstream(e.Name)) <= 1 {
			last, names = append(last, e), append(names, e.Name)
		}
	}
	if len(last) != 1 {
		return config.Environment{}, usageHint("add --from "+strings.Join(names, " or --from "), "which environment needs the fix? There are %s at the end of the pipeline", strings.Join(names, " and "))
	}
	return last[0], nil
}

func (s *session) start(ctx context.Context, c *catalog, name string, environment config.Environment, dryRun bool) (started, error) {
	branch := hotfixPrefix + name
	result := started{
		Name: name, Branch: branch, Environment: environment.Name, DryRun: dryRun,
		Next: "git fetch && git switch " + branch,
	}
	refused := func(format string, args ...any) (started, error) {
		return result, &promotion.RefusedError{Wait: promotion.Wait{Environment: branch, Reason: promotion.AlreadyThere, Detail: fmt.Sprintf(format, args...)}}
	}
	for ref := range c.refs.Filter(snapshot.HotfixBranches) {
		other := strings.TrimPrefix(ref, gitrepo.Heads)
		switch {
		case other == branch:
			return refused("the branch exists; go on with %s, or take another name", result.Next)
		case strings.HasPrefix(other, branch+"/"), strings.HasPrefix(branch, other+"/"):
			return refused("git cannot have it beside %s; take another name", other)
		}
	}
	entry, ok, err := s.current(ctx, c, environment)
	if err != nil {
		return result, err
	}
	if !ok || entry.Snapshot.IsZero() {
		return result, usageHint("propagator promote "+environment.Name, "%s runs nothing yet that a hotfix could be cut from", environment.Name)
	}
	result.From, result.Base = entry.Snapshot.String(), entry.Commit
	if dryRun {
		return result, nil
	}
	err = s.Repo.Push(ctx, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Heads + branch, New: entry.Commit}}})
	var moved *gitrepo.RefMovedError
	if errors.As(err, &moved) {
		return refused("somebody else has just made the branch")
	}
	return result, err
}

func (r started) table(w io.Writer) {
	text := fmt.Sprintf("%s is cut from %s, which %s runs", r.Branch, r.From, r.Environment)
	if r.DryRun {
		text = fmt.Sprintf("%s would be cut from %s, which %s runs (dry run, nothing was written)", r.Branch, r.From, r.Environment)
	}
	_, _ = fmt.Fprintln(w, printable(text))
	writeFacts(w, fact{"base", string(r.Base)})
	_, _ = fmt.Fprintf(w, "next:\n  %s\n  change the manifests, not .propagator/, and commit\n  git push\n  propagator hotfix list\n", printable(r.Next))
}

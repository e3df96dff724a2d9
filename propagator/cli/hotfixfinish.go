package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// mergedBack is the result of hotfix finish.
type mergedBack struct {
	Name       string       `json:"name"`
	Head       gitrepo.Hash `json:"head"`
	DryRun     bool         `json:"dryRun"`
	Branch     string       `json:"branch"`
	BranchFrom gitrepo.Hash `json:"branchFrom,omitempty"`
	BranchTo   gitrepo.Hash `json:"branchTo,omitempty"`
	// PullRequest from the branch, where hotfixes.backMerge is pr.
	PullRequest *pullRequestSeen `json:"pullRequest,omitempty"`
	Next        string           `json:"next"`
}

func hotfixFinishCommand(a *app) *cobra.Command {
	var ownBranch, dryRun bool
	cmd := &cobra.Command{
		Use:   "finish NAME",
		Short: "bring a hotfix to the source branch",
		Long: `finish merges what the hotfix changes into the source branch: one commit, by the
author of the fix, pushed to the branch; with --review to backmerge/NAME, for people
to look at and merge. Nothing is merged where the source branch has changed the same
lines; that is for people.

Where hotfixes.backMerge is pr, it pushes backmerge/NAME as well, and opens a pull
request from it (GitLab: a merge request) if it has a token for the git host:
--host-tokens, or the variable PROPAGATOR_HOST_TOKEN. Without one it prints the
address at which to open it.

People can do it with git as well, however they like: merged, squashed or
cherry-picked, it is found. hotfixes.backMerge lets the hook do it.`,
		Example: `  propagator hotfix finish pay-timeout
  propagator hotfix finish pay-timeout --review`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeHotfix),
	}
	cmd.Flags().BoolVar(&ownBranch, "review", false, "push to a branch backmerge/NAME instead, for people to merge")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "merge, and push nothing")
	by := bindActor(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, state, err := a.observeToWrite(cmd, *by, dryRun)
		if err != nil {
			return err
		}
		h, err := hotfixArgument(state, args[0])
		if err != nil {
			return err
		}
		return a.finish(cmd.Context(), s, state, h, args[0], ownBranch, dryRun)
	}
	return cmd
}

// finish merges a hotfix back, to a branch of its own where the source branch gets
// it by a pull request.
func (a *app) finish(ctx context.Context, s *session, state *promotion.State, h promotion.Hotfix, name string, ownBranch, dryRun bool) error {
	byRequest := state.Pipeline.Hotfixes.BackMerge == config.BackMergePullRequest
	step, err := promotion.PlanMergeBack(state, name, ownBranch || byRequest)
	if err != nil {
		return err
	}
	result := mergedBack{Name: h.Name, Head: h.Head, DryRun: dryRun, Branch: step.Tag, BranchFrom: step.Commit, Next: "propagator hotfix show " + name}
	if byRequest {
		if result.BranchFrom, err = s.BackMergeTip(ctx, state, h); err != nil {
			return err
		}
	}
	if result.BranchTo = result.BranchFrom; !byRequest || result.BranchFrom == "" {
		err = s.Execute(ctx, state, step)
		if dryRun && errors.Is(err, errReadOnly) {
			err = nil // it came as far as the push
		}
		if err != nil {
			return conflictHint(h, state, err)
		}
		result.BranchTo = s.journal.moved(step.Tag).New
	}
	switch {
	case byRequest && dryRun:
		result.Next = "run it without --dry-run"
	case byRequest:
		var failed error
		result.PullRequest, failed = a.openPullRequest(ctx, s, state, h, result.BranchTo, step.Tag)
		if failed != nil {
			if err := a.print(result, result.table); err != nil {
				return err
			}
			return failed
		}
		result.Next = "review and merge " + cmp.Or(result.PullRequest.URL, step.Tag)
	case ownBranch:
		result.Next = "review and merge " + step.Tag
	}
	return a.print(result, result.table)
}

// conflictHint adds what to type when a hotfix cannot be merged back.
func conflictHint(h promotion.Hotfix, state *promotion.State, err error) error {
	var refused *promotion.RefusedError
	if !errors.As(err, &refused) || refused.Wait.Reason != promotion.HotfixConflict {
		return err
	}
	return &hinted{err, fmt.Sprintf("bring it there by hand: git switch %s && git cherry-pick -x --no-merges %s..%s", state.Pipeline.Source.Branch, h.Base.Short(), h.Head.Short()) +
		fmt.Sprintf("\nor, if it is there in another form: propagator hotfix close %s --reason '...'", h.Name)}
}

func (r mergedBack) table(w io.Writer) {
	text := fmt.Sprintf("merged hotfix %s (%s) to %s", r.Name, r.Head.Short(), r.Branch)
	branch := fmt.Sprintf("%s %s → %s", r.Branch, tipOrNew(r.BranchFrom), r.BranchTo.Short())
	switch {
	case r.BranchFrom != "" && r.BranchFrom == r.BranchTo:
		text = fmt.Sprintf("hotfix %s (%s) is on %s already", r.Name, r.Head.Short(), r.Branch)
		branch = fmt.Sprintf("%s (%s)", r.Branch, r.BranchTo.Short())
	case r.DryRun:
		text = fmt.Sprintf("would merge hotfix %s (%s) to %s (dry run, nothing was written)", r.Name, r.Head.Short(), r.Branch)
		branch = fmt.Sprintf("%s (%s)", r.Branch, tipOrNew(r.BranchFrom))
	}
	_, _ = fmt.Fprintln(w, printable(text))
	writeFacts(w, append([]fact{{"branch", branch}}, r.PullRequest.facts()...)...)
	_, _ = fmt.Fprintln(w, "next: "+printable(r.Next))
}

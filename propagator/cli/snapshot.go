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

func snapshotCommand(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "snapshot",
		Short: "take, list, show and check snapshots",
		Long: `A snapshot is a source commit plus a lock: every image of every environment
resolved to a digest. It is one commit with one tag, shop/v0.1.0, and never
changes.`,
		Example: `  propagator snapshot create
  propagator snapshot list
  propagator snapshot show v0.1.0
  propagator snapshot verify v0.1.0`,
	})
	a.add(cmd, createCommand(a), listCommand(a), showCommand(a), verifyCommand(a))
	return cmd
}

// created is the result of snapshot create.
type created struct {
	snapshotDetails
	DryRun bool `json:"dryRun"`
	// Promoted lists the environments that took it at once.
	Promoted []string `json:"promoted"`
	// Mirrored is one entry for each environment after the first.
	Mirrored []mirrored `json:"mirrored"`
	Next     string     `json:"next"`
}

func createCommand(a *app) *cobra.Command {
	var (
		revision, number string
		dryRun           bool
	)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "freeze a source commit and save its images",
		Long: `create renders every application of every environment at a source commit,
resolves every image to a digest, copies the images to the registries of the
environments that follow the first one, and then sets the snapshot's tag.
Environments with promote: auto and no gates take it at once.

The hook does this by itself when Dev is healthy, or when a person sets a tag
(source.capture). By hand nobody checks that Dev is: the newest commit of the
source branch is taken, or --commit. A tag of the form that source.tags asks for
also gives the version, and the images get it.`,
		Example: `  propagator snapshot create
  propagator snapshot create --dry-run
  propagator snapshot create --commit main --version v1.0.0
  propagator snapshot create --commit v1.4.0`,
		Args: arguments(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&revision, "commit", "", "branch, tag or full commit `id` (default: tip of the source branch)")
	f.StringVar(&number, "version", "", "the snapshot's `version` (default: the next minor one)")
	f.BoolVar(&dryRun, "dry-run", false, "work the snapshot out and show it, write nothing")
	by := bindActor(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		mode := writing
		actor, err := a.actor(*by)
		if dryRun {
			mode = reading
		} else if err != nil {
			return err
		}
		s, err := a.open(cmd, mode, actor)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		state, err := s.Observe(ctx)
		if err != nil {
			return err
		}
		version, err := versionArgument(cmd, state.Pipeline, number)
		if err != nil {
			return err
		}
		commit, ref := state.SourceTip, ""
		if revision != "" {
			if commit, ref, err = s.resolve(ctx, revision); err != nil {
				return err
			}
		}
		step, err := planCapture(state, commit, ref, version)
		if err != nil {
			return err
		}
		result, err := s.create(ctx, state, step, dryRun)
		if err != nil {
			return err
		}
		return a.print(result, result.table)
	}
	return cmd
}

// planCapture is for a commit that was named by a ref, or by itself (""). A tag
// that says a version is what is captured, unless another version is wanted.
func planCapture(state *promotion.State, commit gitrepo.Hash, ref string, version snapshot.Version) (promotion.Step, error) {
	if tag, ok := strings.CutPrefix(ref, gitrepo.Tags); ok {
		if said, ok := promotion.SourceTag(state.Pipeline, tag); ok && (version.IsZero() || version == said) {
			return promotion.PlanTag(state, tag, commit)
		}
	}
	return promotion.PlanCapture(state, commit, version)
}

func (s *session) create(ctx context.Context, state *promotion.State, step promotion.Step, dryRun bool) (created, error) {
	captured, err := s.Prepare(ctx, step)
	if err != nil {
		return created{}, err
	}
	result := created{
		snapshotDetails: detailsOf(captured.Snapshot), DryRun: dryRun,
		Promoted: append([]string{}, step.Into...), Mirrored: []mirrored{}, Next: "propagator status",
	}
	if !dryRun {
		err := s.Publish(ctx, state, step, captured)
		s.progress.close()
		if err != nil {
			return result, err
		}
	}
	for _, e := range captured.Pipeline.Environments {
		if !slices.Contains(e.After, captured.Pipeline.First().Name) {
			continue
		}
		if !dryRun && len(step.Into) == 0 {
			result.Next = fmt.Sprintf("propagator promote %s %s", e.Name, step.Version)
		}
		one, err := s.afterCapture(ctx, captured, e.Name, dryRun)
		if err != nil {
			return result, err
		}
		result.Mirrored = append(result.Mirrored, one)
	}
	return result, nil
}

func (s *session) afterCapture(ctx context.Context, captured *promotion.Captured, environment string, dryRun bool) (mirrored, error) {
	configured, _ := captured.Pipeline.Environment(environment)
	if dryRun {
		return s.wouldMirror(ctx, captured.Pipeline, captured.Snapshot.Lock, configured)
	}
	return s.mirrored(captured.Pipeline, captured.Snapshot.Lock, configured)
}

// resolve finds the commit that a branch, a tag or a full id names, and the full
// name of the ref; empty for an id.
func (s *session) resolve(ctx context.Context, revision string) (commit gitrepo.Hash, ref string, err error) {
	if id := gitrepo.Hash(strings.ToLower(revision)); id.Valid() {
		return id, "", nil
	}
	refs, err := s.Repo.Refs(ctx, gitrepo.Heads, gitrepo.Tags)
	if err != nil {
		return "", "", err
	}
	for _, name := range []string{revision, gitrepo.Heads + revision, gitrepo.Tags + revision} {
		id, ok := refs[name]
		if !ok {
			continue
		}
		if err := s.Repo.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
			return "", "", err
		}
		if tag, err := gitrepo.ReadTag(s.Repo, id); err == nil {
			id = tag.Object
		}
		return id, name, nil
	}
	return "", "", usageHint("git rev-parse "+revision+" in your checkout gives the full commit id",
		"--commit %s: %s has no such branch or tag", revision, s.Repo.URL())
}

func (c created) table(w io.Writer) {
	verb := "created " + c.Version
	if c.DryRun {
		verb = "would create " + c.Version + " (dry run, nothing was written)"
	}
	_, _ = fmt.Fprintln(w, verb)
	facts := c.facts()
	for _, m := range c.Mirrored {
		facts = append(facts, fact{"mirror", m.summary(c.DryRun)})
	}
	writeFacts(w, facts...)
	if c.DryRun {
		for _, environment := range c.Promoted {
			_, _ = fmt.Fprintf(w, "%s would point at %s at once (promote: auto)\n", environment, c.Version)
		}
		_, _ = fmt.Fprintln(w)
		c.imageTable(w)
		return
	}
	for _, environment := range c.Promoted {
		_, _ = fmt.Fprintf(w, "%s now points at %s; Argo CD deploys it\n", environment, c.Version)
	}
	_, _ = fmt.Fprintf(w, "next: %s\n", c.Next)
}

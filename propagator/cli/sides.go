package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/changes"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// side is a snapshot that was named by its version, or by an environment that
// points at it.
type side struct {
	changes.Side
	environment string
	version     snapshot.Version
	// tree is the one that the environment's ledger has.
	tree gitrepo.Hash
}

// sideFields is a side in a result.
type sideFields struct {
	Environment  string       `json:"environment,omitempty"`
	Version      string       `json:"version"`
	Commit       gitrepo.Hash `json:"commit"`
	SourceCommit gitrepo.Hash `json:"sourceCommit"`
}

func (s side) fields() sideFields {
	return sideFields{Environment: s.environment, Version: s.version.String(), Commit: s.Snapshot.ID, SourceCommit: s.Snapshot.Source}
}

// String names the side for people: stage shop/v0.2.0.
func (s sideFields) String() string { return strings.TrimSpace(s.Environment + " " + s.Version) }

// sides reads the snapshots that were typed, as versions or environments, in as
// few fetches as possible.
func (s *session) sides(ctx context.Context, cmd *cobra.Command, c *catalog, typed ...string) ([]side, error) {
	named, err := s.nameSides(ctx, cmd, c, typed)
	if err != nil {
		return nil, err
	}
	var ids []gitrepo.Hash
	for _, one := range named {
		if id := c.found.Tags[one.version]; id != "" {
			ids = append(ids, id)
		}
	}
	// With its parent, the source commit, which proves that it adds nothing.
	if err := s.Repo.Fetch(ctx, ids, gitrepo.FetchOptions{Depth: 2}); err != nil {
		return nil, err
	}
	for i := range named {
		one := &named[i]
		if one.Snapshot, one.Pipeline, err = s.read(ctx, c, one.version); err != nil {
			return nil, err
		}
		if one.tree != "" && one.tree != one.Snapshot.Tree {
			return nil, faultFound(forgedHint, fmt.Errorf("the tag %s does not name the tree that the branch of %s has: the tag was moved", one.version, one.environment))
		}
	}
	return named, nil
}

// nameSides finds the version of each side.
func (s *session) nameSides(ctx context.Context, cmd *cobra.Command, c *catalog, typed []string) ([]side, error) {
	var tips []gitrepo.Hash
	for _, text := range typed {
		if e, ok := c.pipeline.Environment(text); ok && c.refs[gitrepo.Heads+e.Branch] != "" {
			tips = append(tips, c.refs[gitrepo.Heads+e.Branch])
		}
	}
	if len(tips) > 0 {
		if err := s.Repo.Fetch(ctx, tips, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
			return nil, err
		}
	}
	named := make([]side, len(typed))
	for i, text := range typed {
		one := &named[i]
		e, ok := c.pipeline.Environment(text)
		if !ok {
			version, err := snapshot.ParseVersionOf(c.pipeline.Name, text)
			if err != nil {
				var known []string
				for _, e := range c.pipeline.Environments {
					known = append(known, e.Name)
				}
				return nil, usage(cmd, "%q is neither a version, such as v0.1.0, nor an environment; there are %s", text, strings.Join(known, ", "))
			}
			one.version = version
			continue
		}
		one.environment = e.Name
		if e.First() {
			version, err := s.captured(ctx, c, e.Name)
			if err != nil {
				return nil, err
			}
			one.version = version
			continue
		}
		entry, _, err := s.current(ctx, c, e)
		if err != nil {
			return nil, err
		}
		if entry.Snapshot.IsZero() {
			refused := &promotion.RefusedError{Wait: promotion.Wait{Environment: e.Name, Reason: promotion.UnknownSnapshot, Detail: "it was never promoted"}}
			return nil, &hinted{error: refused, hint: "there is nothing to compare with; propagator snapshot show VERSION says all that a snapshot brings"}
		}
		one.version, one.tree = entry.Snapshot, entry.Tree
	}
	return named, nil
}

// captured is the snapshot of what the first environment runs, which is the tip
// of the source branch.
func (s *session) captured(ctx context.Context, c *catalog, environment string) (snapshot.Version, error) {
	hint := "take a snapshot of it: propagator snapshot create"
	if versions := c.found.Versions(); len(versions) > 0 {
		newest := versions[0]
		id := c.found.Tags[newest]
		if err := s.Repo.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 2}); err != nil {
			return newest, err
		}
		commit, err := gitrepo.ReadCommit(s.Repo, id)
		if err == nil && len(commit.Parents) > 0 && commit.Parents[0] == c.tip {
			return newest, nil
		}
		hint = fmt.Sprintf("the newest snapshot is %s; %s", newest, hint)
	}
	return snapshot.Version{}, usageHint(hint, "%s follows the branch %s, and there is no snapshot of its commit %s", environment, c.pipeline.Source.Branch, c.tip.Short())
}

// completeSide suggests environments and versions.
func completeSide(a *app, cmd *cobra.Command) []string {
	return append(environmentsHere(true), completeVersion(a, cmd)...)
}

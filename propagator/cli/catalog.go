package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// catalog is what refs and configuration say: enough to find snapshots and
// ledgers without reading any. One damaged snapshot does not hide the others.
type catalog struct {
	refs     gitrepo.Refs
	pipeline *config.Pipeline
	// tip of the source branch, and its tree.
	tip, tree gitrepo.Hash
	// found are the snapshots, in the form in which the engine reads them.
	found *promotion.State
}

func (s *session) catalog(ctx context.Context) (*catalog, error) {
	refs, err := s.Repo.Refs(ctx, gitrepo.Heads, gitrepo.Tags)
	if err != nil {
		return nil, err
	}
	tip, ok := refs[gitrepo.Heads+s.Branch]
	if !ok {
		return nil, fmt.Errorf("repository %s has no branch %s: %w", s.Repo.URL(), s.Branch, gitrepo.ErrNotFound)
	}
	if err := s.Repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	commit, err := gitrepo.ReadCommit(s.Repo, tip)
	if err != nil {
		return nil, err
	}
	pipeline, err := snapshot.ReadConfig(s.Repo, commit.Tree)
	if err != nil {
		return nil, &promotion.Error{Step: "read branch " + s.Branch, Side: "config", Err: err}
	}
	c := &catalog{
		refs: refs, pipeline: pipeline, tip: tip, tree: commit.Tree,
		found: &promotion.State{Pipeline: pipeline, SourceTip: tip, Tags: map[snapshot.Version]gitrepo.Hash{}},
	}
	for name, id := range refs.Filter(gitrepo.Tags) {
		if v, err := snapshot.ParseVersion(strings.TrimPrefix(name, gitrepo.Tags)); err == nil && v.Pipeline == pipeline.Name {
			c.found.Tags[v] = id
		}
	}
	return c, nil
}

// read returns a snapshot and the configuration in it.
func (s *session) read(ctx context.Context, c *catalog, version snapshot.Version) (snapshot.Snapshot, *config.Pipeline, error) {
	found, err := s.Snapshot(ctx, c.found, version)
	if err != nil {
		return found, nil, forged(ctx, err)
	}
	pipeline, err := snapshot.ReadConfig(s.Repo, found.Tree)
	if err != nil {
		return found, nil, &promotion.Error{Step: "read snapshot " + version.String(), Side: "config", Err: err}
	}
	return found, pipeline, nil
}

// current is the newest entry of an environment's ledger, read alone; false
// when the ledger was never opened.
func (s *session) current(ctx context.Context, c *catalog, environment config.Environment) (snapshot.Entry, bool, error) {
	tip := c.refs[gitrepo.Heads+environment.Branch]
	if tip == "" {
		return snapshot.Entry{}, false, nil
	}
	if err := s.Repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return snapshot.Entry{}, false, err
	}
	entry, err := snapshot.ReadEntry(s.Repo, tip)
	if err != nil {
		return entry, false, foreignEntry(err)
	}
	return entry, true, nil
}

// environmentArgument finds the environment that was typed.
func environmentArgument(cmd *cobra.Command, p *config.Pipeline, name string) (config.Environment, error) {
	if e, ok := p.Environment(name); ok {
		return e, nil
	}
	known := make([]string, len(p.Environments))
	for i, e := range p.Environments {
		known[i] = e.Name
	}
	return config.Environment{}, usage(cmd, "pipeline %s has no environment %q; there are %s", p.Name, name, strings.Join(known, ", "))
}

// ledgerArgument is environmentArgument for one that has a ledger.
func ledgerArgument(cmd *cobra.Command, p *config.Pipeline, name string) (config.Environment, error) {
	e, err := environmentArgument(cmd, p, name)
	if err == nil && e.First() {
		return e, usage(cmd, "%s follows the branch %s by itself; Propagator neither promotes nor mirrors anything there", name, p.Source.Branch)
	}
	return e, err
}

// versionArgument reads a version as people type it; "" is none.
func versionArgument(cmd *cobra.Command, p *config.Pipeline, text string) (snapshot.Version, error) {
	if text == "" {
		return snapshot.Version{}, nil
	}
	v, err := snapshot.ParseVersionOf(p.Name, text)
	if err != nil {
		return v, usage(cmd, "%w", err)
	}
	return v, nil
}

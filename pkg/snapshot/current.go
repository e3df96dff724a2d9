package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Current is the configuration in force.
type Current struct {
	Pipeline *config.Pipeline
	// Tip of the source branch.
	Tip gitrepo.Hash
	// Fault is why the configuration at the tip cannot be used; Pipeline is
	// then that of the newest snapshot, without its hotfixes. Nil when the tip's is in force.
	Fault error
}

// ReadCurrent fetches and reads the configuration in force: the one at the tip
// of the source branch, or, as long as that is broken, the one of the newest
// snapshot. A mistake on the source branch must not stand in the way of a
// rollback. Without a snapshot to fall back to, a broken one is an error.
//
// What rules are in force is said on the source branch alone: of a snapshot with
// hotfixes the captured commit counts, because a hotfix may change the rules that
// it has to pass.
func ReadCurrent(ctx context.Context, r gitrepo.Reader, refs gitrepo.Refs, branch string) (Current, error) {
	tip, ok := refs[gitrepo.Heads+branch]
	if !ok {
		return Current{}, fmt.Errorf("repository %s has no branch %s: %w", r.URL(), branch, gitrepo.ErrNotFound)
	}
	pipeline, err := configAt(ctx, r, tip)
	if err == nil && pipeline.Source.Branch != branch {
		err = &ConfigError{fmt.Errorf("%s on branch %s names %s as its source branch; start with --branch %s",
			config.File, branch, pipeline.Source.Branch, pipeline.Source.Branch)}
	}
	if err == nil {
		return Current{Pipeline: pipeline, Tip: tip}, nil
	}
	var broken *ConfigError
	if !errors.As(err, &broken) {
		return Current{}, err
	}
	if id := newestTag(refs); id != "" {
		if pipeline, fallbackErr := capturedConfig(ctx, r, id); fallbackErr == nil && pipeline.Source.Branch == branch {
			return Current{Pipeline: pipeline, Tip: tip, Fault: err}, nil
		}
	}
	return Current{}, err
}

// capturedConfig reads the configuration in the commit of the source branch that
// a snapshot stems from.
func capturedConfig(ctx context.Context, r gitrepo.Reader, id gitrepo.Hash) (*config.Pipeline, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	s, err := Read(r, id, Version{})
	switch {
	case errors.Is(err, ErrNoSnapshot) || err == nil && s.Lock.Base == nil:
		return configAt(ctx, r, id)
	case err != nil:
		return nil, err
	}
	return configAt(ctx, r, s.Captured())
}

func configAt(ctx context.Context, r gitrepo.Reader, id gitrepo.Hash) (*config.Pipeline, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	commit, err := gitrepo.ReadCommit(r, id)
	if err != nil {
		return nil, err
	}
	pipeline, err := ReadConfig(r, commit.Tree)
	if err != nil {
		return nil, &ConfigError{err}
	}
	return pipeline, nil
}

// ConfigError is a configuration that was read and cannot be used, in contrast
// to one that could not be read.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

// newestTag returns the newest snapshot if all snapshot tags are of one
// pipeline; with more than one, nobody knows whose configuration broke.
func newestTag(refs gitrepo.Refs) gitrepo.Hash {
	var newest Version
	for name := range refs {
		v, err := ParseVersion(strings.TrimPrefix(name, gitrepo.Tags))
		switch {
		case err != nil || !strings.HasPrefix(name, gitrepo.Tags):
		case !newest.IsZero() && newest.Pipeline != v.Pipeline:
			return ""
		case newest.IsZero() || v.Compare(newest) > 0:
			newest = v
		}
	}
	if newest.IsZero() {
		return ""
	}
	return refs[newest.Ref()]
}

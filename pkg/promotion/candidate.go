package promotion

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// observeApplications asks Argo CD, and finds the commit that the first
// environment runs.
func (e *Engine) observeApplications(ctx context.Context, s *State) error {
	first := s.Pipeline.First()
	if e.Applications == nil {
		s.CandidateWait = Wait{Environment: first.Name, Reason: HealthUnknown, Detail: "Argo CD cannot be asked from here"}
		return nil
	}
	applications, err := e.Applications.List(ctx, s.Pipeline.Name)
	if err != nil {
		return err
	}
	visible := func(name string) bool { return len(e.Environments) == 0 || slices.Contains(e.Environments, name) }
	for i := range s.Environments {
		state := &s.Environments[i]
		state.ApplicationsKnown = visible(state.Name)
		for _, a := range applications {
			if a.Environment == state.Name {
				state.Applications = append(state.Applications, a)
			}
		}
	}
	if !visible(first.Name) {
		s.CandidateWait = Wait{Environment: first.Name, Reason: HealthUnknown, Detail: "its Applications are not visible from here"}
		return nil
	}
	return e.observeCandidate(ctx, s, first, applications)
}

// observeCandidate finds the source commit that every Application of the first
// environment is proven to run. It must be newer than what was captured last.
func (e *Engine) observeCandidate(ctx context.Context, s *State, first config.Environment, applications []Application) error {
	wait := func(reason Reason, format string, args ...any) error {
		s.CandidateWait = Wait{Environment: first.Name, Reason: reason, Detail: fmt.Sprintf(format, args...)}
		return nil
	}
	if s.ConfigFault != "" {
		return nil // said once, as a reason of its own
	}
	mine := map[string][]Application{}
	var commit gitrepo.Hash
	for _, a := range applications {
		if a.Environment != "" && a.Environment != first.Name || !sameRepository(a.RepoURL, e.Repo.URL()) || !below(a.Path, first) {
			continue
		}
		if commit != "" && a.ComparedRevision != commit {
			return wait(HealthUnknown, "Applications are at different commits: %s, %s", orNothing(commit), orNothing(a.ComparedRevision))
		}
		folder := path.Clean(a.Path)
		mine[folder], commit = append(mine[folder], a), a.ComparedRevision
	}
	switch {
	case len(mine) == 0:
		return wait(HealthUnknown, "no Application deploys %s", first.Path)
	case commit == "":
		return wait(HealthUnknown, "no Application was compared yet")
	case s.Newest != nil && s.Newest.Source == commit:
		return wait(AlreadyThere, "%s is snapshot %s", commit.Short(), s.Newest.Lock.Version)
	}
	newer, err := e.isNewer(ctx, s, commit)
	if err != nil {
		return err
	}
	if !newer {
		return wait(AlreadyThere, "%s is not newer than what was captured, or not on branch %s", commit.Short(), s.Pipeline.Source.Branch)
	}
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{commit}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return err
	}
	at, err := gitrepo.ReadCommit(e.Repo, commit)
	if err != nil {
		return err
	}
	discovered, err := render.Discover(gitrepo.TreeFS(e.Repo, at.Tree), first)
	if err != nil {
		return wait(HealthUnknown, "%s: %v", commit.Short(), err)
	}
	want := Expectation{Revision: commit, AnyOperation: true, Settle: e.Settle}
	for _, application := range discovered {
		if len(mine[application.Path]) == 0 {
			return wait(HealthUnknown, "no Application deploys %s", application.Path)
		}
		for _, a := range mine[application.Path] {
			if ok, missing := a.Deployed(want, s.Now); !ok {
				err := wait(HealthUnknown, "Application %s %s", a.Name, missing)
				if a.missing(want) == "" {
					s.CandidateWait.Until = a.settled(want)
				}
				return err
			}
		}
	}
	s.Candidate = &Candidate{Commit: commit}
	return nil
}

// isNewer reports whether a commit of the source branch comes after the one
// that was captured last. The branch's tip always does.
func (e *Engine) isNewer(ctx context.Context, s *State, commit gitrepo.Hash) (bool, error) {
	if commit == s.SourceTip {
		return true, nil
	}
	err := e.Repo.Fetch(ctx, []gitrepo.Hash{s.SourceTip}, gitrepo.FetchOptions{Depth: historyDepth * 4, CommitsOnly: true})
	if err != nil {
		return false, err
	}
	onBranch, err := gitrepo.IsAncestor(e.Repo, commit, s.SourceTip)
	if errors.Is(err, gitrepo.ErrNotFound) {
		// Further back than what was fetched: Dev lags behind by that many
		// commits, or runs another branch.
		return false, nil
	}
	if err != nil || !onBranch {
		return false, err
	}
	if s.Newest == nil {
		return true, nil
	}
	captured, err := gitrepo.IsAncestor(e.Repo, commit, s.Newest.Source)
	if errors.Is(err, gitrepo.ErrNotFound) {
		// The captured commit lies further back than what was fetched.
		return true, nil
	}
	return !captured, err
}

// below reports whether an Application's path is the environment's or lies
// below it, or is one of its explicit applications.
func below(folder string, e config.Environment) bool {
	folder = path.Clean(folder)
	if folder == e.Path || strings.HasPrefix(folder, e.Path+"/") {
		return true
	}
	return slices.ContainsFunc(e.Applications, func(a config.Application) bool { return a.Path == folder })
}

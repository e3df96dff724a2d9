package promotion

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
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
	for i := range s.Environments {
		state := &s.Environments[i]
		state.ApplicationsKnown = e.sees(state.Name)
		for _, a := range applications {
			if a.Environment == state.Name {
				state.Applications = append(state.Applications, a)
			}
		}
	}
	e.observePods(ctx, s, applications)
	if !e.sees(first.Name) {
		s.CandidateWait = Wait{Environment: first.Name, Reason: HealthUnknown, Detail: "its Applications are not visible from here"}
		return nil
	}
	return e.observeCandidate(ctx, s, first, applications)
}

// sees reports whether an environment's Applications are visible from here.
func (e *Engine) sees(environment string) bool {
	return len(e.Environments) == 0 || slices.Contains(e.Environments, environment)
}

// observeCandidate finds the source commit that every Application of the first
// environment is proven to run. It must be newer than what was captured last.
func (e *Engine) observeCandidate(ctx context.Context, s *State, first config.Environment, applications []Application) error {
	wait := func(reason Reason, format string, args ...any) error {
		s.CandidateWait = Wait{Environment: first.Name, Reason: reason, Detail: fmt.Sprintf(format, args...)}
		return nil
	}
	if s.ConfigFault != "" || !s.Pipeline.Source.FollowsFirst() {
		return nil // said once, as a reason of its own
	}
	var deploying []Application
	for _, a := range applications {
		if (a.Environment == "" || a.Environment == first.Name) && SameRepository(a.RepoURL, e.Repo.URL()) && below(a.Path, first) {
			deploying = append(deploying, a)
		}
	}
	if len(deploying) == 0 {
		return wait(HealthUnknown, "no Application deploys %s", first.Path)
	}
	// In one order, so that the same state is always described in the same words.
	slices.SortFunc(deploying, func(a, b Application) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	commit := deploying[0].ComparedRevision
	mine := map[string][]Application{}
	for _, a := range deploying {
		if a.ComparedRevision != commit {
			return wait(HealthUnknown, "Applications are at different commits: %s at %s, %s at %s",
				deploying[0].Name, orNothing(commit), a.Name, orNothing(a.ComparedRevision))
		}
		folder := path.Clean(a.Path)
		mine[folder] = append(mine[folder], a)
	}
	captured := s.capturedSources()
	switch version, known := captured[commit]; {
	case commit == "":
		return wait(HealthUnknown, "no Application was compared yet")
	case known:
		return wait(AlreadyThere, "%s is snapshot %s", commit.Short(), version)
	}
	newer, err := e.isNewer(ctx, s, commit, captured)
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
	var finished time.Time
	for _, application := range discovered {
		if len(mine[application.Path]) == 0 {
			return wait(HealthUnknown, "no Application deploys %s", application.Path)
		}
		for _, a := range mine[application.Path] {
			if fault := a.fault(want, s.Now); fault.text != "" {
				err := wait(fault.reason, "Application %s %s", a.Name, fault.text)
				s.CandidateWait.Until = fault.until
				return err
			}
			if a.SyncedRevision == commit {
				finished = later(finished, a.FinishedAt)
			}
		}
	}
	s.Candidate = &Candidate{Commit: commit, SyncFinished: finished}
	return nil
}

// isNewer reports whether a commit of the source branch comes after what was
// captured. The branch's tip always does.
func (e *Engine) isNewer(ctx context.Context, s *State, commit gitrepo.Hash, captured map[gitrepo.Hash]snapshot.Version) (bool, error) {
	if commit == s.SourceTip {
		return true, nil
	}
	err := e.Repo.Fetch(ctx, []gitrepo.Hash{s.SourceTip}, gitrepo.FetchOptions{Depth: sourceHistory, CommitsOnly: true})
	if err != nil {
		return false, err
	}
	// One that is further back than what was fetched: Dev lags behind by that
	// many commits, or runs another branch.
	onBranch, _, err := reachable(e.Repo, []gitrepo.Hash{s.SourceTip}, []gitrepo.Hash{commit})
	if err != nil || !onBranch[commit] {
		return false, err
	}
	before, _, err := reachable(e.Repo, slices.Collect(maps.Keys(captured)), []gitrepo.Hash{commit})
	return !before[commit], err
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

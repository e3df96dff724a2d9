package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/fleeting-taas/propagator/pkg/codehost"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// pullRequestSeen is the pull request that brings a hotfix to the source branch.
type pullRequestSeen struct {
	// State is open, merged, closed, none, or unknown when the server could not be
	// asked; Reason then says why, and Fix what to do about it.
	State  string `json:"state"`
	URL    string `json:"url,omitempty"`
	Reason string `json:"reason,omitempty"`
	Fix    string `json:"fix,omitempty"`
	// OpenAt is where a person opens one in a browser, as long as there is none.
	OpenAt string `json:"openAt,omitempty"`
	// Opened: this command has opened it.
	Opened bool `json:"opened"`
}

// The states of a pull request that no server has.
const (
	pullRequestNone    = "none"
	pullRequestUnknown = "unknown"
)

// host opens the server of the repository. Without a token there is a client all
// the same, which only knows where its pages are.
func (a *app) host(repository string, p *config.Pipeline) (*codehost.Client, error) {
	set := a.hosts
	set.CAFile, set.Token = a.git.CAFile, a.variable(codehost.Variable)
	return set.Open(repository, p.Source.Host)
}

// lookForPullRequest asks for the request of a hotfix; nil when it is not to have
// one, or needs none.
func (a *app) lookForPullRequest(ctx context.Context, s *session, state *promotion.State, h promotion.Hotfix) *pullRequestSeen {
	wanted := func(m promotion.BackMergeRequest) bool { return m.Hotfix.Head == h.Head }
	for _, m := range state.PullRequests {
		if !wanted(m) {
			continue
		}
		host, err := a.host(s.Repo.URL(), state.Pipeline)
		var found promotion.PullRequest
		ok := false
		if err == nil {
			found, ok, err = s.FindPullRequest(ctx, state, h, m.Tip, host)
		}
		seen := seenPullRequest(found, ok, err)
		if host != nil && !ok && m.Tip != "" {
			seen.OpenAt = host.Page(m.Branch, state.Pipeline.Source.Branch)
		}
		return seen
	}
	return nil
}

// openPullRequest opens the request of a hotfix whose branch was pushed. What
// stands in the way is said in the result: the branch is there, and a person can
// go on in a browser. It is an error only if there was a token to do it with.
func (a *app) openPullRequest(ctx context.Context, s *session, state *promotion.State, h promotion.Hotfix, tip gitrepo.Hash, branch string) (*pullRequestSeen, error) {
	host, err := a.host(s.Repo.URL(), state.Pipeline)
	var found promotion.PullRequest
	opened, tried := false, err == nil
	if tried {
		found, opened, err = s.OpenPullRequest(ctx, state, h, tip, host)
	}
	seen := seenPullRequest(found, err == nil, err)
	seen.Opened = opened
	if host != nil && err != nil {
		seen.OpenAt = host.Page(branch, state.Pipeline.Source.Branch)
	}
	if err != nil && tried {
		return seen, &hinted{err, cmp.Or(seen.Fix, "try again, or open it by hand: "+seen.OpenAt)}
	}
	return seen, nil
}

func seenPullRequest(found promotion.PullRequest, ok bool, err error) *pullRequestSeen {
	seen := &pullRequestSeen{State: pullRequestNone}
	switch {
	case err != nil:
		seen.State, seen.Reason = pullRequestUnknown, err.Error()
		var why *promotion.HostError
		if errors.As(err, &why) {
			seen.Fix = why.Fix
		}
	case ok:
		seen.State, seen.URL = string(found.State), found.URL
	}
	return seen
}

// facts show it below the result of a command.
func (p *pullRequestSeen) facts() []fact {
	if p == nil {
		return nil
	}
	text := p.State
	switch {
	case p.Opened:
		text = "opened " + p.URL
	case p.URL != "":
		text += " " + p.URL
	case p.Reason != "":
		text += ": " + p.Reason
	}
	return []fact{{"pull request", text}, {"to change that", p.Fix}, {"open it at", p.OpenAt}}
}

package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// BackMergeRequest is a hotfix that an environment has proven, that the source
// branch lacks, and that it is to get by a pull request.
type BackMergeRequest struct {
	Hotfix Hotfix
	// Branch that holds it, without refs/heads/, and its tip; empty while it is
	// not pushed.
	Branch string
	Tip    gitrepo.Hash
}

// Bounds of what a server is asked. Git says what is owed; the server is asked
// only while something is.
const (
	// pullBudget is for all that one run asks: the next one waits for it.
	pullBudget = 15 * time.Second
	// pullLife is how long it is believed that a request is as it was.
	pullLife = 15 * time.Minute
	// After a failure the server is left alone for pullPause, then twice as long
	// each time, up to maxPullPause.
	pullPause    = time.Minute
	maxPullPause = time.Hour
)

// pastPull is what the server said about a hotfix's request, or why it did not.
type pastPull struct {
	PullRequest // its State is empty when there is none
	// trouble is why nobody knows, or why it could not be opened; failures counts
	// how often in a row.
	trouble  string
	failures int
	// until is when to ask again.
	until time.Time
}

// wantsBranch reports whether the branch of a back-merge shall be pushed. Somebody
// who has closed its pull request may have deleted it, so the server is asked
// first; one that cannot be asked is no reason to wait.
func (e *Engine) wantsBranch(h Hotfix) bool {
	if e.PullRequests == nil {
		return true
	}
	past, known := e.memory.pulls.get(h.Head)
	server, _ := e.memory.pulls.get("")
	return server.trouble != "" || known && past.State == ""
}

// lookAfterPullRequests opens what is due and returns it; again says that what it
// found out may make other steps due.
func (e *Engine) lookAfterPullRequests(ctx context.Context, s *State) (opened []Step, again bool) {
	if e.PullRequests == nil || len(s.PullRequests) == 0 {
		return nil, false
	}
	asking, cancel := context.WithTimeout(ctx, pullBudget)
	defer cancel()
	var host PullRequests
	for _, m := range s.PullRequests {
		head := m.Hotfix.Head
		past, known := e.memory.pulls.get(head)
		server, _ := e.memory.pulls.get("")
		pushed := known && past.trouble == "" && past.State == "" && m.Tip != ""
		if e.now().Before(server.until) || known && !pushed && e.now().Before(past.until) {
			continue
		}
		var err error
		if host == nil {
			if host, err = e.PullRequests(s.Pipeline); err != nil {
				host = nil
			}
		}
		var found PullRequest
		created := false
		if err == nil {
			found, created, err = e.pullRequest(asking, s, m, host, false)
		}
		if ctx.Err() != nil {
			return opened, false
		}
		if err != nil {
			e.noteTrouble(ctx, m, past, server, err)
			again = again || m.Tip == ""
			continue
		}
		e.memory.pulls.put("", pastPull{})
		e.memory.pulls.put(head, pastPull{PullRequest: found, until: e.now().Add(pullLife)})
		if created {
			step := Step{Kind: PullRequestOpened, Tag: m.Branch, Commit: m.Tip, Hotfixes: []snapshot.Hotfix{m.Hotfix.Hotfix}}
			e.log().InfoContext(ctx, "pull request opened", "hotfix", m.Hotfix.Name, "url", found.URL)
			opened = append(opened, step)
		}
		again = again || found.State == "" && m.Tip == ""
	}
	return opened, again
}

// noteTrouble remembers what went wrong, for how long to leave it alone, and says
// so once each time. What is wrong with the server is so for all hotfixes.
func (e *Engine) noteTrouble(ctx context.Context, m BackMergeRequest, past, server pastPull, err error) {
	key, before := gitrepo.Hash(""), server
	var why *HostError
	known := errors.As(err, &why)
	if !known || why.Refused {
		key, before = m.Hotfix.Head, past
	}
	pause := min(pullPause<<min(before.failures, 10), maxPullPause)
	trouble := err.Error()
	if known {
		pause = max(pause, why.After)
		if why.Fix != "" {
			trouble += "; " + why.Fix
		}
	}
	now := pastPull{PullRequest: before.PullRequest, trouble: trouble, failures: before.failures + 1, until: e.now().Add(pause)}
	e.memory.pulls.put(key, now)
	e.log().WarnContext(ctx, "a pull request could not be looked after; it is tried again", "hotfix", m.Hotfix.Name, "branch", m.Branch, "error", trouble, "again", now.until)
}

// pullRequestWarnings are about requests that were closed, or could not be opened.
func (e *Engine) pullRequestWarnings(s *State) []Wait {
	if e.PullRequests == nil {
		return nil
	}
	var warnings []Wait
	for _, m := range s.PullRequests {
		past, _ := e.memory.pulls.get(m.Hotfix.Head)
		server, _ := e.memory.pulls.get("")
		if past.trouble == "" && past.State == "" {
			past = server
		}
		w := Wait{Environment: strings.TrimPrefix(m.Hotfix.Ref(), gitrepo.Heads), Version: m.Hotfix.Since.String(), Until: past.until}
		switch {
		case past.trouble != "":
			w.Reason, w.Detail = PullFailed, past.trouble
		case past.State == PullRequestClosed:
			w.Reason, w.Detail, w.Until = PullDeclined, past.URL, time.Time{}
		default:
			continue
		}
		warnings = append(warnings, w)
	}
	return warnings
}

// FindPullRequest asks a server for the request that brings a hotfix to the source
// branch; false when there is none. The tip is that of its branch, empty when that
// is not there.
func (e *Engine) FindPullRequest(ctx context.Context, s *State, h Hotfix, tip gitrepo.Hash, host PullRequests) (PullRequest, bool, error) {
	m := BackMergeRequest{Hotfix: h, Branch: backMergeBranch(h.Hotfix), Tip: tip}
	all, err := m.find(ctx, s, host)
	if err != nil {
		return PullRequest{}, false, err
	}
	found, ok := m.meant(all, false)
	return found, ok, nil
}

// OpenPullRequest opens a request for a hotfix whose branch has been pushed, unless
// there is an open one, and reports whether it did. A person asks for it, so one
// that was closed is no obstacle.
func (e *Engine) OpenPullRequest(ctx context.Context, s *State, h Hotfix, tip gitrepo.Hash, host PullRequests) (PullRequest, bool, error) {
	return e.pullRequest(ctx, s, BackMergeRequest{Hotfix: h, Branch: backMergeBranch(h.Hotfix), Tip: tip}, host, true)
}

// BackMergeTip is the tip of the branch on which a hotfix waits to be merged; empty
// when there is none. A branch that does not hold the hotfix is an error: it is
// somebody else's, or that of an earlier hotfix of the same name.
func (e *Engine) BackMergeTip(ctx context.Context, s *State, h Hotfix) (gitrepo.Hash, error) {
	m := BackMergeRequest{Hotfix: h, Branch: backMergeBranch(h.Hotfix)}
	refs, err := e.Repo.Refs(ctx, gitrepo.Heads+m.Branch)
	if err != nil {
		return "", err
	}
	if m.Tip = refs[gitrepo.Heads+m.Branch]; m.Tip == "" {
		return "", nil
	}
	return m.Tip, e.holds(ctx, s, m)
}

// pullRequest finds the request of a hotfix, or opens it if its branch is there.
// Two that do so at once open one: the server refuses the second, and then there
// is one to be found.
func (e *Engine) pullRequest(ctx context.Context, s *State, m BackMergeRequest, host PullRequests, byPerson bool) (found PullRequest, opened bool, err error) {
	all, err := m.find(ctx, s, host)
	if err != nil {
		return PullRequest{}, false, err
	}
	if found, ok := m.meant(all, byPerson); ok || m.Tip == "" {
		return found, false, nil
	}
	if err := e.holds(ctx, s, m); err != nil {
		return PullRequest{}, false, err
	}
	found, err = host.Create(ctx, e.draft(ctx, s, m))
	var refused *HostError
	if !errors.As(err, &refused) || !refused.Refused {
		return found, err == nil, err
	}
	all, again := m.find(ctx, s, host)
	if found, ok := m.meant(all, byPerson); again == nil && ok {
		return found, false, nil
	}
	return PullRequest{}, false, err
}

// pullSkew is how far the clock of who made a hotfix may be ahead of the server's.
const pullSkew = 24 * time.Hour

// find asks for all requests from the branch. None was made before the hotfix.
func (m BackMergeRequest) find(ctx context.Context, s *State, host PullRequests) ([]PullRequest, error) {
	since := time.Time{}
	if when := m.Hotfix.When; !when.IsZero() && when.Before(s.Now) {
		since = when.Add(-pullSkew)
	}
	return host.Find(ctx, m.Branch, s.Pipeline.Source.Branch, since)
}

// meant is the request about the hotfix: an open one from its branch, or, unless
// only that counts, one that was merged or closed, of what the branch is now or
// with a text that names the hotfix's head. The branch may be gone by then.
func (m BackMergeRequest) meant(all []PullRequest, open bool) (PullRequest, bool) {
	i := slices.IndexFunc(all, func(p PullRequest) bool { return p.State == PullRequestOpen })
	if i < 0 && !open {
		i = slices.IndexFunc(all, func(p PullRequest) bool {
			return m.Tip != "" && p.Head != "" && strings.HasPrefix(string(m.Tip), string(p.Head)) || strings.Contains(p.Body, string(m.Hotfix.Head))
		})
	}
	if i < 0 {
		return PullRequest{}, false
	}
	return all[i], true
}

// holds proves that the branch has the hotfix.
func (e *Engine) holds(ctx context.Context, s *State, m BackMergeRequest) error {
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{m.Tip}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return err
	}
	tip, err := gitrepo.ReadCommit(e.Repo, m.Tip)
	if err != nil {
		return err
	}
	if err := e.fetchHotfixes(ctx, []snapshot.Hotfix{m.Hotfix.Hotfix}); err != nil {
		return err
	}
	found, err := e.contained(ctx, s, snapshot.Debt{Hotfix: m.Hotfix.Hotfix}, hotfix.Place{Name: m.Branch, Tree: tip.Tree, Commit: m.Tip})
	if err != nil {
		return err
	}
	if found.Answer != hotfix.Contained {
		return fmt.Errorf("branch %s is there and does not hold the hotfix: %s; merge or delete it, then it is pushed anew", m.Branch, found)
	}
	return nil
}

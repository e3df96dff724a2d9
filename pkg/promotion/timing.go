package promotion

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// maxSkew is how far clocks may differ. A date that is further in the future says
// nothing.
const maxSkew = 5 * time.Minute

// maxTimed bounds how many of the newest snapshots are asked for which scheduled
// time they were captured.
const maxTimed = 16

// timing is what decides when a commit of the source branch is captured. All of
// it is in git or comes from Argo CD, so that every replica decides alike, and
// one that was down catches up.
type timing struct {
	now time.Time
	// oldest is the committer's date of the oldest commit of the branch that is in
	// no snapshot, newest that of the branch's tip.
	oldest, newest time.Time
	// finished is when the first environment's last sync of the commit ended; zero
	// when none was needed, or nobody can see it.
	finished time.Time
	// served is the newest scheduled time for which there is a snapshot; zero for
	// none.
	served time.Time
}

// since is what a committer's date says about when something came to the branch.
// One in the future is somebody's wrong clock: then it was there at the latest
// when it was synced.
func (t timing) since(date time.Time) time.Time {
	if date.After(t.now.Add(maxSkew)) {
		return t.finished
	}
	return date
}

// scheduled is the scheduled time for which the commit is to be captured; false
// as long as there is none. That is the newest time that has passed, so several
// that were missed are one, unless there is a snapshot for it, or nothing new was
// on the branch by then.
func (t timing) scheduled(times *gate.Times) (time.Time, bool) {
	last, ok := times.Last(t.now)
	if !ok || !last.After(t.served) || last.Before(t.since(t.oldest)) {
		return time.Time{}, false
	}
	return last.UTC(), true
}

// quiet is when the commit may be captured: once nothing has changed for a while,
// or at the latest a while after something did.
func (t timing) quiet(source config.Source) (changed, until time.Time) {
	changed = t.since(t.newest)
	if !t.finished.After(t.now.Add(maxSkew)) {
		changed = later(changed, t.finished)
	}
	until = changed.Add(source.Quiet)
	if most := t.since(t.oldest).Add(source.QuietAtMost); most.Before(until) {
		until = most
	}
	return changed, until
}

// observeTiming lets the candidate wait for its time. Where the first environment
// cannot be seen from here, it says what is known of the branch's tip.
func (e *Engine) observeTiming(ctx context.Context, s *State) error {
	source := s.Pipeline.Source
	seen := e.Applications != nil && e.sees(s.Pipeline.First().Name)
	switch {
	case s.ConfigFault != "", seen && source.FollowsFirst() && s.Candidate == nil:
		return nil
	case source.Captures(config.CaptureManual):
		s.CandidateWait = manualWait(s)
		return nil
	case !source.FollowsFirst() || source.Schedule == nil && source.Quiet <= 0:
		return nil
	}
	commit, t := s.SourceTip, timing{now: s.Now}
	if s.Candidate != nil {
		commit, t.finished = s.Candidate.Commit, s.Candidate.SyncFinished
	}
	version, err := e.readTiming(ctx, s, commit, &t)
	if err != nil {
		return err
	}
	wait := Wait{Environment: s.Pipeline.First().Name}
	switch {
	case !version.IsZero():
		wait.Reason, wait.Detail = AlreadyThere, fmt.Sprintf("%s is snapshot %s", commit.Short(), version)
	case source.Schedule != nil:
		times, err := gate.NewTimes(source.Schedule.Cron, source.Schedule.Timezone)
		if err != nil {
			wait.Reason, wait.Detail = InvalidConfig, "source.schedule: "+err.Error()
			break
		}
		due, ok := t.scheduled(times)
		if ok && s.Candidate != nil {
			s.Candidate.Scheduled = due
		}
		if ok {
			return nil
		}
		next, _ := times.Next(s.Now)
		wait.Reason, wait.Until = CaptureNotDue, next
		wait.Detail = fmt.Sprintf("%s is captured at %s", commit.Short(), next.Format("Mon 2006-01-02 15:04 MST"))
	default:
		changed, until := t.quiet(source)
		if !s.Now.Before(until) {
			return nil
		}
		wait.Reason, wait.Until = QuietWindow, until
		wait.Detail = fmt.Sprintf("%s changed at %s; %s is captured at %s, unless more comes before",
			source.Branch, clockTime(changed), commit.Short(), clockTime(until))
	}
	s.Candidate, s.CandidateWait = nil, wait
	return nil
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05 MST") }

// manualWait says what nobody has captured yet.
func manualWait(s *State) Wait {
	if s.Newest != nil && s.Newest.Source == s.SourceTip {
		return Wait{}
	}
	return Wait{Environment: s.Pipeline.First().Name, Reason: ManualCapture, Detail: s.SourceTip.Short() + " is on " + s.Pipeline.Source.Branch}
}

// readTiming fills in what git says. The version is that of the snapshot of the
// very commit, if it turns out that there is one.
func (e *Engine) readTiming(ctx context.Context, s *State, commit gitrepo.Hash, t *timing) (snapshot.Version, error) {
	sources, err := e.timedSnapshots(ctx, s, t)
	if err != nil {
		return snapshot.Version{}, err
	}
	if version, captured := sources[commit]; captured {
		return version, nil
	}
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{s.SourceTip}, gitrepo.FetchOptions{Depth: sourceHistory, CommitsOnly: true}); err != nil {
		return snapshot.Version{}, err
	}
	tip, err := gitrepo.ReadCommit(e.Repo, s.SourceTip)
	if err != nil {
		return snapshot.Version{}, err
	}
	t.newest = tip.Committer.When
	// Merged commits may be much older than the merge, so first parents count.
	history, err := gitrepo.FirstParents(e.Repo, commit, sourceHistory)
	if err != nil {
		return snapshot.Version{}, err
	}
	ids := make([]gitrepo.Hash, 0, len(history))
	for _, c := range history {
		ids = append(ids, c.ID)
	}
	var captured []gitrepo.Hash
	for source := range sources {
		captured = append(captured, source)
	}
	old, _, err := reachable(e.Repo, captured, ids)
	if err != nil {
		return snapshot.Version{}, err
	}
	for _, c := range history {
		if old[c.ID] {
			break
		}
		t.oldest = c.Committer.When
	}
	return snapshot.Version{}, nil
}

// timedSnapshots reads the commits of the newest snapshots: what they were
// captured from, and for which scheduled time.
func (e *Engine) timedSnapshots(ctx context.Context, s *State, t *timing) (map[gitrepo.Hash]snapshot.Version, error) {
	sources := s.capturedSources()
	versions := s.Versions()
	versions = versions[:min(len(versions), maxTimed)]
	var ids []gitrepo.Hash
	for _, version := range versions {
		ids = append(ids, s.Tags[version])
	}
	if len(ids) == 0 {
		return sources, nil
	}
	if err := e.Repo.Fetch(ctx, slices.Compact(slices.Sorted(slices.Values(ids))), gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return nil, err
	}
	for i, id := range ids {
		commit, err := gitrepo.ReadCommit(e.Repo, id)
		if err != nil || len(commit.Parents) == 0 {
			continue // not a snapshot: it proves nothing
		}
		t.served = later(t.served, snapshot.ScheduledFor(commit))
		if _, known := sources[commit.Parents[0]]; !known {
			sources[commit.Parents[0]] = versions[i]
		}
	}
	return sources, nil
}

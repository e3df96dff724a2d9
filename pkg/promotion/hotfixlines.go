package promotion

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// readLines reads the newest sound snapshot of every line that an environment
// runs, or has left for the hotfix lane.
func (e *Engine) readLines(ctx context.Context, s *State) ([]snapshot.Snapshot, error) {
	var at []snapshot.Version // one of each line
	for _, environment := range s.Environments {
		if environment.Snapshot == nil || environment.Unreadable != "" {
			continue
		}
		for _, version := range []snapshot.Version{environment.Current().Snapshot, environment.detour()} {
			if !version.IsZero() && !slices.ContainsFunc(at, version.SameLine) {
				at = append(at, version)
			}
		}
	}
	var lines []snapshot.Snapshot
	for range maxDamaged {
		wanted := map[snapshot.Version]bool{}
		for _, version := range at {
			versions := s.Versions()
			if i := slices.IndexFunc(versions, version.SameLine); i >= 0 {
				wanted[versions[i]] = true
			}
		}
		read, err := e.readSnapshots(ctx, s, wanted)
		if err != nil {
			return nil, err
		}
		for version, found := range read {
			if found.err != nil {
				s.Damaged[version] = found.err.Error() // the one below it is next
				continue
			}
			lines = append(lines, found.Snapshot)
			at = slices.DeleteFunc(at, version.SameLine)
		}
		if len(read) == 0 || len(at) == 0 {
			break
		}
	}
	slices.SortFunc(lines, func(a, b snapshot.Snapshot) int { return a.Lock.Version.Compare(b.Lock.Version) })
	return lines, nil
}

// known are the commits that a hotfix may have been cut from.
func (s *State) known(lines []snapshot.Snapshot) hotfix.Known {
	known := hotfix.Known{}
	for version, id := range s.Tags {
		known[id] = version
	}
	for _, e := range s.Environments {
		for _, entry := range e.History {
			if !entry.Snapshot.IsZero() {
				known[entry.Commit] = entry.Snapshot
			}
		}
	}
	for _, line := range lines {
		known[line.Source] = line.Lock.Version
	}
	maps.Copy(known, s.composedSince(lines))
	return known
}

// composedSince has the heads of hotfixes that were composed. One that was brought
// to several lines counts for the oldest of them that an environment still runs:
// what is committed on top of it is meant for there, and comes to the newer lines
// as it did.
func (s *State) composedSince(lines []snapshot.Snapshot) hotfix.Known {
	since := hotfix.Known{}
	isRun := func(v snapshot.Version) bool {
		return slices.ContainsFunc(lines, func(line snapshot.Snapshot) bool { return line.Lock.Version.SameLine(v) })
	}
	add := func(h snapshot.Hotfix) {
		before, ok := since[h.Head]
		switch now := isRun(h.Since); {
		case !ok, now && !isRun(before), now == isRun(before) && now == (h.Since.Compare(before) < 0):
			since[h.Head] = h.Since
		}
	}
	for _, e := range s.Environments {
		for _, d := range e.Current().Hotfixes {
			add(d.Hotfix)
		}
	}
	for _, line := range lines {
		for _, h := range line.Lock.Hotfixes {
			add(h)
		}
	}
	return since
}

// outrun finds the branches that come too late: no environment runs the line any
// more that they were cut from, so that no patch can be made of them.
func (s *State) outrun(lines []snapshot.Snapshot) {
	for i := range s.Hotfixes {
		h := &s.Hotfixes[i]
		late := !slices.ContainsFunc(lines, func(line snapshot.Snapshot) bool { return line.Lock.Version.SameLine(h.Onto) })
		if h.Open && h.Fault == "" && h.State() == StateOpen && late && len(lines) > 0 {
			h.Fault = hotfix.BaseOld
			h.Detail = fmt.Sprintf("it was cut from %s, and no environment runs v%d.%d any more: git rebase --onto origin/environments/<environment> %s hotfix/%s",
				h.Onto, h.Onto.Major, h.Onto.Minor, h.Base.Short(), h.Name)
		}
	}
}

// addComposed adds the hotfixes that are in a snapshot or a ledger already.
func (s *State) addComposed(lines []snapshot.Snapshot, branches gitrepo.Refs) {
	add := func(h snapshot.Hotfix) *Hotfix {
		for i := range s.Hotfixes {
			// A branch at the same commit whose name cannot be recorded is another matter.
			if s.Hotfixes[i].Head == h.Head && s.Hotfixes[i].Fault == "" {
				return &s.Hotfixes[i]
			}
		}
		open := branches[snapshot.HotfixBranches+h.Name] == h.Head
		s.Hotfixes = append(s.Hotfixes, Hotfix{Branch: hotfix.Branch{Hotfix: h, Onto: h.Since}, Open: open})
		return &s.Hotfixes[len(s.Hotfixes)-1]
	}
	for _, line := range lines {
		for _, h := range line.Lock.Hotfixes {
			add(h)
		}
	}
	for _, e := range s.Environments {
		for _, d := range e.Current().Hotfixes {
			found := add(d.Hotfix)
			found.Owed = append(found.Owed, e.Name)
		}
	}
	closed := s.closures()
	for i := range s.Hotfixes {
		s.Hotfixes[i].Closed = closed[s.Hotfixes[i].Head]
	}
}

// openBranches finds out what branches hold. Those whose heads are composed are
// left out: they are debts, or in a snapshot that is on its way.
func (e *Engine) openBranches(ctx context.Context, s *State, refs gitrepo.Refs, lines []snapshot.Snapshot, known hotfix.Known) ([]hotfix.Branch, error) {
	var all []hotfix.Branch
	unread := map[string]gitrepo.Hash{}
	sum := sumOf(known)
	for ref, head := range refs {
		name := strings.TrimPrefix(ref, snapshot.HotfixBranches)
		if version, isKnown := known[head]; isKnown && snapshot.ValidHotfixName(name) {
			if !s.composed(head, lines) {
				all = append(all, hotfix.Branch{
					Hotfix: snapshot.Hotfix{Name: name, Base: head, Head: head}, Onto: version, Fault: hotfix.Empty,
					Detail: fmt.Sprintf("there is no commit on top of %s yet", version),
				})
			}
			continue
		}
		branch, ok := e.memory.branches.get(branchKey{name, head})
		// It begins where it did unless a part of it was composed meanwhile.
		_, same := known[branch.Base]
		if ok && same && !slices.ContainsFunc(branch.Commits, func(id gitrepo.Hash) bool { _, composed := known[id]; return composed }) {
			branch.Onto = known[branch.Base]
			all = append(all, branch)
			continue
		}
		if branch, ok := e.memory.strangers.get(strangerKey{branchKey{name, head}, s.SourceTip, sum}); ok {
			all = append(all, branch)
			continue
		}
		unread[name] = head
	}
	if len(unread) == 0 {
		return all, nil
	}
	opened, err := hotfix.OpenAll(ctx, e.Repo, unread, s.SourceTip, known)
	if err != nil {
		return nil, err
	}
	for _, branch := range opened {
		if branch.Base != "" {
			e.memory.branches.put(branchKey{branch.Name, branch.Head}, branch)
		}
		if branch.Fault == hotfix.BaseUnknown {
			e.memory.strangers.put(strangerKey{branchKey{branch.Name, branch.Head}, s.SourceTip, sum}, branch)
		}
	}
	return append(all, opened...), nil
}

// sumOf is equal for equal sets of commits.
func sumOf(known hotfix.Known) (sum [sha256.Size]byte) {
	for id := range known {
		for i, b := range sha256.Sum256([]byte(id)) {
			sum[i] ^= b
		}
	}
	return sum
}

// composed reports whether a commit is the head of a hotfix that is in a snapshot
// or a ledger.
func (s *State) composed(head gitrepo.Hash, lines []snapshot.Snapshot) bool {
	for _, line := range lines {
		if slices.ContainsFunc(line.Lock.Hotfixes, func(h snapshot.Hotfix) bool { return h.Head == head }) {
			return true
		}
	}
	return slices.ContainsFunc(s.Environments, func(e Environment) bool {
		return slices.ContainsFunc(e.Current().Hotfixes, func(d snapshot.Debt) bool { return d.Head == head })
	})
}

// fetchKnown brings along what the hotfixes are in one go. What cannot be had is
// found out one by one, where it is needed.
func (e *Engine) fetchKnown(ctx context.Context, hotfixes []Hotfix) error {
	var sound []snapshot.Hotfix
	for _, h := range hotfixes {
		if h.Fault == "" && h.Closed == nil {
			sound = append(sound, h.Hotfix)
		}
	}
	if err := e.fetchHotfixes(ctx, sound); err != nil && !errors.Is(err, gitrepo.ErrNotFound) {
		return err
	}
	return nil
}

package promotion

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Hotfix is a hotfix that is open or a debt, and where it has got to.
type Hotfix struct {
	hotfix.Branch
	// Open: there is a branch, and this is its head.
	Open bool
	// From is the snapshot that it was cut from; zero when nobody knows any more.
	From snapshot.Version
	// Owed are the environments that have had it, and whose next snapshots must
	// contain it.
	Owed []string
	// In are the places where it was looked for: the source branch, and what each
	// environment with a newer line runs.
	In []Whereabouts
	// Left says why it was left out of a composition, by the snapshot that it
	// would have been merged onto.
	Left map[snapshot.Version]hotfix.Left
	// Closed is what somebody has said about it.
	Closed *snapshot.Closure
}

// Whereabouts is whether a hotfix is in one place.
type Whereabouts struct {
	// Place is a branch, or an environment with the snapshot that it runs.
	Place   string
	Version snapshot.Version
	hotfix.Containment
}

// Composition is a patch that is due: hotfixes onto the newest snapshot of a
// line.
type Composition struct {
	Onto     snapshot.Snapshot
	Version  snapshot.Version
	Hotfixes []snapshot.Hotfix
}

// BackMerge is a hotfix that the source branch lacks.
type BackMerge struct {
	Hotfix snapshot.Hotfix
	// Branch that gets it, and what that is now; empty for a new one.
	Branch string
	Tip    gitrepo.Hash
}

// observeHotfixes reads the hotfix branches and finds out where they, and those
// that are debts, have got to. Without any it costs nothing.
func (e *Engine) observeHotfixes(ctx context.Context, s *State, refs gitrepo.Refs) error {
	branches := refs.Filter(snapshot.HotfixBranches)
	if len(branches) == 0 && len(s.debtsOf()) == 0 {
		return nil
	}
	lines, err := e.readLines(ctx, s)
	if err != nil {
		return err
	}
	known := s.known(lines)
	opened, err := e.openBranches(ctx, s, branches, lines, known)
	if err != nil {
		return err
	}
	for _, branch := range opened {
		s.Hotfixes = append(s.Hotfixes, Hotfix{Branch: branch, Open: true})
	}
	s.addComposed(lines, branches)
	for i := range s.Hotfixes {
		s.Hotfixes[i].From = known[s.Hotfixes[i].Base]
	}
	if err := e.fetchKnown(ctx, s.Hotfixes); err != nil {
		return err
	}
	debts := map[gitrepo.Hash]snapshot.Debt{}
	for _, d := range s.debtsOf() {
		debts[d.Head] = d
	}
	for i := range s.Hotfixes {
		h := &s.Hotfixes[i]
		debt, ok := debts[h.Head]
		if !ok {
			debt = snapshot.Debt{Hotfix: h.Hotfix}
		}
		if err := e.locate(ctx, s, h, debt); err != nil {
			return err
		}
	}
	s.outrun(lines)
	if err := e.describeHotfixes(ctx, s); err != nil {
		return err
	}
	slices.SortFunc(s.Hotfixes, inOrder)
	if err := e.observeCompositions(ctx, s, lines); err != nil {
		return err
	}
	s.Warnings = append(s.Warnings, s.hotfixWarnings()...)
	return e.observeBackMerges(ctx, s, refs)
}

// inOrder sorts by name; of several with one name, those that came to an
// environment first.
func inOrder(a, b Hotfix) int {
	since := func(h Hotfix) int {
		if len(h.Owed) > 0 {
			return 0
		}
		return 1
	}
	return cmp.Or(strings.Compare(a.Name, b.Name), since(a)-since(b), a.Since.Compare(b.Since), strings.Compare(string(a.Head), string(b.Head)))
}

// debtsOf lists the debts of environments, or of all.
func (s *State) debtsOf(environments ...string) []snapshot.Debt {
	var debts []snapshot.Debt
	closed, at := s.closures(), map[gitrepo.Hash]int{}
	for _, e := range s.Environments {
		if len(environments) > 0 && !slices.Contains(environments, e.Name) {
			continue
		}
		for _, d := range e.Current().Hotfixes {
			i, known := at[d.Head]
			switch {
			case closed[d.Head] != nil:
			case !known:
				at[d.Head] = len(debts)
				debts = append(debts, d)
			case debts[i].In == "":
				debts[i].In = d.In
			}
		}
	}
	return debts
}

// closures are what somebody has said about hotfixes, in whichever ledger, by head.
func (s *State) closures() map[gitrepo.Hash]*snapshot.Closure {
	all := map[gitrepo.Hash]*snapshot.Closure{}
	for _, e := range s.Environments {
		for _, c := range e.Current().Closed {
			if all[c.Head] == nil {
				all[c.Head] = &c
			}
		}
	}
	return all
}

// owed are the debts that whatever enters an environment must contain: its own,
// and those of the environments after it.
func (s *State) owed(e Environment) []snapshot.Debt {
	return s.debtsOf(s.Pipeline.Downstream(e.Name)...)
}

// closed returns what somebody has said about a hotfix, in whichever ledger.
func (s *State) closed(h snapshot.Hotfix) *snapshot.Closure {
	for _, e := range s.Environments {
		for _, c := range e.Current().Closed {
			if c.Head == h.Head {
				return &c
			}
		}
	}
	return nil
}

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

// transient errors are those that another look may not meet again.
func transient(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, gitrepo.ErrUnreachable) || errors.Is(err, gitrepo.ErrUnauthorized)
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

// find looks for a hotfix, and remembers: the same commits always give the same
// answer.
func (e *Engine) find(ctx context.Context, d snapshot.Debt, in hotfix.Place) (hotfix.Containment, error) {
	key := findKey{d.Base, d.Head, d.In, in.Tree, in.Commit, d.Since}
	known, ok := e.memory.found.get(key)
	if age := e.now().Sub(known.at); ok && (known.Doubt == "" || age >= 0 && age < verdictLife) {
		return known.Containment, nil
	}
	found, err := e.memory.finder.Find(ctx, e.Repo, d, in)
	if err == nil {
		e.memory.found.put(key, pastFind{found, e.now()})
	}
	return found, err
}

// Contains tells whether a snapshot contains a hotfix, and what shows that.
func (e *Engine) Contains(ctx context.Context, s *State, d snapshot.Debt, in snapshot.Snapshot) (hotfix.Containment, error) {
	return e.contained(ctx, s, d, e.placeOf(s, in))
}

// contained is find; where that does not know, because the same lines were
// changed, it asks the hotfixes that were made on top of this one. If all that
// changed from the base of this one to the head of such a one is in the place,
// the place has gone on from this one the way they did.
func (e *Engine) contained(ctx context.Context, s *State, d snapshot.Debt, in hotfix.Place) (hotfix.Containment, error) {
	found, err := e.find(ctx, d, in)
	if err != nil || found.Answer != hotfix.Unknown {
		return found, err
	}
	for _, h := range s.Hotfixes {
		if !h.follows(d) {
			continue
		}
		both := snapshot.Debt{Hotfix: snapshot.Hotfix{Name: d.Name, Base: d.Base, Head: h.Head}}
		later, err := e.find(ctx, both, in)
		if err != nil {
			return found, err
		}
		// What the history says is about the later one alone.
		if later.Answer == hotfix.Contained && later.Evidence == hotfix.MergeIsEmpty && later.Commit == "" {
			return hotfix.Containment{Answer: hotfix.Contained, Evidence: hotfix.Followed, Commit: h.Head}, nil
		}
	}
	return found, nil
}

// follows reports whether the hotfix was made on top of another.
func (h Hotfix) follows(d snapshot.Debt) bool {
	if h.Fault != "" || h.Head == d.Head || h.Base == "" {
		return false
	}
	return h.Base == d.Head || !d.Since.IsZero() && h.From.SameLine(d.Since) && h.From.Compare(d.Since) >= 0
}

// locate looks for a hotfix on the source branch and in what the environments
// run.
func (e *Engine) locate(ctx context.Context, s *State, h *Hotfix, debt snapshot.Debt) error {
	if h.Closed != nil || h.Fault != "" {
		return nil
	}
	look := func(place string, version snapshot.Version, in hotfix.Place) error {
		found, err := e.contained(ctx, s, debt, in)
		if err != nil {
			if transient(ctx, err) {
				return err
			}
			found = hotfix.Containment{Answer: hotfix.Unknown, Doubt: err.Error()}
		}
		h.In = append(h.In, Whereabouts{Place: place, Version: version, Containment: found})
		return nil
	}
	tip, err := gitrepo.ReadCommit(e.Repo, s.SourceTip)
	if err != nil {
		return err
	}
	branch := s.Pipeline.Source.Branch
	if err := look(branch, snapshot.Version{}, hotfix.Place{Name: branch, Tree: tip.Tree, Commit: s.SourceTip}); err != nil {
		return err
	}
	for _, environment := range s.Environments {
		if environment.Snapshot == nil || environment.Unreadable != "" {
			continue
		}
		at := environment.Snapshot
		if err := look(environment.Name, at.Lock.Version, e.placeOf(s, *at)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) placeOf(s *State, snap snapshot.Snapshot) hotfix.Place {
	place := hotfix.Place{Name: snap.Lock.Version.String(), Tree: snap.Tree, Commit: snap.Source}
	if e.Services != nil {
		place.Images, place.Origins = snap.Lock.Images, origins{e, s}
	}
	return place
}

// origins implements [hotfix.Origins].
type origins struct {
	engine *Engine
	state  *State
}

// Of implements [hotfix.Origins]. Snapshots that are gone tell nothing.
func (o origins) Of(ctx context.Context, h snapshot.Hotfix) ([]snapshot.Image, error) {
	composed, err := o.engine.Snapshot(ctx, o.state, h.Since)
	if err != nil || composed.Lock.Base == nil {
		return nil, unlessTransient(ctx, err)
	}
	below, err := o.engine.Snapshot(ctx, o.state, composed.Lock.Base.Snapshot)
	if err != nil {
		return nil, unlessTransient(ctx, err)
	}
	return hotfix.Brought(composed.Lock, below.Lock), nil
}

// Repository implements [hotfix.Origins].
func (o origins) Repository(image string) (gitrepo.Reader, error) {
	return o.engine.Services(o.state.Pipeline, image)
}

func unlessTransient(ctx context.Context, err error) error {
	if err != nil && transient(ctx, err) {
		return err
	}
	return nil
}

// observeCompositions finds out which patches are due: on each line that an
// environment runs, the hotfixes cut from it, and those that are debts of an
// environment which runs an earlier line.
func (e *Engine) observeCompositions(ctx context.Context, s *State, lines []snapshot.Snapshot) error {
	for _, line := range lines {
		onto, err := e.withoutDropped(ctx, s, line)
		if err != nil && transient(ctx, err) {
			return err
		}
		if err != nil {
			s.Damaged[onto.Lock.Base.Snapshot] = err.Error()
			continue // nobody can say what the line is without the dropped one
		}
		pool, err := e.pool(ctx, s, onto)
		if err != nil || len(pool) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		composed, err := e.tryCompose(ctx, s, onto, pool)
		if err != nil {
			return err
		}
		for _, left := range composed.Left {
			s.leave(left, onto.Lock.Version)
		}
		// Who sees the first environment can read where new images come from.
		if len(composed.Hotfixes) > 0 && e.sees(s.Pipeline.First().Name) {
			s.Compositions = append(s.Compositions, Composition{Onto: onto, Version: s.nextPatch(onto.Lock.Version), Hotfixes: composed.Hotfixes})
		}
	}
	return nil
}

// tryCompose finds out which of the hotfixes can be merged onto a snapshot, and
// remembers: the same commits always come to the same.
func (e *Engine) tryCompose(ctx context.Context, s *State, onto snapshot.Snapshot, pool []snapshot.Hotfix) (hotfix.Composition, error) {
	of := fmt.Sprintf("%s %s", onto.ID, onto.Lock.Version)
	for _, h := range pool {
		of += fmt.Sprintf(" %s %s %s %s", h.Name, h.Base, h.Head, h.Since)
	}
	key := sha256.Sum256([]byte(of))
	if known, ok := e.memory.composed.get(key); ok {
		return known, nil
	}
	if err := e.fetchHotfixes(ctx, pool); err != nil {
		return hotfix.Composition{}, err
	}
	composed, err := hotfix.Compose(e.Repo, onto.Tree, onto.Lock.Version.String(), pool)
	if err != nil {
		return hotfix.Composition{}, err
	}
	composed.Objects = nil // it is made again when it is due
	for i := range composed.Left {
		left := &composed.Left[i]
		left.Note = s.rewritten(left.Hotfix, onto)
		if err := e.blame(ctx, left, onto); err != nil && transient(ctx, err) {
			return hotfix.Composition{}, err
		}
	}
	e.memory.composed.putAmong(maxSnapshots, key, composed)
	return composed, nil
}

// blame finds out whether a hotfix that conflicts with a composed snapshot does so
// because of a hotfix in it.
func (e *Engine) blame(ctx context.Context, left *hotfix.Left, onto snapshot.Snapshot) error {
	if left.Against != "" || len(onto.Lock.Hotfixes) == 0 {
		return nil
	}
	if err := e.fetchHotfixes(ctx, append(slices.Clone(onto.Lock.Hotfixes), left.Hotfix)); err != nil {
		return err
	}
	base, err := gitrepo.ReadCommit(e.Repo, left.Base)
	if err != nil {
		return err
	}
	for _, other := range onto.Lock.Hotfixes {
		both, err := hotfix.Compose(e.Repo, base.Tree, left.Base.Short(), []snapshot.Hotfix{other, left.Hotfix})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(both.Left, func(l hotfix.Left) bool { return l.Against != "" }) {
			left.Against = other.Name
			return nil
		}
	}
	return nil
}

// withoutDropped is the newest snapshot of a line in which there is no hotfix
// that somebody dropped.
func (e *Engine) withoutDropped(ctx context.Context, s *State, line snapshot.Snapshot) (snapshot.Snapshot, error) {
	for line.Lock.Base != nil && slices.ContainsFunc(line.Lock.Hotfixes, func(h snapshot.Hotfix) bool {
		c := s.closed(h)
		return c != nil && c.Dropped
	}) {
		// By its commit: somebody may have deleted the tag.
		base := *line.Lock.Base
		if err := e.Repo.Fetch(ctx, []gitrepo.Hash{base.Commit}, gitrepo.FetchOptions{Depth: snapshotDepth}); err != nil {
			return line, err
		}
		below, err := e.readSnapshot(ctx, base.Commit, base.Snapshot)
		if err != nil {
			return line, err
		}
		line = below
	}
	return line, nil
}

// pool lists the hotfixes that belong onto a snapshot and are not in it.
func (e *Engine) pool(ctx context.Context, s *State, onto snapshot.Snapshot) ([]snapshot.Hotfix, error) {
	version := onto.Lock.Version
	var pool []snapshot.Hotfix
	for _, h := range s.Hotfixes {
		if slices.ContainsFunc(pool, func(other snapshot.Hotfix) bool { return other.Head == h.Head }) {
			continue // another name for the same
		}
		own := h.Onto.SameLine(version)
		earlier := h.Onto.Compare(version) < 0 && len(h.Owed) > 0
		in := slices.ContainsFunc(onto.Lock.Hotfixes, func(other snapshot.Hotfix) bool { return other.Head == h.Head })
		if h.Fault != "" || h.Closed != nil || in || !own && !earlier {
			continue
		}
		found, err := e.contained(ctx, s, snapshot.Debt{Hotfix: h.Hotfix}, e.placeOf(s, onto))
		if err != nil {
			if transient(ctx, err) {
				return nil, err
			}
			s.leave(hotfix.Left{Hotfix: h.Hotfix, Note: err.Error()}, version)
			continue
		}
		if found.Answer != hotfix.Contained && found.Answer != hotfix.Reverted {
			h.Since = s.nextPatch(version)
			pool = append(pool, h.Hotfix)
		}
	}
	return pool, nil
}

func (s *State) leave(left hotfix.Left, onto snapshot.Version) {
	for i := range s.Hotfixes {
		if s.Hotfixes[i].Head != left.Head {
			continue
		}
		if s.Hotfixes[i].Left == nil {
			s.Hotfixes[i].Left = map[snapshot.Version]hotfix.Left{}
		}
		s.Hotfixes[i].Left[onto] = left
	}
}

// rewritten says that a branch was rewritten after it was composed, if it was, and
// what its author can do: what was composed stays.
func (s *State) rewritten(h snapshot.Hotfix, onto snapshot.Snapshot) string {
	i := slices.IndexFunc(onto.Lock.Hotfixes, func(other snapshot.Hotfix) bool { return other.Name == h.Name })
	if i < 0 {
		return ""
	}
	before := onto.Lock.Hotfixes[i]
	return fmt.Sprintf("the branch was rewritten: it was at %s when %s was made of it, which stays; go on from there: git rebase --onto %s %s hotfix/%s",
		before.Head.Short(), before.Since, before.Head.Short(), h.Base.Short(), h.Name)
}

// nextPatch is the version of the next composition of a line.
func (s *State) nextPatch(of snapshot.Version) snapshot.Version {
	highest := of
	for v := range s.Tags {
		if v.SameLine(of) && v.Compare(highest) > 0 {
			highest = v
		}
	}
	next := highest.NextPatch()
	for s.Reserved[next] {
		next = next.NextPatch()
	}
	return next
}

// planHotfixes makes steps of what is due, and says what is wrong with the rest.
func planHotfixes(s *State, d *Decision) {
	for _, c := range s.Compositions {
		if s.Pipeline.Hotfixes.Compose == config.Auto && s.ConfigFault == "" {
			d.Steps = append(d.Steps, c.step())
		}
	}
	for _, m := range s.BackMerges {
		d.Steps = append(d.Steps, m.step())
	}
	for _, h := range s.Hotfixes {
		if h.Fault != hotfix.Empty { // somebody has just begun
			d.Waits = append(d.Waits, h.waits()...)
		}
	}
}

func (c Composition) step() Step {
	return Step{Kind: Compose, Version: c.Version, Onto: c.Onto.Lock.Version, Hotfixes: c.Hotfixes}
}

// refusal says why nothing can be done with a hotfix as it is; nil when something
// can.
func (h Hotfix) refusal() *RefusedError {
	waits := h.waits()
	if len(waits) == 0 && h.Fault != "" {
		waits = []Wait{{Environment: strings.TrimPrefix(h.Ref(), gitrepo.Heads), Reason: HotfixUnusable, Detail: fmt.Sprintf("%s: %s", h.Fault, h.Detail)}}
	}
	if len(waits) == 0 {
		return nil
	}
	return &RefusedError{Wait: waits[0]}
}

// waits says why a hotfix is left out of what it belongs into.
func (h Hotfix) waits() []Wait {
	name := strings.TrimPrefix(h.Ref(), gitrepo.Heads)
	if h.Fault != "" {
		return []Wait{{Environment: name, Reason: HotfixUnusable, Detail: fmt.Sprintf("%s: %s", h.Fault, h.Detail)}}
	}
	var waits []Wait
	for _, onto := range slices.SortedFunc(maps.Keys(h.Left), snapshot.Version.Compare) {
		waits = append(waits, Wait{Environment: name, Version: onto.String(), Reason: HotfixConflict, Detail: h.Left[onto].String()})
	}
	return waits
}

// checkHotfixes: nothing that an environment has had, or a later one, is lost.
func checkHotfixes(s *State, e Environment, version snapshot.Version, _ asker) Finding {
	const name = "hotfixes"
	if len(s.owed(e)) == 0 {
		return passes(name, "there is no debt")
	}
	question := Question{Environment: e.Name, Version: version, Index: hotfixQuestion}
	if found, answered := s.debts[question.key()]; answered {
		return found
	}
	found := waits(name, GateUnknown, "nobody has looked yet")
	found.question = &question
	return found
}

// hotfixQuestion is the index of the question whether hotfixes would be lost.
const hotfixQuestion = -1

// answerHotfixes puts the answer to a question into the state.
func (e *Engine) answerHotfixes(ctx context.Context, s *State, q Question) error {
	if s.debts == nil {
		s.debts = map[questionKey]Finding{}
	}
	found, err := e.askHotfixes(ctx, s, q)
	if err != nil {
		if transient(ctx, err) {
			return err
		}
		found = waits("hotfixes", GateUnknown, "%v", err)
	}
	s.debts[q.key()] = found
	return nil
}

// askHotfixes looks for every debt in a snapshot.
func (e *Engine) askHotfixes(ctx context.Context, s *State, q Question) (Finding, error) {
	const name = "hotfixes"
	environment, ok := s.Environment(q.Environment)
	if !ok {
		return Finding{}, fmt.Errorf("unknown environment %q", q.Environment)
	}
	target, err := e.Snapshot(ctx, s, q.Version)
	if err != nil {
		return Finding{}, err
	}
	own := s.debtsOf(environment.Name)
	var contained []string
	var missing *Finding
	for _, d := range s.owed(environment) {
		if ofNewerLine(d, q.Version) {
			continue
		}
		found, err := e.contained(ctx, s, d, e.placeOf(s, target))
		if err != nil {
			return Finding{}, err
		}
		if found.Answer == hotfix.Contained {
			contained = append(contained, fmt.Sprintf("%s %s", d.Name, found))
			continue
		}
		reason := BackMergeOwed
		if slices.ContainsFunc(own, func(other snapshot.Debt) bool { return other.Head == d.Head }) {
			reason = HotfixLost
		}
		if missing == nil || missing.Reason == BackMergeOwed && reason == HotfixLost {
			lost := refuses(name, reason, "%s, which came to %s with %s: %s", d.Name, strings.Join(s.owing(d), " and "), d.Since, found)
			missing = &lost
		}
	}
	if missing != nil {
		return *missing, nil
	}
	return passes(name, "%s", strings.Join(contained, ", ")), nil
}

// ofNewerLine reports whether a debt was made on a newer line than a version's. An
// environment gets to an older line by a rollback or in the lane, both of which say
// so in its ledger; what was fixed on the newer one must be in what it runs when it
// is there again.
func ofNewerLine(d snapshot.Debt, version snapshot.Version) bool {
	return !d.Since.SameLine(version) && d.Since.Compare(version) > 0
}

// owing names the environments that have had a hotfix.
func (s *State) owing(d snapshot.Debt) []string {
	var names []string
	for _, e := range s.Environments {
		if slices.ContainsFunc(e.Current().Hotfixes, func(other snapshot.Debt) bool { return other.Head == d.Head }) {
			names = append(names, e.Name)
		}
	}
	return names
}

// carry works out the debts of an environment after a promotion: those that it
// had, with what has proven to contain them, and those of the new snapshot.
func (e *Engine) carry(ctx context.Context, s *State, environment Environment, target snapshot.Snapshot) ([]snapshot.Debt, error) {
	debts := s.debtsOf(environment.Name)
	for i, d := range debts {
		if target.Lock.Base != nil {
			break // a composition is not on the source branch
		}
		found, err := e.contained(ctx, s, d, e.placeOf(s, target))
		if err != nil {
			return nil, err
		}
		if found.Answer == hotfix.Contained {
			debts[i].In = target.Source
		}
	}
	for _, h := range target.Lock.Hotfixes {
		if s.closed(h) == nil && !slices.ContainsFunc(debts, func(d snapshot.Debt) bool { return d.Head == h.Head }) {
			debts = append(debts, snapshot.Debt{Hotfix: h})
		}
	}
	return debts, nil
}

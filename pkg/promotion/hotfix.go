package promotion

import (
	"context"
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
	for _, ref := range slices.Sorted(maps.Keys(branches)) {
		name := strings.TrimPrefix(ref, snapshot.HotfixBranches)
		branch, err := e.openBranch(ctx, s, name, branches[ref], known)
		if err != nil {
			return err
		}
		if _, composed := known[branch.Head]; composed {
			continue // it is a debt below, or in a snapshot that is on its way
		}
		s.Hotfixes = append(s.Hotfixes, Hotfix{Branch: branch, Open: true})
	}
	s.addComposed(lines, branches)
	s.addEmpty(branches, known)
	for i := range s.Hotfixes {
		s.Hotfixes[i].From = known[s.Hotfixes[i].Base]
	}
	for i := range s.Hotfixes {
		if err := e.locate(ctx, s, &s.Hotfixes[i]); err != nil {
			return err
		}
	}
	if err := e.describeHotfixes(ctx, s); err != nil {
		return err
	}
	slices.SortFunc(s.Hotfixes, func(a, b Hotfix) int { return strings.Compare(a.Name+" "+string(a.Head), b.Name+" "+string(b.Head)) })
	if err := e.observeCompositions(ctx, s, lines); err != nil {
		return err
	}
	s.Warnings = append(s.Warnings, s.hotfixWarnings()...)
	return e.observeBackMerges(ctx, s, refs)
}

// debtsOf lists the debts of environments, or of all.
func (s *State) debtsOf(environments ...string) []snapshot.Debt {
	var debts []snapshot.Debt
	for _, e := range s.Environments {
		if len(environments) > 0 && !slices.Contains(environments, e.Name) {
			continue
		}
		for _, d := range e.Current().Hotfixes {
			i := slices.IndexFunc(debts, func(other snapshot.Debt) bool { return other.Head == d.Head })
			switch {
			case s.closed(d.Hotfix) != nil:
			case i < 0:
				debts = append(debts, d)
			case debts[i].In == "":
				debts[i].In = d.In
			}
		}
	}
	return debts
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

// readLines reads the newest snapshot of every line that an environment runs, or
// has left for the hotfix lane.
func (e *Engine) readLines(ctx context.Context, s *State) ([]snapshot.Snapshot, error) {
	wanted := map[snapshot.Version]bool{}
	for _, environment := range s.Environments {
		if environment.Snapshot == nil || environment.Unreadable != "" {
			continue
		}
		for _, at := range []snapshot.Version{environment.Current().Snapshot, environment.detour()} {
			versions := s.Versions()
			if i := slices.IndexFunc(versions, at.SameLine); i >= 0 && !at.IsZero() {
				wanted[versions[i]] = true
			}
		}
	}
	read, err := e.readSnapshots(ctx, s, wanted)
	if err != nil {
		return nil, err
	}
	var lines []snapshot.Snapshot
	for version, found := range read {
		if found.err == nil {
			lines = append(lines, found.Snapshot)
			continue
		}
		s.Damaged[version] = found.err.Error()
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
		for _, d := range e.Current().Hotfixes {
			known[d.Head] = d.Since
		}
	}
	for _, line := range lines {
		known[line.Source] = line.Lock.Version
		for _, h := range line.Lock.Hotfixes {
			known[h.Head] = h.Since
		}
	}
	return known
}

// addComposed adds the hotfixes that are in a snapshot or a ledger already.
func (s *State) addComposed(lines []snapshot.Snapshot, branches gitrepo.Refs) {
	add := func(h snapshot.Hotfix) *Hotfix {
		for i := range s.Hotfixes {
			if s.Hotfixes[i].Head == h.Head {
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
	for i := range s.Hotfixes {
		s.Hotfixes[i].Closed = s.closed(s.Hotfixes[i].Hotfix)
	}
}

// addEmpty adds the branches that were cut and on which nothing is yet.
func (s *State) addEmpty(branches gitrepo.Refs, known hotfix.Known) {
	for _, ref := range slices.Sorted(maps.Keys(branches)) {
		head := branches[ref]
		version, cut := known[head]
		if !cut || slices.ContainsFunc(s.Hotfixes, func(h Hotfix) bool { return h.Head == head }) {
			continue
		}
		name := strings.TrimPrefix(ref, snapshot.HotfixBranches)
		s.Hotfixes = append(s.Hotfixes, Hotfix{Open: true, Branch: hotfix.Branch{
			Hotfix: snapshot.Hotfix{Name: name, Base: head, Head: head}, Onto: version, Fault: hotfix.Empty, Detail: "nothing is on it yet",
		}})
	}
}

// openBranch finds out what a branch holds; a branch that cannot be understood
// stops nothing but itself.
func (e *Engine) openBranch(ctx context.Context, s *State, name string, head gitrepo.Hash, known hotfix.Known) (hotfix.Branch, error) {
	if version, composed := known[head]; composed {
		return hotfix.Branch{Hotfix: snapshot.Hotfix{Name: name, Head: head}, Onto: version, Fault: hotfix.Empty}, nil
	}
	if branch, ok := e.memory.branches.get(head); ok && branch.Name == name {
		// It begins where it did unless a part of it was composed meanwhile.
		_, same := known[branch.Base]
		if same && !slices.ContainsFunc(branch.Commits, func(id gitrepo.Hash) bool { _, composed := known[id]; return composed }) {
			return branch, nil
		}
	}
	branch, err := hotfix.Open(ctx, e.Repo, name, head, s.SourceTip, known)
	switch {
	case err == nil && branch.Base != "":
		e.memory.branches.put(head, branch)
	case err == nil:
	case transient(ctx, err):
		return branch, err
	default:
		branch.Fault, branch.Detail = hotfix.BaseUnknown, err.Error()
	}
	return branch, nil
}

// transient errors are those that another look may not meet again.
func transient(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, gitrepo.ErrUnreachable) || errors.Is(err, gitrepo.ErrUnauthorized)
}

// find is hotfix.Find, remembered: the same commits always give the same answer.
func (e *Engine) find(ctx context.Context, d snapshot.Debt, in hotfix.Place) (hotfix.Containment, error) {
	key := findKey{d.Base, d.Head, d.In, in.Tree, in.Commit}
	if known, ok := e.memory.found.get(key); ok {
		return known, nil
	}
	found, err := hotfix.Find(ctx, e.Repo, d, in)
	if err == nil {
		e.memory.found.put(key, found)
	}
	return found, err
}

// locate looks for a hotfix on the source branch and in what the environments
// run.
func (e *Engine) locate(ctx context.Context, s *State, h *Hotfix) error {
	if h.Closed != nil || h.Fault != "" {
		return nil
	}
	debt := snapshot.Debt{Hotfix: h.Hotfix}
	for _, d := range s.debtsOf() {
		if d.Head == h.Head {
			debt = d
		}
	}
	look := func(place string, version snapshot.Version, in hotfix.Place) error {
		found, err := e.find(ctx, debt, in)
		if err != nil {
			if transient(ctx, err) {
				return err
			}
			found = hotfix.Containment{Answer: hotfix.Unknown}
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
		if err := look(environment.Name, at.Lock.Version, placeOf(*at)); err != nil {
			return err
		}
	}
	return nil
}

func placeOf(s snapshot.Snapshot) hotfix.Place {
	return hotfix.Place{Name: s.Lock.Version.String(), Tree: s.Tree, Commit: s.Source}
}

// observeCompositions finds out which patches are due: on each line that an
// environment runs, the hotfixes cut from it, and those that are debts of an
// environment which runs an earlier line.
func (e *Engine) observeCompositions(ctx context.Context, s *State, lines []snapshot.Snapshot) error {
	for _, line := range lines {
		onto, err := e.withoutDropped(ctx, s, line)
		if err != nil {
			return err
		}
		pool, err := e.pool(ctx, s, onto)
		if err != nil || len(pool) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		composed, err := hotfix.Compose(e.Repo, onto.Tree, onto.Lock.Version.String(), pool)
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

// withoutDropped is the newest snapshot of a line in which there is no hotfix
// that somebody dropped.
func (e *Engine) withoutDropped(ctx context.Context, s *State, line snapshot.Snapshot) (snapshot.Snapshot, error) {
	for line.Lock.Base != nil && slices.ContainsFunc(line.Lock.Hotfixes, func(h snapshot.Hotfix) bool {
		c := s.closed(h)
		return c != nil && c.Dropped
	}) {
		below, err := e.Snapshot(ctx, s, line.Lock.Base.Snapshot)
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
		own := h.Onto.SameLine(version)
		earlier := h.Onto.Compare(version) < 0 && len(h.Owed) > 0
		in := slices.ContainsFunc(onto.Lock.Hotfixes, func(other snapshot.Hotfix) bool { return other.Head == h.Head })
		if h.Fault != "" || h.Closed != nil || in || !own && !earlier {
			continue
		}
		found, err := e.find(ctx, snapshot.Debt{Hotfix: h.Hotfix}, placeOf(onto))
		if err != nil {
			return nil, err
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
		d.Waits = append(d.Waits, h.waits()...)
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
		if h.Fault == hotfix.Empty {
			return nil
		}
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
		found, err := e.find(ctx, d, placeOf(target))
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
		found, err := e.find(ctx, d, placeOf(target))
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

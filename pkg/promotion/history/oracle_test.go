package history

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// effects is a set of what commits on hotfix branches have brought: one bit for
// each slot that a commit changed.
type effects uint64

// maxEffects is how many a history can tell apart.
const maxEffects = 64

func (e effects) each(yield func(int) bool) {
	for rest := uint64(e); rest != 0; rest &= rest - 1 {
		if !yield(bits.TrailingZeros64(rest)) {
			return
		}
	}
}

// line is MAJOR and MINOR of a version.
type line struct{ major, minor int }

func lineOf(v snapshot.Version) line { return line{v.Major, v.Minor} }

func (l line) after(other line) bool {
	return l.major > other.major || l.major == other.major && l.minor > other.minor
}

// oracle knows what every value was written on top of.
type oracle struct {
	// lineage holds the effects that a value has, because it was written by a fix
	// or on top of one that has them.
	lineage map[string]effects
	// names says what an effect is.
	names []string
	known map[gitrepo.Hash]values

	tags    map[snapshot.Version]gitrepo.Hash
	ledgers map[string]*ledger
	// forgiven are the effects that somebody has closed or dropped.
	forgiven effects
}

// ledger is what the oracle has seen of an environment.
type ledger struct {
	tip     gitrepo.Hash
	entries []snapshot.Entry
	// shipped are the effects that compositions have brought to the environment,
	// and since is the line with which they came.
	shipped effects
	since   map[int]line
}

// of leaves out what was fixed on a newer line than the version's: it is back when
// the environment is there again.
func (l *ledger) of(all effects, version snapshot.Version) effects {
	for i, since := range l.since {
		if since.after(lineOf(version)) {
			all &^= 1 << i
		}
	}
	return all
}

func (l *ledger) current() snapshot.Version {
	if len(l.entries) == 0 {
		return snapshot.Version{}
	}
	return l.entries[len(l.entries)-1].Snapshot
}

func (l *ledger) hold() string {
	if len(l.entries) == 0 {
		return ""
	}
	return l.entries[len(l.entries)-1].Hold
}

func newOracle() oracle {
	return oracle{
		lineage: map[string]effects{}, known: map[gitrepo.Hash]values{}, tags: map[snapshot.Version]gitrepo.Hash{},
		ledgers: map[string]*ledger{},
	}
}

// held are the effects that a tree has.
func (o *oracle) held(v values) effects {
	var all effects
	for _, value := range v {
		all |= o.lineage[value]
	}
	return all
}

// name lists effects for people.
func (o *oracle) name(e effects) string {
	var names []string
	for i := range e.each {
		names = append(names, o.names[i])
	}
	return strings.Join(names, ", ")
}

// look compares git with what it was. It is called after every push of an engine.
func (w *world) look() {
	refs := w.refs()
	for v, id := range w.tags {
		if refs[v.Ref()] != id {
			w.fail("I1: the tag %s was moved", v)
		}
	}
	for ref, id := range refs.Filter("refs/tags/shop/") {
		v, err := snapshot.ParseVersion(strings.TrimPrefix(ref, gitrepo.Tags))
		if err != nil {
			w.fail("I1: %v", err)
			continue
		}
		if w.tags[v] != "" {
			continue
		}
		w.tags[v] = id
		w.newTag(v, id)
	}
	for _, env := range w.envs {
		if tip := refs["refs/heads/environments/"+env]; tip != w.ledgers[env].tip {
			w.newEntries(env, tip)
		}
	}
}

// depth brings the new entries of a ledger along, which are two at most.
const depth = 3

// newTag checks a composed snapshot: it holds what was below it and the fixes,
// and nothing else.
func (w *world) newTag(v snapshot.Version, id gitrepo.Hash) {
	if err := w.people.Fetch(w.ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		w.fail("the world: %v", err)
		return
	}
	read, err := snapshot.Read(w.people, id, v)
	if err != nil {
		w.fail("I1: %s cannot be read: %v", v, err)
		return
	}
	got, err := w.read(read.Tree)
	if err != nil {
		w.fail("the tree of %s: %v", v, err)
		return
	}
	w.tracef("%s is %s  (%s)", short(v), w.hotfixNames(read), got)
	if v.Patch == 0 {
		return
	}
	below, err := w.at(w.tags[read.Lock.Base.Snapshot])
	if err != nil {
		w.fail("below %s: %v", v, err)
		return
	}
	var brought, taken effects
	allowed := map[slot][]string{}
	for _, h := range read.Composed() {
		base, errBase := w.at(h.Base)
		head, errHead := w.at(h.Head)
		if errBase != nil || errHead != nil {
			w.fail("hotfix %s of %s: %v %v", h.Name, v, errBase, errHead)
			return
		}
		for s := range slots {
			if base[s] != head[s] {
				allowed[s] = append(allowed[s], head[s])
			}
		}
		brought |= w.held(head) &^ w.held(base)
		taken |= w.held(base) &^ w.held(head)
	}
	for s := range slots {
		if got[s] != below[s] && !slices.Contains(allowed[s], got[s]) {
			w.fail("%s holds %s=%s, which is neither of %s nor of its hotfixes", v, s, got[s], read.Lock.Base.Snapshot)
		}
	}
	if lost := (w.held(below) | brought) &^ w.held(got) &^ taken; lost != 0 {
		w.fail("the composition %s of %s and %s lacks %s", v, read.Lock.Base.Snapshot, w.hotfixNames(read), w.name(lost))
	}
}

func (w *world) hotfixNames(s snapshot.Snapshot) string {
	if s.Lock.Base == nil {
		return "main at " + s.Source.Short()
	}
	names := []string{short(s.Lock.Base.Snapshot)}
	for _, h := range s.Composed() {
		names = append(names, h.Name+"@"+h.Head.Short())
	}
	return strings.Join(names, " + ")
}

// newEntries reads what was added to a ledger.
func (w *world) newEntries(env string, tip gitrepo.Hash) {
	l := w.ledgers[env]
	if err := w.people.Fetch(w.ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: depth}); err != nil {
		w.fail("the world: %v", err)
		return
	}
	var added []snapshot.Entry
	for id := tip; id != l.tip; {
		entry, err := snapshot.ReadEntry(w.people, id)
		if err != nil {
			w.fail("I1: the ledger of %s does not continue what it was: %v", env, err)
			return
		}
		added = append(added, entry)
		commit, err := gitrepo.ReadCommit(w.people, id)
		if err != nil || len(commit.Parents) == 0 {
			if l.tip != "" {
				w.fail("I1: the ledger of %s begins anew", env)
			}
			break
		}
		id = commit.Parents[0]
	}
	slices.Reverse(added)
	l.tip = tip
	for _, entry := range added {
		w.newEntry(env, l, entry)
		l.entries = append(l.entries, entry)
	}
}

func (w *world) newEntry(env string, l *ledger, entry snapshot.Entry) {
	w.count("entry: " + string(entry.Event))
	if !entry.Event.Moves() {
		if entry.Event != snapshot.EventDeployed {
			w.tracef("%s: %s %s", env, entry.Event, entry.Override)
		}
		return
	}
	now, err := w.at(entry.Commit)
	if err != nil {
		w.fail("what %s runs: %v", env, err)
		return
	}
	id := w.tags[entry.Snapshot]
	if commit, err := gitrepo.ReadCommit(w.people, id); err != nil || commit.Tree != entry.Tree {
		w.fail("I3: %s runs another tree than %s has (%v)", env, entry.Snapshot, err)
	}
	held := w.held(now)
	w.tracef("%s: %s %s -> %s %s", env, entry.Event, short(l.current()), short(entry.Snapshot), entry.Override)
	if entry.Event == snapshot.EventPromote {
		w.checkOrder(env, l, entry)
		w.checkLost(env, l, entry, held)
	}
	if entry.Snapshot.Patch == 0 {
		return
	}
	first := entry.Snapshot
	first.Patch = 0
	below, err := w.at(w.tags[first])
	if err != nil {
		w.fail("%s: %v", first, err)
		return
	}
	for i := range (held &^ w.held(below) &^ l.shipped).each {
		l.since[i] = lineOf(entry.Snapshot)
	}
	l.shipped |= held &^ w.held(below)
}

// checkLost is the promise: what hotfixes have brought to an environment, or to a
// later one, is in everything that enters it, unless somebody closed it or the
// entry says that a person went against the rule.
func (w *world) checkLost(env string, l *ledger, entry snapshot.Entry, held effects) {
	own := l.shipped
	if entry.Snapshot.Compare(l.current()) < 0 {
		w.count("the lane is entered")
	}
	own = l.of(own, entry.Snapshot)
	lost := own &^ held &^ w.forgiven
	var owed effects
	for _, later := range w.after(env) {
		owed |= w.ledgers[later].of(w.ledgers[later].shipped, entry.Snapshot)
	}
	owed = owed &^ held &^ w.forgiven
	if w.racing {
		owed = 0 // the later environment may have got it since
	}
	if lost|owed == 0 {
		return
	}
	overridden := entry.Override != "" && slices.ContainsFunc(entry.Gates, func(v snapshot.Verdict) bool {
		return v.Gate == "hotfixes" && v.Result == "skip" && v.Detail != ""
	})
	switch {
	case overridden:
		w.count("lost by an override")
	case lost != 0:
		w.fail("LOST: %s has had %s, and lacks it with %s", env, w.name(lost), entry.Snapshot)
	default:
		w.fail("OWED: a later environment than %s has had %s, and %s lacks it", env, w.name(owed), entry.Snapshot)
	}
}

func (w *world) after(env string) []string { return w.envs[slices.Index(w.envs, env)+1:] }

// checkOrder is I3 and I7: nothing goes back but into the lane, and nothing
// enters that the environment before has not proven.
func (w *world) checkOrder(env string, l *ledger, entry snapshot.Entry) {
	if entry.From != l.current() {
		w.fail("I1: %s came to %s from %s, and its ledger was at %s", env, entry.Snapshot, entry.From, l.current())
	}
	back := entry.Snapshot.Compare(l.current()) <= 0
	wanted := slices.ContainsFunc(w.after(env), func(later string) bool {
		at := w.ledgers[later].current()
		return at.SameLine(entry.Snapshot) && at.Compare(entry.Snapshot) < 0
	})
	if back && (entry.Snapshot.Patch == 0 || !wanted && !w.racing) {
		w.fail("I7: %s was promoted from %s back to %s", env, l.current(), entry.Snapshot)
	}
	i := slices.Index(w.envs, env)
	if i == 0 {
		return
	}
	before := w.envs[i-1]
	if slices.ContainsFunc(entry.Gates, func(v snapshot.Verdict) bool { return v.Gate == before && v.Result == "skip" && v.Detail != "" }) {
		w.count("an environment is skipped")
		return
	}
	if !w.ledgers[before].proven(entry) && !w.racing {
		w.fail("I3: %s got %s without evidence of its tree from %s", env, entry.Snapshot, before)
	}
}

// proven reports whether a ledger has evidence of what entered the next
// environment.
func (l *ledger) proven(entered snapshot.Entry) bool {
	for _, e := range slices.Backward(l.entries) {
		switch {
		case e.Event == snapshot.EventRollback && e.From == entered.Snapshot:
			return false
		case e.Event == snapshot.EventDeployed && e.Snapshot == entered.Snapshot:
			return e.Tree == entered.Tree
		}
	}
	return false
}

// newEffect is what a commit of a hotfix brings to a slot.
func (o *oracle) newEffect(format string, args ...any) effects {
	if len(o.names) == maxEffects {
		return 0
	}
	o.names = append(o.names, fmt.Sprintf(format, args...))
	return 1 << (len(o.names) - 1)
}

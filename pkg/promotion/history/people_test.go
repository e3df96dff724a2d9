package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// An action is something that people do. It is false when there is nothing that
// it could be done to.
type action struct {
	name   string
	weight int
	do     func(*world) bool
}

func actions() []action {
	return []action{
		{"main: edit", 12, (*world).edit},
		{"main: revert", 6, (*world).revert},
		{"main: begin a feature branch", 3, (*world).beginFeature},
		{"main: merge the feature branch", 4, (*world).mergeFeature},
		{"hotfix: cut", 16, (*world).cut},
		{"hotfix: commit", 9, (*world).moreFix},
		{"hotfix: amend", 3, (*world).amend},
		{"hotfix: rebase", 3, (*world).rebase},
		{"hotfix: pick another", 3, (*world).pickOther},
		{"hotfix: delete the branch", 3, (*world).deleteBranch},
		{"back-merge: merge", 5, (*world).backMerge},
		{"back-merge: squash", 5, (*world).backSquash},
		{"back-merge: cherry-pick", 5, (*world).backPick},
		{"back-merge: with changes on top", 4, (*world).backOnTop},
		{"back-merge: in part", 3, (*world).backInPart},
		{"back-merge: by the engine", 4, (*world).backByEngine},
		{"back-merge: merge the engine's branch", 4, (*world).mergeEngines},
		{"rollback", 4, (*world).rollback},
		{"reject", 2, (*world).reject},
		{"hold", 1, (*world).holdOn},
		{"resume", 6, (*world).resume},
		{"hotfix: close", 3, (*world).closeFix},
		{"hotfix: drop", 2, (*world).dropFix},
		{"promote", 8, (*world).promoteNewest},
		{"promote by name", 4, (*world).promoteNamed},
		{"promote against the rule", 3, (*world).override},
		{"promote past stage", 4, (*world).skipStage},
		{"compose by hand", 3, (*world).composeByHand},
		{"an environment is sick, or well again", 3, (*world).sicken},
		{"a replica starts anew", 2, (*world).restart},
		{"two at once", 8, (*world).race},
	}
}

// act is one action, and engines that follow, or do not.
func (w *world) act() {
	w.anyAction(actions())
	if w.broken == "" {
		w.settle(w.dice.IntN(5))
	}
}

func (w *world) anyAction(of []action) {
	total := 0
	for _, a := range of {
		total += a.weight
	}
	for range 5 {
		roll := w.dice.IntN(total)
		i := 0
		for roll >= of[i].weight {
			roll -= of[i].weight
			i++
		}
		if of[i].do(w) {
			w.count(of[i].name)
			return
		}
	}
}

func (w *world) main() gitrepo.Hash { return w.refs()[mainRef] }

func (w *world) edit() bool {
	tip := w.main()
	old, change := w.mustAt(tip), map[slot]string{}
	for _, s := range w.some() {
		change[s] = w.newValue(old[s])
	}
	w.change([]gitrepo.Hash{tip}, mainRef, "edit", change, 0)
	return true
}

// revert takes back a commit of main, whosever it was, as git revert does.
func (w *world) revert() bool {
	tip := w.main()
	if err := w.people.Fetch(w.ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 8}); err != nil {
		w.fail("the world: %v", err)
		return false
	}
	commits, err := gitrepo.FirstParents(w.people, tip, 7)
	if err != nil || len(commits) < 2 {
		return false
	}
	c := commits[w.dice.IntN(len(commits)-1)]
	if len(c.Commit.Parents) == 0 {
		return false
	}
	before, after, now := w.mustAt(c.Commit.Parents[0]), w.mustAt(c.ID), w.mustAt(tip)
	change := map[slot]string{}
	for s := range slots {
		if before[s] == after[s] {
			continue
		}
		if now[s] != after[s] {
			return false // it conflicts
		}
		change[s] = before[s]
	}
	if len(change) == 0 {
		return false
	}
	subject, _, _ := strings.Cut(c.Commit.Message, "\n")
	w.change([]gitrepo.Hash{tip}, mainRef, fmt.Sprintf("Revert %q\n\nThis reverts commit %s.", subject, c.ID), change, 0)
	return true
}

func (w *world) beginFeature() bool {
	if w.feature != "" {
		return false
	}
	w.since = w.main()
	old, change := w.mustAt(w.since), map[slot]string{}
	for _, s := range w.some() {
		change[s] = w.newValue(old[s])
	}
	w.feature = w.change([]gitrepo.Hash{w.since}, "refs/heads/feature/f", "feature", change, 0)
	return true
}

func (w *world) mergeFeature() bool {
	tip := w.main()
	if w.feature == "" || tip == w.since {
		return false
	}
	change := w.merge(w.mustAt(w.since), w.mustAt(w.feature), w.mustAt(tip))
	w.change([]gitrepo.Hash{tip, w.feature}, mainRef, "Merge branch 'feature/f'", change, 0)
	w.push("refs/heads/feature/f", "")
	w.feature = ""
	return true
}

func (w *world) cut() bool {
	d := w.dice
	refs := w.refs()
	env := pick(d, append([]string{"prod"}, w.envs...))
	from, what := refs["refs/heads/environments/"+env], env
	if w.ledgers[env].current().IsZero() {
		from = ""
	}
	switch roll := d.IntN(100); {
	case roll < 4:
		from, what = refs[mainRef], "main"
	case roll < 12 && len(w.tags) > 0:
		v := pick(d, w.versions())
		from, what = w.tags[v], short(v)
	case roll < 26 && len(w.fixes) > 0:
		f := pick(d, w.fixes)
		from, what = f.head, f.name
	}
	if from == "" {
		return false
	}
	f := fix{name: fmt.Sprintf("h%d", len(w.fixes)), cut: from, head: from}
	if n := len(w.openFixes()); n > 0 && d.chance(50) {
		f.name = w.openFixes()[n-1].name + "x"
	}
	w.push(f.ref(), from)
	w.tracef("hotfix/%s: cut from %s (%s)", f.name, what, from.Short())
	w.fixes = append(w.fixes, f)
	for range pick(d, []int{0, 1, 1, 1, 1, 2, 2}) {
		w.commitFix(&w.fixes[len(w.fixes)-1])
	}
	return true
}

// versions are sorted, the newest first.
func (w *world) versions() []snapshot.Version {
	var all []snapshot.Version
	for v := range w.tags {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b snapshot.Version) int { return b.Compare(a) })
	return all
}

// commitFix adds a commit to a hotfix branch: new values, or now and then one that
// the branch had before. A branch is one change: who takes something back there
// and then changes it again has gone on from all of it.
func (w *world) commitFix(f *fix) {
	old, change := w.mustAt(f.head), map[slot]string{}
	past := []values{old}
	for id := f.head; id != f.cut && len(w.commits[id].parents) > 0; {
		id = w.commits[id].parents[0]
		past = append(past, w.mustAt(id))
	}
	var brings effects
	before := w.mustAt(f.cut)
	for _, s := range w.some() {
		if before[s] != old[s] && w.dice.chance(250) {
			change[s] = before[s]
			continue
		}
		change[s] = w.newValue()
		for _, v := range past {
			w.lineage[change[s]] |= w.lineage[v[s]]
		}
		e := w.newEffect("%s of hotfix/%s (%s)", s, f.name, change[s])
		w.lineage[change[s]] |= e
		brings |= e
	}
	f.head = w.change([]gitrepo.Hash{f.head}, f.ref(), "fix "+f.name, change, brings)
}

func (w *world) moreFix() bool {
	open := w.openFixes()
	if len(open) == 0 {
		return false
	}
	f := pick(w.dice, open)
	w.commitFix(&f)
	w.fixes = append(w.fixes, f)
	return true
}

// amend replaces the last commit of a branch.
func (w *world) amend() bool {
	open := slices.DeleteFunc(w.openFixes(), func(f fix) bool { return f.head == f.cut })
	if len(open) == 0 {
		return false
	}
	f := pick(w.dice, open)
	c, ours := w.commits[f.head]
	if !ours || len(c.parents) != 1 {
		return false
	}
	old, was := w.mustAt(c.parents[0]), w.mustAt(f.head)
	change := map[slot]string{}
	var brings effects
	for s := range slots {
		if old[s] == was[s] {
			continue
		}
		change[s] = w.newValue(old[s])
		e := w.newEffect("%s of hotfix/%s (%s)", s, f.name, change[s])
		w.lineage[change[s]] |= e
		brings |= e
	}
	if len(change) == 0 {
		return false
	}
	f.head = w.change([]gitrepo.Hash{c.parents[0]}, f.ref(), "fix "+f.name+", amended", change, brings)
	w.fixes = append(w.fixes, f)
	return true
}

// rebase puts what a branch changes on top of what an environment runs now.
func (w *world) rebase() bool {
	open := slices.DeleteFunc(w.openFixes(), func(f fix) bool { return f.head == f.cut })
	onto := w.refs()["refs/heads/environments/"+pick(w.dice, w.envs)]
	if len(open) == 0 || onto == "" {
		return false
	}
	if v, err := w.at(onto); err != nil || v[keyA] == "" {
		return false // nothing was promoted there yet
	}
	f := pick(w.dice, open)
	return w.again(f, fix{f.name, onto, onto}, "fix "+f.name+", rebased")
}

// again commits what one branch changes to another, or to itself.
func (w *world) again(of, to fix, message string) bool {
	change := w.merge(w.mustAt(of.cut), w.mustAt(of.head), w.mustAt(to.head))
	if len(change) == 0 {
		return false
	}
	to.head = w.change([]gitrepo.Hash{to.head}, to.ref(), message, change, w.brings(of.cut, of.head))
	w.fixes = append(w.fixes, to)
	return true
}

// pickOther brings a fix to the branch of another: of an older release to a newer
// one, say.
func (w *world) pickOther() bool {
	open := w.openFixes()
	h, ok := w.anyFix()
	if len(open) == 0 || !ok {
		return false
	}
	message := "fix the same"
	if w.dice.chance(600) {
		message += "\n\n(cherry picked from commit " + string(h.Head) + ")"
	}
	return w.again(fix{h.Name, h.Base, h.Head}, pick(w.dice, open), message)
}

func (w *world) deleteBranch() bool {
	open := w.openFixes()
	if len(open) == 0 {
		return false
	}
	f := pick(w.dice, open)
	w.push(f.ref(), "")
	w.tracef("hotfix/%s: deleted", f.name)
	return true
}

// bring merges a fix into main. It is false when there is nothing to change.
func (w *world) bring(h snapshot.Hotfix, message string, more ...gitrepo.Hash) bool {
	tip := w.main()
	change := w.merge(w.mustAt(h.Base), w.mustAt(h.Head), w.mustAt(tip))
	if len(change) == 0 && len(more) == 0 {
		return false
	}
	w.change(append([]gitrepo.Hash{tip}, more...), mainRef, message, change, 0)
	return true
}

// backMerge is git merge, which brings everything that the branch has and main has
// not: also what the branch was made on.
func (w *world) backMerge() bool {
	h, ok := w.anyFix()
	if !ok {
		return false
	}
	base, ok := w.mergeBase(w.main(), h.Head)
	if !ok {
		return false
	}
	h.Base = base
	return w.bring(h, fmt.Sprintf("Merge branch 'hotfix/%s'", h.Name), h.Head)
}

// mergeBase is where two histories part. It is false where that is several
// commits, or one is the other.
func (w *world) mergeBase(a, b gitrepo.Hash) (gitrepo.Hash, bool) {
	if err := w.people.Fetch(w.ctx, []gitrepo.Hash{a, b}, gitrepo.FetchOptions{CommitsOnly: true}); err != nil {
		w.fail("the world: %v", err)
		return "", false
	}
	ours := w.ancestors(a, nil)
	var common []gitrepo.Hash
	w.ancestors(b, func(id gitrepo.Hash) bool {
		if ours[id] {
			common = append(common, id)
		}
		return ours[id]
	})
	best := slices.DeleteFunc(slices.Clone(common), func(id gitrepo.Hash) bool {
		return slices.ContainsFunc(common, func(other gitrepo.Hash) bool { return other != id && w.ancestors(other, nil)[id] })
	})
	if len(best) != 1 || best[0] == a || best[0] == b {
		return "", false
	}
	return best[0], true
}

// ancestors are a commit and all before it, or before those where it stops.
func (w *world) ancestors(of gitrepo.Hash, stop func(gitrepo.Hash) bool) map[gitrepo.Hash]bool {
	seen := map[gitrepo.Hash]bool{}
	for queue := []gitrepo.Hash{of}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if seen[id] {
			continue
		}
		seen[id] = true
		if stop != nil && stop(id) {
			continue
		}
		c, err := gitrepo.ReadCommit(w.people, id)
		if err != nil {
			w.fail("the world: commit %s: %v", id.Short(), err)
			return seen
		}
		queue = append(queue, c.Parents...)
	}
	return seen
}

// backSquash is one commit, whose message may say where it comes from.
func (w *world) backSquash() bool {
	h, ok := w.anyFix()
	return ok && w.bring(h, w.maybeMention(h, "squash"))
}

func (w *world) maybeMention(h snapshot.Hotfix, message string) string {
	if w.dice.chance(600) {
		return strings.TrimSpace(snapshot.BackMerge(h, message))
	}
	return message + " " + h.Name
}

// backPick is cherry-pick, of all commits in one go or of the last one.
func (w *world) backPick() bool {
	h, ok := w.anyFix()
	if !ok {
		return false
	}
	c := w.commits[h.Head]
	message := "pick " + h.Name
	if w.dice.chance(600) {
		message += "\n\n(cherry picked from commit " + string(h.Head) + ")"
	}
	if len(c.parents) == 1 && w.dice.chance(500) {
		h.Base = c.parents[0]
	}
	return w.bring(h, message)
}

// backOnTop brings a fix and goes on from it in the same commit.
func (w *world) backOnTop() bool {
	h, ok := w.anyFix()
	if !ok {
		return false
	}
	tip := w.main()
	change := w.merge(w.mustAt(h.Base), w.mustAt(h.Head), w.mustAt(tip))
	if len(change) == 0 {
		return false
	}
	for s := range slots {
		if value, ok := change[s]; ok && value != "" {
			change[s] = w.newValue(value)
			break
		}
	}
	w.change([]gitrepo.Hash{tip}, mainRef, w.maybeMention(h, "on top"), change, 0)
	return true
}

// backInPart says that it brings a fix, and brings half of it.
func (w *world) backInPart() bool {
	h, ok := w.anyFix()
	if !ok {
		return false
	}
	tip := w.main()
	change := w.merge(w.mustAt(h.Base), w.mustAt(h.Head), w.mustAt(tip))
	if len(change) < 2 {
		return false
	}
	now, head := w.mustAt(tip), w.mustAt(h.Head)
	for s := range slots {
		// Who leaves out what others have changed as well has decided so.
		if _, ok := change[s]; ok && change[s] == head[s] && now[s] != head[s] {
			delete(change, s)
			break
		}
	}
	if w.dice.chance(400) {
		for s, value := range change {
			change[s] = w.newValue(value)
		}
	}
	w.change([]gitrepo.Hash{tip}, mainRef, w.maybeMention(h, "in part"), change, 0)
	return true
}

// mergeEngines merges a branch backmerge/<name>, which the engine has pushed.
func (w *world) mergeEngines() bool {
	branches := w.refs().Filter("refs/heads/backmerge/")
	if len(branches) == 0 {
		return false
	}
	ref := slices.Min(slices.Collect(maps.Keys(branches)))
	head := branches[ref]
	if err := w.people.Fetch(w.ctx, []gitrepo.Hash{head}, gitrepo.FetchOptions{Depth: 2}); err != nil {
		w.fail("the world: %v", err)
		return false
	}
	c, err := gitrepo.ReadCommit(w.people, head)
	if err != nil {
		w.fail("the world: %v", err)
		return false
	}
	tip := w.main()
	change := w.merge(w.mustAt(c.Parents[0]), w.mustAt(head), w.mustAt(tip))
	switch {
	case c.Parents[0] == tip && w.dice.chance(500):
		w.push(mainRef, head)
		w.tracef("main: %s, fast-forward of %s", head.Short(), ref)
	case w.dice.chance(600):
		w.change([]gitrepo.Hash{tip, head}, mainRef, "Merge "+ref, change, 0)
	default:
		w.change([]gitrepo.Hash{tip}, mainRef, "squash of "+ref, change, 0)
	}
	w.push(ref, "")
	return true
}

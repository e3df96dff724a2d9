package history

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const mainRef = "refs/heads/main"

// company is what people know of their own work.
type company struct {
	// made are all values.
	made []string
	// commits that people made, by id.
	commits map[gitrepo.Hash]commit
	// fixes are the heads of hotfix branches that people ever pushed, the newest
	// last.
	fixes []fix
	// feature is a branch for main that is under way.
	feature gitrepo.Hash
	since   gitrepo.Hash
}

type commit struct {
	parents []gitrepo.Hash
	brings  effects
}

// fix is what a hotfix branch was at some time.
type fix struct {
	name      string
	cut, head gitrepo.Hash
}

func (f fix) ref() string { return "refs/heads/hotfix/" + f.name }

func newCompany() company { return company{commits: map[gitrepo.Hash]commit{}} }

// newValue is a value that nobody has written before, on top of others.
func (w *world) newValue(onto ...string) string {
	value := fmt.Sprintf("v%d", len(w.made))
	w.made = append(w.made, value)
	for _, old := range onto {
		w.lineage[value] |= w.lineage[old]
	}
	return value
}

// at is what a commit holds.
func (w *world) at(id gitrepo.Hash) (values, error) {
	tree, err := w.tree(id)
	if err != nil {
		return values{}, err
	}
	return w.read(tree)
}

func (w *world) tree(id gitrepo.Hash) (gitrepo.Hash, error) {
	if err := w.people.Fetch(w.ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return "", err
	}
	c, err := gitrepo.ReadCommit(w.people, id)
	return c.Tree, err
}

// mustAt is at, for what has to be there.
func (w *world) mustAt(id gitrepo.Hash) values {
	v, err := w.at(id)
	if err != nil {
		w.fail("the world: commit %s: %v", id.Short(), err)
	}
	return v
}

// commit pushes a commit of a person to a branch, whatever that was before.
func (w *world) commit(tree gitrepo.Hash, objects []gitrepo.Object, parents []gitrepo.Hash, ref, message string, _ map[slot]string, brings effects) gitrepo.Hash {
	w.now = w.now.Add(time.Second)
	who := gitrepo.Signature{Name: "Ada", Email: "ada@example.com", When: w.now}
	object := gitrepo.NewCommit(gitrepo.Commit{Tree: tree, Parents: parents, Author: who, Committer: who, Message: message + "\n"})
	id := object.ID()
	w.commits[id] = commit{parents, brings}
	w.push(ref, id, append(objects, object)...)
	return id
}

// push moves a branch, by force; empty: the branch is deleted.
func (w *world) push(ref string, id gitrepo.Hash, objects ...gitrepo.Object) {
	if len(objects) > 0 {
		// By way of a ref of its own, which takes any objects.
		way := "refs/world/" + string(id)
		update := gitrepo.Update{Ref: way, New: id}
		if err := w.people.Push(context.Background(), gitrepo.Push{Updates: []gitrepo.Update{update}, Objects: objects}); err != nil {
			w.fail("the world: %v", err)
		}
		w.people.Set(way, "")
	}
	w.people.Set(ref, id)
}

// change commits values on top of the first parent. Images are built first.
func (w *world) change(parents []gitrepo.Hash, ref, message string, change map[slot]string, brings effects) gitrepo.Hash {
	if tag, ok := change[imageTag]; ok {
		w.pushImage(tag)
	}
	onto := parents[0]
	old := w.mustAt(onto)
	tree, err := w.tree(onto)
	if err != nil {
		w.fail("the world: %v", err)
		return ""
	}
	root, objects, err := w.write(tree, old, change)
	if err != nil {
		w.fail("the world: %v", err)
		return ""
	}
	id := w.commit(root, objects, parents, ref, message, change, brings)
	subject, _, _ := strings.Cut(message, "\n")
	w.tracef("%s: %s %q %s", strings.TrimPrefix(ref, gitrepo.Heads), id.Short(), subject, describe(old, change))
	return id
}

func describe(old values, change map[slot]string) string {
	var parts []string
	for s := range slots {
		if value, ok := change[s]; ok {
			parts = append(parts, fmt.Sprintf("%s: %s -> %s", s, old[s], value))
		}
	}
	return strings.Join(parts, ", ")
}

// some picks one slot, or two.
func (w *world) some() []slot {
	picked := []slot{slot(w.dice.IntN(int(slots)))}
	if other := slot(w.dice.IntN(int(slots))); w.dice.chance(350) && other != picked[0] {
		picked = append(picked, other)
	}
	return picked
}

// brings are the effects of the commits from base to head.
func (w *world) brings(base, head gitrepo.Hash) effects {
	var all effects
	seen := map[gitrepo.Hash]bool{base: true}
	for queue := []gitrepo.Hash{head}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		c, ours := w.commits[queue[0]]
		if ours {
			all |= c.brings
			queue = append(queue, c.parents...)
		}
	}
	return all
}

// merge is what a person makes of a fix and other work: what the fix changed, if
// nobody has changed that since; and where both have changed a slot, a value
// that is made of both.
func (w *world) merge(base, head, onto values) map[slot]string {
	change := map[slot]string{}
	for s := range slots {
		switch {
		case base[s] == head[s] || onto[s] == head[s]:
		case onto[s] == base[s]:
			change[s] = head[s]
		case w.lineage[head[s]]&^w.lineage[onto[s]] == 0 && onto[s] != "":
		default:
			change[s] = w.newValue(onto[s], head[s])
		}
	}
	return change
}

// debts are the hotfixes that the ledgers name.
func (w *world) debts() []snapshot.Debt {
	var all []snapshot.Debt
	for _, env := range w.envs {
		entries := w.ledgers[env].entries
		if len(entries) == 0 {
			continue
		}
		for _, d := range entries[len(entries)-1].Hotfixes {
			if !slices.ContainsFunc(all, func(other snapshot.Debt) bool { return other.Head == d.Head }) {
				all = append(all, d)
			}
		}
	}
	return all
}

// anyFix picks a hotfix to merge: mostly one that has been shipped.
func (w *world) anyFix() (snapshot.Hotfix, bool) {
	d := w.dice
	if debts := w.debts(); len(debts) > 0 && d.chance(800) {
		return pick(d, debts).Hotfix, true
	}
	if len(w.fixes) == 0 {
		return snapshot.Hotfix{}, false
	}
	f := pick(d, w.fixes)
	return snapshot.Hotfix{Name: f.name, Base: f.cut, Head: f.head, Since: w.ledgers["prod"].current()}, f.head != f.cut
}

// openFixes are the branches that are there.
func (w *world) openFixes() []fix {
	refs := w.refs()
	var open []fix
	for _, f := range w.fixes {
		if refs[f.ref()] == f.head {
			open = append(open, f)
		}
	}
	return open
}

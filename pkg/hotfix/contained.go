package hotfix

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Answer is whether a hotfix is contained in a tree.
type Answer string

// The answers.
const (
	// Contained: the tree has it, or has gone on from it.
	Contained Answer = "contained"
	// Missing: merging it would change the tree.
	Missing Answer = "missing"
	// Reverted: it was there, and merging it would change the tree again.
	Reverted Answer = "reverted"
	// Unknown: the tree has changed the same lines, and nothing shows that it had
	// the hotfix before.
	Unknown Answer = "unknown"
)

// Evidence is what shows that a hotfix is, or was, in a history.
type Evidence string

// The kinds of evidence.
const (
	// MergeIsEmpty: merging the hotfix changes nothing.
	MergeIsEmpty Evidence = "merge is empty"
	// Ancestor: the head, or a commit that was proven before to contain it, is in
	// the history.
	Ancestor Evidence = "ancestor"
	// Mention: a commit in the history says that it brings the hotfix.
	Mention Evidence = "mentioned"
	// PatchID: a commit in the history makes the same change.
	PatchID Evidence = "patch-id"
)

// Place is where a hotfix is looked for.
type Place struct {
	// Name for messages: a snapshot, or a branch.
	Name string
	Tree gitrepo.Hash
	// Commit whose history counts; of a captured snapshot its source commit.
	Commit gitrepo.Hash
}

// Containment is the answer, and why.
type Containment struct {
	Answer   Answer
	Evidence Evidence
	// Commit that is the evidence; empty where the trees are.
	Commit gitrepo.Hash
	// Changes are what merging the hotfix would change, Conflicts where it cannot
	// be merged.
	Changes   []merge.Change
	Conflicts []merge.Conflict
}

// String says it in a few words: contained (ancestor 3f2a91c).
func (c Containment) String() string {
	text := string(c.Answer)
	if c.Evidence != "" {
		text += " (" + strings.TrimSuffix(fmt.Sprintf("%s %s", c.Evidence, c.Commit.Short()), " ") + ")"
	}
	switch {
	case c.Answer == Contained:
	case len(c.Conflicts) > 0:
		text += ": " + c.Conflicts[0].String()
		if more := len(c.Conflicts) - 1; more > 0 {
			text += fmt.Sprintf(", and %d more", more)
		}
	case len(c.Changes) > 0:
		text += ": it would change " + c.Changes[0].Path
		if more := len(c.Changes) - 1; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return text
}

// Bounds of what is looked at where the trees alone do not tell: commits of the
// place's history, and those of them whose change is compared.
const (
	historyLimit = 2048
	patchLimit   = 256
)

// Find tells whether a hotfix is contained in a place. What is needed is
// fetched: the three trees, and only where the merge is not empty the newest
// commits of the place, without trees, and the trees of those that changed the
// same files. An error means that nobody knows.
func Find(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place) (Containment, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{d.Base, d.Head}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return Containment{}, fmt.Errorf("hotfix %s: %w", d.Name, err)
	}
	base, head, err := trees(r, d.Base, d.Head)
	if err != nil {
		return Containment{}, fmt.Errorf("hotfix %s: %w", d.Name, err)
	}
	merged, err := merge.Trees(r, base, in.Tree, head, merge.Options{Leave: []string{own}, Ours: in.Name, Theirs: "hotfix/" + d.Name})
	if err != nil {
		return Containment{}, fmt.Errorf("hotfix %s: %w", d.Name, err)
	}
	if merged.Empty() {
		return Containment{Answer: Contained, Evidence: MergeIsEmpty}, nil
	}
	c := Containment{Answer: Missing, Changes: merged.Changes, Conflicts: merged.Conflicts}
	if !merged.Clean() {
		c.Answer = Unknown
	}
	c.Evidence, c.Commit, err = search(ctx, r, d, in, base, head)
	if err != nil {
		return Containment{}, fmt.Errorf("hotfix %s: %w", d.Name, err)
	}
	switch {
	case c.Evidence == "":
	case merged.Clean():
		c.Answer = Reverted
	default:
		c.Answer = Contained
	}
	return c, nil
}

// search looks for the hotfix in the history of a place.
func search(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place, base, head gitrepo.Hash) (Evidence, gitrepo.Hash, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{in.Commit}, gitrepo.FetchOptions{Depth: historyLimit, CommitsOnly: true}); err != nil {
		return "", "", err
	}
	history, err := reach(r, in.Commit, historyLimit)
	if err != nil {
		return "", "", err
	}
	for _, id := range []gitrepo.Hash{d.Head, d.In} {
		if _, ok := history[id]; ok {
			return Ancestor, id, nil
		}
	}
	before, err := reach(r, d.Base, historyLimit) // what the hotfix was made on
	if err != nil {
		return "", "", err
	}
	picked, err := mine(r, d)
	if err != nil {
		return "", "", err
	}
	ids := candidates(history, before)
	for _, id := range ids {
		message := history[id].Message
		if slices.ContainsFunc(snapshot.Mentioned(message), func(h snapshot.Hotfix) bool { return h.Head == d.Head }) {
			return Mention, id, nil
		}
		if len(picked) == 1 && strings.Contains(message, "(cherry picked from commit "+string(picked[0])+")") {
			return Mention, id, nil
		}
	}
	return searchChange(ctx, r, base, head, history, ids)
}

// candidates are the commits of a history that may have brought a hotfix, newest
// first: those that what it was made on has not.
func candidates(history, before map[gitrepo.Hash]gitrepo.Commit) []gitrepo.Hash {
	var ids []gitrepo.Hash
	for id, commit := range history {
		if _, old := before[id]; !old && len(commit.Parents) == 1 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b gitrepo.Hash) int {
		if by := history[b].Committer.When.Compare(history[a].Committer.When); by != 0 {
			return by
		}
		return strings.Compare(string(a), string(b))
	})
	return ids
}

// mine lists the commits of a hotfix, head first.
func mine(r gitrepo.Objects, d snapshot.Debt) ([]gitrepo.Hash, error) {
	_, visited, _, err := walk(r, d.Head, Known{d.Base: {}})
	return visited, err
}

// searchChange looks for a commit that makes the same change as the hotfix.
func searchChange(ctx context.Context, r gitrepo.Reader, base, head gitrepo.Hash, history map[gitrepo.Hash]gitrepo.Commit, ids []gitrepo.Hash) (Evidence, gitrepo.Hash, error) {
	want, err := merge.PatchID(r, base, head, []string{own})
	if err != nil {
		return "", "", err
	}
	ids = ids[:min(len(ids), patchLimit)]
	var fetch []gitrepo.Hash
	for _, id := range ids {
		fetch = append(fetch, id, history[id].Parents[0])
	}
	slices.Sort(fetch)
	if fetch = slices.Compact(fetch); len(fetch) == 0 {
		return "", "", nil
	}
	if err := r.Fetch(ctx, fetch, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return "", "", err
	}
	for _, id := range ids {
		before, after, err := trees(r, history[id].Parents[0], id)
		if err != nil {
			return "", "", err
		}
		got, err := merge.PatchID(r, before, after, []string{own})
		if err != nil {
			return "", "", err
		}
		if got == want {
			return PatchID, id, nil
		}
	}
	return "", "", nil
}

package hotfix

import (
	"context"
	"fmt"
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
	// ImageRevision: the place has newer images where the hotfix has its own,
	// built from commits that come after those of the hotfix's images.
	ImageRevision Evidence = "image revision"
	// Followed: a hotfix that was made on top of it is contained, and all between
	// the two.
	Followed Evidence = "followed by"
)

// Place is where a hotfix is looked for.
type Place struct {
	// Name for messages: a snapshot, or a branch.
	Name string
	Tree gitrepo.Hash
	// Commit whose history counts; of a captured snapshot its source commit.
	Commit gitrepo.Hash
	// Images of a snapshot's lock, and what tells more about them. Without either
	// of them images prove nothing.
	Images  []snapshot.Image
	Origins Origins
}

// Containment is the answer, and why.
type Containment struct {
	Answer   Answer
	Evidence Evidence
	// Commit that is the evidence; empty where the trees are. Of an image it is
	// one of the repository in which that is built.
	Commit gitrepo.Hash
	// By is the commit that reverted the hotfix, where it says so.
	By gitrepo.Hash
	// Doubt is why evidence from outside of the repository could not be had; with
	// it there may be another answer next time. Empty otherwise.
	Doubt string
	// Changes are what merging the hotfix would change, Conflicts where it cannot
	// be merged.
	Changes   []merge.Change
	Conflicts []merge.Conflict
}

// Yes reports whether it is certain that the hotfix is contained.
func (c Containment) Yes() bool { return c.Answer == Contained }

// String says it in a few words: contained (ancestor 3f2a91c).
func (c Containment) String() string {
	text := string(c.Answer)
	if c.By != "" {
		text += " by " + c.By.Short()
	}
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
	if c.Doubt != "" {
		text += "; " + c.Doubt
	}
	if c.By != "" {
		text += "; to have it again: git revert " + c.By.Short()
	}
	return text
}

// Find is [Finder.Find] of a Finder that remembers nothing.
func Find(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place) (Containment, error) {
	return new(Finder).Find(ctx, r, d, in)
}

// Finder looks for hotfixes. It remembers what it found out about histories, so
// that many hotfixes in one place cost little more than one. The zero value is
// ready for use. It is safe for concurrent use.
type Finder struct{ past past }

// Find tells whether a hotfix is contained in a place. What is needed is
// fetched: the three trees, and only where the merge is not empty the newest
// commits of the place, without trees, and the trees of those whose change may
// be the same. An error means that nobody knows.
func (f *Finder) Find(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place) (Containment, error) {
	found, err := f.find(ctx, r, d, in)
	if err != nil {
		return Containment{}, fmt.Errorf("hotfix %s: %w", d.Name, err)
	}
	return found, nil
}

func (f *Finder) find(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place) (Containment, error) {
	if err := r.Fetch(ctx, []gitrepo.Hash{d.Base, d.Head}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return Containment{}, err
	}
	base, head, err := trees(r, d.Base, d.Head)
	if err != nil {
		return Containment{}, err
	}
	merged, err := merge.Trees(r, base, in.Tree, head, options(in.Name, d.Hotfix))
	if err != nil {
		return Containment{}, err
	}
	if merged.Empty() {
		return Containment{Answer: Contained, Evidence: MergeIsEmpty}, nil
	}
	c := Containment{Answer: Missing, Changes: merged.Changes, Conflicts: merged.Conflicts}
	if !merged.Clean() {
		c.Answer = Unknown
	}
	if c.Answer == Unknown {
		if !lacks(merged) {
			if err := f.climbed(ctx, r, d, in, base, head, &c); err != nil {
				return Containment{}, err
			}
		}
		if c.Answer == Contained {
			return f.named(ctx, r, d, in, base, head, c)
		}
		if err := searchImages(ctx, r, d, in, base, head, &c); err != nil || c.Answer == Contained {
			return c, err
		}
	}
	// It came, whatever became of it since.
	if err := f.search(ctx, r, d, in, base, head, &c); err != nil {
		return Containment{}, err
	}
	if c.Evidence != "" {
		c.Answer = Reverted
	}
	return c, nil
}

// named gives the evidence the name that people know: how the hotfix came, where
// that can be told, and otherwise the commit that had it.
func (f *Finder) named(ctx context.Context, r gitrepo.Reader, d snapshot.Debt, in Place, base, head gitrepo.Hash, c Containment) (Containment, error) {
	came := Containment{}
	if err := f.search(ctx, r, d, in, base, head, &came); err != nil {
		return Containment{}, err
	}
	if came.Evidence != "" {
		c.Evidence, c.Commit = came.Evidence, came.Commit
	}
	return c, nil
}

// options of merging a hotfix into something.
func options(ours string, h snapshot.Hotfix) merge.Options {
	return merge.Options{Leave: []string{own}, Ours: ours, Theirs: "hotfix/" + h.Name}
}

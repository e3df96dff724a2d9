package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Compose makes the commit in which hotfixes were merged onto a snapshot: the
// source of the composed one. Its parents are the snapshot and each hotfix's
// head, its tree is the merged one, its time the latest of its parents', so that
// whoever composes the same gets the same commit. The commits must have been
// fetched.
func Compose(r gitrepo.Objects, onto Snapshot, tree gitrepo.Hash, hotfixes []Hotfix, identity Identity) (gitrepo.Hash, []gitrepo.Object, error) {
	if len(hotfixes) == 0 {
		return "", nil, errors.New("there is no hotfix to compose")
	}
	parents := []gitrepo.Hash{onto.ID}
	var names []string
	var t Trailers
	t.add(trailerEvent, eventCompose)
	t.add(trailerOnto, onto.Lock.Version.String())
	for _, h := range hotfixes {
		parents = append(parents, h.Head)
		names = append(names, h.Name)
		t.add(trailerHotfix, Debt{Hotfix: h}.line())
	}
	var when time.Time
	for _, id := range parents {
		commit, err := gitrepo.ReadCommit(r, id)
		if err != nil {
			return "", nil, fmt.Errorf("commit %s: %w", id.Short(), err)
		}
		if at := commit.Committer.When.UTC(); at.After(when) {
			when = at
		}
	}
	who := gitrepo.Signature{Name: identity.Name, Email: identity.Email, When: when}
	object := gitrepo.NewCommit(gitrepo.Commit{
		Tree: tree, Parents: parents, Author: who, Committer: who,
		Message: t.message(fmt.Sprintf("compose %s onto %s", strings.Join(names, ", "), onto.Lock.Version), ""),
	})
	return object.ID(), []gitrepo.Object{object}, nil
}

// eventCompose is the event of a composition commit.
const eventCompose = "compose"

// IsComposition reports whether a commit's message is that of a composition, of
// which only the first parent is a history that it goes on from: of the others,
// the hotfixes that it names were taken, and not what they were made on.
func IsComposition(message string) bool {
	return ParseTrailers(message).Get(trailerEvent) == eventCompose
}

// Composed lists the hotfixes that a snapshot has and the one below it has not.
func (s Snapshot) Composed() []Hotfix {
	var own []Hotfix
	for _, h := range s.Lock.Hotfixes {
		if h.Since == s.Lock.Version {
			own = append(own, h)
		}
	}
	return own
}

// BackMerge is the message of the commit that brings a hotfix to the source
// branch.
func BackMerge(h Hotfix, subject string) string {
	var t Trailers
	t.add(trailerEvent, "backmerge")
	t.add(trailerHotfix, Debt{Hotfix: h}.line())
	return t.message(fmt.Sprintf("hotfix %s: %s", h.Name, subject), "")
}

// Mentioned lists the hotfixes that a commit's message says it holds: those that
// were composed or merged back by it.
func Mentioned(message string) []Hotfix {
	var found []Hotfix
	for _, line := range ParseTrailers(message).All(trailerHotfix) {
		if debt, err := parseDebt(line); err == nil {
			found = append(found, debt.Hotfix)
		}
	}
	return found
}

package promotion

import (
	"errors"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// reachable reports which of the wanted commits the starts are or descend
// from, on what was fetched. Complete is false when a part of the history was
// not, so that one that was not found may be there all the same. It walks the
// history once, however many are wanted.
func reachable(r gitrepo.Objects, starts, wanted []gitrepo.Hash) (found map[gitrepo.Hash]bool, complete bool, err error) {
	missing := map[gitrepo.Hash]bool{}
	for _, id := range wanted {
		missing[id] = true
	}
	found, complete = map[gitrepo.Hash]bool{}, true
	seen := map[gitrepo.Hash]bool{}
	queue := append([]gitrepo.Hash(nil), starts...)
	for ; len(queue) > 0 && len(missing) > 0; queue = queue[1:] {
		id := queue[0]
		if seen[id] {
			continue
		}
		seen[id] = true
		if missing[id] {
			found[id] = true
			delete(missing, id)
		}
		commit, err := gitrepo.ReadCommit(r, id)
		if errors.Is(err, gitrepo.ErrNotFound) {
			complete = false
			continue
		}
		if err != nil {
			return nil, false, err
		}
		queue = append(queue, commit.Parents...)
	}
	return found, complete, nil
}

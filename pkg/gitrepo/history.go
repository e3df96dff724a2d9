package gitrepo

import (
	"errors"
	"fmt"
)

// CommitInfo is a decoded commit together with its id.
type CommitInfo struct {
	ID Hash
	Commit
}

// FirstParents returns the commits from tip along first parents, newest
// first: for an environment branch that is its ledger. It returns at most
// limit commits (0: no limit) and ends quietly where the history was not
// fetched; a caller that must know compares the last commit's Parents. A tip
// that was not fetched is [ErrNotFound].
func FirstParents(r Objects, tip Hash, limit int) ([]CommitInfo, error) {
	var commits []CommitInfo
	for id := tip; limit <= 0 || len(commits) < limit; {
		c, err := ReadCommit(r, id)
		if errors.Is(err, ErrNotFound) && len(commits) > 0 {
			return commits, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read commit %s: %w", id.Short(), err)
		}
		commits = append(commits, CommitInfo{ID: id, Commit: c})
		if len(c.Parents) == 0 {
			return commits, nil
		}
		id = c.Parents[0]
	}
	return commits, nil
}

// IsAncestor reports whether ancestor is descendant or reachable from it
// through parents, on what was fetched. False is said only when the whole
// history was searched; if some of it was not fetched and the ancestor was not
// found, the answer is unknown and the error wraps [ErrNotFound].
func IsAncestor(r Objects, ancestor, descendant Hash) (bool, error) {
	var unknown Hash
	seen := map[Hash]bool{descendant: true}
	for queue := []Hash{descendant}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if id == ancestor {
			return true, nil
		}
		c, err := ReadCommit(r, id)
		if errors.Is(err, ErrNotFound) {
			unknown = id
			continue
		}
		if err != nil {
			return false, fmt.Errorf("read commit %s: %w", id.Short(), err)
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	if unknown != "" {
		return false, fmt.Errorf("is %s an ancestor of %s: commit %s %w: it was not fetched",
			ancestor.Short(), descendant.Short(), unknown.Short(), ErrNotFound)
	}
	return false, nil
}

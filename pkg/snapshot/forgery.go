package snapshot

import (
	"errors"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// ErrForged: a commit looks like a snapshot, but its tree is not the source
// commit's tree plus the lock.
var ErrForged = errors.New("forged snapshot")

// CheckTree proves that a snapshot adds nothing to its source commit but the
// lock, so that whoever can push a tag cannot slip manifests past the source
// branch. The source commit and its tree must have been fetched (depth 2 from
// the snapshot).
func CheckTree(r gitrepo.Objects, s Snapshot) error {
	source, err := gitrepo.ReadCommit(r, s.Source)
	if err != nil {
		return fmt.Errorf("source commit %s: %w", s.Source.Short(), err)
	}
	entry, err := gitrepo.Lookup(r, s.Tree, LockFile)
	if err != nil {
		return fmt.Errorf("%s: %w", LockFile, err)
	}
	lock, err := r.Object(entry.ID)
	if err != nil {
		return fmt.Errorf("%s: %w", LockFile, err)
	}
	root, _, err := gitrepo.WriteFiles(r, source.Tree, map[string][]byte{LockFile: lock.Data})
	if err != nil {
		return err
	}
	if root != s.Tree {
		return fmt.Errorf("%w: %s differs from its source commit %s in more than the lock; see git diff --stat %s %s",
			ErrForged, s.ID.Short(), s.Source.Short(), s.Source.Short(), s.ID.Short())
	}
	return nil
}

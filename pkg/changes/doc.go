// Package changes says what became different from one snapshot to another, for
// people who decide about it and for those who read about it afterwards.
//
// A comparison has two sides ([Side]). [Files] lists the files that differ,
// [Images] which application gets which image in place of which, with the
// revisions of the code they were built from, and [Manifests] the Kubernetes
// objects that Argo CD would be given. [Commits] lists the commits between two
// revisions of a repository, of which it fetches no more than it has to and
// never a file. [Notes] joins it all to release notes, which [Notes.Markdown]
// writes.
//
// Nothing here reads a clock or a cluster: the same repositories give the same
// answer. What comes from commits, labels and files is foreign text; Markdown
// escapes it, and values of Secrets are never shown.
package changes

import (
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Kind says what happened to a file, an image or an object.
type Kind string

// The kinds.
const (
	Added    Kind = "added"
	Removed  Kind = "removed"
	Changed  Kind = "changed"
	Renamed  Kind = "renamed" // a file: moved, its content unchanged
	ModeOnly Kind = "mode"    // a file: executable or not, its content unchanged
)

// Side is one end of a comparison. The zero Side has nothing in it.
type Side struct {
	Snapshot snapshot.Snapshot
	// Pipeline is the configuration in the snapshot.
	Pipeline *config.Pipeline
}

// IsZero reports whether there is nothing on this side.
func (s Side) IsZero() bool { return s.Snapshot.ID == "" }

func (s Side) images() []snapshot.Image {
	if s.Snapshot.Lock == nil {
		return nil
	}
	return s.Snapshot.Lock.Images
}

func (s Side) tree() gitrepo.Hash { return s.Snapshot.Tree }

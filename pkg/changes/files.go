package changes

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

// ownFolder holds what Propagator writes into a snapshot. It differs between
// any two, and Images says what matters of it.
const ownFolder = ".propagator/"

// File is one file that differs.
type File struct {
	// Path is where it is now, or was until it was removed.
	Path   string `json:"path"`
	Change Kind   `json:"change"`
	// From is where a renamed file was.
	From string `json:"from,omitempty"`
	// Environments whose folders it is in, in the order of the configuration;
	// none for a file that all may use.
	Environments []string `json:"environments"`

	before, after blob
}

// blob is one side of a file; the zero value is no file.
type blob struct {
	id   gitrepo.Hash
	mode gitrepo.Mode
}

// For reports whether a file may matter to an environment: it is in the
// environment's folders, or in nobody's.
func (f File) For(environment string) bool {
	return len(f.Environments) == 0 || slices.Contains(f.Environments, environment)
}

// Files lists the files that differ, sorted by path. The trees of both sides
// must have been fetched; directories that are equal are not read.
func Files(r gitrepo.Objects, a, b Side) ([]File, error) {
	changes, err := merge.Diff(r, a.tree(), b.tree())
	if err != nil {
		return nil, err
	}
	files := []File{}
	for _, c := range changes {
		if strings.HasPrefix(c.Path, ownFolder) && (c.From == "" || strings.HasPrefix(c.From, ownFolder)) {
			continue
		}
		files = append(files, File{
			Path: c.Path, Change: fileKind(c.Kind), From: c.From, Environments: owners(a, b, c),
			before: blob{c.OldID, c.OldMode}, after: blob{c.NewID, c.NewMode},
		})
	}
	return files, nil
}

func fileKind(k merge.ChangeKind) Kind {
	switch k {
	case merge.Added:
		return Added
	case merge.Removed:
		return Removed
	case merge.Renamed:
		return Renamed
	case merge.Mode:
		return ModeOnly
	}
	return Changed
}

// owners are the environments in whose folders a file is or was.
func owners(a, b Side, c merge.Change) []string {
	names := []string{}
	for _, side := range []Side{b, a} {
		if side.Pipeline == nil {
			continue
		}
		path := c.Path
		if side.Snapshot.ID == a.Snapshot.ID {
			path = cmp.Or(c.From, c.Path)
		}
		for _, e := range side.Pipeline.Environments {
			if owns(e, path) && !slices.Contains(names, e.Name) {
				names = append(names, e.Name)
			}
		}
	}
	return names
}

// owns reports whether a file belongs to an environment: where the
// configuration lists its applications, to one of those, otherwise to its
// folder.
func owns(e config.Environment, path string) bool {
	if len(e.Applications) == 0 {
		return within(path, e.Path)
	}
	return slices.ContainsFunc(e.Applications, func(app config.Application) bool {
		return within(path, app.Path) || slices.Contains(app.Values, path)
	})
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

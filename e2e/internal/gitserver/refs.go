package gitserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Refs reads all refs of a repository by their full names; an annotated tag is
// named as such. It reads the files itself: scenarios wait for refs, and a
// process for each look would take the machine from those that are waited for.
func (s *Server) Refs(repo string) (map[string]string, error) {
	dir, err := s.dir(repo)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("refs of %s: %w", repo, err)
	}
	defer func() { _ = root.Close() }()
	// A ref that is packed meanwhile is in the one place or in the other, if the
	// packed ones are read last. Loose ones count.
	loose := map[string]string{}
	err = fs.WalkDir(root.FS(), "refs", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was packed, or its folder was cleared away
		}
		if err != nil || entry.IsDir() || strings.HasSuffix(name, ".lock") {
			return err
		}
		text, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if id := strings.TrimSpace(string(text)); len(id) == 40 {
			loose[name] = id
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("refs of %s: %w", repo, err)
	}
	packed, err := root.ReadFile("packed-refs")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("refs of %s: %w", repo, err)
	}
	for line := range bytes.Lines(packed) {
		id, name, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if _, known := loose[name]; ok && !known && len(id) == 40 {
			loose[name] = id
		}
	}
	return loose, nil
}

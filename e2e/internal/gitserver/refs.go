package gitserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	// A ref that is packed meanwhile is in the one place or in the other, if the
	// packed ones are read last. Loose ones count.
	loose := map[string]string{}
	err = filepath.WalkDir(filepath.Join(dir, "refs"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was packed, or its folder was cleared away
		}
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".lock") {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		name, relative := filepath.Rel(dir, path)
		if id := strings.TrimSpace(string(text)); len(id) == 40 {
			loose[filepath.ToSlash(name)] = id
		}
		return errors.Join(err, relative)
	})
	if err != nil {
		return nil, fmt.Errorf("refs of %s: %w", repo, err)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "packed-refs"))
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

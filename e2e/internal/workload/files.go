package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeVolume makes a directory hold exactly these files. Each file is
// replaced at once, as readers of a running program expect it, and one that is
// as it should be is not touched.
func writeVolume(dir string, files map[string]File) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for name, file := range files {
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), file); err != nil {
			return err
		}
	}
	return removeOthers(dir, files)
}

func writeFile(path string, file File) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, file.Data) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == file.Mode {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(path), ".next-*")
	if err != nil {
		return err
	}
	_, err = next.Write(file.Data)
	err = errors.Join(err, next.Chmod(file.Mode), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), errors.Join(err, os.Remove(next.Name())))
	}
	return nil
}

func removeOthers(dir string, files map[string]File) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if _, ok := files[name]; ok {
			return nil
		}
		return root.Remove(filepath.FromSlash(name))
	})
}

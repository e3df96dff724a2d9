package extension

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/hashicorp/go-plugin"
)

// maxProgram is larger than any program that is a gate.
const maxProgram = 512 << 20

// program is a private copy of the gate's file, and the directory that the
// process may write to.
type program struct {
	// dir holds everything, and is gone after the judgement.
	dir string
	// file is the copy.
	file string
	// temporary is TMPDIR, HOME and the working directory.
	temporary string
}

// prepare copies the program and checks the copy.
//
// The library's own way is to check a file and then to execute whatever has that
// name. Here no one but this user can write to what was checked. Its SecureConfig
// does the check all the same; with a runner of ours the library would not ask it.
func (e *Extension) prepare(ctx context.Context) (*program, error) {
	dir, err := os.MkdirTemp("", "gate-")
	if err != nil {
		return nil, fmt.Errorf("there is no temporary directory for it: %w", err)
	}
	p := &program{dir: dir, file: filepath.Join(dir, "program"), temporary: filepath.Join(dir, "tmp")}
	if err := e.fill(ctx, p); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

func (e *Extension) fill(ctx context.Context, p *program) error {
	if err := os.Mkdir(p.temporary, 0o700); err != nil {
		return err
	}
	if err := copyProgram(ctx, p.file, e.path); err != nil {
		return err
	}
	hash := sha256.New()
	same, err := (&plugin.SecureConfig{Checksum: e.checksum, Hash: hash}).Check(p.file)
	switch {
	case err != nil:
		return fmt.Errorf("its checksum could not be made: %w", err)
	case !same:
		return fmt.Errorf("its checksum is %x, and %s is expected", hash.Sum(nil), hex.EncodeToString(e.checksum))
	}
	return nil
}

// copyProgram copies an executable file.
func copyProgram(ctx context.Context, to, from string) error {
	// Not blocking, as a named pipe would.
	source, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file, and its checksum decides
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s", from)
	case err != nil:
		return fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = source.Close() }()
	info, err := source.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("cannot be read: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", from)
	case info.Mode()&0o111 == 0 && runtime.GOOS != "windows":
		return fmt.Errorf("%s is not executable; see: chmod +x", from)
	}

	// A process that is started while the copy is open for writing inherits it
	// for a moment, and for that long the kernel refuses to execute it ("text file
	// busy"). So nothing is started meanwhile.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o500) //nolint:gosec // it has to be executable
	if err != nil {
		return fmt.Errorf("cannot be copied: %w", err)
	}
	n, err := io.Copy(target, io.LimitReader(&stoppable{ctx.Err, source}, maxProgram+1))
	if err := errors.Join(err, target.Close()); err != nil {
		return fmt.Errorf("cannot be copied: %w", err)
	}
	if n > maxProgram {
		return fmt.Errorf("%s is larger than %d MiB", from, maxProgram>>20)
	}
	return nil
}

// stoppable is a reader that ends with its context.
type stoppable struct {
	ended func() error
	io.Reader
}

func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.ended(); err != nil {
		return 0, err
	}
	return s.Reader.Read(b)
}

// remove leaves nothing behind, not even in directories that the program has
// made read-only.
func (p *program) remove() error {
	if err := os.RemoveAll(p.dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o700) //nolint:gosec // a directory needs the x
		}
		return nil
	})
	return os.RemoveAll(p.dir)
}

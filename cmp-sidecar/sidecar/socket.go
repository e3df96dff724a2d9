package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// socketMode lets repo-server connect, which takes write permission, when it
// has our user or group. The pod's fsGroup makes the group common.
const socketMode = 0o660

// dialTimeout bounds the question whether somebody listens on a socket.
const dialTimeout = 2 * time.Second

// socket is a listening unix socket that removes its own file, and only its
// own: in a shared directory another process may have replaced it.
type socket struct {
	net.Listener
	path string
	file fs.FileInfo
}

// listenSocket listens on path. A file that a dead process left behind is
// replaced; one on which somebody listens is not.
func listenSocket(ctx context.Context, path string) (*socket, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // Close does it, with care
	s := &socket{Listener: listener, path: path}
	if err = os.Chmod(path, socketMode); err == nil {
		s.file, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close(), os.Remove(path))
	}
	return s, nil
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("listen %s: there is a file that is no socket; remove it", path)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("listen %s: another process listens there; stop it, or choose another --name", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("listen %s: %w", path, err)
}

// Close stops listening and removes the file if it is still ours.
func (s *socket) Close() error {
	ours := s.present() == nil
	err := s.Listener.Close()
	if ours {
		if e := os.Remove(s.path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// present says whether repo-server can still find us.
func (s *socket) present() error {
	info, err := os.Lstat(s.path)
	if err != nil {
		return fmt.Errorf("the socket is gone: %w", err)
	}
	if !os.SameFile(s.file, info) {
		return fmt.Errorf("another process replaced the socket %s", s.path)
	}
	return nil
}

// Package extension makes gates of programs: any executable that speaks a small
// protocol is one. The protocol is gate.proto in package gatev1, carried by
// github.com/hashicorp/go-plugin; docs/gate-plugins.md is the page for those who
// write a program.
//
// Two sides meet here. An [Extension] is the host's side, a gate.Gate that starts
// the program. [Serve] is the program's side, so that one in Go is a function and
// three lines of main.
//
// # One process for each judgement
//
// The program is started, asked once and ended. That costs some tens of
// milliseconds, at moments that are minutes apart, and saves what a process that
// stays would need: somebody who ends it when it is idle, when its file or its
// settings change and when the hook stops, and who notices that it hangs. A
// program that leaks, or that crashes, does so once.
//
// # What is trusted
//
// The checksum is the whole permission: who writes propagator.yaml says which
// bytes run, and whoever runs the hook says which files there are. The file is
// copied into a private directory, the copy is checked, and the copy is executed,
// so that nobody can exchange it in between. A program gets no variable of the
// host's environment and no open file. It runs as the host's user and can read
// what that user can: this is no sandbox.
//
// Whatever goes wrong is gate.Unknown, and says what went wrong.
package extension

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleeting-taas/propagator/pkg/gate"
)

// Bounds of one judgement.
const (
	// DefaultTimeout and MaxTimeout are of everything: the copy, the start, the
	// answer.
	DefaultTimeout = 30 * time.Second
	MaxTimeout     = 5 * time.Minute

	maxSettings = 64 << 10
	// maxMessage is what the program may send at once.
	maxMessage = 64 << 10
	// grace is how long a program has to end after it was asked to.
	grace = time.Second
)

// Options say which program is the gate, and how it is asked.
type Options struct {
	// Command is the program's file: an absolute path, or one relative to Dir. It
	// is never searched in PATH.
	Command string
	// Dir is the directory of plugins, an absolute path. Default: none, and then
	// Command has to be absolute.
	Dir string
	// Args follow the program's name. Default: none.
	Args []string
	// SHA256 of the file in hexadecimal digits; required.
	SHA256 string
	// Timeout of one judgement. Default: DefaultTimeout; at most MaxTimeout.
	Timeout time.Duration
	// Settings are handed to the program as they are. They are no place for
	// secrets, which belong into a file that a setting names. Default: none.
	Settings map[string]string
	// Logger gets what the program prints: standard error at level info, standard
	// output at level debug. Default: nobody does.
	Logger *slog.Logger
}

// Extension is a gate that is a program.
type Extension struct {
	// name is what the program is called in verdicts and logs.
	name     string
	path     string
	args     []string
	checksum []byte
	timeout  time.Duration
	settings map[string]string
	log      *slog.Logger
	clean    *cleaner
}

var _ gate.Gate = (*Extension)(nil)

// New reports every fault of the options at once. It does not look at the file,
// which can come later: whether it is there, and the right one, is found out by
// each judgement.
func New(o Options) (*Extension, error) {
	e := &Extension{
		path: o.Command, args: slices.Clone(o.Args), timeout: o.Timeout, settings: maps.Clone(o.Settings), log: o.Logger,
		clean: newCleaner(o.Settings),
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if o.Dir != "" && !filepath.IsAbs(o.Dir) {
		fault("directory of plugins %q is not an absolute path", o.Dir)
	}
	switch {
	case o.Command == "":
		fault("command is missing; say which program is the gate")
	case filepath.IsAbs(o.Command):
	case o.Dir == "":
		fault("command %q is not an absolute path, and there is no directory of plugins to look in", o.Command)
	case !filepath.IsLocal(o.Command):
		fault("command %q leads out of the directory of plugins", o.Command)
	default:
		e.path = filepath.Join(o.Dir, o.Command)
	}
	e.name = filepath.Base(e.path)
	if slices.ContainsFunc(append([]string{o.Command, o.Dir}, o.Args...), func(text string) bool { return strings.ContainsRune(text, 0) }) {
		fault("command or an argument has a zero byte in it")
	}
	sum, err := hex.DecodeString(o.SHA256)
	if err != nil || len(sum) != sha256.Size {
		fault("sha256 %q is not a checksum of 64 hexadecimal digits; see: sha256sum %s", shorten(o.SHA256), e.path)
	}
	e.checksum = sum
	switch {
	case o.Timeout == 0:
		e.timeout = DefaultTimeout
	case o.Timeout < 0 || o.Timeout > MaxTimeout:
		fault("timeout is %s, must be longer than nothing and at most %s", o.Timeout, MaxTimeout)
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(o.Settings)) {
		size += len(name) + len(o.Settings[name])
		if !utf8.ValidString(name) || !utf8.ValidString(o.Settings[name]) {
			fault("setting %q is not UTF-8", shorten(name))
		}
	}
	if size > maxSettings {
		fault("settings have %d bytes, at most %d are handed over", size, maxSettings)
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("plugin: %w", err)
	}
	return e, nil
}

// Judge starts the program, asks it, and ends it.
func (e *Extension) Judge(ctx context.Context, s gate.Subject) gate.Verdict {
	asked, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	verdict, err := e.ask(asked, s)
	switch {
	case ctx.Err() != nil:
		// Whoever asked has stopped to listen, and may have begun again.
		verdict = unknown("broken off")
	case err != nil && asked.Err() != nil:
		verdict = unknown("gave no verdict within %s", e.timeout)
	case err != nil:
		verdict = unknown("%v", err)
	}
	verdict.Detail = shorten(e.name + ": " + e.clean.line(verdict.Detail))
	return verdict
}

func unknown(format string, args ...any) gate.Verdict {
	return gate.Verdict{Result: gate.Unknown, Detail: fmt.Sprintf(format, args...)}
}

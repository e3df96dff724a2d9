package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
)

// Exit codes of the suite's programs.
const (
	// ExitFailure: something went wrong.
	ExitFailure = 1
	// ExitUsage: flags, arguments or variables are wrong.
	ExitUsage = 2
	// ExitInterrupted: a signal arrived before the work was done.
	ExitInterrupted = 130
)

// ExitError is an error with an exit code of its own.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }

func (e *ExitError) Unwrap() error { return e.Err }

// UsageError makes err an ExitError with ExitUsage; nil stays nil.
func UsageError(err error) error {
	if err == nil {
		return nil
	}
	return &ExitError{Code: ExitUsage, Err: err}
}

// Main runs fn with a context that SIGINT and SIGTERM cancel, and returns the
// exit code. An error is printed to stderr behind the program's name. A second
// signal ends the process at once, as without Main.
func Main(ctx context.Context, name string, stderr io.Writer, fn func(context.Context) error) int {
	signalled, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// From the first signal on, the default action applies again.
	unhook := context.AfterFunc(signalled, stop)
	defer unhook()

	err := fn(signalled)
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) && signalled.Err() != nil {
		_, _ = fmt.Fprintf(stderr, "%s: interrupted\n", name)
		return ExitInterrupted
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	return ExitFailure
}

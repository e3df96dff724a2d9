package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestFlagsAndVariables(t *testing.T) {
	o := DefaultOptions(":8080", ":8081")
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	o.Bind(flags)
	if err := flags.Parse([]string{"--listen", "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	err := FromEnvironment(flags, []string{
		"PROPAGATOR_LISTEN=127.0.0.1:2", // the command line wins
		"PROPAGATOR_LOG_LEVEL=debug",
		"PROPAGATOR_LOG_FORMAT=", // empty counts as unset
		"PROPAGATOR_SHUTDOWN_TIMEOUT=3s",
		"UNRELATED",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Options{LogLevel: "debug", LogFormat: "json", Listen: "127.0.0.1:1", OperatorListen: ":8081", ShutdownTimeout: 3 * time.Second}
	if o != want {
		t.Errorf("got %+v\nwant %+v", o, want)
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	err = FromEnvironment(flags, []string{"PROPAGATOR_SHUTDOWN_TIMEOUT=hush"})
	if err != nil {
		t.Errorf("a flag that was set from a variable is set again: %v", err)
	}
	DescribeVariables(flags)
	if help := flags.FlagUsages(); !strings.Contains(help, "[$PROPAGATOR_LOG_LEVEL]") {
		t.Errorf("help: %s", help)
	}
	var table bytes.Buffer
	if err := WriteFlagTable(&table, flags); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "--shutdown-timeout  PROPAGATOR_SHUTDOWN_TIMEOUT  duration  15s") {
		t.Errorf("table:\n%s", &table)
	}
}

func TestBadVariable(t *testing.T) {
	o := DefaultOptions("", ":8081")
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	o.Bind(flags)
	err := FromEnvironment(flags, []string{"PROPAGATOR_SHUTDOWN_TIMEOUT=hush"})
	if err == nil || !strings.Contains(err.Error(), "PROPAGATOR_SHUTDOWN_TIMEOUT") || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
	if flags.Lookup("listen") != nil {
		t.Error("a program without a handler has --listen")
	}
}

func TestValidateReportsEverything(t *testing.T) {
	o := Options{LogLevel: "loud", LogFormat: "xml", Listen: "8080", OperatorListen: "host:http"}
	err := o.Validate()
	for _, want := range []string{"--log-level", "--log-format", `--listen is "8080"`, "--operator-listen", "--shutdown-timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	o := DefaultOptions("", ":0")
	o.Logger(&b).Debug("hidden")
	o.Logger(&b).Info("shown")
	if got := b.String(); !strings.HasPrefix(got, "{") || strings.Contains(got, "hidden") {
		t.Errorf("json: %s", got)
	}
	b.Reset()
	o.LogFormat, o.LogLevel = LogText, "debug"
	o.Logger(&b).Debug("shown")
	if got := b.String(); !strings.Contains(got, "level=DEBUG msg=shown") {
		t.Errorf("text: %s", got)
	}
}

func TestMainExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"success": {nil, 0, ""},
		"failure": {errors.New("it broke"), 1, "prog: it broke\n"},
		"usage":   {fmt.Errorf("start: %w", UsageError(errors.New("bad flag"))), 2, "prog: start: bad flag\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := Main(t.Context(), "prog", &stderr, func(context.Context) error { return test.err })
			if code != test.code || stderr.String() != test.stderr {
				t.Errorf("got %d %q", code, &stderr)
			}
		})
	}
	if UsageError(nil) != nil {
		t.Error("UsageError of nil is an error")
	}
}

func TestMainSignals(t *testing.T) {
	var stderr bytes.Buffer
	run := func(fn func(context.Context) error) int {
		return Main(t.Context(), "prog", &stderr, func(ctx context.Context) error {
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			return fn(ctx)
		})
	}
	if code := run(func(ctx context.Context) error { <-ctx.Done(); return nil }); code != 0 {
		t.Errorf("an orderly stop exits with %d", code)
	}
	if code := run(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }); code != ExitInterrupted {
		t.Errorf("an interrupted run exits with %d", code)
	}
	if stderr.String() != "prog: interrupted\n" {
		t.Errorf("stderr: %q", &stderr)
	}
}

func TestVersion(t *testing.T) {
	for _, test := range []struct {
		build Build
		want  string
	}{
		{Build{Version: "v1.2.0", Go: "go1.26"}, "v1.2.0 (go1.26)"},
		{Build{Version: "devel", Go: "go1.26", Revision: "3f2a91c04d5512345", Modified: true}, "devel (3f2a91c04d55+changes, go1.26)"},
	} {
		if got := test.build.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	if Version().Go == "" {
		t.Error("no Go version")
	}
}

package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Names of the flags that Options binds.
const (
	flagLogLevel        = "log-level"
	flagLogFormat       = "log-format"
	flagListen          = "listen"
	flagOperator        = "operator-listen"
	flagShutdownTimeout = "shutdown-timeout"
)

// Values of Options.LogFormat.
const (
	LogText = "text"
	LogJSON = "json"
)

// Options are the settings that every program of the suite shares. The zero
// value is not usable; start from [DefaultOptions].
type Options struct {
	// LogLevel is debug, info, warn or error.
	LogLevel string
	// LogFormat is LogText or LogJSON.
	LogFormat string
	// Listen is host:port of the program's own handler; an empty host means
	// all interfaces, port 0 any free one. Unused by programs without a
	// handler.
	Listen string
	// OperatorListen is host:port of /healthz, /readyz and /metrics. When
	// empty they are served on Listen, beside the handler.
	OperatorListen string
	// ShutdownTimeout bounds how long requests that are under way may take
	// once the program was asked to stop.
	ShutdownTimeout time.Duration
}

// DefaultOptions listen on the given addresses and log JSON at level info.
// An empty listen is for programs without a handler of their own.
func DefaultOptions(listen, operatorListen string) Options {
	return Options{
		LogLevel:        "info",
		LogFormat:       LogJSON,
		Listen:          listen,
		OperatorListen:  operatorListen,
		ShutdownTimeout: 15 * time.Second,
	}
}

// Bind adds the options' flags; the present values are the defaults. A program
// without a handler of its own (Listen is empty) gets no --listen.
func (o *Options) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.LogLevel, flagLogLevel, o.LogLevel, "least severe `level` to log: debug, info, warn, error")
	flags.StringVar(&o.LogFormat, flagLogFormat, o.LogFormat, "`format` of the log: text, json")
	if o.Listen != "" {
		flags.StringVar(&o.Listen, flagListen, o.Listen, "`host:port` to serve requests on")
	}
	flags.StringVar(&o.OperatorListen, flagOperator, o.OperatorListen, "`host:port` of /healthz, /readyz and /metrics; empty: on the address of --listen")
	flags.DurationVar(&o.ShutdownTimeout, flagShutdownTimeout, o.ShutdownTimeout, "`time` that requests under way may take after a signal to stop")
}

// Validate reports everything that is wrong with the options.
func (o *Options) Validate() error {
	var errs []error
	if _, err := o.level(); err != nil {
		errs = append(errs, err)
	}
	if o.LogFormat != LogText && o.LogFormat != LogJSON {
		errs = append(errs, fmt.Errorf("--%s is %q; write %s or %s", flagLogFormat, o.LogFormat, LogText, LogJSON))
	}
	if o.Listen == "" && o.OperatorListen == "" {
		errs = append(errs, fmt.Errorf("--%s is empty, and there is no other address", flagOperator))
	}
	for _, address := range []struct{ flag, value string }{{flagListen, o.Listen}, {flagOperator, o.OperatorListen}} {
		if address.value != "" && !validAddress(address.value) {
			errs = append(errs, fmt.Errorf("--%s is %q; write host:port or :port", address.flag, address.value))
		}
	}
	if o.ShutdownTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--%s is %s; it must be positive", flagShutdownTimeout, o.ShutdownTimeout))
	}
	return errors.Join(errs...)
}

func validAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (o *Options) level() (slog.Level, error) {
	var level slog.Level
	switch strings.ToLower(o.LogLevel) {
	case "debug", "info", "warn", "error":
		return level, level.UnmarshalText([]byte(o.LogLevel))
	}
	return level, fmt.Errorf("--%s is %q; write debug, info, warn or error", flagLogLevel, o.LogLevel)
}

// Logger writes to w as the options say. The options must be valid.
func (o *Options) Logger(w io.Writer) *slog.Logger {
	level, err := o.level()
	if err != nil {
		level = slog.LevelInfo
	}
	handlerOptions := &slog.HandlerOptions{Level: level}
	if o.LogFormat == LogText {
		return slog.New(slog.NewTextHandler(w, handlerOptions))
	}
	return slog.New(slog.NewJSONHandler(w, handlerOptions))
}

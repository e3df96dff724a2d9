package sidecar

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// defaultSocketDir is where repo-server looks for plugins.
const defaultSocketDir = "/home/argocd/cmp-server/plugins"

// defaultOperator avoids the ports of repo-server (8081, 8084), with which the
// sidecar shares the network.
const defaultOperator = ":8087"

// minPing is how often a client may ping. repo-server pings every 20 s by
// default and never more often than every 10 s, which gRPC enforces.
const minPing = 10 * time.Second

// maxSocketPath is how long a unix socket's path may be on Linux.
const maxSocketPath = 107

// Options are the settings of the server.
type Options struct {
	// SocketDir is shared with repo-server. Default: Argo CD's own.
	SocketDir string
	// Name of the plugin, as Applications spell it. Default: propagator.
	Name string
	// Workers is how many renders run at once; others wait in line. It bounds
	// memory together with MaxKept. Default: the number of processors.
	Workers int
	// MaxCompressed, MaxExtracted and MaxKept are the limits of a repository
	// in MiB: as it travels, decompressed, and kept in memory. Zero means the
	// defaults of [cmpwire.Limits].
	MaxCompressed, MaxExtracted, MaxKept int64
	// Service are logging and the operator's address.
	Service service.Options
}

// DefaultOptions are those of a sidecar in repo-server's pod.
func DefaultOptions() Options {
	return Options{
		SocketDir:     defaultSocketDir,
		Name:          "propagator",
		Workers:       runtime.GOMAXPROCS(0),
		MaxCompressed: 512,
		MaxExtracted:  4096,
		MaxKept:       256,
		Service:       service.DefaultOptions("", defaultOperator),
	}
}

// Bind adds the options' flags; the present values are the defaults.
func (o *Options) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.SocketDir, "socket-dir", o.SocketDir, "`directory` of plugin sockets, shared with repo-server")
	flags.StringVar(&o.Name, "name", o.Name, "`name` of the plugin, as Applications spell it")
	flags.IntVar(&o.Workers, "workers", o.Workers, "`number` of renders at the same time; others wait")
	flags.Int64Var(&o.MaxCompressed, "max-compressed", o.MaxCompressed, "largest repository to accept as it travels, in `MiB`")
	flags.Int64Var(&o.MaxExtracted, "max-extracted", o.MaxExtracted, "largest repository to accept once decompressed, .git included, in `MiB`")
	flags.Int64Var(&o.MaxKept, "max-kept", o.MaxKept, "memory that the files of one repository may take, in `MiB`")
	o.Service.Bind(flags)
}

var pluginName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// Validate reports everything that is wrong with the options.
func (o *Options) Validate() error {
	errs := []error{o.Service.Validate()}
	if !pluginName.MatchString(o.Name) {
		errs = append(errs, fmt.Errorf("--name is %q; letters, digits, dots, dashes and underscores make a name", o.Name))
	}
	if !filepath.IsAbs(o.SocketDir) {
		errs = append(errs, fmt.Errorf("--socket-dir is %q; it must be an absolute path", o.SocketDir))
	}
	if path := o.socket(); len(path) > maxSocketPath {
		errs = append(errs, fmt.Errorf("the socket's path %s has %d characters; at most %d work, choose a shorter --socket-dir", path, len(path), maxSocketPath))
	}
	for _, number := range []struct {
		flag  string
		value int64
	}{{"workers", int64(o.Workers)}, {"max-compressed", o.MaxCompressed}, {"max-extracted", o.MaxExtracted}, {"max-kept", o.MaxKept}} {
		if number.value < 1 || number.value > 1<<20 {
			errs = append(errs, fmt.Errorf("--%s is %d; it must be between 1 and %d", number.flag, number.value, 1<<20))
		}
	}
	return errors.Join(errs...)
}

func (o *Options) socket() string { return filepath.Join(o.SocketDir, o.Name+".sock") }

func (o *Options) limits() cmpwire.Limits {
	return cmpwire.Limits{Compressed: o.MaxCompressed << 20, Extracted: o.MaxExtracted << 20, Kept: o.MaxKept << 20}
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// Options choose how the demo is played.
type Options struct {
	// Content is the GitOps repository. Default: examples/shop.
	Content fs.FS
	// Keep is a folder for the repository and the registries, which stay
	// there. It must be empty or not exist. Default: a temporary one.
	Keep string
	// Progress receives the story. Default: discarded.
	Progress io.Writer
	// Terminal says that Progress is one.
	Terminal bool
	// Log receives the programs' logs. Default: discarded.
	Log *slog.Logger
}

// Run plays the train and checks the promises. The report is complete unless
// there is an error; a promise that does not hold is not an error (see
// [Report.OK]).
func Run(ctx context.Context, o Options) (*Report, error) {
	begin := time.Now()
	if o.Content == nil {
		o.Content = examples.Shop()
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := workDir(o.Keep)
	if err != nil {
		return nil, err
	}
	if o.Keep == "" {
		defer func() { _ = os.RemoveAll(dir) }() // a leftover in the system's temporary folder
	}
	w := &world{
		dir: dir, content: o.Content, log: o.Log, report: &Report{Kept: o.Keep},
		progress: &progress{w: o.Progress, terminal: o.Terminal},
	}
	defer w.close()
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	if err := w.play(ctx); err != nil {
		return nil, err
	}
	if err := w.finish(ctx); err != nil {
		return nil, err
	}
	w.report.Seconds = time.Since(begin).Seconds()
	w.report.PeakMemory = peakMemory()
	return w.report, nil
}

func workDir(keep string) (string, error) {
	if keep == "" {
		return os.MkdirTemp("", "propagator-demo-")
	}
	entries, err := os.ReadDir(keep)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("folder %s is not empty; name one that is, or a new one", keep)
	}
	if err := os.MkdirAll(keep, 0o750); err != nil {
		return "", err
	}
	return filepath.Abs(keep)
}

// Command is "propagator demo".
func Command(stdout, stderr io.Writer) *cobra.Command {
	var (
		keep, dir            string
		asJSON, quiet, debug bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "play the whole release train on this machine",
		Long: `demo starts a git server, three registries and the suite's three programs on
loopback, and plays a change's way from Dev to Stage to Prod: CI pushes, Argo CD
syncs (over its own wire contracts), a snapshot is taken, images are mirrored,
Stage is rendered and tested, the Dev registry goes away, somebody approves,
Prod follows; then a second version, hotfixes that are merged onto it and one that
passes a release in Stage, and a rollback. At the end the promises are
checked against the live repository and registries. It needs git, and nothing
else; no cluster, no network.

Exit code 1 means that a promise does not hold, or that the story got stuck.`,
		Example: `  propagator demo
  propagator demo --keep /tmp/train      # then: git -C /tmp/train/git/gitops.git log --graph --all
  propagator demo serve /tmp/train       # and read the registries, with crane for instance`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := Options{Keep: keep, Progress: stderr, Terminal: isTerminal(stderr)}
			if !asJSON {
				options.Progress, options.Terminal = stdout, isTerminal(stdout)
			}
			if quiet {
				options.Progress = nil
			}
			if dir != "" {
				if _, err := os.Stat(dir); err != nil {
					return service.UsageError(err)
				}
				options.Content = os.DirFS(dir)
			}
			if debug {
				options.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			report, err := Run(cmd.Context(), options)
			if err != nil {
				return err
			}
			return write(report, stdout, stderr, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&keep, "keep", "", "keep the git repository and the registries in this folder")
	f.StringVar(&dir, "dir", "", "play on the GitOps repository in this folder instead of the built-in shop; its environments and registries must be called dev, stage and prod")
	f.BoolVar(&asJSON, "json", false, "print a report as JSON; the story goes to standard error")
	f.BoolVar(&quiet, "quiet", false, "do not tell the story")
	f.BoolVar(&debug, "debug", false, "show the programs' logs on standard error")
	cmd.AddCommand(serveCommand(stdout))
	return cmd
}

func write(report *Report, stdout, stderr io.Writer, asJSON bool) error {
	var err error
	if asJSON {
		err = report.writeJSON(stdout)
	} else {
		err = report.writeText(stdout)
	}
	if err != nil {
		return err
	}
	if report.Kept != "" {
		_, _ = fmt.Fprintf(stderr, "\nKept in %s:\n  git -C %s log --graph --all\n  propagator demo serve %s\n",
			report.Kept, filepath.Join(report.Kept, "git", repositoryName), report.Kept)
	}
	if !report.OK() {
		return errors.New("a promise does not hold; see above")
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// anonymous gives no credentials: the demo's registries want none, and the
// user's own must not travel there.
type anonymous struct{}

// Resolve implements authn.Keychain.
func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

package cli

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/codehost"
	"github.com/fleeting-taas/propagator/pkg/gates"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// app is one run of the program: where it talks to and its global flags.
type app struct {
	env    []string
	stdout io.Writer
	stderr io.Writer

	git        gitremote.Flags
	registries registryremote.Set
	gates      gates.Set
	hosts      codehost.Set
	retries    int
	output     string
	quiet      bool
	verbose    bool
}

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
	// outputMarkdown is for commands that write a text; see moreFormats.
	outputMarkdown = "markdown"
)

// moreFormats is the annotation of a command with a further value of --output.
const moreFormats = "formats"

func (a *app) bind(flags *pflag.FlagSet) {
	a.git.Bind(flags, false)
	flags.Lookup("repository").Usage += " (default: origin of the Git checkout here)"
	a.registries.Bind(flags)
	a.gates.Bind(flags)
	a.hosts.Bind(flags)
	flags.IntVar(&a.retries, "registry-retries", 6, "how often a request to a registry that is overloaded or out of reach is repeated")
	flags.StringVarP(&a.output, "output", "o", outputTable, "`format` of the result: table, json, yaml")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print nothing but the result and errors")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log every round trip to stderr")
}

// prepare completes and checks the global flags, before any command runs.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := service.FromEnvironment(cmd.Flags(), a.env); err != nil {
		return usage(cmd, "%w", err)
	}
	formats := []string{outputTable, outputJSON, outputYAML}
	if more := cmd.Annotations[moreFormats]; more != "" {
		formats = append(formats, more)
	}
	if !slices.Contains(formats, a.output) {
		return usage(cmd, "--output is %q; write %s", a.output, strings.Join(formats, ", "))
	}
	if a.quiet && a.verbose {
		return usage(cmd, "--quiet and --verbose contradict each other")
	}
	if a.retries < 0 {
		return usage(cmd, "--registry-retries is %d; write 0 or more", a.retries)
	}
	return nil
}

// logger writes warnings, and with --verbose everything, to stderr.
func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.verbose:
		level = slog.LevelDebug
	case a.quiet:
		level = slog.LevelError
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

// session is an engine with the layers through which it reaches the world.
type session struct {
	*promotion.Engine
	journal  *journal
	progress *progress
}

// mode says what a session may do.
type mode int

const (
	reading mode = iota
	writing
)

// open joins the adapters. It makes no connection.
func (a *app) open(cmd *cobra.Command, mode mode, actor string) (*session, error) {
	repo, err := a.repository(cmd)
	if err != nil {
		return nil, err
	}
	log := a.logger()
	a.registries.Logger, a.gates.Logger = log, log
	if a.registries.Retries = a.retries; a.retries == 0 {
		a.registries.Retries = -1 // the adapter's word for never
	}
	j := &journal{Repo: repo, registries: &a.registries, readOnly: mode == reading}
	p := a.newProgress()
	return &session{
		Engine: &promotion.Engine{
			Repo: j, Registries: j, Gates: &a.gates, Branch: a.git.Branch, Actor: actor, Log: log, Progress: p.update,
		},
		journal: j, progress: p,
	}, nil
}

// repositoryURL is the address of the GitOps repository. It may hold
// credentials.
func (a *app) repositoryURL(cmd *cobra.Command) (string, error) {
	switch len(a.git.Repositories) {
	case 0:
		origin, err := gitremote.Origin(".")
		if errors.Is(err, gitremote.ErrNoOrigin) {
			return "", usageHint("name the repository with --repository URL (or PROPAGATOR_REPOSITORY), or run this in its checkout", "%w", err)
		}
		if err != nil {
			return "", usage(cmd, "%w", err)
		}
		return origin, nil
	case 1:
		return a.git.Repositories[0], nil
	}
	return "", usage(cmd, "one repository at a time; --repository was given %d times", len(a.git.Repositories))
}

func (a *app) repository(cmd *cobra.Command) (gitrepo.Repo, error) {
	address, err := a.repositoryURL(cmd)
	if err != nil {
		return nil, err
	}
	flags := a.git // a copy: the default is none of the flag's
	flags.Repositories = []string{address}
	openers, err := flags.Openers(a.env, a.logger())
	if err != nil {
		return nil, usage(cmd, "%w", err)
	}
	repo, err := openers[0]()
	if err != nil {
		return nil, usage(cmd, "%w", err)
	}
	return repo, nil
}

// bindActor adds --actor, for commands that write to a ledger.
func bindActor(flags *pflag.FlagSet) *string {
	return flags.String("actor", "", "your `name` for the ledger (default: $USER)")
}

// actor is who is named in the ledger. It is never guessed: a deployment by
// nobody could not be explained later.
func (a *app) actor(given string) (string, error) {
	name := strings.TrimSpace(cmp.Or(given, a.variable("USER"), a.variable("LOGNAME"), a.variable("USERNAME")))
	if name == "" {
		return "", usageHint("add --actor NAME, or set PROPAGATOR_ACTOR", "nobody to name in the ledger")
	}
	return name, nil
}

func (a *app) variable(name string) string {
	for _, assignment := range a.env {
		if value, ok := strings.CutPrefix(assignment, name+"="); ok {
			return value
		}
	}
	return ""
}

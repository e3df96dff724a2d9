package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// annotated is the result of hold, freeze, resume, reject and validate.
type annotated struct {
	Environment string       `json:"environment"`
	Event       string       `json:"event"`
	Version     string       `json:"version,omitempty"`
	Result      string       `json:"result,omitempty"`
	Until       time.Time    `json:"until,omitzero"`
	Reason      string       `json:"reason,omitempty"`
	DryRun      bool         `json:"dryRun"`
	Branch      string       `json:"branch"`
	BranchFrom  gitrepo.Hash `json:"branchFrom,omitempty"`
	BranchTo    gitrepo.Hash `json:"branchTo,omitempty"`
}

// annotation is one of the verbs.
type annotation struct {
	event   snapshot.Event
	use     string
	short   string
	long    string
	example string
	// versioned: the verb is about a snapshot.
	versioned bool
}

func holdCommand(a *app) *cobra.Command {
	return annotate(a, annotation{
		event: snapshot.EventHold, use: "hold ENVIRONMENT", short: "keep automation away from an environment",
		long: `hold makes automation leave the environment alone: nothing is promoted there by
itself, however many gates pass, until somebody resumes it or promotes there by
hand. What runs there goes on running, and evidence is recorded as always.`,
		example: `  propagator hold prod --reason 'the auditors are here'`,
	})
}

func resumeCommand(a *app) *cobra.Command {
	return annotate(a, annotation{
		event: snapshot.EventResume, use: "resume ENVIRONMENT", short: "end a hold, or a freeze",
		long: `resume lets automation promote to the environment again. The snapshot that it was
rolled back from stays out, unless somebody promotes it by its version.`,
		example: `  propagator resume prod --reason 'the auditors have left'`,
	})
}

func rejectCommand(a *app) *cobra.Command {
	return annotate(a, annotation{
		event: snapshot.EventReject, use: "reject ENVIRONMENT [VERSION]", short: "a snapshot is not wanted, there or later", versioned: true,
		long: `reject keeps a snapshot out of the environment and of all that come after it.
Tests that pass later do not take that back; promote --override REJECTED does.
Without a version it is what the environment points at, which goes on running: to
take it away as well, roll back. Where releases are admitted one by one, a release
that is rejected makes room for the next.`,
		example: `  propagator reject stage --reason 'prices are wrong'
  propagator reject stage v1.5.0 --reason 'superseded by a decision'`,
	})
}

func freezeCommand(a *app) *cobra.Command {
	var until string
	var lasts time.Duration
	cmd := annotateWith(a, annotation{
		event: snapshot.EventFreeze, use: "freeze ENVIRONMENT", short: "nobody promotes there for a while",
		long: `freeze keeps everybody, automation and people, from promoting to the environment
until a time. A person can override that for one promotion, which is recorded, and
a rollback is always possible. A freeze that lasts longer already is not made
shorter; resume ends it. Freezes that come back belong into propagator.yaml, as a
gate.`,
		example: `  propagator freeze prod --until 2026-12-27T06:00:00+01:00 --reason 'Christmas'
  propagator freeze prod --for 4h --reason 'the campaign has begun'`,
	}, func(cmd *cobra.Command, n *promotion.Note) error {
		switch {
		case (until == "") == (lasts == 0):
			return usage(cmd, "say when the freeze ends: --until TIME or --for DURATION")
		case lasts < 0:
			return usage(cmd, "--for is %s; it must be positive", lasts)
		case lasts > 0:
			n.Until = time.Now().Add(lasts)
			return nil
		}
		end, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return usage(cmd, "--until is %q; write a time such as 2026-12-27T06:00:00Z", until)
		}
		n.Until = end
		return nil
	})
	cmd.Flags().StringVar(&until, "until", "", "the `time` at which it ends: 2026-12-27T06:00:00Z")
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long it lasts, instead: 4h")
	return cmd
}

func validateCommand(a *app) *cobra.Command {
	var pass, fail bool
	cmd := annotateWith(a, annotation{
		event: snapshot.EventValidate, use: "validate ENVIRONMENT [VERSION]", short: "say how the tests of a snapshot went", versioned: true,
		long: `validate records what whoever tests has found, a person or CI. A pass opens the
gate "validation" of the environments after this one; a snapshot has to be
deployed and healthy for that. A fail keeps it out of them, with or without such a
gate, until a later pass. What was rejected cannot pass any more. Without a version it is about what the environment
points at.`,
		example: `  propagator validate stage v1.4.0 --pass --reason 'run 812: 412 tests'
  propagator validate stage v1.4.0 --fail --reason 'checkout is broken'`,
	}, func(cmd *cobra.Command, n *promotion.Note) error {
		if pass == fail {
			return usage(cmd, "say how it went: --pass or --fail")
		}
		n.Passed = pass
		return nil
	})
	cmd.Flags().BoolVar(&pass, "pass", false, "the tests passed")
	cmd.Flags().BoolVar(&fail, "fail", false, "the tests failed; wants a --reason")
	return cmd
}

func annotate(a *app, verb annotation) *cobra.Command {
	return annotateWith(a, verb, func(*cobra.Command, *promotion.Note) error { return nil })
}

// annotateWith makes the command of a verb; complete fills in what its own flags
// say.
func annotateWith(a *app, verb annotation, complete func(*cobra.Command, *promotion.Note) error) *cobra.Command {
	var dryRun bool
	most := 1
	completers := []completer{completeLedger}
	if verb.versioned {
		most, completers = 2, append(completers, completeVersion)
	}
	cmd := &cobra.Command{
		Use: verb.use, Short: verb.short, Example: verb.example,
		Long: verb.long + `

It becomes an entry of the environment's ledger; with --request the hook writes it,
because of a signed tag.`,
		Args: arguments(cobra.RangeArgs(1, most)), ValidArgsFunction: a.complete(completers...),
	}
	note := promotion.Note{Event: verb.event}
	cmd.Flags().StringVar(&note.Reason, "reason", "", "why; recorded")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, write nothing")
	signed := bindRequest(cmd.Flags())
	by := bindActor(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n := note
		if err := complete(cmd, &n); err != nil {
			return err
		}
		if strings.TrimSpace(n.Reason) == "" && (n.Event != snapshot.EventValidate || !n.Passed) {
			what := "a " + cmd.Name()
			if n.Event == snapshot.EventValidate {
				what = "a failure"
			}
			return usageHint("add --reason 'why'", "%s is recorded with its reason", what)
		}
		if *signed {
			return a.requestNote(cmd, args, dryRun, n)
		}
		s, err := a.openToWrite(cmd, *by, dryRun)
		if err != nil {
			return err
		}
		state, err := s.Observe(cmd.Context())
		if err != nil {
			return err
		}
		environment, err := ledgerArgument(cmd, state.Pipeline, args[0])
		if err != nil {
			return err
		}
		if len(args) > 1 {
			if n.Version, err = versionArgument(cmd, state.Pipeline, args[1]); err != nil {
				return err
			}
		}
		step, err := promotion.PlanNote(state, environment.Name, n)
		if err != nil {
			return err
		}
		return a.write(cmd, s, state, step, environment.Branch, dryRun)
	}
	return cmd
}

// write executes a step that annotates a ledger, unless it is a dry run, and
// prints what became of it.
func (a *app) write(cmd *cobra.Command, s *session, state *promotion.State, step promotion.Step, branch string, dryRun bool) error {
	result := newAnnotated(step, branch, dryRun)
	before, _ := state.Environment(step.Environment)
	result.BranchFrom = before.Tip
	if !dryRun {
		if err := s.Execute(cmd.Context(), state, step); err != nil {
			return err
		}
		result.BranchTo = s.journal.moved(branch).New
	}
	return a.print(result, result.table)
}

// openToWrite opens a session that may write, unless it is a dry run.
func (a *app) openToWrite(cmd *cobra.Command, by string, dryRun bool) (*session, error) {
	actor, err := a.actor(by)
	if dryRun {
		return a.open(cmd, reading, actor)
	}
	if err != nil {
		return nil, err
	}
	return a.open(cmd, writing, actor)
}

func newAnnotated(step promotion.Step, branch string, dryRun bool) annotated {
	n := step.Note
	result := annotated{
		Environment: step.Environment, Event: string(n.Event), Version: n.Version.String(), Until: n.Until,
		Reason: n.Reason, DryRun: dryRun, Branch: branch,
	}
	if n.Event == snapshot.EventValidate {
		if result.Result = "fail"; n.Passed {
			result.Result = "pass"
		}
	}
	return result
}

func (r annotated) table(w io.Writer) {
	text := map[snapshot.Event]string{
		snapshot.EventHold:     r.Environment + " is on hold",
		snapshot.EventResume:   r.Environment + " goes on",
		snapshot.EventFreeze:   r.Environment + " is frozen until " + r.Until.Format("2006-01-02 15:04 MST"),
		snapshot.EventReject:   r.Version + " is rejected in " + r.Environment,
		snapshot.EventValidate: fmt.Sprintf("%s in %s: %s", r.Version, r.Environment, r.Result),
	}[snapshot.Event(r.Event)]
	branch := fmt.Sprintf("%s %s → %s", r.Branch, tipOrNew(r.BranchFrom), r.BranchTo.Short())
	if r.DryRun {
		text += " (dry run, nothing was written)"
		branch = fmt.Sprintf("%s (%s)", r.Branch, tipOrNew(r.BranchFrom))
	}
	_, _ = fmt.Fprintln(w, printable(text))
	writeFacts(w, fact{"reason", r.Reason}, fact{"branch", branch})
}

// tipOrNew is a branch's tip for people.
func tipOrNew(tip gitrepo.Hash) string {
	if tip == "" {
		return "new"
	}
	return tip.Short()
}

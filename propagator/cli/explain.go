package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// explanation is the result of explain.
type explanation struct {
	Environment string `json:"environment"`
	Version     string `json:"version"`
	// Phase is how far the snapshot has come as a release.
	Phase  string    `json:"phase"`
	Passes bool      `json:"passes"`
	Checks []checked `json:"checks"`
	// Waits are what the hook sees of the snapshot in the environment.
	Waits []promotion.Wait `json:"waits,omitempty"`
	// Requests are signed requests for the environment that wait, whatever snapshot
	// they are about.
	Requests []promotion.Wait `json:"requests,omitempty"`
	// Help is what changes the first check that does not pass, Next what to type.
	Help string `json:"help,omitempty"`
	Next string `json:"next,omitempty"`

	// first is the obstacle that Help is about; empty when there is none.
	first promotion.Reason
}

type checked struct {
	Check  string    `json:"check"`
	Result string    `json:"result"`
	Reason string    `json:"reason,omitempty"`
	Detail string    `json:"detail,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

func explainCommand(a *app) *cobra.Command {
	var live hookClient
	cmd := &cobra.Command{
		Use:   "explain ENVIRONMENT [VERSION]",
		Short: "why a snapshot has not been promoted",
		Long: `explain asks every rule and gate about the promotion of a snapshot, the newest
unless a version is given, and shows what each says, in the order in which they
are asked, and what changes the first that does not pass. It also looks at what a
promotion finds out on its way: whether the snapshot renders to what its lock
says, and where its images are. It writes nothing.

Gates that ask others are asked from here; where only the hook can reach them,
they are unknown. With --hook-url the hook is asked what it sees of the environment
in the cluster.`,
		Example: `  propagator explain prod
  propagator explain prod v1.4.0 -o json | jq '.checks[] | select(.result != "pass")'`,
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.complete(completeLedger, completeVersion),
	}
	live.bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.open(cmd, reading, "")
		if err != nil {
			return err
		}
		state, err := s.Observe(cmd.Context())
		if err != nil {
			return err
		}
		environment, version, err := subjectOf(cmd, state, args)
		if err != nil {
			return err
		}
		found, err := s.Explain(cmd.Context(), state, environment, version)
		if err != nil {
			return err
		}
		result := explained(state, environment, version, found)
		result.Requests = requestsIn(promotion.Plan(state), environment.Name)
		unanswered := result.askHook(cmd.Context(), &live, a.env, s.Repo.URL(), environment)
		if err := a.print(result, result.table); err != nil {
			return err
		}
		return unanswered
	}
	return cmd
}

// requestsIn are the waits of signed requests for an environment.
func requestsIn(decision promotion.Decision, environment string) []promotion.Wait {
	var found []promotion.Wait
	for _, wait := range decision.Waits {
		if wait.Environment == environment && wait.Request != "" {
			found = append(found, wait)
		}
	}
	return found
}

// subjectOf reads which snapshot in which environment is meant; the newest
// snapshot when none is named.
func subjectOf(cmd *cobra.Command, state *promotion.State, args []string) (promotion.Environment, snapshot.Version, error) {
	configured, err := ledgerArgument(cmd, state.Pipeline, args[0])
	if err != nil {
		return promotion.Environment{}, snapshot.Version{}, err
	}
	environment, _ := state.Environment(configured.Name)
	var version snapshot.Version
	if len(args) > 1 {
		if version, err = versionArgument(cmd, state.Pipeline, args[1]); err != nil {
			return environment, version, err
		}
		if state.Tags[version] == "" {
			return environment, version, &promotion.RefusedError{Wait: promotion.Wait{Environment: environment.Name, Version: version.String(), Reason: promotion.UnknownSnapshot}}
		}
		return environment, version, nil
	}
	versions := state.Versions()
	switch {
	case len(versions) > 0:
		return environment, versions[0], nil
	case environment.Unreadable != "":
		return environment, version, nil // which is what there is to explain
	default:
		return environment, version, usageHint("propagator snapshot create", "there is no snapshot yet")
	}
}

func explained(state *promotion.State, e promotion.Environment, version snapshot.Version, found []promotion.Finding) explanation {
	result := explanation{Environment: e.Name, Version: version.String(), Phase: string(state.Phase(version)), Passes: true, Checks: []checked{}}
	for _, f := range found {
		result.Checks = append(result.Checks, checked{Check: f.Check, Result: string(f.Result), Reason: string(f.Reason), Detail: f.Detail, Until: f.Until})
		switch {
		case f.Reason == "":
		case result.Passes, result.first == promotion.AlreadyThere && slices.Contains(aboutWhatIsThere, f.Check):
			result.about(promotion.Wait{Environment: e.Name, Version: version.String(), Reason: f.Reason})
		}
	}
	return result
}

// aboutWhatIsThere are the checks that tell whether what is there already is as
// it should be.
var aboutWhatIsThere = []string{"health", "snapshot", "renders", "images"}

// about says what changes the obstacle that comes first.
func (e *explanation) about(w promotion.Wait) {
	e.Passes, e.first, e.Help, e.Next = false, w.Reason, w.Reason.Help(), nextFor(w)
}

// askHook adds what the hook sees of the environment, and of those before it.
func (e *explanation) askHook(ctx context.Context, live *hookClient, env []string, repository string, environment promotion.Environment) error {
	status := pipelineStatus{Repository: repository}
	for _, name := range append([]string{environment.Name}, environment.After...) {
		status.Environments = append(status.Environments, environmentStatus{Environment: name})
	}
	err := live.ask(ctx, env, &status)
	for _, one := range status.Environments {
		e.Waits = append(e.Waits, one.Waits...)
	}
	// What the hook sees is why there is no evidence.
	causes := []promotion.Reason{promotion.AlreadyThere, promotion.HealthUnknown, promotion.NotValidated}
	if len(e.Waits) > 0 && slices.Contains(causes, e.first) {
		e.about(e.Waits[0])
	}
	return err
}

func (e explanation) table(w io.Writer) {
	_, _ = fmt.Fprintln(w, printable(fmt.Sprintf("%s into %s (as a release it is %s)", cmp.Or(e.Version, "no snapshot"), e.Environment, e.Phase)))
	var rows [][]string
	for _, c := range e.Checks {
		detail := c.Detail
		if !c.Until.IsZero() {
			detail += " (until " + moment(c.Until) + ")"
		}
		rows = append(rows, []string{c.Check, c.Result, c.Reason, detail})
	}
	for _, wait := range e.Waits {
		rows = append(rows, []string{"hook", "wait", string(wait.Reason), wait.Environment + ": " + wait.Detail})
	}
	for _, wait := range e.Requests {
		rows = append(rows, []string{"request", "wait", string(wait.Reason), wait.Detail})
	}
	writeTable(w, []string{"CHECK", "RESULT", "REASON", "DETAIL"}, rows)
	if e.Passes {
		_, _ = fmt.Fprintln(w, "nothing keeps it from being promoted")
		return
	}
	_, _ = fmt.Fprintln(w, "what changes it: "+printable(e.Help))
	if e.Next != "" {
		_, _ = fmt.Fprintln(w, "next: "+printable(e.Next))
	}
}

// planned is the result of plan.
type planned struct {
	Pipeline string           `json:"pipeline"`
	Due      []due            `json:"due"`
	Waits    []promotion.Wait `json:"waits"`
}

// due is one step of a plan.
type due struct {
	Step        string `json:"step"`
	Environment string `json:"environment,omitempty"`
	Version     string `json:"version"`
	// Does says it in words.
	Does string `json:"does"`
}

func planCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "what automation would do now, and what it waits for",
		Long: `plan reads the repository and shows what the hook would do next, and why it does
not do more, without doing anything. What only the cluster can tell is not in it:
whether an Application is healthy, and which commit Dev runs.`,
		Example: `  propagator plan
  propagator plan -o json | jq '.waits[] | select(.environment == "prod")'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open(cmd, reading, "")
			if err != nil {
				return err
			}
			state, err := s.Observe(cmd.Context())
			if err != nil {
				return err
			}
			decision, err := s.Plan(cmd.Context(), state)
			if err != nil {
				return err
			}
			result := planned{Pipeline: state.Pipeline.Name, Due: []due{}, Waits: []promotion.Wait{}}
			for _, step := range decision.Steps {
				result.Due = append(result.Due, due{string(step.Kind), step.Environment, step.Version.String(), step.String()})
			}
			for _, wait := range decision.Waits {
				if !slices.Contains(liveReasons, wait.Reason) {
					result.Waits = append(result.Waits, wait)
				}
			}
			return a.print(result, result.table)
		},
	}
}

func (p planned) table(w io.Writer) {
	var rows [][]string
	for _, step := range p.Due {
		rows = append(rows, []string{"due", step.Environment, step.Does, ""})
	}
	for _, wait := range p.Waits {
		rows = append(rows, []string{"waits", wait.Environment, wait.Version, string(wait.Reason) + ": " + wait.Detail})
	}
	if len(rows) == 0 {
		_, _ = fmt.Fprintln(w, "nothing is due, and nothing waits")
		return
	}
	writeTable(w, []string{"", "ENVIRONMENT", "WHAT", "WHY"}, rows)
}

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// pipelineStatus is the result of status.
type pipelineStatus struct {
	Pipeline     string              `json:"pipeline"`
	Repository   string              `json:"repository"`
	Branch       string              `json:"branch"`
	Commit       gitrepo.Hash        `json:"commit"`
	Environments []environmentStatus `json:"environments"`
	// Hotfixes are those that are open or owed.
	Hotfixes []hotfixDetails `json:"hotfixes"`
	// Hook is what the hook's newest run came to; only when it was asked.
	Hook *hookStatus `json:"hook,omitempty"`
}

type environmentStatus struct {
	Environment  string       `json:"environment"`
	Version      string       `json:"version,omitempty"`
	SourceCommit gitrepo.Hash `json:"sourceCommit,omitempty"`
	State        string       `json:"state"`
	Since        time.Time    `json:"since,omitzero"`
	DeployedAt   time.Time    `json:"deployedAt,omitzero"`
	Hold         string       `json:"hold,omitempty"`
	// Waits are what is not done and why, Due what the hook will do next.
	Waits []promotion.Wait `json:"waits"`
	Due   []string         `json:"due"`
	// Warnings hold nothing up; only the hook knows any.
	Warnings []promotion.Wait `json:"warnings,omitempty"`
	// Releases are the newest snapshots and how far each has come, newest first;
	// only where the environment keeps releases (admit: release).
	Releases []release `json:"releases,omitempty"`
}

// release is how far a snapshot has come as a release.
type release struct {
	Version string `json:"version"`
	Phase   string `json:"phase"`
	// Missing are the environments that do not have it yet.
	Missing []string `json:"missing,omitempty"`
}

// mostReleases is how many releases status shows.
const mostReleases = 10

// The states of an environment, as JSON has them.
const (
	stateSource     = "followsBranch"
	stateDeployed   = "deployed"
	stateWaiting    = "waitingForArgoCD"
	stateHold       = "onHold"
	stateNever      = "neverPromoted"
	stateUnreadable = "unreadable"
)

func statusCommand(a *app) *cobra.Command {
	var live hookClient
	cmd := &cobra.Command{
		Use:   "status",
		Short: "what runs where, and what waits for what",
		Long: `status reads the repository, no cluster: what each environment points at, whether
its deployment was recorded as healthy, and why newer snapshots have not entered.
The first environment shows the tip of the source branch, and which tags are captured
next where people's tags are (source.capture). Where an environment keeps releases
(admit: release) it also shows how far each of the newest snapshots has come. Hotfixes that are open or owed follow,
with the places that lack them.

What the cluster has to say (an Application that is not healthy, an image that
cannot be pulled) only the hook knows. With --hook-url it is asked, too, and says which
replica looks after the pipeline, where replicas share.`,
		Example: `  propagator status
  propagator status --hook-url http://127.0.0.1:8080 --token-file token
  propagator status -o json | jq '.environments[] | select(.state == "onHold")'`,
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
			status, err := s.status(cmd.Context(), state)
			if err != nil {
				return err
			}
			// What git says is worth showing also when the hook does not answer.
			unanswered := live.ask(cmd.Context(), a.env, &status)
			if err := a.print(status, status.table); err != nil {
				return err
			}
			return unanswered
		},
	}
	live.bind(cmd.Flags())
	return cmd
}

func (s *session) status(ctx context.Context, state *promotion.State) (pipelineStatus, error) {
	tip, err := gitrepo.ReadCommit(s.Repo, state.SourceTip)
	if err != nil {
		return pipelineStatus{}, err
	}
	first := environmentStatus{
		Environment: state.Pipeline.First().Name, SourceCommit: state.SourceTip, State: stateSource,
		Since: tip.Committer.When.UTC(), Waits: []promotion.Wait{}, Due: []string{},
	}
	if state.Newest != nil && state.Newest.Source == state.SourceTip {
		first.Version = state.Newest.Lock.Version.String()
	}
	status := pipelineStatus{
		Pipeline: state.Pipeline.Name, Repository: s.Repo.URL(), Branch: s.Branch, Commit: state.SourceTip,
		Environments: []environmentStatus{first}, Hotfixes: hotfixesOf(state, false).Hotfixes,
	}
	decision, err := s.PlanFromGit(ctx, state)
	if err != nil {
		return pipelineStatus{}, err
	}
	status.Environments[0].capturePoint(decision)
	for _, e := range state.Environments {
		current := e.Current()
		one := environmentStatus{
			Environment: e.Name, Version: current.Snapshot.String(), SourceCommit: current.SourceCommit, State: stateOf(e),
			Since: current.Since, DeployedAt: current.Deployed, Hold: current.Hold, Waits: []promotion.Wait{}, Due: []string{},
		}
		for _, wait := range decision.Waits {
			// Without a cluster to ask, health is always unknown; the ledger says more.
			if wait.Environment == e.Name && wait.Reason != promotion.HealthUnknown {
				one.Waits = append(one.Waits, wait)
			}
		}
		for _, step := range decision.Steps {
			if step.Environment == e.Name {
				one.Due = append(one.Due, step.String())
			}
		}
		if e.Admit == config.AdmitRelease && e.Unreadable == "" {
			for _, r := range state.Releases(e, mostReleases) {
				one.Releases = append(one.Releases, release{r.Version.String(), string(r.Phase), r.Missing})
			}
		}
		status.Environments = append(status.Environments, one)
	}
	return status, nil
}

// capturePoint adds what is captured next, and what keeps other commits and
// tags from it. That a commit was captured already needs no words, and what Dev
// runs is not known here.
func (e *environmentStatus) capturePoint(decision promotion.Decision) {
	for _, wait := range decision.Waits {
		if wait.Environment == e.Environment && wait.Reason != promotion.HealthUnknown && wait.Reason != promotion.AlreadyThere {
			e.Waits = append(e.Waits, wait)
		}
	}
	for _, step := range decision.Steps {
		if step.Kind == promotion.Capture {
			e.Due = append(e.Due, step.String())
		}
	}
}

func stateOf(e promotion.Environment) string {
	current := e.Current()
	switch {
	case e.Unreadable != "":
		return stateUnreadable
	case current.Snapshot.IsZero():
		return stateNever
	case current.Hold != "":
		return stateHold
	case current.Deployed.IsZero():
		return stateWaiting
	}
	return stateDeployed
}

func (p pipelineStatus) table(w io.Writer) {
	words := map[string]string{
		stateSource: "follows " + p.Branch, stateDeployed: "deployed", stateWaiting: "waiting for Argo CD",
		stateHold: "on hold", stateNever: "never promoted", stateUnreadable: "unreadable",
	}
	var rows [][]string
	for _, e := range p.Environments {
		rows = append(rows, []string{e.Environment, e.Version, e.SourceCommit.Short(), words[e.State], moment(e.Since), e.waiting()})
	}
	writeTable(w, []string{"ENVIRONMENT", "VERSION", "SOURCE", "STATE", "SINCE", "WAITS"}, rows)
	for _, e := range p.Environments {
		e.listReleases(w)
	}
	hotfixLines(w, p.Hotfixes)
	if p.Hook != nil {
		p.Hook.line(w)
	}
}

// listReleases says on one line how far each release of the environment is.
func (e environmentStatus) listReleases(w io.Writer) {
	var all []string
	for _, r := range e.Releases {
		text := r.Version + " " + r.Phase
		if len(r.Missing) > 0 {
			text += ", not in " + strings.Join(r.Missing, ", ") + " yet"
		}
		all = append(all, text)
	}
	if len(all) > 0 {
		_, _ = fmt.Fprintln(w, printable("releases of "+e.Environment+": "+strings.Join(all, "; ")))
	}
}

// waiting puts everything that is not done into one cell.
func (e environmentStatus) waiting() string {
	var all []string
	for _, due := range e.Due {
		all = append(all, "due: "+due)
	}
	for _, wait := range e.Waits {
		text := string(wait.Reason)
		if wait.Detail != "" {
			text += ": " + wait.Detail
		}
		if wait.Version != "" {
			text = fmt.Sprintf("%s %s", wait.Version, text)
		}
		all = append(all, text)
	}
	for _, warning := range e.Warnings {
		all = append(all, fmt.Sprintf("warning: %s: %s", warning.Reason, warning.Detail))
	}
	if e.Hold != "" && len(e.Waits) == 0 {
		all = append(all, e.Hold)
	}
	return strings.Join(all, "; ")
}

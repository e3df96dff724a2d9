package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// waited is the result of wait.
type waited struct {
	Environment  string       `json:"environment"`
	Version      string       `json:"version"`
	SourceCommit gitrepo.Hash `json:"sourceCommit"`
	DeployedAt   time.Time    `json:"deployedAt"`
	Applications []evidence   `json:"applications"`
}

// errTimeOver ends a wait that has lasted long enough.
var errTimeOver = errors.New("time is over")

// waitOptions are the flags of wait.
type waitOptions struct {
	environment, snapshot, commit string
	timeout, interval             time.Duration
}

func waitCommand(a *app) *cobra.Command {
	var o waitOptions
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "until an environment runs a snapshot, synced and healthy",
		Long: `wait ends when the environment's ledger has the evidence that the snapshot was
deployed: every Application synced to exactly its commit, and healthy. That is the
rule by which it goes on to the next environment, so tests that begin afterwards
test what will be promoted. It asks Git, no cluster.

The snapshot is named by --snapshot, or by --commit for whatever snapshot is made
of that commit of the source branch; without either it is the newest one.

It ends early, with exit code 3, when it would wait for nothing: the snapshot was
rejected or rolled back from, or something newer runs there by now. When --timeout
is over, the exit code is 5.`,
		Example: `  propagator wait --env stage --snapshot v1.4.0
  propagator wait --env stage --commit "$GIT_COMMIT" --timeout 20m && make acceptance-test`,
		Args: arguments(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&o.environment, "env", "", "the `environment`; required")
	f.StringVar(&o.snapshot, "snapshot", "", "the snapshot's `version`")
	f.StringVar(&o.commit, "commit", "", "full `id` of a commit of the source branch, instead")
	f.DurationVar(&o.timeout, "timeout", 15*time.Minute, "how long to wait")
	f.DurationVar(&o.interval, "interval", 2*time.Second, "how often Git is asked")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case o.environment == "":
			return usage(cmd, "say where: --env ENVIRONMENT")
		case o.snapshot != "" && o.commit != "":
			return usage(cmd, "--snapshot and --commit both name the snapshot; keep one")
		case o.commit != "" && !gitrepo.Hash(o.commit).Valid():
			return usage(cmd, "--commit is %q; write the full id of a commit", o.commit)
		case o.timeout <= 0 || o.interval <= 0:
			return usage(cmd, "--timeout and --interval must be positive")
		}
		s, err := a.open(cmd, reading, "")
		if err != nil {
			return err
		}
		result, err := s.wait(cmd, o)
		if err != nil {
			return err
		}
		return a.print(result, result.table)
	}
	return cmd
}

// wait looks again whenever a ref has changed.
func (s *session) wait(cmd *cobra.Command, o waitOptions) (waited, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	var (
		known gitrepo.Refs
		why   = "nothing was seen yet"
	)
	for {
		refs, err := s.Repo.Refs(ctx, gitrepo.Heads, gitrepo.Tags)
		if err == nil && !maps.Equal(refs, known) {
			var state *promotion.State
			if state, err = s.Observe(ctx); err == nil {
				known = refs
				var done *waited
				if done, why, err = look(cmd, state, o); err != nil || done != nil {
					if done == nil {
						done = &waited{}
					}
					return *done, err
				}
			}
		}
		switch {
		case cmd.Context().Err() != nil:
			return waited{}, cmd.Context().Err()
		case ctx.Err() != nil:
			return waited{}, &service.ExitError{Code: exitTimeOver, Err: &hinted{
				error: fmt.Errorf("%w after %s: %s", errTimeOver, o.timeout, why), hint: "propagator explain " + o.environment,
			}}
		case err != nil && !errors.Is(err, gitrepo.ErrUnreachable):
			return waited{}, err
		case err != nil:
			why = err.Error() // the next look may have more luck
		}
		select {
		case <-ctx.Done():
		case <-time.After(o.interval):
		}
	}
}

// look reports whether the wait is over: with a result, an error that says that
// it would be in vain, or neither and what is missing.
func look(cmd *cobra.Command, state *promotion.State, o waitOptions) (*waited, string, error) {
	configured, err := ledgerArgument(cmd, state.Pipeline, o.environment)
	if err != nil {
		return nil, "", err
	}
	e, _ := state.Environment(configured.Name)
	version, missing, err := waitedFor(cmd, state, o)
	if err != nil || missing != "" {
		return nil, missing, err
	}
	if e.Unreadable != "" {
		return nil, "", &promotion.RefusedError{Wait: promotion.Wait{Environment: e.Name, Reason: promotion.LedgerUnavailable, Detail: e.Unreadable}}
	}
	entry, refusal := e.Proven(version)
	switch {
	case refusal != nil && asksFor(state, e.Name, version):
		return nil, refusal.Error() + "; somebody has asked for it, which is not answered yet", nil
	case refusal != nil:
		return nil, "", refusal
	case entry == nil:
		return nil, fmt.Sprintf("%s has no evidence of %s yet", e.Name, version), nil
	}
	found := newLedgerEntry(*entry)
	return &waited{
		Environment: e.Name, Version: version.String(), SourceCommit: entry.SourceCommit, DeployedAt: entry.Deployed, Applications: found.Applications,
	}, "", nil
}

// asksFor reports whether a request for the promotion is not answered yet.
func asksFor(state *promotion.State, environment string, version snapshot.Version) bool {
	return slices.ContainsFunc(state.Requests, func(r promotion.SignedRequest) bool {
		return r.Name.Verb == snapshot.EventPromote && r.Name.Environment == environment && r.Name.Version == version
	})
}

// waitedFor finds the snapshot that is meant. Missing says why there is none
// yet.
func waitedFor(cmd *cobra.Command, state *promotion.State, o waitOptions) (version snapshot.Version, missing string, err error) {
	switch {
	case o.snapshot != "":
		if version, err = versionArgument(cmd, state.Pipeline, o.snapshot); err == nil && state.Tags[version] == "" {
			missing = fmt.Sprintf("there is no snapshot %s yet", version)
		}
		return version, missing, err
	case o.commit != "":
		if version = state.SnapshotOf(gitrepo.Hash(o.commit)); version.IsZero() {
			missing = "no snapshot was made of commit " + gitrepo.Hash(o.commit).Short() + " yet"
		}
		return version, missing, nil
	}
	versions := state.Versions()
	if len(versions) == 0 {
		return version, "there is no snapshot yet", nil
	}
	return versions[0], "", nil
}

func (r waited) table(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s runs %s since %s\n", r.Environment, r.Version, moment(r.DeployedAt))
	var rows [][]string
	for _, e := range r.Applications {
		rows = append(rows, []string{e.Application, e.Destination, e.Health, e.Revision.Short()})
	}
	writeTable(w, []string{"APPLICATION", "DESTINATION", "HEALTH", "REVISION"}, rows)
}

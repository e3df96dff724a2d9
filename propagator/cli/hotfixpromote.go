package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// hotfixPromoted is the result of hotfix promote.
type hotfixPromoted struct {
	// Hotfix is empty when a version was named.
	Hotfix string `json:"hotfix,omitempty"`
	DryRun bool   `json:"dryRun"`
	// Composed is the patch that was due, and made first.
	Composed *composedPatch `json:"composed,omitempty"`
	// Promotion is nil in a dry run in which the patch does not exist yet.
	Promotion *promoted `json:"promotion,omitempty"`
	Next      string    `json:"next"`
}

func hotfixPromoteCommand(a *app) *cobra.Command {
	var to string
	p := promoting{app: a}
	cmd := &cobra.Command{
		Use:   "promote NAME|VERSION",
		Short: "bring a hotfix to the next environment",
		Long: `promote brings a hotfix one environment further: it makes the patch, if that is due,
and promotes it to the first environment on the way that has not had it. Typed again
once that environment is healthy, it goes on to the next. Every rule and gate counts,
as for propagator promote; --to says where the way ends.

In an emergency --skip stage goes past an environment: its evidence is not waited
for, while the gates of the environment that the fix goes to hold all the same. It
needs a --reason; both are recorded, and the hotfix stays owed.`,
		Example: `  propagator hotfix promote pay-timeout
  propagator wait --env stage --snapshot v1.4.1 && propagator hotfix promote pay-timeout
  propagator hotfix promote pay-timeout --to prod --skip stage --reason 'nobody can pay'`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeHotfix),
	}
	cmd.Flags().StringVar(&to, "to", "", "the `environment` where the way ends (default: the last one)")
	p.bind(cmd.Flags())
	p.bindRules(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.checkRules(cmd); err != nil {
			return err
		}
		s, state, err := a.observeToWrite(cmd, *p.by, p.dryRun)
		if err != nil {
			return err
		}
		if to != "" {
			if _, err := ledgerArgument(cmd, state.Pipeline, to); err != nil {
				return err
			}
		}
		for _, name := range p.request.Skip {
			if _, err := ledgerArgument(cmd, state.Pipeline, name); err != nil {
				return err
			}
			after := state.Pipeline.Downstream(name) // and itself
			if name == to || len(after) < 2 || to != "" && !slices.Contains(after, to) {
				return usage(cmd, "%s does not come before %s, so that it cannot be skipped", name, cmp.Or(to, "any other environment"))
			}
		}
		result, err := p.bring(cmd.Context(), s, state, args[0], to)
		if err != nil {
			return err
		}
		return a.print(result, result.table)
	}
	return cmd
}

// bring makes the patch if it is due, and promotes it.
func (p *promoting) bring(ctx context.Context, s *session, state *promotion.State, what, to string) (hotfixPromoted, error) {
	result := hotfixPromoted{DryRun: p.dryRun}
	var versions []snapshot.Version
	if version, err := snapshot.ParseVersionOf(state.Pipeline.Name, what); err == nil {
		if state.Tags[version] == "" {
			return result, &promotion.RefusedError{Wait: promotion.Wait{Environment: state.Pipeline.First().Name, Version: version.String(), Reason: promotion.UnknownSnapshot}}
		}
		versions = []snapshot.Version{version}
	} else {
		h, err := hotfixArgument(state, what)
		if err != nil {
			return result, err
		}
		result.Hotfix = h.Name
		step, due, err := dueOn(state, what, h)
		if err != nil {
			return result, err
		}
		since := h.Since
		if due {
			patch, err := s.compose(ctx, state, step, h.Name, p.dryRun)
			if err != nil {
				return result, err
			}
			if result.Composed, since = &patch, step.Version; p.dryRun {
				result.Next = fmt.Sprintf("propagator hotfix promote %s", what)
				return result, nil
			}
			if state, err = s.Observe(ctx); err != nil {
				return result, err
			}
		}
		versions = newestOf(state, since)
	}
	step, err := p.firstWithout(ctx, s, state, versions, to)
	if errors.Is(err, errEverywhere) {
		where := state.Pipeline.Name
		if result.Hotfix != "" {
			where = hotfixPrefix + result.Hotfix
		}
		err = &promotion.RefusedError{Wait: promotion.Wait{Environment: where, Version: versions[0].String(), Reason: promotion.AlreadyThere, Detail: err.Error()}}
	}
	if err != nil {
		return result, err
	}
	done, err := s.promote(ctx, state, step, p.dryRun)
	if err != nil {
		return result, err
	}
	result.Promotion, result.Next = &done, fmt.Sprintf("propagator wait --env %s --snapshot %s && propagator hotfix promote %s", done.Environment, done.Version, what)
	if last := len(state.Pipeline.Downstream(done.Environment)) <= 1 || done.Environment == to; last {
		result.Next = "propagator hotfix finish " + what
		if result.Hotfix == "" {
			result.Next = "propagator hotfix list"
		}
	}
	return result, nil
}

// dueOn is the step that composes a hotfix onto its own line; false when it is
// composed.
func dueOn(state *promotion.State, name string, h promotion.Hotfix) (promotion.Step, bool, error) {
	if !h.Since.IsZero() && slices.Contains(state.Versions(), h.Since) {
		return promotion.Step{}, false, nil
	}
	steps, err := promotion.PlanCompose(state, name)
	if err != nil {
		return promotion.Step{}, false, err
	}
	for _, step := range steps {
		if step.Onto.SameLine(h.Onto) {
			return step, true, nil
		}
	}
	return promotion.Step{}, false, &promotion.RefusedError{Wait: promotion.Wait{
		Environment: hotfixPrefix + h.Name, Reason: promotion.HotfixUnusable, Detail: "no patch of " + h.Onto.String() + " is due with it",
	}}
}

// firstWithout plans the promotion of the newest of the versions that may enter
// the first environment on the way that has had none of them.
func (p *promoting) firstWithout(ctx context.Context, s *session, state *promotion.State, versions []snapshot.Version, to string) (promotion.Step, error) {
	for _, e := range state.Environments {
		onWay := to == "" || slices.Contains(state.Pipeline.Downstream(e.Name), to)
		had := slices.ContainsFunc(e.History, func(entry snapshot.Entry) bool { return slices.Contains(versions, entry.Snapshot) })
		if !onWay || had || slices.Contains(p.request.Skip, e.Name) {
			continue
		}
		var refused error
		for _, version := range versions {
			request := p.request
			request.Environment, request.Version = e.Name, version
			request.Skip = slices.DeleteFunc(slices.Clone(request.Skip), func(name string) bool { return !slices.Contains(e.After, name) })
			step, err := s.PlanRequest(ctx, state, request)
			if err == nil {
				return step, nil
			}
			var no *promotion.RefusedError
			if !errors.As(err, &no) {
				return step, err
			}
			if refused == nil || no.Wait.Reason != promotion.NotValidated {
				refused = err
			}
		}
		var no *promotion.RefusedError
		if errors.As(refused, &no) && (no.Wait.Reason == promotion.OlderThanCurrent || no.Wait.Reason == promotion.Superseded) &&
			versions[0].Compare(e.Current().Snapshot) < 0 {
			continue // it runs something newer, and nothing later waits for this
		}
		return promotion.Step{}, refused
	}
	return promotion.Step{}, errEverywhere
}

var errEverywhere = errors.New("every environment on the way has had it")

func (r hotfixPromoted) table(w io.Writer) {
	if r.Composed != nil {
		r.Composed.write(w, r.DryRun)
	}
	if r.Promotion == nil {
		_, _ = fmt.Fprintln(w, "then: "+printable(r.Next))
		return
	}
	var text strings.Builder
	r.Promotion.table(&text)
	// Its last line says what comes next; here that is something else.
	lines := strings.SplitAfter(strings.TrimSuffix(text.String(), "\n"), "\n")
	if !r.DryRun {
		lines = lines[:len(lines)-1]
	}
	_, _ = io.WriteString(w, strings.Join(lines, ""))
	if r.DryRun {
		_, _ = fmt.Fprintln(w)
		return
	}
	_, _ = fmt.Fprintf(w, "Argo CD deploys it now. Once it is healthy: %s\n", printable(r.Next))
}

package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Explain lists what every rule and gate says about a promotion, in the order in
// which they are asked. Those that nobody has asked yet are unknown. Where the
// ledger or the snapshot cannot be used, that is all there is to say.
func Explain(s *State, e Environment, version snapshot.Version) []Finding {
	if e.Unreadable != "" {
		return []Finding{refuses("ledger", LedgerUnavailable, "%s", e.Unreadable)}
	}
	if why, damaged := s.Damaged[version]; damaged {
		return []Finding{refuses("snapshot", DamagedSnapshot, "%s", why)}
	}
	return slices.Collect(findings(s, e, version, automation))
}

// Explain is [Explain] with the answers of all gates, and with what a promotion
// finds out only on its way: whether what was deployed is healthy, what the
// snapshot renders to, and where its images are. It writes nothing.
func (e *Engine) Explain(ctx context.Context, s *State, environment Environment, version snapshot.Version) ([]Finding, error) {
	var questions []Question
	for _, f := range Explain(s, environment, version) {
		if f.question != nil {
			questions = append(questions, *f.question)
		}
	}
	if err := e.answer(ctx, s, questions); err != nil {
		return nil, err
	}
	found := Explain(s, environment, version)
	if environment.Unreadable != "" || s.Damaged[version] != "" {
		return found, nil
	}
	more := explainHealth(s, environment, version)
	facts, err := e.explainSnapshot(ctx, s, environment, version)
	if err != nil {
		return nil, err
	}
	at := len(found)
	if found[at-1].Check == checkMode(environment).Check {
		at-- // what is left to a person comes last
	}
	return slices.Insert(found, at, append(more, facts...)...), nil
}

// explainHealth says how the deployment of the snapshot goes on, here or in the
// environments before, as long as it is not recorded as healthy.
func explainHealth(s *State, e Environment, version snapshot.Version) []Finding {
	const name = "health"
	var found []Finding
	for _, environment := range append([]string{e.Name}, e.After...) {
		state, ok := s.Environment(environment)
		current := state.Current()
		if !ok || state.Unreadable != "" || current.Snapshot != version {
			continue
		}
		if !current.Deployed.IsZero() {
			if environment == e.Name {
				found = append(found, passes(name, "%s: deployed and healthy since %s", environment, current.Deployed.Format("2006-01-02 15:04 MST")))
			}
			continue
		}
		if seen := state.look(s); seen.missing != "" {
			one := waits(name, seen.reason, "%s: %s", environment, seen.missing)
			if one.Until = seen.until; !state.ApplicationsKnown {
				one.Result = gate.Unknown
			}
			found = append(found, one)
		}
	}
	return found
}

// explainSnapshot looks into the snapshot: what it renders to for the
// environment, and whether its images are where they have to be.
func (e *Engine) explainSnapshot(ctx context.Context, s *State, environment Environment, version snapshot.Version) ([]Finding, error) {
	const name = "snapshot"
	target, err := e.Snapshot(ctx, s, version)
	if errors.Is(err, snapshot.ErrForged) || errors.Is(err, snapshot.ErrNoSnapshot) {
		return []Finding{refuses(name, DamagedSnapshot, "%v", err)}, nil
	}
	if err != nil {
		return nil, stepError("explain", sideGit, err)
	}
	own, err := snapshot.ReadConfig(e.Repo, target.Tree)
	if err != nil {
		return []Finding{refuses(name, DamagedSnapshot, "%v", err)}, nil
	}
	configured, ok := own.Environment(environment.Name)
	if !ok {
		return []Finding{waits(name, NotValidated, "it does not know this environment; the next one will")}, nil
	}
	renders := e.explainRenders(ctx, own, target, configured)
	images := e.explainImages(ctx, own, target.Lock, configured, environment.Current().Snapshot == version)
	return []Finding{renders, images}, ctx.Err()
}

// explainRenders renders what the environment deploys, as the sidecar will.
func (e *Engine) explainRenders(ctx context.Context, p *config.Pipeline, target snapshot.Snapshot, environment config.Environment) Finding {
	const name = "renders"
	tree := gitrepo.TreeFS(e.Repo, target.Tree)
	applications, err := render.Discover(tree, environment)
	if err != nil {
		return refuses(name, DamagedSnapshot, "%s", brief(err.Error()))
	}
	for _, application := range applications {
		result, err := pinned.Render(ctx, pinned.Input{
			FS: tree, Pipeline: p, Environment: environment.Name, Application: application, Lookup: target.Lock.Lookup,
		})
		if err != nil {
			return refuses(name, cmp.Or(reasonIn(err.Error()), DamagedSnapshot), "%s", brief(err.Error()))
		}
		if fault := renderDiffers(target.Lock, environment, application.Name, result); fault != "" {
			return refuses(name, DamagedSnapshot, "application %s %s", application.Name, fault)
		}
	}
	return passes(name, "%d applications", len(applications))
}

// renderDiffers compares a render with the lock's. One by other tools, or of templates
// that ask for the cluster, need not be the same bytes.
func renderDiffers(lock *snapshot.Lock, environment config.Environment, application string, result pinned.Result) string {
	locked := lock.RendersOf(environment.Name)
	i := slices.IndexFunc(locked, func(r snapshot.Render) bool { return r.Application == application })
	if i < 0 {
		return "is not in the lock"
	}
	kustomize, helm := render.Versions()
	same := kustomize == lock.Tools.Kustomize && helm == lock.Tools.Helm && !locked[i].ClusterDependent
	if same && locked[i].SHA256 != result.SHA256 {
		return fmt.Sprintf("renders to %.19s, and the lock has %.19s", result.SHA256, locked[i].SHA256)
	}
	return ""
}

// reasonIn names why an application cannot be rendered; empty when the text does
// not. The sidecar's errors have the reason's name in them, and Argo CD repeats
// them.
func reasonIn(text string) Reason {
	for _, reason := range []Reason{ImageNotInLock, ForeignRegistry} {
		if strings.Contains(text, string(reason)) {
			return reason
		}
	}
	return ""
}

// unknownYet is a check that could not be made.
func unknownYet(check string, err error) Finding {
	return Finding{Check: check, Result: gate.Unknown, Reason: GateUnknown, Detail: brief(err.Error())}
}

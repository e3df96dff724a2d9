package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Gates opens the gates that only the world outside can answer: times, web
// services, programs.
type Gates interface {
	// Open returns the gate of a configuration. An error means that it can never
	// answer as it is configured, or on this machine. It asks the sources only for
	// what the gate needs.
	Open(config.Gate, Sources) (gate.Gate, error)
}

// Sources are what a gate may read of the pipeline.
type Sources interface {
	// File reads a file on the source branch as it was last seen, which is where
	// gates are configured.
	File(path string) ([]byte, error)
	// Registry is where the images are by now: that of the environment before.
	Registry() (registry.Reader, error)
}

// Question is a gate that has to be asked about a promotion.
type Question struct {
	Environment string
	Version     snapshot.Version
	// Index of the gate among the environment's.
	Index int
	Gate  config.Gate
}

type questionKey struct {
	environment string
	version     snapshot.Version
	index       int
}

func (q Question) key() questionKey { return questionKey{q.Environment, q.Version, q.Index} }

// maxQuestions bounds how many gates one plan asks; each environment asks about
// one snapshot at a time.
const maxQuestions = 200

// Plan plans, and asks the gates that the plan depends on.
func (e *Engine) Plan(ctx context.Context, s *State) (Decision, error) {
	for range maxQuestions {
		d := Plan(s)
		if len(d.Ask) == 0 {
			return d, nil
		}
		if err := e.answer(ctx, s, d.Ask); err != nil {
			return d, err
		}
	}
	return Decision{}, errors.New("the plan asks gates without end")
}

// PlanFromGit plans with what git alone can answer: whether hotfixes would be
// lost. Gates that ask others stay unasked.
func (e *Engine) PlanFromGit(ctx context.Context, s *State) (Decision, error) {
	for range maxQuestions {
		d := Plan(s)
		own := slices.DeleteFunc(slices.Clone(d.Ask), func(q Question) bool { return q.Index != hotfixQuestion })
		if len(own) == 0 {
			return d, nil
		}
		if err := e.answer(ctx, s, own); err != nil {
			return d, err
		}
	}
	return Decision{}, errors.New("the plan asks without end")
}

// PlanRequest is [PlanRequest] with the answers of the gates that it depends on.
func (e *Engine) PlanRequest(ctx context.Context, s *State, r Request) (Step, error) {
	for range maxQuestions {
		step, err := PlanRequest(s, r)
		var no *RefusedError
		if !errors.As(err, &no) || no.question == nil {
			return step, err
		}
		if err := e.answer(ctx, s, []Question{*no.question}); err != nil {
			return Step{}, err
		}
	}
	return Step{}, errors.New("the request asks gates without end")
}

// answer puts verdicts into the state, one for each question.
func (e *Engine) answer(ctx context.Context, s *State, questions []Question) error {
	if s.Verdicts == nil {
		s.Verdicts = map[questionKey]gate.Verdict{}
	}
	for _, q := range questions {
		if q.Index == hotfixQuestion {
			if err := e.answerHotfixes(ctx, s, q); err != nil {
				return err
			}
			continue
		}
		verdict, known := e.memory.verdictOf(q, s.Tags[q.Version], e.now())
		if !known {
			verdict = e.ask(ctx, s, q)
			if err := ctx.Err(); err != nil {
				return err
			}
			e.memory.keepVerdict(q, s.Tags[q.Version], verdict, e.now())
		}
		if verdict.Result != gate.Pass {
			e.log().DebugContext(ctx, "a gate does not pass", "environment", q.Environment, "version", q.Version.String(),
				"gate", q.Gate.Name(), "result", string(verdict.Result), "detail", verdict.Detail)
		}
		s.Verdicts[q.key()] = verdict
	}
	return nil
}

func (e *Engine) ask(ctx context.Context, s *State, q Question) gate.Verdict {
	unknown := func(format string, args ...any) gate.Verdict {
		return gate.Verdict{Result: gate.Unknown, Detail: fmt.Sprintf(format, args...)}
	}
	if e.Gates == nil {
		return unknown("gates of the kind %s cannot be asked from here", q.Gate.Name())
	}
	subject, from, err := e.subject(ctx, s, q)
	if err != nil {
		return unknown("%v", err)
	}
	opened, err := e.Gates.Open(q.Gate, sources{engine: e, tip: s.SourceTip, from: from})
	if err != nil {
		return unknown("%v", err)
	}
	verdict := opened.Judge(ctx, subject)
	switch verdict.Result {
	case gate.Pass, gate.Wait, gate.Refuse, gate.Unknown:
		verdict.Detail = brief(verdict.Detail)
		return verdict
	}
	return unknown("the gate %s answers %q, which is no verdict", q.Gate.Name(), brief(string(verdict.Result)))
}

// subject describes a promotion to a gate, and returns the registry from which
// the environment takes its images.
func (e *Engine) subject(ctx context.Context, s *State, q Question) (gate.Subject, config.Registry, error) {
	fail := func(err error) (gate.Subject, config.Registry, error) { return gate.Subject{}, config.Registry{}, err }
	environment, ok := s.Environment(q.Environment)
	if !ok {
		return fail(fmt.Errorf("unknown environment %q", q.Environment))
	}
	target, err := e.Snapshot(ctx, s, q.Version)
	if err != nil {
		return fail(err)
	}
	pipeline, err := snapshot.ReadConfig(e.Repo, target.Tree)
	if err != nil {
		return fail(err)
	}
	subject := gate.Subject{
		Pipeline: s.Pipeline.Name, Environment: q.Environment, Version: q.Version,
		Commit: string(target.ID), SourceCommit: string(target.Source), Now: e.now(),
	}
	from := sourceOf(pipeline, environment.Environment)
	for _, image := range target.Lock.ImagesOf(q.Environment) {
		location, err := pipeline.Locate(image.Requested)
		if err != nil {
			return fail(err)
		}
		reference, err := pipeline.Pinned(from.Name, location, image.Digest)
		if err != nil {
			return fail(err)
		}
		found := gate.Image{
			Requested: image.Requested, Reference: reference, Digest: image.Digest,
			Name: location.Upstream + "/" + location.Repo, Repo: location.TargetRepo(),
		}
		if location.Registry != "" {
			found.Name, found.Own = pipeline.Registries[location.Registry].URL+"/"+location.Repo, true
		}
		subject.Images = append(subject.Images, found)
	}
	return subject, pipeline.Registries[from.Registry], nil
}

// sources implements Sources.
type sources struct {
	engine *Engine
	tip    gitrepo.Hash
	from   config.Registry
}

func (s sources) File(path string) ([]byte, error) { return s.engine.readSourceFile(s.tip, path) }

func (s sources) Registry() (registry.Reader, error) { return s.engine.Registries.Open(s.from) }

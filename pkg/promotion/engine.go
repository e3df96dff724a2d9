package promotion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Engine works on one pipeline. Its fields are set before first use and not
// changed afterwards; its methods may then run concurrently, here and in other
// processes: git's compare-and-swap keeps them apart.
type Engine struct {
	// Repo and Registries are required.
	Repo       gitrepo.Repo
	Registries Registries
	// Branch is the source branch that holds the configuration. Default: main.
	Branch string
	// Applications is how Argo CD is seen. Nil: not at all; then nothing is
	// captured or recorded by itself, and promotions by hand still work.
	Applications Applications
	// Live is how the Pods of that cluster are seen. Nil: not at all; then Argo
	// CD's word is all there is.
	Live Live
	// Environments, when not empty, limits the ones whose Applications are
	// visible from here; others are recorded by the hook of their own cluster.
	Environments []string
	// Gates opens gates that ask the world outside. Nil: none can be asked, so
	// that promotions that need one wait.
	Gates Gates
	// Services opens the Git repository in which an image is built, given as
	// manifests write it without tag and digest; nil and no error when the
	// configuration does not say where. Nil: images prove nothing about hotfixes.
	Services func(p *config.Pipeline, image string) (gitrepo.Reader, error)
	// PullRequests opens the server that hosts the repository, for back-merges by pull
	// request. Nil: their branches are pushed, and people open the requests.
	PullRequests func(p *config.Pipeline) (PullRequests, error)
	// Settle is how long an Application must have been healthy. Default: none.
	Settle time.Duration
	// Actor is named in the ledger: the person, or "propagator".
	Actor string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log receives what happens. Default: discarded.
	Log *slog.Logger
	// Concurrency bounds parallel registry transfers. Default: mirror's.
	Concurrency int
	// Progress, when set, is told how far a mirror is.
	Progress func(step string, p mirror.Progress)
	// Hops, when set, keeps the timelines of promotions.
	Hops *Hops
	// Looks, when set, is shared by engines of many pipelines, so that not all of
	// them look at the same time.
	Looks *Looks

	memory memory
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now().UTC()
	}
	return time.Now().UTC()
}

func (e *Engine) log() *slog.Logger {
	if e.Log != nil {
		return e.Log
	}
	return slog.New(slog.DiscardHandler)
}

func (e *Engine) branch() string {
	if e.Branch != "" {
		return e.Branch
	}
	return "main"
}

func (e *Engine) identity(p *config.Pipeline) snapshot.Identity {
	return snapshot.Identity{Name: p.Identity.Name, Email: p.Identity.Email}
}

// maxSteps bounds one Reconcile. A pipeline needs at most a capture, one for
// each tag that people set, one for each request, composition and back-merge, and
// a record and a promotion for each environment, before it has to wait for Argo CD
// or people; more would be a loop.
func maxSteps(s *State) int {
	return 2 + len(s.Tagged) + len(s.Requests) + len(s.Compositions) + len(s.BackMerges) + len(s.PullRequests) + 3*len(s.Environments)
}

// Result is what a Reconcile did and what it left for later.
type Result struct {
	Done  []Step `json:"done"`
	Waits []Wait `json:"waits"`
	// Warnings are what people should know although it holds nothing up.
	Warnings []Wait `json:"warnings,omitempty"`
	// Hotfixes are counted, for measurements.
	Hotfixes HotfixCount `json:"-"`
	// Again is when another look is due whatever happens: Argo CD has to be asked once
	// more for what it does not do by itself, or this was no more than a [Glance].
	// Zero when none is.
	Again time.Time `json:"-"`
}

// Reconcile brings the pipeline as far as it can go now. A lost race is
// planned again; any other error ends it, and what was done stays done. A
// step that fails does not stop those of other environments: their errors are
// joined. Only the capture of a tag that may succeed next time holds back those
// of higher versions, for its version would be too low afterwards.
func (e *Engine) Reconcile(ctx context.Context) (Result, error) {
	var result Result
	failed := failures{errors: map[string]error{}, steps: map[string]Step{}}
	for lost, n, most := 0, 0, 0; ; n++ {
		state, decision, err := e.look(ctx)
		if err != nil {
			return result, err
		}
		result.Waits, result.Warnings, result.Hotfixes = decision.Waits, state.Warnings, state.countHotfixes()
		step, ok := failed.next(decision)
		most = max(most, maxSteps(state))
		if !ok || n >= most+lost {
			// Last, so that no promotion waits for the server.
			opened, again := e.lookAfterPullRequests(ctx, state)
			result.Done = append(result.Done, opened...)
			if again && n < most+lost {
				continue
			}
			result.Warnings = append(slices.Clone(result.Warnings), e.pullRequestWarnings(state)...)
			result.Again = earlier(e.urge(ctx, state), state.refsUntil)
			if !isGlance(ctx) && len(result.Done) == 0 {
				e.memory.forgetRefs() // Argo CD has nothing to do, and they take memory
			}
			return result.finish(&failed, state.Pipeline.First().Name)
		}
		e.log().InfoContext(ctx, "step begins", "step", step.String())
		err = e.Execute(ctx, state, step)
		e.memory.forgetRefs() // whatever has become of it
		var moved *gitrepo.RefMovedError
		var no *RefusedError
		switch {
		case errors.As(err, &no) && no.Wait.Reason == TagDiffers && lost < maxLostRaces:
			lost++
			e.log().InfoContext(ctx, "a tag was moved, planning again", "step", step.String(), "reason", no.Error())
		case errors.As(err, &no):
			// Something changed while the step was on its way.
			e.log().InfoContext(ctx, "step refused", "step", step.String(), "reason", no.Error())
			failed.add(step, err)
		case errors.As(err, &moved) && lost < maxLostRaces:
			lost++
			e.log().InfoContext(ctx, "lost a race, planning again", "step", step.String(), "ref", moved.Ref)
		case err != nil:
			if ctx.Err() != nil {
				return result, err
			}
			e.log().ErrorContext(ctx, "step failed", "step", step.String(), "error", err)
			failed.add(step, err)
		default:
			e.log().InfoContext(ctx, "step done", "step", step.String())
			result.Done = append(result.Done, step)
		}
	}
}

// look observes the pipeline, and plans, when it is its turn.
func (e *Engine) look(ctx context.Context) (*State, Decision, error) {
	end, err := e.Looks.begin(ctx)
	if err != nil {
		return nil, Decision{}, err
	}
	defer end()
	state, err := e.Observe(ctx)
	if err != nil {
		return nil, Decision{}, err
	}
	e.Hops.see(state, e.now())
	decision, err := e.Plan(ctx, state)
	// Something will be written, and not on the word of a cache.
	switch {
	case err != nil || len(decision.Steps) == 0:
		return state, decision, err
	case !state.refsUntil.IsZero():
		if state, err = e.Observe(Exact(ctx)); err != nil {
			return nil, Decision{}, err
		}
	case e.Applications == nil:
		return state, decision, nil
	default:
		if err := e.lookExactly(ctx, state); err != nil {
			return nil, Decision{}, stepError("observe", sideArgo, err)
		}
	}
	decision, err = e.Plan(ctx, state)
	return state, decision, err
}

// earlier is the first of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// lookExactly asks Argo CD once more what the Applications are now.
func (e *Engine) lookExactly(ctx context.Context, s *State) error {
	s.Candidate, s.CandidateWait = nil, Wait{}
	for i := range s.Environments {
		s.Environments[i].Applications = nil
	}
	if err := e.observeApplications(Exact(ctx), s); err != nil {
		return err
	}
	return e.observeTiming(ctx, s)
}

// maxLostRaces bounds how often one Reconcile plans again after another writer
// was faster; beyond it the next tick tries.
const maxLostRaces = 5

// finish sorts what did not work into reasons to wait and errors. An error that
// has a reason's name is both.
func (r Result) finish(failed *failures, first string) (Result, error) {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(failed.errors)) {
		wait, named := failed.wait(key, first)
		if named {
			r.Waits = append(r.Waits, wait)
		}
		var no *RefusedError
		if !errors.As(failed.errors[key], &no) {
			errs = append(errs, failed.errors[key])
		}
	}
	return r, errors.Join(errs...)
}

// Execute carries out one step of a plan made from the state. It ends in one
// atomic push; an error before it has changed nothing in git. A
// *gitrepo.RefMovedError in the chain means that somebody else was faster.
func (e *Engine) Execute(ctx context.Context, s *State, step Step) error {
	e.Hops.begin(s, step, e.now())
	defer e.Hops.drop(step)
	var err error
	switch step.Kind {
	case Capture:
		err = e.executeCapture(ctx, s, step)
	case Compose:
		err = e.executeCompose(ctx, s, step)
	case MergeBack:
		err = e.executeMergeBack(ctx, s, step)
	case Promote:
		err = e.executePromotion(ctx, s, step)
	case Record:
		err = e.executeRecord(ctx, s, step)
	case Annotate:
		err = e.executeNote(ctx, s, step)
	default:
		err = fmt.Errorf("unknown step %q", step.Kind)
	}
	var no *RefusedError
	if errors.As(err, &no) {
		return no
	}
	if err != nil {
		return stepError(step.String(), sideGit, err)
	}
	if len(step.moves()) == 0 {
		return nil // the generator's answer is what it was
	}
	e.poke(ctx, s)
	e.memory.noteUrges(pokesFor(step), e.now())
	e.Hops.reach(step, atPoked, e.now())
	return nil
}

// poke tells Argo CD to ask the generator again. A failure costs time, not
// correctness: the ApplicationSet asks by itself every few minutes.
func (e *Engine) poke(ctx context.Context, s *State) {
	if e.Applications == nil {
		return
	}
	if err := e.Applications.Poke(ctx, s.Pipeline.Name); err != nil {
		e.log().WarnContext(ctx, "Argo CD could not be told to refresh; it will do so by itself", "error", err)
	}
}

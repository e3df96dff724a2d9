package promotion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// executeCompose publishes a composed snapshot: what is new of its images goes
// into the registry of every environment that follows the first, and then its
// tag is pushed. No environment is moved.
func (e *Engine) executeCompose(ctx context.Context, s *State, step Step) error {
	captured, err := e.prepareComposition(ctx, s, step)
	if err != nil {
		return err
	}
	e.Hops.reach(step, atCaptured, e.now())
	return e.publish(ctx, s, step, captured)
}

// PrepareComposition works out what a step of PlanCompose would publish. It
// writes nothing anywhere.
func (e *Engine) PrepareComposition(ctx context.Context, s *State, step Step) (*Captured, error) {
	captured, err := e.prepareComposition(ctx, s, step)
	return captured, stepError(step.String(), sideGit, err)
}

// prepareComposition works out a composed snapshot, and writes nothing anywhere.
// The digests of the snapshot below are kept; only references that it does not
// have are resolved. Of several hotfixes those that cannot be built, because an
// image is missing or the manifests cannot be rendered, are left out: the others
// may be urgent.
func (e *Engine) prepareComposition(ctx context.Context, s *State, step Step) (*Captured, error) {
	onto, err := e.Snapshot(ctx, s, step.Onto)
	if err != nil {
		return nil, err
	}
	if err := e.fetchHotfixes(ctx, step.Hotfixes); err != nil {
		return nil, err
	}
	captured, err := e.composeOnto(ctx, onto, step)
	if err == nil || len(step.Hotfixes) < 2 || transient(ctx, err) {
		return captured, err
	}
	missing := missingImages(err)
	step.Hotfixes = slices.DeleteFunc(slices.Clone(step.Hotfixes), func(h snapshot.Hotfix) bool {
		broken := e.tryAlone(ctx, onto, h, missing)
		if broken != nil {
			e.log().WarnContext(ctx, "a hotfix is left out of a composition", "hotfix", h.Name, "version", step.Version.String(), "reason", broken.Error())
		}
		return broken != nil
	})
	if len(step.Hotfixes) == 0 || ctx.Err() != nil {
		return nil, err
	}
	return e.composeOnto(ctx, onto, step)
}

// composeOnto works out the snapshot of hotfixes whose commits were fetched.
func (e *Engine) composeOnto(ctx context.Context, onto snapshot.Snapshot, step Step) (*Captured, error) {
	composed, err := hotfix.Compose(e.Repo, onto.Tree, onto.Lock.Version.String(), step.Hotfixes)
	if err != nil {
		return nil, err
	}
	if len(composed.Left) > 0 {
		return nil, fmt.Errorf("hotfix %s %s", composed.Left[0].Name, composed.Left[0])
	}
	pipeline, err := snapshot.ReadConfig(e.Repo, onto.Tree)
	if err != nil {
		return nil, err
	}
	commit, objects, err := snapshot.Compose(e.Repo, onto, composed.Tree, composed.Hotfixes, e.identity(pipeline))
	if err != nil {
		return nil, err
	}
	objects = append(composed.Objects, objects...)
	captured, err := e.prepare(ctx, gitrepo.With(e.Repo, objects...), Step{Kind: Compose, Version: step.Version, Onto: step.Onto, Commit: commit, Hotfixes: composed.Hotfixes}, &onto)
	if err != nil {
		return nil, err
	}
	captured.objects = append(objects, captured.objects...)
	return captured, nil
}

// missingImages are the references that an error is about.
func missingImages(err error) map[string]bool {
	missing := map[string]bool{}
	switch err := err.(type) { //nolint:errorlint // every branch of the chain is looked at
	case *MissingImageError:
		missing[err.Reference] = true
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			maps.Copy(missing, missingImages(err))
		}
	case interface{ Unwrap() error }:
		return missingImages(err.Unwrap())
	}
	return missing
}

// tryAlone says what is wrong with a hotfix by itself: it cannot be rendered, or
// wants an image that is known to be missing. Nobody is asked.
func (e *Engine) tryAlone(ctx context.Context, onto snapshot.Snapshot, h snapshot.Hotfix, missing map[string]bool) error {
	composed, err := hotfix.Compose(e.Repo, onto.Tree, onto.Lock.Version.String(), []snapshot.Hotfix{h})
	if err != nil {
		return err
	}
	r := gitrepo.With(e.Repo, composed.Objects...)
	pipeline, err := snapshot.ReadConfig(r, composed.Tree)
	if err != nil {
		return err
	}
	tree := gitrepo.TreeFS(r, composed.Tree)
	applications, err := discover(tree, pipeline)
	if err != nil {
		return err
	}
	used, err := references(ctx, tree, pipeline, applications)
	if err != nil {
		return err
	}
	for _, reference := range slices.Sorted(maps.Keys(used)) {
		if missing[reference] {
			return fmt.Errorf("image %s cannot be had", reference)
		}
	}
	return nil
}

func (e *Engine) fetchHotfixes(ctx context.Context, hotfixes []snapshot.Hotfix) error {
	var ids []gitrepo.Hash
	for _, h := range hotfixes {
		ids = append(ids, h.Base, h.Head)
	}
	return e.Repo.Fetch(ctx, ids, gitrepo.FetchOptions{Depth: 1})
}

// composedLock is the lock of a composed snapshot, but for images and renders.
func composedLock(step Step, onto snapshot.Snapshot, hotfixes []snapshot.Hotfix) *snapshot.Lock {
	lock := &snapshot.Lock{
		Version: step.Version, Source: onto.Lock.Source,
		Base:     &snapshot.Base{Snapshot: onto.Lock.Version, Commit: onto.ID, Captured: onto.Captured()},
		Hotfixes: append(slices.Clone(onto.Lock.Hotfixes), hotfixes...),
	}
	lock.Source.Commit, lock.Source.Tag = string(step.Commit), ""
	return lock
}

// checkComposed proves that a composed snapshot is what its lock says, down to
// the captured snapshot at the bottom.
func (e *Engine) checkComposed(ctx context.Context, s snapshot.Snapshot) error {
	base := *s.Lock.Base
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{s.ID, base.Commit}, gitrepo.FetchOptions{Depth: snapshotDepth}); err != nil {
		return err
	}
	below, err := e.readSnapshot(ctx, base.Commit, base.Snapshot)
	if err != nil {
		return fmt.Errorf("composed onto %s: %w", base.Snapshot, err)
	}
	if err := e.fetchHotfixes(ctx, s.Composed()); err != nil {
		return err
	}
	return hotfix.Check(e.Repo, s, below)
}

// observeBackMerges finds the hotfixes that an environment has proven and that
// the source branch lacks.
func (e *Engine) observeBackMerges(ctx context.Context, s *State, refs gitrepo.Refs) error {
	mode := s.Pipeline.Hotfixes.BackMerge
	for _, h := range s.Hotfixes {
		if !slices.ContainsFunc(h.In, func(w Whereabouts) bool { return w.Version.IsZero() && w.Answer == hotfix.Missing }) || !s.provenAnywhere(h) {
			continue
		}
		if mode == config.BackMergePullRequest {
			branch := backMergeBranch(h.Hotfix)
			s.PullRequests = append(s.PullRequests, BackMergeRequest{Hotfix: h, Branch: branch, Tip: refs[gitrepo.Heads+branch]})
		}
		target, ok := e.backMerge(s, refs, h, mode)
		if !ok {
			continue
		}
		s.BackMerges = append(s.BackMerges, target)
	}
	return ctx.Err()
}

// backMerge says to which branch a hotfix is merged back; false when that is left
// to people, or the branch for it is there already.
func (e *Engine) backMerge(s *State, refs gitrepo.Refs, h Hotfix, mode config.BackMerge) (BackMerge, bool) {
	switch mode {
	case config.BackMergePush:
		return BackMerge{Hotfix: h.Hotfix, Branch: s.Pipeline.Source.Branch, Tip: s.SourceTip}, true
	case config.BackMergeBranch, config.BackMergePullRequest:
		branch := backMergeBranch(h.Hotfix)
		wanted := mode == config.BackMergeBranch || e.wantsBranch(h)
		return BackMerge{Hotfix: h.Hotfix, Branch: branch}, wanted && refs[gitrepo.Heads+branch] == ""
	case config.BackMergeOff:
	}
	return BackMerge{}, false
}

// provenAnywhere reports whether an environment has seen a snapshot healthy that
// has the hotfix.
func (s *State) provenAnywhere(h Hotfix) bool {
	return slices.ContainsFunc(s.Environments, func(e Environment) bool {
		return slices.Contains(h.Owed, e.Name) && slices.ContainsFunc(e.History, func(entry snapshot.Entry) bool {
			return entry.Event == snapshot.EventDeployed &&
				slices.ContainsFunc(entry.Hotfixes, func(d snapshot.Debt) bool { return d.Head == h.Head })
		})
	})
}

func (m BackMerge) step() Step {
	return Step{Kind: MergeBack, Commit: m.Tip, Tag: m.Branch, Hotfixes: []snapshot.Hotfix{m.Hotfix}}
}

// executeMergeBack merges a hotfix into the tip of the source branch, as one
// commit of who wrote it, and pushes that to the branch of the step.
func (e *Engine) executeMergeBack(ctx context.Context, s *State, step Step) error {
	h := step.Hotfixes[0]
	if err := e.fetchHotfixes(ctx, step.Hotfixes); err != nil {
		return err
	}
	tip, err := gitrepo.ReadCommit(e.Repo, s.SourceTip)
	if err != nil {
		return err
	}
	base, err := gitrepo.ReadCommit(e.Repo, h.Base)
	if err != nil {
		return err
	}
	head, err := gitrepo.ReadCommit(e.Repo, h.Head)
	if err != nil {
		return err
	}
	merged, err := merge.Trees(e.Repo, base.Tree, tip.Tree, head.Tree, merge.Options{
		Leave: []string{".propagator"}, Ours: s.Pipeline.Source.Branch, Theirs: "hotfix/" + h.Name,
	})
	if err != nil {
		return err
	}
	if !merged.Clean() {
		return &RefusedError{Wait: Wait{Environment: "hotfix/" + h.Name, Reason: HotfixConflict, Detail: merged.Conflicts[0].String()}}
	}
	if merged.Empty() {
		return &RefusedError{Wait: Wait{Environment: "hotfix/" + h.Name, Reason: AlreadyThere, Detail: s.Pipeline.Source.Branch + " has it"}}
	}
	identity := e.identity(s.Pipeline)
	subject, _, _ := strings.Cut(head.Message, "\n")
	commit := gitrepo.NewCommit(gitrepo.Commit{
		Tree: merged.Tree, Parents: []gitrepo.Hash{s.SourceTip}, Author: head.Author,
		Committer: gitrepo.Signature{Name: identity.Name, Email: identity.Email, When: s.Now},
		Message:   snapshot.BackMerge(h, subject),
	})
	err = e.Repo.Push(ctx, gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: gitrepo.Heads + step.Tag, Old: step.Commit, New: commit.ID()}},
		Objects: append(merged.Objects, commit),
	})
	var moved *gitrepo.RefMovedError
	if step.Commit == "" && errors.As(err, &moved) {
		return &RefusedError{Wait: Wait{Environment: "hotfix/" + h.Name, Reason: AlreadyThere, Detail: fmt.Sprintf(
			"the branch %s is there already, with this or an earlier hotfix of the name: merge it, or delete it with: git push origin --delete %s", step.Tag, step.Tag)}}
	}
	return err
}

// FindHotfix returns the hotfix that a person means: by its name, or by its name
// and the beginning of its head (pay-timeout@3f2a91c). Of several with the name
// it is the one about which somebody has to do something.
func (s *State) FindHotfix(name string) (Hotfix, error) {
	wanted, head, _ := strings.Cut(strings.TrimPrefix(name, "hotfix/"), "@")
	var found []Hotfix
	for _, h := range s.Hotfixes {
		if h.Name == wanted && strings.HasPrefix(string(h.Head), head) {
			found = append(found, h)
		}
	}
	if undone := slices.DeleteFunc(slices.Clone(found), func(h Hotfix) bool { return h.State().Done() }); len(undone) == 1 {
		found = undone
	}
	switch len(found) {
	case 0:
		return Hotfix{}, fmt.Errorf("there is no hotfix %s, neither a branch hotfix/%s nor a debt; list them with: propagator hotfix list", name, wanted)
	case 1:
		return found[0], nil
	}
	var heads []string
	for _, h := range found {
		heads = append(heads, h.Name+"@"+h.Head.Short())
	}
	return Hotfix{}, fmt.Errorf("hotfix %s is several; name one of %s", name, strings.Join(heads, ", "))
}

// PlanCompose returns the steps that compose what is due now, or only the named
// hotfixes. Why one is not composed is a *RefusedError.
func PlanCompose(s *State, names ...string) ([]Step, error) {
	if len(names) == 0 {
		steps := make([]Step, 0, len(s.Compositions))
		for _, c := range s.Compositions {
			steps = append(steps, c.step())
		}
		return steps, nil
	}
	var wanted []gitrepo.Hash
	for _, name := range names {
		h, err := s.FindHotfix(name)
		if err != nil {
			return nil, err
		}
		due := slices.ContainsFunc(s.Compositions, func(c Composition) bool {
			return slices.ContainsFunc(c.Hotfixes, func(other snapshot.Hotfix) bool { return other.Head == h.Head })
		})
		if refused := h.refusal(); refused != nil && !due {
			return nil, refused
		}
		wanted = append(wanted, h.Head)
	}
	var steps []Step
	for _, c := range s.Compositions {
		c.Hotfixes = slices.DeleteFunc(slices.Clone(c.Hotfixes), func(h snapshot.Hotfix) bool { return !slices.Contains(wanted, h.Head) })
		if len(c.Hotfixes) > 0 {
			steps = append(steps, c.step())
		}
	}
	if len(steps) == 0 {
		return nil, &RefusedError{Wait: Wait{Environment: "hotfix/" + names[0], Reason: AlreadyThere, Detail: "nothing is due: every line that it belongs to has it"}}
	}
	return steps, nil
}

// backMergeBranch is the branch on which a hotfix waits for people to merge it.
func backMergeBranch(h snapshot.Hotfix) string { return "backmerge/" + h.Name }

// PlanMergeBack returns the step that brings a hotfix to the source branch, or to
// a branch backmerge/<name> for people to merge.
func PlanMergeBack(s *State, name string, ownBranch bool) (Step, error) {
	h, err := s.FindHotfix(name)
	if err != nil {
		return Step{}, err
	}
	if h.Fault != "" && h.Fault != hotfix.BaseOld {
		return Step{}, h.refusal()
	}
	for _, w := range h.In {
		if w.Version.IsZero() && w.Answer == hotfix.Contained {
			return Step{}, &RefusedError{Wait: Wait{Environment: "hotfix/" + h.Name, Reason: AlreadyThere, Detail: fmt.Sprintf("%s: %s", w.Place, w.Containment)}}
		}
	}
	if ownBranch {
		return BackMerge{Hotfix: h.Hotfix, Branch: backMergeBranch(h.Hotfix)}.step(), nil
	}
	return BackMerge{Hotfix: h.Hotfix, Branch: s.Pipeline.Source.Branch, Tip: s.SourceTip}.step(), nil
}

// PlanClose returns the step that records that a hotfix is no debt any more:
// because it is somewhere that cannot be proven, or dropped, so that compositions
// leave it out from now on.
func PlanClose(s *State, name string, dropped bool, reason string) (Step, error) {
	if reason = strings.TrimSpace(reason); snapshot.Blank(reason) {
		return Step{}, errors.New("closing a hotfix is recorded with its reason; add --reason")
	}
	h, err := s.FindHotfix(name)
	if err != nil {
		return Step{}, err
	}
	if !snapshot.ValidHotfixName(h.Name) {
		return Step{}, &RefusedError{Wait: h.waits()[0]} // it was never composed, and its name cannot be recorded
	}
	if h.Closed != nil {
		return Step{}, &RefusedError{Wait: Wait{Environment: "hotfix/" + h.Name, Reason: AlreadyThere, Detail: "it is closed: " + h.Closed.Reason}}
	}
	// Every ledger counts. The one of an environment that has had it is where
	// people will look.
	for _, e := range s.Environments {
		owes := slices.Contains(h.Owed, e.Name) || len(h.Owed) == 0
		if owes && e.Unreadable == "" && len(e.History) > 0 {
			return Step{
				Kind: Annotate, Environment: e.Name, Version: e.Current().Snapshot, Reason: reason, by: personByName,
				Note: &Note{Event: snapshot.EventClose, Reason: reason, Closure: &snapshot.Closure{Name: h.Name, Head: h.Head, Dropped: dropped, Reason: reason}},
			}, nil
		}
	}
	return Step{}, fmt.Errorf("no environment has a ledger in which that could be recorded")
}

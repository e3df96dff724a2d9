package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Hotfix is a hotfix that is open or a debt, and where it has got to.
type Hotfix struct {
	hotfix.Branch
	// Open: there is a branch, and this is its head.
	Open bool
	// From is the snapshot that it was cut from; zero when nobody knows any more.
	From snapshot.Version
	// Owed are the environments that have had it, and whose next snapshots must
	// contain it.
	Owed []string
	// In are the places where it was looked for: the source branch, and what each
	// environment with a newer line runs.
	In []Whereabouts
	// Left says why it was left out of a composition, by the snapshot that it
	// would have been merged onto.
	Left map[snapshot.Version]hotfix.Left
	// Closed is what somebody has said about it.
	Closed *snapshot.Closure
}

// BackMerge is a hotfix that the source branch lacks.
type BackMerge struct {
	Hotfix snapshot.Hotfix
	// Branch that gets it, and what that is now; empty for a new one.
	Branch string
	Tip    gitrepo.Hash
}

// observeHotfixes reads the hotfix branches and finds out where they, and those
// that are debts, have got to. Without any it costs nothing.
func (e *Engine) observeHotfixes(ctx context.Context, s *State, refs gitrepo.Refs) error {
	branches := refs.Filter(snapshot.HotfixBranches)
	if len(branches) == 0 && len(s.debtsOf()) == 0 {
		return nil
	}
	lines, err := e.readLines(ctx, s)
	if err != nil {
		return err
	}
	known := s.known(lines)
	opened, err := e.openBranches(ctx, s, branches, lines, known)
	if err != nil {
		return err
	}
	for _, branch := range opened {
		s.Hotfixes = append(s.Hotfixes, Hotfix{Branch: branch, Open: true})
	}
	s.addComposed(lines, branches)
	for i := range s.Hotfixes {
		s.Hotfixes[i].From = known[s.Hotfixes[i].Base]
	}
	if err := e.fetchKnown(ctx, s.Hotfixes); err != nil {
		return err
	}
	debts := map[gitrepo.Hash]snapshot.Debt{}
	for _, d := range s.debtsOf() {
		debts[d.Head] = d
	}
	for i := range s.Hotfixes {
		h := &s.Hotfixes[i]
		debt, ok := debts[h.Head]
		if !ok {
			debt = snapshot.Debt{Hotfix: h.Hotfix}
		}
		if err := e.locate(ctx, s, h, debt); err != nil {
			return err
		}
	}
	s.outrun(lines)
	if err := e.describeHotfixes(ctx, s); err != nil {
		return err
	}
	slices.SortFunc(s.Hotfixes, inOrder)
	if err := e.observeCompositions(ctx, s, lines); err != nil {
		return err
	}
	s.Warnings = append(s.Warnings, s.hotfixWarnings()...)
	return e.observeBackMerges(ctx, s, refs)
}

// inOrder sorts by name; of several with one name, those that came to an
// environment first.
func inOrder(a, b Hotfix) int {
	since := func(h Hotfix) int {
		if len(h.Owed) > 0 {
			return 0
		}
		return 1
	}
	return cmp.Or(strings.Compare(a.Name, b.Name), since(a)-since(b), a.Since.Compare(b.Since), strings.Compare(string(a.Head), string(b.Head)))
}

// transient errors are those that another look may not meet again.
func transient(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, gitrepo.ErrUnreachable) || errors.Is(err, gitrepo.ErrUnauthorized)
}

// planHotfixes makes steps of what is due, and says what is wrong with the rest.
func planHotfixes(s *State, d *Decision) {
	for _, c := range s.Compositions {
		if s.Pipeline.Hotfixes.Compose == config.Auto && s.ConfigFault == "" {
			d.Steps = append(d.Steps, c.step())
		}
	}
	for _, m := range s.BackMerges {
		d.Steps = append(d.Steps, m.step())
	}
	for _, h := range s.Hotfixes {
		if h.Fault != hotfix.Empty { // somebody has just begun
			d.Waits = append(d.Waits, h.waits()...)
		}
	}
}

func (c Composition) step() Step {
	return Step{Kind: Compose, Version: c.Version, Onto: c.Onto.Lock.Version, Hotfixes: c.Hotfixes}
}

// refusal says why nothing can be done with a hotfix as it is; nil when something
// can.
func (h Hotfix) refusal() *RefusedError {
	waits := h.waits()
	if len(waits) == 0 && h.Fault != "" {
		waits = []Wait{{Environment: strings.TrimPrefix(h.Ref(), gitrepo.Heads), Reason: HotfixUnusable, Detail: fmt.Sprintf("%s: %s", h.Fault, h.Detail)}}
	}
	if len(waits) == 0 {
		return nil
	}
	return &RefusedError{Wait: waits[0]}
}

// waits says why a hotfix is left out of what it belongs into.
func (h Hotfix) waits() []Wait {
	name := strings.TrimPrefix(h.Ref(), gitrepo.Heads)
	if h.Fault != "" {
		return []Wait{{Environment: name, Reason: HotfixUnusable, Detail: fmt.Sprintf("%s: %s", h.Fault, h.Detail)}}
	}
	var waits []Wait
	for _, onto := range slices.SortedFunc(maps.Keys(h.Left), snapshot.Version.Compare) {
		waits = append(waits, Wait{Environment: name, Version: onto.String(), Reason: HotfixConflict, Detail: h.Left[onto].String()})
	}
	return waits
}

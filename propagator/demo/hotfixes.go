package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// patch is the nth patch of the minor version that was taken as the mth snapshot.
func (w *world) patch(m, n int) snapshot.Version {
	v := w.version(m)
	v.Patch = n
	return v
}

// fix is what one person changes in Prod's folder: the value that a pattern
// finds. Where there is none, a comment is added.
type fix struct {
	name, author string
	pattern      *regexp.Regexp
	value        string
	// like is the fix in whose file this one belongs.
	like string
}

// threeFixes are two that go together, and one that changes the same line as the
// first.
var threeFixes = []fix{
	{name: "pay-timeout", author: "dora", pattern: regexp.MustCompile(`(replicas: )\d+`), value: "6"},
	{name: "less-memory", author: "emil", pattern: regexp.MustCompile(`(value: )\d+mb`), value: "128mb"},
	{name: "slow-orders", author: "fritz", pattern: regexp.MustCompile(`(replicas: )\d+`), value: "8", like: "pay-timeout"},
}

var lastFix = fix{name: "rate-limit", author: "greta", pattern: regexp.MustCompile(`(maxUnavailable: )\d+`), value: "2"}

// change works out the changed files of a fix; taken are files that others changed.
func (f fix) change(files fs.FS, root string, taken map[string]string) (map[string][]byte, error) {
	var names []string
	err := fs.WalkDir(files, root, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(name, ".yaml") && taken[name] == "" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for name, by := range taken {
		if f.like == by {
			names = []string{name}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has too few YAML files for the demo's hotfixes", root)
	}
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		if at := f.pattern.FindIndex(content); at != nil {
			value := f.pattern.ReplaceAll(content[at[0]:at[1]], []byte("${1}"+f.value))
			return map[string][]byte{name: slices.Concat(content[:at[0]], value, content[at[1]:])}, nil
		}
	}
	content, err := fs.ReadFile(files, names[0])
	return map[string][]byte{names[0]: fmt.Appendf(content, "# %s: %s\n", f.name, f.value)}, err
}

// pushFixes cuts branches from what Prod runs and pushes a commit to each, all in
// one go.
func (w *world) pushFixes(ctx context.Context, fixes ...fix) error {
	if _, err := w.ledger(ctx, "prod"); err != nil {
		return err
	}
	prod, _ := w.ci.pipeline.Environment("prod")
	refs, err := w.ci.repo.Refs(ctx, gitrepo.Heads+prod.Branch)
	if err != nil {
		return err
	}
	base := refs[gitrepo.Heads+prod.Branch]
	if err := w.ci.repo.Fetch(ctx, []gitrepo.Hash{base}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return err
	}
	at, err := gitrepo.ReadCommit(w.ci.repo, base)
	if err != nil {
		return err
	}
	files, taken := gitrepo.TreeFS(w.ci.repo, at.Tree), map[string]string{}
	var push gitrepo.Push
	for _, f := range fixes {
		changed, err := f.change(files, prod.Path, taken)
		if err != nil {
			return err
		}
		tree, objects, err := gitrepo.WriteFiles(w.ci.repo, at.Tree, changed)
		if err != nil {
			return err
		}
		for name := range changed {
			taken[name] = f.name
		}
		who := gitrepo.Signature{Name: f.author, Email: f.author + "@shop.example", When: w.now()}
		commit := gitrepo.NewCommit(gitrepo.Commit{Tree: tree, Parents: []gitrepo.Hash{base}, Author: who, Committer: who, Message: f.name + ": " + f.value + "\n"})
		push.Objects = append(append(push.Objects, objects...), commit)
		push.Updates = append(push.Updates, gitrepo.Update{Ref: snapshot.HotfixBranches + f.name, New: commit.ID()})
	}
	if err := w.ci.repo.Push(ctx, push); err != nil {
		return err
	}
	return w.webhook(ctx)
}

// fixed pushes three fixes, waits until Stage has the two that go together, and
// says what is wrong with the third.
func (w *world) fixed(ctx context.Context, patch snapshot.Version) (string, error) {
	if err := w.pushFixes(ctx, threeFixes...); err != nil {
		return "", err
	}
	if _, err := w.deployed(ctx, "stage", patch); err != nil {
		return "", err
	}
	state, err := w.person.Observe(ctx)
	if err != nil {
		return "", err
	}
	var in []string
	for _, h := range state.Hotfixes {
		if h.Since == patch {
			in = append(in, h.Name)
		}
	}
	third, err := state.FindHotfix(threeFixes[2].name)
	if err != nil {
		return "", err
	}
	if len(in) != 2 || len(third.Left) == 0 {
		return "", fmt.Errorf("%s has %s; %s is %s", patch, strings.Join(in, ", "), third.Name, third.State())
	}
	for _, left := range third.Left {
		return fmt.Sprintf("%s has %s; %s %s", patch, strings.Join(in, " and "), third.Name, left), nil
	}
	return "", nil
}

// lost builds a release from main, which lacks the fixes, and waits until Stage
// has refused it.
func (w *world) lost(ctx context.Context, version snapshot.Version) (string, error) {
	if _, err := w.bump(ctx, 0, 1); err != nil {
		return "", err
	}
	if err := w.argo.syncFirst(ctx, w.ci.pipeline); err != nil {
		return "", err
	}
	var refused promotion.Wait
	err := w.wait(ctx, fmt.Sprintf("refusal of %s", version), func(ctx context.Context) (bool, error) {
		state, err := w.person.Observe(ctx)
		if err != nil || state.Tags[version] == "" {
			return false, err
		}
		decision, err := w.person.Plan(ctx, state)
		for _, wait := range decision.Waits {
			if wait.Environment == "stage" && wait.Version == version.String() && wait.Reason == promotion.HotfixLost {
				refused = wait
			}
		}
		return refused.Reason != "", err
	})
	return refused.String(), err
}

// finish brings fixes to main, as "propagator hotfix finish" does.
func (w *world) finishFixes(ctx context.Context, fixes ...fix) error {
	for _, f := range fixes {
		state, err := w.person.Observe(ctx)
		if err != nil {
			return err
		}
		step, err := promotion.PlanMergeBack(state, f.name, false)
		if err != nil {
			return err
		}
		if err := w.person.Execute(ctx, state, step); err != nil {
			return err
		}
	}
	return nil
}

// broughtBack finishes the two fixes and drops the third; the next release
// contains them, and enters Stage.
func (w *world) broughtBack(ctx context.Context, version snapshot.Version) (string, error) {
	if err := w.finishFixes(ctx, threeFixes[:2]...); err != nil {
		return "", err
	}
	state, err := w.person.Observe(ctx)
	if err != nil {
		return "", err
	}
	step, err := promotion.PlanClose(state, threeFixes[2].name, true, "six replicas are enough")
	if err != nil {
		return "", err
	}
	if err := w.person.Execute(ctx, state, step); err != nil {
		return "", err
	}
	if _, err := w.captured(ctx, version); err != nil {
		return "", err
	}
	_, err = w.deployed(ctx, "stage", version)
	return fmt.Sprintf("%s is in stage; prod still runs %s", version, w.patch(2, 1)), err
}

// lane pushes a fix of what Prod runs while Stage tests a release: Stage takes the
// patch in between.
func (w *world) lane(ctx context.Context, patch snapshot.Version) (string, error) {
	if err := w.pushFixes(ctx, lastFix); err != nil {
		return "", err
	}
	if _, err := w.deployed(ctx, "stage", patch); err != nil {
		return "", err
	}
	entry, err := w.ledger(ctx, "stage")
	return fmt.Sprintf("stage went from %s to %s", entry.From, patch), err
}

// returned lets Prod take the patch, waits until Stage has its release back, with
// the fix, and brings that to main as well.
func (w *world) returned(ctx context.Context, patch, release snapshot.Version) (string, error) {
	if _, err := w.approve(ctx, patch, "carol"); err != nil {
		return "", err
	}
	if _, err := w.deployed(ctx, "prod", patch); err != nil {
		return "", err
	}
	if _, err := w.deployed(ctx, "stage", release); err != nil {
		return "", err
	}
	return fmt.Sprintf("prod runs %s, stage %s", patch, release), w.finishFixes(ctx, lastFix)
}

// checkDebts looks in everything that was promoted for the hotfixes that the
// environment had before.
func (w *world) checkDebts(ctx context.Context, s *promotion.State, e promotion.Environment, before, entry snapshot.Entry) (int, error) {
	if entry.Override != "" {
		return 0, nil // somebody went against a rule, and the ledger says so
	}
	target, err := w.person.Snapshot(ctx, s, entry.Snapshot)
	if err != nil {
		return 0, err
	}
	found := 0
	for _, debt := range before.Hotfixes {
		if slices.ContainsFunc(entry.Closed, func(c snapshot.Closure) bool { return c.Head == debt.Head }) {
			continue
		}
		contained, err := w.person.Contains(ctx, s, debt, target)
		if err != nil {
			return found, err
		}
		if !contained.Yes() {
			return found, fmt.Errorf("%s: %s has lost the hotfix %s: %s", e.Name, entry.Snapshot, debt.Name, contained)
		}
		found++
	}
	return found, nil
}

// errNoHotfix: the check has looked at nothing.
var errNoHotfix = errors.New("no environment has had a hotfix")

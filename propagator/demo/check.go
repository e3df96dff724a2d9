package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// check tries the promises on the live repository and registries. Where git
// can answer, git itself is asked.
func (w *world) check(ctx context.Context) error {
	state, err := w.person.Observe(ctx)
	if err != nil {
		return err
	}
	checks := []struct {
		id, promise string
		check       func(context.Context, *promotion.State) (string, error)
	}{
		{"I1", "environment branches only move forward, snapshot tags never", w.checkForward},
		{"I2", "what an environment points at has every image in its registry", w.checkImages},
		{"I3", "the tree of Prod is the tree of the tag is the tree that Stage tested", w.checkTrees},
		{"I4", "what an environment ran, hotfixes too, is contained in what replaced it", w.checkContained},
		{"I5", "Prod was filled from Stage; the dev registry was not needed", w.checkSources},
	}
	for _, c := range checks {
		detail, err := c.check(ctx, state)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		invariant := Invariant{ID: c.id, Promise: c.promise, OK: err == nil, Detail: detail}
		if err != nil {
			invariant.Detail = err.Error()
		}
		w.report.Invariants = append(w.report.Invariants, invariant)
	}
	return nil
}

// checkForward looks for every tip that was seen during the story in the
// ledgers' first parents, and tries what must not succeed.
func (w *world) checkForward(ctx context.Context, s *promotion.State) (string, error) {
	seen := 0
	for _, e := range s.Environments {
		out, err := w.gitOutput(ctx, "rev-list", "--first-parent", e.Branch)
		if err != nil {
			return "", err
		}
		history := strings.Fields(out)
		for tip := range w.seen[e.Name] {
			if !slices.Contains(history, string(tip)) {
				return "", fmt.Errorf("%s was at %s, which is no longer in its history", e.Branch, tip.Short())
			}
			seen++
		}
		if len(history) < 2 {
			return "", fmt.Errorf("%s has no history", e.Branch)
		}
		back := gitrepo.Update{Ref: gitrepo.Heads + e.Branch, Old: e.Tip, New: gitrepo.Hash(history[1])}
		if err := w.mustRefuse(ctx, back); err != nil {
			return "", err
		}
	}
	for version, commit := range s.Tags {
		// As a second worker would that captured something else.
		if err := w.mustRefuse(ctx, gitrepo.Update{Ref: version.Ref(), New: s.SourceTip}); err != nil {
			return "", err
		}
		out, err := w.gitOutput(ctx, "rev-parse", version.Ref())
		if err != nil || strings.TrimSpace(out) != string(commit) {
			return "", fmt.Errorf("tag %s moved to %s", version, out)
		}
	}
	return fmt.Sprintf("%d tips seen are all in the histories; pushes backwards and over tags are refused", seen), nil
}

// mustRefuse tries a push that has to fail.
func (w *world) mustRefuse(ctx context.Context, update gitrepo.Update) error {
	err := w.ci.repo.Push(ctx, gitrepo.Push{Updates: []gitrepo.Update{update}})
	var moved *gitrepo.RefMovedError
	switch {
	case errors.As(err, &moved), errors.Is(err, gitrepo.ErrRejected):
		return nil
	case err == nil:
		return fmt.Errorf("%s could be moved to %s", update.Ref, update.New.Short())
	}
	return err
}

// checkImages verifies every environment's registry against the lock.
func (w *world) checkImages(ctx context.Context, s *promotion.State) (string, error) {
	images, manifests, signatures := 0, 0, 0
	for _, e := range s.Environments {
		if e.Snapshot == nil {
			return "", fmt.Errorf("%s points at nothing", e.Name)
		}
		pipeline, err := snapshot.ReadConfig(w.person.Repo, e.Snapshot.Tree)
		if err != nil {
			return "", err
		}
		configured, ok := pipeline.Environment(e.Name)
		if !ok {
			return "", fmt.Errorf("snapshot %s has no environment %s", e.Snapshot.Lock.Version, e.Name)
		}
		report, err := w.person.VerifyImages(ctx, pipeline, e.Snapshot.Lock, configured)
		if err != nil {
			return "", err
		}
		for _, image := range report.Images {
			images++
			manifests += image.Manifests
		}
		signed, err := w.checkSignatures(ctx, pipeline.Registries[configured.Registry], e.Snapshot.Lock)
		if err != nil {
			return "", err
		}
		signatures += signed
	}
	if images == 0 {
		return "", errors.New("there is no image at all")
	}
	if signatures == 0 {
		return "", errors.New("no image is signed")
	}
	return fmt.Sprintf("%d images, %d manifests of all platforms and %d signatures, each read back and hashed", images, manifests, signatures), nil
}

// checkSignatures looks in an environment's registry for every signature that
// CI pushed to Dev with an image of the lock.
func (w *world) checkSignatures(ctx context.Context, r config.Registry, lock *snapshot.Lock) (int, error) {
	open, err := w.endpoints.Open(r)
	if err != nil {
		return 0, err
	}
	found := 0
	for _, image := range lock.Images {
		s, ok := w.ci.signatures[image.Digest]
		if !ok {
			continue
		}
		repo := s.location.TargetRepo()
		referrers, err := open.Referrers(ctx, repo, image.Digest)
		if err != nil {
			return 0, err
		}
		if !slices.ContainsFunc(referrers, func(d registry.Descriptor) bool { return d.Digest == s.digest }) {
			return 0, fmt.Errorf("%s/%s has lost the signature of %s", r.URL, repo, image.Requested)
		}
		if _, err := open.Manifest(ctx, repo, s.digest); err != nil {
			return 0, err
		}
		found++
	}
	return found, nil
}

// checkTrees asks git for the trees.
func (w *world) checkTrees(ctx context.Context, s *promotion.State) (string, error) {
	stage, ok := s.Environment("stage")
	prod, ok2 := s.Environment("prod")
	if !ok || !ok2 || prod.Snapshot == nil {
		return "", errors.New("stage or prod is missing")
	}
	version := prod.Current().Snapshot
	tested := ""
	for _, entry := range stage.History {
		if entry.Event == snapshot.EventPromote && entry.Snapshot == version {
			tested = string(entry.Commit)
		}
	}
	out, err := w.gitOutput(ctx, "rev-parse", prod.Branch+"^{tree}", version.Ref()+"^{tree}", tested+"^{tree}")
	if err != nil {
		return "", err
	}
	trees := strings.Fields(out)
	if len(trees) != 3 || trees[0] != trees[1] || trees[1] != trees[2] {
		return "", fmt.Errorf("trees differ: %s", strings.Join(trees, ", "))
	}
	return fmt.Sprintf("git rev-parse says %.12s for all three, at %s", trees[0], version), nil
}

// checkContained walks each ledger: the source of a promotion must descend from
// the source of the one before, and contain every hotfix that the environment has
// had. Going back needs a recorded rollback, or the hotfix lane.
func (w *world) checkContained(ctx context.Context, s *promotion.State) (string, error) {
	steps, rollbacks, hotfixes, lanes := 0, 0, 0, 0
	for _, e := range s.Environments {
		var before snapshot.Entry
		for _, entry := range slices.Backward(e.History) {
			switch entry.Event {
			case snapshot.EventRollback:
				if entry.Override == "" {
					return "", fmt.Errorf("%s went back to %s without a reason", e.Name, entry.Snapshot)
				}
				rollbacks++
				before = entry
			case snapshot.EventPromote:
				found, err := w.checkDebts(ctx, s, e, before, entry)
				if err != nil {
					return "", err
				}
				hotfixes += found
				switch {
				case before.Snapshot.IsZero():
				case entry.Snapshot.Compare(before.Snapshot) < 0:
					if entry.Snapshot.Patch == 0 {
						return "", fmt.Errorf("%s went back to %s, which is no patch", e.Name, entry.Snapshot)
					}
					lanes++
				default:
					if err := w.checkDescends(ctx, s, before.Snapshot, entry.Snapshot); err != nil {
						return "", fmt.Errorf("%s: %w", e.Name, err)
					}
					steps++
				}
				before = entry
			default:
			}
		}
	}
	if hotfixes == 0 {
		return "", errNoHotfix
	}
	return fmt.Sprintf("%d promotions contain what they replaced, and %d times a hotfix that was there; %d patch went through the hotfix lane; %d rollback is recorded with its reason",
		steps, hotfixes, lanes, rollbacks), nil
}

// checkDescends asks git whether what was captured for one snapshot descends from
// what was captured for another.
func (w *world) checkDescends(ctx context.Context, s *promotion.State, from, to snapshot.Version) error {
	var captured []string
	for _, version := range []snapshot.Version{from, to} {
		found, err := w.person.Snapshot(ctx, s, version)
		if err != nil {
			return err
		}
		captured = append(captured, string(found.Captured()))
	}
	if _, err := w.gitOutput(ctx, "merge-base", "--is-ancestor", captured[0], captured[1]); err != nil {
		return fmt.Errorf("%s does not contain %s", to, from)
	}
	return nil
}

// checkSources reads the registries' own request logs, and the manifests that
// Prod runs.
func (w *world) checkSources(_ context.Context, s *promotion.State) (string, error) {
	prod, ok := w.ci.pipeline.Environment("prod")
	if !ok {
		return "", errors.New("there is no prod")
	}
	prefix := w.ci.pipeline.Registries[prod.Registry].URL + "/"
	images, err := imagesOf(w.argo.manifestsOf("prod"))
	if err != nil {
		return "", err
	}
	if len(images) == 0 {
		return "", errors.New("prod runs no image")
	}
	for _, image := range images {
		if !strings.HasPrefix(image, prefix) || !strings.Contains(image, "@sha256:") {
			return "", fmt.Errorf("prod runs %s", image)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := map[string]int{}
	for _, r := range w.requests {
		if r.during == "dev off" {
			counts[r.registry+" "+r.kind()]++
		}
	}
	switch {
	case counts["dev read"]+counts["dev write"] > 0:
		return "", fmt.Errorf("the dev registry answered while it was off: %v", counts)
	case counts["prod write"] == 0 || counts["stage read"] == 0:
		return "", fmt.Errorf("prod was not filled from stage while dev was off: %s", strings.Join(slices.Sorted(maps.Keys(counts)), ", "))
	}
	return fmt.Sprintf("while dev was off, stage answered %d reads and prod took %d writes; prod runs %d images, all from %s by digest",
		counts["stage read"], counts["prod write"], len(images), strings.TrimSuffix(prefix, "/")), nil
}

// request is one request that a registry answered.
type request struct {
	registry string
	method   string
	status   int
	// during is the last mark of the story before it.
	during string
}

// kind is read for what got content, write for what stored some.
func (r request) kind() string {
	switch {
	case r.status >= http.StatusBadRequest:
		return "refused"
	case r.method == http.MethodGet || r.method == http.MethodHead:
		return "read"
	default:
		return "write"
	}
}

package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Captured is a snapshot that was worked out but not yet published.
type Captured struct {
	Snapshot snapshot.Snapshot
	// Pipeline is the configuration in the captured commit.
	Pipeline *config.Pipeline
	objects  []gitrepo.Object
	// below is the snapshot that it was composed onto; nil for a capture.
	below *snapshot.Snapshot
}

// fresh reports whether an image is read from where the manifests name it. What
// the snapshot below has is in the environment's registry already, and may be
// nowhere else.
func (c *Captured) fresh(image snapshot.Image) bool {
	if c.below == nil {
		return true
	}
	known, ok := c.below.Lock.Image(image.Requested)
	return !ok || known.Digest != image.Digest
}

// Prepare works out the snapshot of a capture's source commit: it renders every
// application of every environment, resolves every image, and builds the
// commit. It writes nothing anywhere. Of the step it needs Commit, Version,
// Tag and Scheduled.
func (e *Engine) Prepare(ctx context.Context, of Step) (*Captured, error) {
	if err := e.Repo.Fetch(ctx, []gitrepo.Hash{of.Commit}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, stepError("capture "+of.Version.String(), sideGit, err)
	}
	return e.prepare(ctx, e.Repo, of, nil)
}

// prepare works out the snapshot of a commit that may not be pushed yet. With a
// snapshot below, what that has is not asked for again.
func (e *Engine) prepare(ctx context.Context, r gitrepo.Objects, of Step, below *snapshot.Snapshot) (*Captured, error) {
	commit, step := of.Commit, fmt.Sprintf("%s %s", cmp.Or(of.Kind, Capture), of.Version)
	named := "commit " + commit.Short()
	if of.Kind == Compose {
		// Nobody can look at a commit that is not pushed.
		step, named = of.String(), headsOf(of.Hotfixes)
	}
	source, err := gitrepo.ReadCommit(r, commit)
	if err != nil {
		return nil, stepError(step, sideGit, err)
	}
	pipeline, err := snapshot.ReadConfig(r, source.Tree)
	if err != nil {
		return nil, stepError(step, sideConfig, fmt.Errorf("%s: %w", named, err))
	}
	tree := gitrepo.TreeFS(r, source.Tree)
	applications, err := discover(tree, pipeline)
	if err != nil {
		return nil, stepError(step, sideRender, fmt.Errorf("%s: %w", named, err))
	}
	used, err := references(ctx, tree, pipeline, applications)
	if err != nil {
		return nil, stepError(step, sideRender, fmt.Errorf("%s: %w", named, err))
	}
	lock := &snapshot.Lock{
		Version: of.Version,
		Source:  snapshot.Source{Repository: repositoryKey(e.Repo.URL()), Branch: pipeline.Source.Branch, Commit: string(commit), Tag: of.Tag, Scheduled: of.Scheduled},
	}
	if below != nil {
		lock = composedLock(of, *below, of.Hotfixes)
	}
	lock.Tools.Kustomize, lock.Tools.Helm = render.Versions()
	if lock.Images, err = e.resolve(ctx, pipeline, used, below, named); err != nil {
		return nil, stepError(step, sideRegistry, err)
	}
	if lock.Renders, err = renders(ctx, tree, pipeline, applications, lock); err != nil {
		return nil, stepError(step, sideRender, fmt.Errorf("%s: %w", named, err))
	}
	built, objects, err := snapshot.Build(r, lock, e.identity(pipeline))
	if err != nil {
		return nil, stepError(step, sideGit, err)
	}
	return &Captured{Snapshot: built, Pipeline: pipeline, objects: objects, below: below}, nil
}

// headsOf names what was composed: hotfix pay-timeout (3f2a91c).
func headsOf(hotfixes []snapshot.Hotfix) string {
	names := make([]string, 0, len(hotfixes))
	for _, h := range hotfixes {
		names = append(names, "hotfix "+h.String())
	}
	return strings.Join(names, ", ")
}

// applicationsOf holds the applications of each environment by its name.
type applicationsOf map[string][]config.Application

func discover(tree fs.FS, p *config.Pipeline) (applicationsOf, error) {
	found := applicationsOf{}
	var errs []error
	for _, environment := range p.Environments {
		applications, err := render.Discover(tree, environment)
		if err != nil {
			errs = append(errs, err)
		}
		found[environment.Name] = applications
	}
	return found, errors.Join(errs...)
}

// references renders everything once to find every image that is used.
func references(ctx context.Context, tree fs.FS, p *config.Pipeline, applications applicationsOf) (uses, error) {
	used := uses{}
	var errs []error
	for _, environment := range p.Environments {
		for _, application := range applications[environment.Name] {
			images, err := pinned.Images(ctx, pinned.Input{FS: tree, Pipeline: p, Environment: environment.Name, Application: application})
			if err != nil {
				errs = append(errs, fmt.Errorf("environment %s: %w", environment.Name, err))
				continue
			}
			for _, image := range images {
				used.add(image.Reference, environment.Name, application.Name)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return used, errors.Join(errs...)
}

// renders renders and pins every application as the sidecar will, and notes
// the hash. The first environment is deployed by Argo CD alone.
func renders(ctx context.Context, tree fs.FS, p *config.Pipeline, applications applicationsOf, lock *snapshot.Lock) ([]snapshot.Render, error) {
	var all []snapshot.Render
	for _, environment := range p.Environments {
		if environment.First() {
			continue
		}
		for _, application := range applications[environment.Name] {
			result, err := pinned.Render(ctx, pinned.Input{
				FS: tree, Pipeline: p, Environment: environment.Name, Application: application, Lookup: lock.Lookup,
			})
			if err != nil {
				return nil, fmt.Errorf("environment %s: %w", environment.Name, err)
			}
			all = append(all, snapshot.Render{
				Environment:      environment.Name,
				Application:      application.Name,
				Path:             application.Path,
				SHA256:           result.SHA256,
				ClusterDependent: result.ClusterDependent && environment.Capabilities == nil,
				Empty:            result.Empty,
			})
		}
	}
	return all, nil
}

// executeCapture publishes a snapshot: images first, into the registry of
// every environment that follows the first, then tag and ledgers in one push.
func (e *Engine) executeCapture(ctx context.Context, s *State, step Step) error {
	captured, err := e.Prepare(ctx, step)
	if err != nil {
		return err
	}
	e.Hops.reach(step, atCaptured, e.now())
	return e.publish(ctx, s, step, captured)
}

func (e *Engine) publish(ctx context.Context, s *State, step Step, captured *Captured) error {
	for _, environment := range captured.Pipeline.Environments {
		if !directlyAfterFirst(captured.Pipeline, environment) {
			continue
		}
		name := fmt.Sprintf("%s: mirror to %s", step, environment.Name)
		if _, err := e.mirrorInto(ctx, name, captured.Pipeline, captured.Snapshot.Lock, environment, captured.fresh); err != nil {
			return err
		}
	}
	if step.Tag != "" {
		if err := e.releaseCapture(ctx, s, step, captured); err != nil {
			return err
		}
	}
	e.Hops.reach(step, atMirrored, e.now())
	push := gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: step.Version.Ref(), New: captured.Snapshot.ID}},
		Objects: captured.objects,
	}
	for _, name := range step.Into {
		environment, ok := s.Environment(name)
		if !ok {
			return fmt.Errorf("unknown environment %q", name)
		}
		// The current configuration says where the snapshot may go; its own says
		// where its images were mirrored to. It enters what both agree on.
		own, ok := captured.Pipeline.Environment(name)
		if !ok || !directlyAfterFirst(captured.Pipeline, own) {
			continue
		}
		if err := e.append(s, environment, Step{Kind: Promote, Environment: name, Version: step.Version}, captured.Snapshot, &push); err != nil {
			return err
		}
	}
	if err := e.Repo.Push(ctx, push); err != nil {
		return err
	}
	e.logPushed(ctx, push)
	e.Hops.reach(step, atPushed, e.now())
	return nil
}

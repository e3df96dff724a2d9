package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func renderCommand(a *app) *cobra.Command {
	var number, dir string
	cmd := &cobra.Command{
		Use:   "render ENVIRONMENT [APPLICATION]",
		Short: "print the manifests that Argo CD is given",
		Long: `render prints the manifests of an environment as YAML, exactly as the sidecar
gives them to Argo CD: every image pinned to its digest in the environment's
registry, checked against the hash in the lock. It takes the snapshot that the
environment points at, or --snapshot.

With --dir it renders a working tree instead, before anything is committed;
images then stay as they are written. The same holds for the first environment,
which Argo CD deploys from the source branch alone. The output is YAML whatever
--output says; several applications are separated by ---.`,
		Example: `  propagator render prod
  propagator render prod orders --snapshot v0.1.0
  propagator render stage orders --dir . | kubectl diff -f -`,
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.complete(completeEnvironment),
		RunE: func(cmd *cobra.Command, args []string) error {
			if number != "" && dir != "" {
				return usage(cmd, "--snapshot and --dir contradict each other")
			}
			target, err := a.renderTarget(cmd, args[0], number, dir)
			if err != nil {
				return err
			}
			text, err := target.render(cmd, args[1:])
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&number, "snapshot", "", "render this `version` instead of what the environment points at")
	f.StringVar(&dir, "dir", "", "render this working `directory`, without pinning images")
	return cmd
}

// renderTarget is a tree with what is to be rendered from it.
type renderTarget struct {
	tree        fs.FS
	pipeline    *config.Pipeline
	environment config.Environment
	// lock pins the images; nil leaves them as they are written.
	lock *snapshot.Lock
}

func (a *app) renderTarget(cmd *cobra.Command, environment, number, dir string) (renderTarget, error) {
	var t renderTarget
	var err error
	if dir != "" {
		if t, err = workingTree(dir); err != nil {
			return t, err
		}
		t.environment, err = environmentArgument(cmd, t.pipeline, environment)
		return t, err
	}
	s, err := a.open(cmd, reading, "")
	if err != nil {
		return t, err
	}
	ctx := cmd.Context()
	c, err := s.catalog(ctx)
	if err != nil {
		return t, err
	}
	if t.environment, err = environmentArgument(cmd, c.pipeline, environment); err != nil {
		return t, err
	}
	version, err := versionArgument(cmd, c.pipeline, number)
	if err != nil {
		return t, err
	}
	if version.IsZero() && t.environment.First() {
		t.tree, t.pipeline = gitrepo.TreeFS(s.Repo, c.tree), c.pipeline
		return t, nil
	}
	if version.IsZero() {
		if version, err = s.pointedAt(ctx, c, t.environment); err != nil {
			return t, err
		}
	}
	found, pipeline, err := s.read(ctx, c, version)
	if err != nil {
		return t, err
	}
	// What is deployed follows from the snapshot's own configuration.
	t.tree, t.pipeline = gitrepo.TreeFS(s.Repo, found.Tree), pipeline
	if t.environment, err = environmentArgument(cmd, pipeline, environment); err != nil {
		return t, err
	}
	if !t.environment.First() {
		t.lock = found.Lock
	}
	return t, nil
}

func (s *session) pointedAt(ctx context.Context, c *catalog, environment config.Environment) (snapshot.Version, error) {
	entry, _, err := s.current(ctx, c, environment)
	if err != nil {
		return snapshot.Version{}, err
	}
	if entry.Snapshot.IsZero() {
		refused := &promotion.RefusedError{Wait: promotion.Wait{Environment: environment.Name, Reason: promotion.UnknownSnapshot, Detail: "it was never promoted"}}
		return snapshot.Version{}, &hinted{error: refused, hint: "name a snapshot with --snapshot VERSION, or your checkout with --dir ."}
	}
	return entry.Snapshot, nil
}

// workingTree reads a directory without ever leaving it.
func workingTree(dir string) (renderTarget, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return renderTarget{}, usageHint("--dir is the root of the GitOps repository's checkout", "--dir: %w", err)
	}
	tree := root.FS()
	text, err := fs.ReadFile(tree, config.File)
	if errors.Is(err, fs.ErrNotExist) {
		return renderTarget{}, usageHint("--dir is the root of the GitOps repository's checkout; propagator init makes the file", "--dir: there is no %s in %s", config.File, dir)
	}
	if err != nil {
		return renderTarget{}, err
	}
	pipeline, err := config.Parse(text, config.File)
	return renderTarget{tree: tree, pipeline: pipeline}, err
}

func (t renderTarget) render(cmd *cobra.Command, names []string) ([]byte, error) {
	applications, err := render.Discover(t.tree, t.environment)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		i := slices.IndexFunc(applications, func(a config.Application) bool { return a.Name == names[0] })
		if i < 0 {
			var known []string
			for _, a := range applications {
				known = append(known, a.Name)
			}
			return nil, usage(cmd, "environment %s has no application %q; there are %s", t.environment.Name, names[0], strings.Join(known, ", "))
		}
		applications = applications[i : i+1]
	}
	var all [][]byte
	for _, application := range applications {
		text, err := t.application(cmd.Context(), application)
		if err != nil {
			return nil, err
		}
		if text = bytes.TrimSuffix(text, []byte("\n")); len(text) > 0 {
			all = append(all, append(text, '\n'))
		}
	}
	return bytes.Join(all, []byte("---\n")), nil
}

func (t renderTarget) application(ctx context.Context, application config.Application) ([]byte, error) {
	if t.lock == nil {
		output, err := render.Render(ctx, render.Input{
			FS: t.tree, Application: application, Namespace: namespace(t.environment, application),
			Capabilities: t.environment.Capabilities, Images: t.pipeline.Images,
		})
		if err != nil {
			return nil, err
		}
		return output.YAML, nil
	}
	locked := t.lock.RendersOf(t.environment.Name)
	i := slices.IndexFunc(locked, func(r snapshot.Render) bool { return r.Application == application.Name })
	if i < 0 {
		return nil, faultFound(verifyHint(t.lock.Version), fmt.Errorf("application %s of %s is not in the lock of %s", application.Name, t.environment.Name, t.lock.Version))
	}
	result, err := pinned.Render(ctx, pinned.Input{
		FS: t.tree, Pipeline: t.pipeline, Environment: t.environment.Name, Application: application, Lookup: t.lock.Lookup,
	})
	if err != nil {
		return nil, err
	}
	// As the sidecar does: what was not tested is not deployed.
	if err := sameRender(locked[i], result, t.lock.Tools); err != nil && !locked[i].ClusterDependent {
		return nil, faultFound(verifyHint(t.lock.Version), fmt.Errorf("application %s of %s: %w", application.Name, t.environment.Name, err))
	}
	return result.YAML, nil
}

func verifyHint(version snapshot.Version) string {
	return "propagator snapshot verify " + version.String()
}

// namespace is what Helm is told, as package pinned tells it.
func namespace(e config.Environment, a config.Application) string {
	first := ""
	if len(e.Destinations) > 0 {
		first = e.Destinations[0].Namespace
	}
	return cmp.Or(a.Namespace, first)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// verification is the result of snapshot verify.
type verification struct {
	Version string       `json:"version"`
	Commit  gitrepo.Hash `json:"commit"`
	OK      bool         `json:"ok"`
	Checks  []check      `json:"checks"`
}

type check struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func verifyCommand(a *app) *cobra.Command {
	var environment string
	cmd := &cobra.Command{
		Use:   "verify VERSION",
		Short: "check that a snapshot is what it promises",
		Long: `verify trusts nothing but the source commit. It checks that the tag names a
snapshot with a well-formed lock, that its tree is the source's tree and the
lock and nothing else, that making the snapshot again gives the same commit id,
that every application renders to the hash in the lock, and that every image is
complete in the registries: of those environments that point at the snapshot,
and of those that follow the first one; or of --environment.

A fault ends with exit code 4. A registry that cannot be asked is no fault of
the snapshot and ends with 1.`,
		Example: `  propagator snapshot verify v0.1.0
  propagator snapshot verify v0.1.0 --environment prod`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeVersion),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(cmd, reading, "")
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			c, err := s.catalog(ctx)
			if err != nil {
				return err
			}
			if environment != "" {
				if _, err := ledgerArgument(cmd, c.pipeline, environment); err != nil {
					return err
				}
			}
			version, err := versionArgument(cmd, c.pipeline, args[0])
			if err != nil {
				return err
			}
			result, err := s.verify(ctx, c, version, environment)
			if err != nil {
				return err
			}
			if err := a.print(result, result.table); err != nil || result.OK {
				return err
			}
			return faultFound(result.hint(),
				fmt.Errorf("snapshot %s: %d of %d checks failed", version, result.failed(), len(result.Checks)))
		},
	}
	cmd.Flags().StringVar(&environment, "environment", "", "check the images in this environment's registry only")
	return cmd
}

// verify makes all checks that can be made. Its error is a failure to check,
// never a check that failed.
func (s *session) verify(ctx context.Context, c *catalog, version snapshot.Version, environment string) (verification, error) {
	result := verification{Version: version.String(), Commit: c.found.Tags[version], Checks: []check{}}
	found, err := s.Snapshot(ctx, c.found, version)
	if errors.Is(err, snapshot.ErrForged) {
		err = nil // the check of the tree says so, beside the others
	}
	if err != nil {
		if result.Commit == "" || ctx.Err() != nil || errors.Is(err, gitrepo.ErrUnreachable) || errors.Is(err, gitrepo.ErrUnauthorized) {
			return result, err
		}
		result.add("lock", "", err)
		return result, nil
	}
	result.add("lock", fmt.Sprintf("%s, %s", plural(len(found.Lock.Images), "image"), plural(len(found.Lock.Renders), "render")), nil)
	pipeline, err := snapshot.ReadConfig(s.Repo, found.Tree)
	if err != nil {
		result.add("configuration", "", err)
		return result, nil
	}
	if err := s.Repo.Fetch(ctx, []gitrepo.Hash{found.Source}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return result, err
	}
	detail, err := s.verifyTree(found)
	result.add("tree", detail, err)
	detail, err = s.verifyCommit(found, pipeline)
	result.add("commit", detail, err)
	detail, err = s.verifyRenders(ctx, found, pipeline)
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	result.add("renders", detail, err)
	return result, s.verifyRegistries(ctx, c, &result, found, pipeline, environment)
}

func (v *verification) add(name, detail string, err error) {
	if err != nil {
		detail = err.Error()
	}
	v.Checks = append(v.Checks, check{Check: name, OK: err == nil, Detail: detail})
	v.OK = v.failed() == 0
}

func (v *verification) failed() int {
	n := 0
	for _, c := range v.Checks {
		if !c.OK {
			n++
		}
	}
	return n
}

// imagesOf begins the names of the checks of registries.
const imagesOf = "images of "

// hint tells a snapshot that is wrong from a registry that lost something.
func (v *verification) hint() string {
	copies := ""
	for _, c := range v.Checks {
		environment, ok := strings.CutPrefix(c.Check, imagesOf)
		switch {
		case c.OK:
		case !ok:
			return forgedHint
		case copies == "":
			copies = "propagator mirror copy " + environment + " " + v.Version
		}
	}
	return copies
}

// verifyTree: the snapshot's tree is the source's tree plus the lock.
func (s *session) verifyTree(found snapshot.Snapshot) (string, error) {
	if err := snapshot.CheckTree(s.Repo, found); err != nil {
		return "", err
	}
	return "source commit " + found.Source.Short() + " plus " + snapshot.LockFile, nil
}

// verifyCommit: whoever makes the snapshot gets this commit.
func (s *session) verifyCommit(found snapshot.Snapshot, p *config.Pipeline) (string, error) {
	again, _, err := snapshot.Build(s.Repo, found.Lock, snapshot.Identity{Name: p.Identity.Name, Email: p.Identity.Email})
	if err != nil {
		return "", err
	}
	if again.ID != found.ID {
		return "", fmt.Errorf("making it again gives %s instead of %s; it was made by another version of Propagator, or by hand", again.ID.Short(), found.ID.Short())
	}
	return "made again: " + found.ID.Short(), nil
}

// verifyRenders: every application renders to the hash in the lock, and the
// lock knows them all.
func (s *session) verifyRenders(ctx context.Context, found snapshot.Snapshot, p *config.Pipeline) (string, error) {
	tree := gitrepo.TreeFS(s.Repo, found.Tree)
	var errs []error
	done := 0
	for _, environment := range p.Environments {
		if environment.First() {
			continue
		}
		applications, err := render.Discover(tree, environment)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		locked := found.Lock.RendersOf(environment.Name)
		if len(applications) != len(locked) {
			errs = append(errs, fmt.Errorf("environment %s has %s, and the lock %d", environment.Name, plural(len(applications), "application"), len(locked)))
		}
		for _, application := range applications {
			i := slices.IndexFunc(locked, func(r snapshot.Render) bool { return r.Application == application.Name })
			if i < 0 {
				errs = append(errs, fmt.Errorf("%s/%s is not in the lock", environment.Name, application.Name))
				continue
			}
			result, err := pinned.Render(ctx, pinned.Input{
				FS: tree, Pipeline: p, Environment: environment.Name, Application: application, Lookup: found.Lock.Lookup,
			})
			if err == nil {
				err = sameRender(locked[i], result, found.Lock.Tools)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s/%s: %w", environment.Name, application.Name, err))
				continue
			}
			done++
		}
	}
	return plural(done, "application") + " rendered to the hashes of the lock", errors.Join(errs...)
}

// sameRender compares a render with the lock's.
func sameRender(locked snapshot.Render, result pinned.Result, tools snapshot.Tools) error {
	if result.SHA256 == locked.SHA256 {
		return nil
	}
	err := fmt.Errorf("renders to %s, the lock has %s", shortDigest(result.SHA256), shortDigest(locked.SHA256))
	if kustomize, helm := render.Versions(); kustomize != tools.Kustomize || helm != tools.Helm {
		err = fmt.Errorf("%w; the lock was made with kustomize %s and helm %s, this is kustomize %s and helm %s", err, tools.Kustomize, tools.Helm, kustomize, helm)
	}
	return err
}

// verifyRegistries checks the images where they have to be.
func (s *session) verifyRegistries(ctx context.Context, c *catalog, result *verification, found snapshot.Snapshot, p *config.Pipeline, only string) error {
	for _, environment := range p.Environments {
		if environment.First() || only != "" && only != environment.Name {
			continue
		}
		if only == "" && !slices.Contains(environment.After, p.First().Name) {
			entry, _, err := s.current(ctx, c, environment)
			if err != nil {
				return err
			}
			if entry.Snapshot != found.Lock.Version {
				continue
			}
		}
		report, err := s.VerifyImages(ctx, p, found.Lock, environment)
		if cannotAsk(ctx, err) {
			return firstOf(report, err)
		}
		result.add(imagesOf+environment.Name, fmt.Sprintf("%s complete in %s", plural(len(report.Images), "image"), p.Registries[environment.Registry].URL), firstOf(report, err))
	}
	if _, ok := p.Environment(only); only != "" && !ok {
		result.add(imagesOf+only, "", errors.New("the snapshot was taken before the environment was configured"))
	}
	return nil
}

// firstOf is the first image that failed and how many more did; err itself
// when no image was looked at.
func firstOf(report mirror.Report, err error) error {
	var first error
	more := -1
	for _, image := range report.Images {
		if failure := image.Err(); failure != nil {
			if more++; first == nil {
				first = failure
			}
		}
	}
	switch {
	case first == nil:
		return err
	case more > 0:
		return fmt.Errorf("%w; and %s more", first, plural(more, "image"))
	}
	return first
}

// cannotAsk tells a registry that gives no answer from one that lacks things.
func cannotAsk(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, registry.ErrUnreachable) || errors.Is(err, registry.ErrUnauthorized))
}

func (v verification) table(w io.Writer) {
	for _, c := range v.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		_, _ = fmt.Fprintf(w, "%s  %-16s  %s\n", mark, printable(c.Check), printable(c.Detail))
	}
}

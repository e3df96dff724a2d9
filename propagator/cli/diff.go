package cli

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/changes"
	"github.com/fleeting-taas/propagator/pkg/config"
)

// errDiffers is how diff --exit-code ends where there are differences.
var errDiffers = errors.New("there are differences")

// difference is the result of diff.
type difference struct {
	Pipeline string     `json:"pipeline"`
	From     sideFields `json:"from"`
	To       sideFields `json:"to"`
	// Environment to which all is limited; empty: all.
	Environment string          `json:"environment,omitempty"`
	Equal       bool            `json:"equal"`
	Backwards   bool            `json:"backwards"`
	Images      []changes.Image `json:"images"`
	// Hotfixes that were composed into one of the two.
	Hotfixes []changes.Hotfix `json:"hotfixes"`
	Files    []differentFile  `json:"files"`
	// Manifests are nil when nobody asked.
	Manifests []changes.Manifest `json:"manifests,omitzero"`
}

type differentFile struct {
	changes.File
	Patch string `json:"patch,omitempty"`
	// Omitted is why the file has no patch.
	Omitted string `json:"omitted,omitempty"`
}

// diffFlags are the flags of diff.
type diffFlags struct {
	environment                string
	patch, manifests, exitCode bool
}

func diffCommand(a *app) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "what changes from one snapshot to another",
		Long: `diff compares two snapshots: images with their digests and the code they were
built from, hotfixes, and files by the environment in whose folder they are. A and B are
versions, or environments, which stand for what they point at: diff prod stage
says what Prod would get.

With --patch it shows how the lines of files changed, except those of files with
a Secret. With --manifests it renders both snapshots and compares the objects
that Argo CD would be given; values of Secrets are shown as numbers that tell
equal from different ones. --environment limits all of it to one environment:
images that it uses, files in its folders and in nobody's.

The exit code says nothing about differences, unless you ask with --exit-code.`,
		Example: `  propagator diff prod stage
  propagator diff v0.1.0 v0.2.0 --environment prod --patch
  propagator diff prod stage --environment prod --manifests`,
		Args:              arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: a.complete(completeSide, completeSide),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.diff(cmd, args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.environment, "environment", "", "limit it to what this environment uses")
	flags.BoolVarP(&f.patch, "patch", "p", false, "show how the lines of files changed")
	flags.BoolVar(&f.manifests, "manifests", false, "render both sides and compare the objects")
	flags.BoolVar(&f.exitCode, "exit-code", false, "end with code 6 if there are differences")
	return cmd
}

func (a *app) diff(cmd *cobra.Command, args []string, f diffFlags) error {
	s, err := a.open(cmd, reading, "")
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	if err := f.check(cmd, c.pipeline); err != nil {
		return err
	}
	both, err := s.sides(ctx, cmd, c, args...)
	if err != nil {
		return err
	}
	from, to := both[0], both[1]
	d := difference{Pipeline: c.pipeline.Name, From: from.fields(), To: to.fields(), Environment: f.environment, Files: []differentFile{}}
	if d.Backwards = to.version.Compare(from.version) < 0; d.Backwards {
		a.note("%s is older than %s: this is what changes on the way back", to.version, from.version)
	}
	var limit []string
	if f.environment != "" {
		limit = []string{f.environment}
	}
	d.Images = changes.Images(from.Side, to.Side, limit...)
	if d.Hotfixes, err = changes.Hotfixes(ctx, s.Repo, from.Side, to.Side); err != nil {
		return err
	}
	files, err := changes.Files(s.Repo, from.Side, to.Side)
	if err != nil {
		return err
	}
	for _, file := range files {
		if f.environment == "" || file.For(f.environment) {
			d.Files = append(d.Files, differentFile{File: file})
		}
	}
	d.Equal = len(d.Images) == 0 && len(d.Files) == 0
	// Rendering the same thing twice shows nothing.
	var environments []string
	if f.manifests {
		d.Manifests = []changes.Manifest{}
		if from.Snapshot.ID != to.Snapshot.ID {
			environments = f.rendered(from.Pipeline, to.Pipeline)
		}
	}
	p := &diffPrinter{app: a, session: s, from: from.Side, to: to.Side, patch: f.patch, environments: environments}
	if err := p.print(ctx, &d); err != nil {
		return err
	}
	if f.exitCode && !d.Equal {
		return errDiffers
	}
	return nil
}

func (f diffFlags) check(cmd *cobra.Command, p *config.Pipeline) error {
	if f.environment == "" {
		return nil
	}
	e, err := environmentArgument(cmd, p, f.environment)
	if err == nil && f.manifests && e.First() {
		return usage(cmd, "%s follows the branch %s by itself and is never given a snapshot; --manifests is for the environments after it", e.Name, p.Source.Branch)
	}
	return err
}

// rendered lists the environments that are given either snapshot.
func (f diffFlags) rendered(pipelines ...*config.Pipeline) []string {
	if f.environment != "" {
		return []string{f.environment}
	}
	var names []string
	for _, p := range pipelines {
		for _, e := range p.Environments {
			if !e.First() && !slices.Contains(names, e.Name) {
				names = append(names, e.Name)
			}
		}
	}
	return names
}

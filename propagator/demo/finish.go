package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// finish writes down what the environments run and checks the promises.
func (w *world) finish(ctx context.Context) error {
	if err := w.check(ctx); err != nil {
		return fmt.Errorf("check the promises: %w", err)
	}
	for _, environment := range w.ci.pipeline.Environments {
		if environment.First() {
			first, err := w.first(ctx, environment.Name)
			if err != nil {
				return err
			}
			w.report.Environments = append(w.report.Environments, first)
			continue
		}
		entry, err := w.ledger(ctx, environment.Name)
		if err != nil {
			return err
		}
		w.report.Environments = append(w.report.Environments, Environment{
			Name: environment.Name, Version: entry.Snapshot.String(), SourceCommit: string(entry.SourceCommit),
			Images: w.imagesIn(environment.Name, entry.Snapshot), Since: entry.Since, Hold: entry.Hold,
		})
	}
	args := []string{"log", "--graph", "--format=%h %s%d", "--decorate=short", "--branches"}
	out, err := w.gitOutput(ctx, args...)
	if err != nil {
		return err
	}
	w.report.Ledger = strings.Split(strings.TrimRight(out, "\n"), "\n")
	return nil
}

// first is what the first environment runs: the source branch.
func (w *world) first(ctx context.Context, name string) (Environment, error) {
	tip, _, err := w.ci.tip(ctx)
	if err != nil {
		return Environment{}, err
	}
	commit, err := gitrepo.ReadCommit(w.ci.repo, tip)
	if err != nil {
		return Environment{}, err
	}
	images, err := imagesOf(w.argo.manifestsOf(""))
	return Environment{
		Name: name, Version: w.ci.branch, SourceCommit: string(tip), Images: images, Since: commit.Committer.When.UTC(),
	}, err
}

func (w *world) imagesIn(environment string, version snapshot.Version) []string {
	images := slices.Concat(slices.Collect(maps.Values(w.argo.running(environment, version)))...)
	slices.Sort(images)
	return slices.Compact(images)
}

package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// finish writes down what the environments run and checks the promises.
func (w *world) finish(ctx context.Context) error {
	if err := w.check(ctx); err != nil {
		return fmt.Errorf("check the promises: %w", err)
	}
	for _, environment := range w.ci.pipeline.Environments {
		if environment.First() {
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

func (w *world) imagesIn(environment string, version snapshot.Version) []string {
	images := []string{}
	seen := map[string]bool{}
	for _, list := range w.argo.running(environment, version) {
		for _, image := range list {
			if !seen[image] {
				seen[image] = true
				images = append(images, image)
			}
		}
	}
	return images
}

package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// completionTimeout bounds the one request that completing a version makes;
// nobody waits longer for a tab.
const completionTimeout = 3 * time.Second

// maxConfig bounds the configuration that completion reads.
const maxConfig = 1 << 20

// completer suggests what an argument can be. A failure suggests nothing: the
// command itself will say what is wrong.
type completer func(a *app, cmd *cobra.Command) []string

// complete uses one completer an argument.
func (a *app) complete(completers ...completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		var fitting []string
		if len(args) < len(completers) {
			for _, word := range completers[len(args)](a, cmd) {
				if strings.HasPrefix(word, typed) {
					fitting = append(fitting, word)
				}
			}
		}
		return fitting, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeEnvironment needs no network: it reads the checkout's configuration.
func completeEnvironment(*app, *cobra.Command) []string { return environmentsHere(true) }

// completeLedger leaves out the first environment, which has none.
func completeLedger(*app, *cobra.Command) []string { return environmentsHere(false) }

func environmentsHere(first bool) []string {
	p := pipelineHere()
	if p == nil {
		return nil
	}
	var names []string
	for _, e := range p.Environments {
		if first || !e.First() {
			names = append(names, e.Name)
		}
	}
	return names
}

// completeVersion asks the repository for its tags: one round trip.
func completeVersion(a *app, cmd *cobra.Command) []string {
	if service.FromEnvironment(cmd.Flags(), a.env) != nil {
		return nil
	}
	repo, err := a.repository(cmd)
	if err != nil {
		return nil
	}
	// cobra runs completions without the program's context.
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTimeout)
	defer cancel()
	refs, err := repo.Refs(ctx, gitrepo.Tags)
	if err != nil {
		return nil
	}
	here := pipelineHere()
	found := promotion.State{Tags: map[snapshot.Version]gitrepo.Hash{}}
	for name, id := range refs {
		v, err := snapshot.ParseVersion(strings.TrimPrefix(name, gitrepo.Tags))
		if err == nil && (here == nil || here.Name == v.Pipeline) {
			found.Tags[v] = id
		}
	}
	var names []string
	for _, v := range found.Versions() {
		names = append(names, v.String())
	}
	return names
}

// pipelineHere is the configuration at or above the current directory; nil
// when there is none that can be used.
func pipelineHere() *config.Pipeline {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	for {
		file := filepath.Join(dir, config.File)
		info, err := os.Stat(file)
		if err == nil && info.Size() <= maxConfig {
			text, err := os.ReadFile(file) //nolint:gosec // the checkout's own configuration
			if err != nil {
				return nil
			}
			p, err := config.Parse(text, config.File)
			if err != nil {
				return nil
			}
			return p
		}
		above := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || above == dir {
			return nil
		}
		dir = above
	}
}

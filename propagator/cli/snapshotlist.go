package cli

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// snapshotList is the result of snapshot list.
type snapshotList struct {
	Pipeline  string         `json:"pipeline"`
	Snapshots []listSnapshot `json:"snapshots"`
}

type listSnapshot struct {
	Version string       `json:"version"`
	Commit  gitrepo.Hash `json:"commit"`
	// SourceCommit and SourceTime are those of the captured commit.
	SourceCommit gitrepo.Hash `json:"sourceCommit,omitempty"`
	SourceTime   time.Time    `json:"sourceTime,omitzero"`
	// Environments that point at it now.
	Environments []string `json:"environments"`
}

func listCommand(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "all snapshots, newest first",
		Long: `list shows the snapshots of the pipeline, when their source was committed, and
which environments point at them.`,
		Example: `  propagator snapshot list
  propagator snapshot list -n 0 -o json | jq -r '.snapshots[].version'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(cmd, "--limit is %d; write 0 for all, or a number of snapshots", limit)
			}
			s, err := a.open(cmd, reading, "")
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			c, err := s.catalog(ctx)
			if err != nil {
				return err
			}
			runs := map[string][]string{}
			for _, environment := range c.pipeline.Environments {
				if environment.First() {
					continue
				}
				entry, ok, err := s.current(ctx, c, environment)
				if err != nil {
					return err
				}
				if ok {
					runs[entry.Snapshot.String()] = append(runs[entry.Snapshot.String()], environment.Name)
				}
			}
			versions := c.found.Versions()
			if limit > 0 {
				versions = versions[:min(limit, len(versions))]
			}
			list := snapshotList{Pipeline: c.pipeline.Name, Snapshots: []listSnapshot{}}
			var ids []gitrepo.Hash
			for _, version := range versions {
				ids = append(ids, c.found.Tags[version])
			}
			if err := s.Repo.Fetch(ctx, ids, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
				return err
			}
			for i, version := range versions {
				one := listSnapshot{Version: version.String(), Commit: ids[i], Environments: append([]string{}, runs[version.String()]...)}
				// What is no commit is listed all the same; verify says what is wrong.
				if commit, err := gitrepo.ReadCommit(s.Repo, ids[i]); err == nil && len(commit.Parents) > 0 {
					one.SourceCommit, one.SourceTime = commit.Parents[0], commit.Committer.When.UTC()
				}
				list.Snapshots = append(list.Snapshots, one)
			}
			if len(versions) == 0 {
				a.note("there is no snapshot yet; take one with: propagator snapshot create")
			}
			return a.print(list, list.table)
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "number of snapshots; 0 means all")
	return cmd
}

func (l snapshotList) table(w io.Writer) {
	var rows [][]string
	for _, s := range l.Snapshots {
		rows = append(rows, []string{s.Version, s.SourceCommit.Short(), moment(s.SourceTime), s.Commit.Short(), strings.Join(s.Environments, ", ")})
	}
	writeTable(w, []string{"VERSION", "SOURCE", "COMMITTED", "COMMIT", "ENVIRONMENTS"}, rows)
}

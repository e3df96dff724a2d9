package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func showCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show VERSION",
		Short: "what a snapshot consists of",
		Long: `show prints a snapshot's lock: every image with its digest, where it was built
from and who uses it, and the hash of what each application renders to.
-o yaml has the digests in full.`,
		Example: `  propagator snapshot show v0.1.0
  propagator snapshot show shop/v0.1.0 -o json | jq -r '.images[].digest'`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeVersion),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(cmd, reading, "")
			if err != nil {
				return err
			}
			c, err := s.catalog(cmd.Context())
			if err != nil {
				return err
			}
			version, err := versionArgument(cmd, c.pipeline, args[0])
			if err != nil {
				return err
			}
			found, err := s.Snapshot(cmd.Context(), c.found, version)
			if err != nil {
				return forged(cmd.Context(), err)
			}
			details := detailsOf(found)
			return a.print(details, func(w io.Writer) {
				_, _ = fmt.Fprintln(w, details.Version)
				writeFacts(w, details.facts()...)
				_, _ = fmt.Fprintln(w)
				details.imageTable(w)
				_, _ = fmt.Fprintln(w)
				details.renderTable(w)
			})
		},
	}
}

// snapshotDetails is a snapshot with its whole lock.
type snapshotDetails struct {
	Version string          `json:"version"`
	Tag     string          `json:"tag"`
	Commit  gitrepo.Hash    `json:"commit"`
	Source  snapshot.Source `json:"source"`
	// Base is what hotfixes were composed onto; nil for a captured snapshot.
	Base     *snapshot.Base    `json:"base,omitempty"`
	Hotfixes []snapshot.Hotfix `json:"hotfixes,omitempty"`
	Images   []snapshot.Image  `json:"images"`
	Renders  []snapshot.Render `json:"renders"`
	Tools    snapshot.Tools    `json:"tools"`
}

// detailsOf is the printed form of a snapshot.
func detailsOf(found snapshot.Snapshot) snapshotDetails {
	lock := found.Lock
	return snapshotDetails{
		Version: lock.Version.String(), Tag: lock.Version.Ref(), Commit: found.ID, Source: lock.Source, Base: lock.Base, Hotfixes: lock.Hotfixes,
		Images: append([]snapshot.Image{}, lock.Images...), Renders: append([]snapshot.Render{}, lock.Renders...), Tools: lock.Tools,
	}
}

func (d snapshotDetails) facts() []fact {
	source := d.Source.Commit + " of " + d.Source.Branch
	if d.Source.Tag != "" {
		source += ", tag " + d.Source.Tag
	}
	if !d.Source.Scheduled.IsZero() {
		source += ", for " + moment(d.Source.Scheduled)
	}
	facts := []fact{{"commit", string(d.Commit)}}
	if d.Base != nil {
		source = d.Source.Commit + ", composed"
	}
	facts = append(facts, fact{"source", source})
	if d.Base != nil {
		facts = append(facts, fact{"base", fmt.Sprintf("%s (%s), captured from %s of %s", d.Base.Snapshot, d.Base.Commit.Short(), d.Base.Captured.Short(), d.Source.Branch)})
	}
	for _, h := range d.Hotfixes {
		facts = append(facts, fact{"hotfix", fmt.Sprintf("%s, %s..%s, since %s", h.Name, h.Base.Short(), h.Head.Short(), h.Since)})
	}
	return append(facts, []fact{
		{"images", strconv.Itoa(len(d.Images))},
		{"renders", strconv.Itoa(len(d.Renders))},
	}...)
}

func (d snapshotDetails) imageTable(w io.Writer) {
	var rows [][]string
	for _, image := range d.Images {
		revision := ""
		if image.Origin != nil {
			revision = gitrepo.Hash(image.Origin.Revision).Short()
		}
		rows = append(rows, []string{
			image.Requested, shortDigest(image.Digest), strings.Join(image.Platforms, ","), revision, strings.Join(image.UsedBy, ","),
		})
	}
	writeTable(w, []string{"IMAGE", "DIGEST", "PLATFORMS", "REVISION", "USED BY"}, rows)
}

func (d snapshotDetails) renderTable(w io.Writer) {
	var rows [][]string
	for _, r := range d.Renders {
		remark := ""
		switch {
		case r.Empty:
			remark = "no objects"
		case r.ClusterDependent:
			remark = "depends on the cluster"
		}
		rows = append(rows, []string{r.Environment, r.Application, r.Path, shortDigest(r.SHA256), remark})
	}
	writeTable(w, []string{"ENVIRONMENT", "APPLICATION", "PATH", "SHA256", "REMARK"}, rows)
}

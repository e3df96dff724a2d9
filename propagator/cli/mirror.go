package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func mirrorCommand(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "mirror",
		Short: "copy and check the images of a snapshot",
		Long: `A promotion mirrors by itself. mirror does that part alone: ahead of time, or to
repair a registry that lost something, or to see whether it did.`,
		Example: `  propagator mirror verify stage v0.1.0
  propagator mirror copy prod v0.1.0`,
	})
	a.add(cmd,
		mirrorVerb(a, writing, &cobra.Command{
			Use:   "copy ENVIRONMENT VERSION",
			Short: "copy a snapshot's images to an environment's registry",
			Long: `copy makes every image of the snapshot that the environment, or one after it,
uses complete in the environment's registry: all platforms, signatures and
attestations, by digest, verified afterwards. Nothing moves in Git, and no rule
is asked: what an environment runs is decided by promote.

Images come from the registry of the environment before. The environment that
follows the first one got its images when the snapshot was taken; copy checks
them, and repairs what is still to be had where it came from. It may be
interrupted at any time; run again, it continues.`,
			Example: `  propagator mirror copy prod v0.1.0`,
		}, (*session).Mirror),
		mirrorVerb(a, reading, &cobra.Command{
			Use:   "verify ENVIRONMENT VERSION",
			Short: "check a snapshot's images in an environment's registry",
			Long: `verify reads every manifest and looks up every blob of the snapshot's images in
the environment's registry. It asks no other registry and writes nothing. What
is missing ends with exit code 4.`,
			Example: `  propagator mirror verify stage v0.1.0
  propagator mirror verify prod v0.1.0 -o json | jq '.images[] | select(.error)'`,
		}, (*session).VerifyImages),
	)
	return cmd
}

// mirrorReport is the result of mirror copy and mirror verify.
type mirrorReport struct {
	Environment string `json:"environment"`
	Version     string `json:"version"`
	Registry    string `json:"registry"`
	Complete    bool   `json:"complete"`
	mirror.Report
}

// mirrorVerb makes a command of one of the engine's methods.
func mirrorVerb(a *app, mode mode, cmd *cobra.Command, do func(*session, context.Context, *config.Pipeline, *snapshot.Lock, config.Environment) (mirror.Report, error)) *cobra.Command {
	cmd.Args = arguments(cobra.ExactArgs(2))
	cmd.ValidArgsFunction = a.complete(completeLedger, completeVersion)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := a.open(cmd, mode, "")
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		c, err := s.catalog(ctx)
		if err != nil {
			return err
		}
		if _, err := ledgerArgument(cmd, c.pipeline, args[0]); err != nil {
			return err
		}
		version, err := versionArgument(cmd, c.pipeline, args[1])
		if err != nil {
			return err
		}
		found, pipeline, err := s.read(ctx, c, version)
		if err != nil {
			return err
		}
		environment, err := ledgerArgument(cmd, pipeline, args[0])
		if err != nil {
			return err
		}
		report, failure := do(s, ctx, pipeline, found.Lock, environment)
		s.progress.close()
		if report.Images == nil && failure != nil {
			return failure // before the first image
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		result := mirrorReport{
			Environment: environment.Name, Version: version.String(), Registry: pipeline.Registries[environment.Registry].URL,
			Complete: failure == nil, Report: report,
		}
		if result.Images == nil {
			result.Images = []mirror.ImageReport{}
		}
		if err := a.print(result, func(w io.Writer) { result.table(w, mode) }); err != nil {
			return err
		}
		if mode == reading && failure != nil && !cannotAsk(ctx, failure) {
			return faultFound(fmt.Sprintf("propagator mirror copy %s %s", environment.Name, version),
				fmt.Errorf("%s: %d of %s not complete in %s", version, result.incomplete(), plural(len(report.Images), "image"), result.Registry))
		}
		return firstOf(report, failure)
	}
	return cmd
}

func (r mirrorReport) incomplete() int {
	n := 0
	for _, image := range r.Images {
		if image.Error != "" {
			n++
		}
	}
	return n
}

func (r mirrorReport) table(w io.Writer, mode mode) {
	var rows [][]string
	for _, image := range r.Images {
		state := "copied"
		switch {
		case image.Error != "":
			state = "INCOMPLETE: " + image.Error
		case image.AlreadyThere && mode == reading:
			state = "complete"
		case image.AlreadyThere:
			state = "already there"
		}
		rows = append(rows, []string{image.Repository, shortDigest(image.Digest), fmt.Sprint(image.Manifests), fmt.Sprint(image.Referrers), state})
	}
	writeTable(w, []string{"REPOSITORY", "DIGEST", "MANIFESTS", "REFERRERS", "STATE"}, rows)
	text := fmt.Sprintf("%s: %d of %s complete", r.Registry, len(r.Images)-r.incomplete(), plural(len(r.Images), "image"))
	if mode == writing {
		text += fmt.Sprintf("; wrote %s, %s, %d mounted, %s", plural(r.Manifests, "manifest"), plural(r.Blobs, "blob"), r.Mounted, size(r.Bytes))
	}
	_, _ = fmt.Fprintln(w, text)
}

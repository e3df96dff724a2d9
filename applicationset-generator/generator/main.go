package generator

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// Main is the program: arguments and environment in, exit code out.
func Main(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	return service.Main(ctx, "applicationset-generator", stderr, func(ctx context.Context) error {
		cmd := command(env, stderr)
		cmd.SetArgs(args)
		cmd.SetOut(stdout)
		cmd.SetErr(stderr)
		return cmd.ExecuteContext(ctx)
	})
}

// noArguments is cobra.NoArgs with the exit code of wrong usage.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return service.UsageError(fmt.Errorf("unknown argument %q; see %s --help", args[0], cmd.CommandPath()))
	}
	return nil
}

func command(env []string, stderr io.Writer) *cobra.Command {
	var (
		git       remote.Flags
		tokens    service.TokenOptions
		options   = service.DefaultOptions(":8080", "")
		interval  time.Duration
		publicURL string
	)
	cmd := &cobra.Command{
		Use:   "applicationset-generator",
		Short: "answer Argo CD's ApplicationSet plugin generator",
		Long: `applicationset-generator serves POST /api/v1/getparams.execute: one parameter
set for each Application that the environments of a pipeline have been promoted
to. It reads the Git repository and nothing else, and writes nothing.

An ApplicationSet asks for a pipeline, and optionally narrows the answer:

  generators:
  - plugin:
      configMapRef: {name: propagator}
      input:
        parameters: {pipeline: shop, environments: [stage]}

Every flag can be given as an environment variable: --log-level is
PROPAGATOR_LOG_LEVEL.`,
		Example: `  applicationset-generator --repository https://git.example/shop.git --token-file /etc/propagator/token`,
		Version: service.Version().String(),
		Args:    noArguments,
		// service.Main prints the error, once.
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := service.FromEnvironment(cmd.Flags(), env); err != nil {
				return service.UsageError(err)
			}
			if err := options.Validate(); err != nil {
				return service.UsageError(err)
			}
			log := options.Logger(stderr)
			openers, err := git.Openers(env, log)
			if err != nil {
				return service.UsageError(err)
			}
			accepted, err := tokens.Tokens(env)
			if err != nil {
				return service.UsageError(err)
			}
			server, err := New(Config{
				Repositories: openers, Branch: git.Branch, PublicURL: publicURL, Tokens: accepted,
				Interval: interval, Service: options, Log: log,
			})
			if err != nil {
				return service.UsageError(err)
			}
			if err := server.Listen(cmd.Context()); err != nil {
				return err
			}
			return server.Serve(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return service.UsageError(err) })
	git.Bind(cmd.Flags(), true)
	tokens.Bind(cmd.Flags())
	options.Bind(cmd.Flags())
	cmd.Flags().DurationVar(&interval, "interval", time.Minute, "how often the repositories are looked at without being asked")
	cmd.Flags().StringVar(&publicURL, "public-url", "", "repository URL for the Applications, when it is not that of --repository")
	service.DescribeVariables(cmd.Flags())
	return cmd
}

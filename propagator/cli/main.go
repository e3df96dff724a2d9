package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/propagator/demo"
)

// Main runs the program: arguments (without the program's name), environment
// and streams in, exit code out. The checkout of the current directory is used
// when no repository is named.
func Main(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	differs := false
	code := service.Main(ctx, "propagator", stderr, func(ctx context.Context) error {
		root := command(env, stdout, stderr)
		root.SetArgs(args)
		root.SetIn(stdin)
		root.SetOut(stdout)
		root.SetErr(stderr)
		err := root.ExecuteContext(ctx)
		if differs = errors.Is(err, errDiffers); differs {
			return nil // the result has been printed, and nothing is wrong
		}
		if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return err
		}
		return explain(err)
	})
	if code == 0 && differs {
		return exitDiffers
	}
	return code
}

const longHelp = `propagator turns Argo CD into a release train. A snapshot freezes what Dev runs
(manifests and image digests); promoting it mirrors its images to the next
environment's registry and then points that environment at it. All state is in
the Git repository and the registries, so every command can run anywhere, be
interrupted, and be run again.

The repository is --repository, or else the remote "origin" of the Git checkout
in which the command runs. Credentials for Git come from the --git flags, those
for registries from the Docker configuration (docker login; $DOCKER_CONFIG).
Every flag can be given as a variable: --git-username is
PROPAGATOR_GIT_USERNAME.`

const rootExample = `  propagator init                        begin: write propagator.yaml
  propagator status                      what runs where, and what waits for what
  propagator snapshot create             freeze what Dev runs, save its images
  propagator diff prod stage             what Prod would get
  propagator promote stage               let Stage run the newest snapshot
  propagator explain prod                why Prod has not got it yet
  propagator approve prod                agree to it
  propagator hotfix start NAME           an urgent fix of what Prod runs
  propagator history prod                every deployment of Prod, newest first`

const exitCodes = `
Exit codes:
  0    done
  1    something failed; the message says on which side
  2    flags, arguments or propagator.yaml are wrong
  3    refused by a rule of the pipeline; the message has the reason's name
  4    a verification found a fault
  5    wait: it has not happened in the time given
  6    diff --exit-code: there are differences
  130  interrupted; run the command again to continue
`

// command builds the tree of commands.
func command(env []string, stdout, stderr io.Writer) *cobra.Command {
	a := &app{env: env, stdout: stdout, stderr: stderr}
	root := group(&cobra.Command{
		Use:     "propagator",
		Short:   "a release train for Argo CD, kept in Git and registries",
		Long:    longHelp,
		Example: rootExample,
		Version: service.Version().String(),
		// explain and service.Main print errors, once.
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.prepare(cmd)
		},
	})
	root.SetUsageTemplate(root.UsageTemplate() + exitCodes)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%w", err) })
	a.bind(root.PersistentFlags())
	service.DescribeVariables(root.PersistentFlags())
	a.add(root,
		initCommand(a),
		statusCommand(a),
		historyCommand(a),
		diffCommand(a),
		releaseNotesCommand(a),
		snapshotCommand(a),
		planCommand(a),
		explainCommand(a),
		promoteCommand(a),
		approveCommand(a),
		rollbackCommand(a),
		holdCommand(a),
		resumeCommand(a),
		freezeCommand(a),
		validateCommand(a),
		rejectCommand(a),
		hotfixCommand(a),
		waitCommand(a),
		renderCommand(a),
		mirrorCommand(a),
		recoverCommand(a),
		doctorCommand(a),
		demo.Command(stdout, stderr),
		versionCommand(a),
	)
	return root
}

// add joins commands to their parent; their own flags get variables, too.
func (a *app) add(parent *cobra.Command, children ...*cobra.Command) {
	for _, child := range children {
		service.DescribeVariables(child.Flags())
		parent.AddCommand(child)
	}
}

// group makes a command that only holds others. Alone it shows its help; an
// unknown name is a mistake, which cobra only notices at the root.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usage(cmd, "there is no command %q; did you mean %q?", args[0], near[0])
		}
		return usage(cmd, "there is no command %q", args[0])
	}
	return cmd
}

// arguments makes what an argument check of cobra finds a usage error.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(cmd, "%w; write: %s", err, cmd.UseLine())
		}
		return nil
	}
}

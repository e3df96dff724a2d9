package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/service"
)

// Main runs the program: arguments without its name, the environment as a list
// of NAME=value, and the three streams. It returns the exit code.
func Main(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return service.Main(ctx, "cmp-sidecar", stderr, func(ctx context.Context) error {
		cmd := newCommand(env, stderr)
		cmd.SetArgs(args)
		cmd.SetIn(stdin)
		cmd.SetOut(stdout)
		cmd.SetErr(stderr)
		return cmd.ExecuteContext(ctx)
	})
}

func newCommand(env []string, stderr io.Writer) *cobra.Command {
	options := DefaultOptions()
	serve := func(cmd *cobra.Command, _ []string) error {
		if err := service.FromEnvironment(cmd.Flags(), env); err != nil {
			return service.UsageError(err)
		}
		if err := options.Validate(); err != nil {
			return service.UsageError(err)
		}
		server, err := New(options, options.Service.Logger(stderr))
		if err != nil {
			return err
		}
		return server.Run(cmd.Context())
	}
	root := &cobra.Command{
		Use:               "cmp-sidecar",
		Short:             "Render Propagator's snapshots for Argo CD's repo-server",
		Long:              "cmp-sidecar renders snapshots for Argo CD's repo-server, with every image pinned.\nWithout a subcommand it serves the plugin's socket.",
		Version:           service.Version().String(),
		Args:              noArguments,
		RunE:              serve,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	serveCommand := &cobra.Command{
		Use:   "serve",
		Short: "Serve the plugin's socket (the default)",
		Args:  noArguments,
		RunE:  serve,
	}
	for _, cmd := range []*cobra.Command{root, serveCommand} {
		options.Bind(cmd.Flags())
		service.DescribeVariables(cmd.Flags())
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return service.UsageError(err) })
	root.AddCommand(serveCommand, newGenerateCommand(env))
	return root
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return service.UsageError(fmt.Errorf("unknown argument %q; see %s --help", args[0], cmd.CommandPath()))
	}
	return nil
}

// newGenerateCommand is the exec form: argocd-cmp-server starts it in the
// application's folder of a repository that it has extracted.
func newGenerateCommand(env []string) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Print the manifests of the application in the working directory",
		Long: `Print the manifests of the application in the working directory, for
installations that keep argocd-cmp-server. Parameters come from
ARGOCD_APP_PARAMETERS or ARGOCD_ENV_ENVIRONMENT, ARGOCD_ENV_APPLICATION and
ARGOCD_ENV_SNAPSHOT.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values := environment(env)
			root, appPath, err := locate(root, values[variableSourcePath])
			if err != nil {
				return service.UsageError(err)
			}
			directory, err := os.OpenRoot(root)
			if err != nil {
				return err
			}
			defer func() { _ = directory.Close() }()
			manifests, err := Generate(cmd.Context(), Request{Tree: directory.FS(), AppPath: appPath, Env: values})
			if err != nil {
				return err
			}
			return printManifests(cmd.OutOrStdout(), manifests)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "`directory` of the repository's root (default: the working directory without "+variableSourcePath+")")
	return cmd
}

// environment makes a list of NAME=value a map.
func environment(env []string) map[string]string {
	values := map[string]string{}
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	return values
}

// locate finds the repository's root and the application's path in it.
func locate(root, sourcePath string) (foundRoot, appPath string, err error) {
	here, err := os.Getwd()
	if err != nil {
		return "", "", err
	}
	if here, err = filepath.EvalSymlinks(here); err != nil {
		return "", "", err
	}
	if root == "" {
		if sourcePath == "" {
			return "", "", errors.New("the repository's root is unknown: give --root or " + variableSourcePath)
		}
		appPath = filepath.Clean(sourcePath)
		if appPath == "." {
			return here, ".", nil
		}
		root, ok := strings.CutSuffix(here, string(filepath.Separator)+appPath)
		if !ok || root == "" {
			return "", "", fmt.Errorf("the working directory %s does not end in %s (%s); give --root", here, appPath, variableSourcePath)
		}
		return root, filepath.ToSlash(appPath), nil
	}
	if root, err = filepath.Abs(root); err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return "", "", fmt.Errorf("--root: %w", err)
	}
	appPath, err = filepath.Rel(root, here)
	if err != nil || !filepath.IsLocal(appPath) {
		return "", "", fmt.Errorf("the working directory %s is not below --root %s", here, root)
	}
	return root, filepath.ToSlash(appPath), nil
}

// printManifests writes one YAML stream, each document behind its separator.
func printManifests(w io.Writer, manifests []string) error {
	var b strings.Builder
	for _, manifest := range manifests {
		b.WriteString("---\n")
		b.WriteString(manifest)
		if !strings.HasSuffix(manifest, "\n") {
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

package hook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/codehost"
	"github.com/fleeting-taas/propagator/pkg/gates"
	"github.com/fleeting-taas/propagator/pkg/githost"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// Cluster is the cluster in which Argo CD runs, as the hook sees it. Only
// Applications is required.
type Cluster struct {
	Applications promotion.Applications
	// Live is how Pods are seen.
	Live promotion.Live
	// Watch is [Config.Watch].
	Watch func(ctx context.Context, changed func(pipeline string))
	// Share makes the hook one of the replicas that share their pipelines.
	Share func(Member) (Members, error)
}

// Connect opens the cluster in which Argo CD runs. An empty kubeconfig means
// the service account of the Pod.
type Connect func(kubeconfig, namespace string, log *slog.Logger) (Cluster, error)

// Main is the program: arguments and environment in, exit code out.
func Main(ctx context.Context, args, env []string, stdout, stderr io.Writer, connect Connect) int {
	return service.Main(ctx, "notifications-hook", stderr, func(ctx context.Context) error {
		cmd := command(env, stderr, connect)
		cmd.SetArgs(args)
		cmd.SetOut(stdout)
		cmd.SetErr(stderr)
		return cmd.ExecuteContext(ctx)
	})
}

// settings are the hook's own flags.
type settings struct {
	git          gitremote.Flags
	registries   registryremote.Set
	gates        gates.Set
	hosts        codehost.Set
	tokens       service.TokenOptions
	webhooks     string // the file of the secrets
	service      service.Options
	interval     time.Duration
	timeout      time.Duration
	settle       time.Duration
	watch        bool
	share        bool
	kubeconfig   string
	namespace    string
	environments []string
}

// noArguments is cobra.NoArgs with the exit code of wrong usage.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return service.UsageError(fmt.Errorf("unknown argument %q; see %s --help", args[0], cmd.CommandPath()))
	}
	return nil
}

func command(env []string, stderr io.Writer, connect Connect) *cobra.Command {
	s := settings{service: service.DefaultOptions(":8080", "")}
	cmd := &cobra.Command{
		Use:   "notifications-hook",
		Short: "promote snapshots from environment to environment",
		Long: `notifications-hook looks at its pipelines whenever Argo CD reports a sync
(POST /api/v1/argocd), when an Application changes, when a git host reports a
push (POST /api/v1/webhook), when somebody asks it to (POST /api/v1/wake), and
once per --interval. It captures what Dev runs, mirrors images, promotes to the next
environment and records what was deployed. All state is in Git and the
registries; any number of replicas may run.

Credentials for registries come from the Docker configuration (DOCKER_CONFIG),
those for Git from the --git flags. Every flag can be given as an environment
variable: --log-level is PROPAGATOR_LOG_LEVEL.`,
		Example:       `  notifications-hook --repository https://git.example/shop.git --git-password-file /etc/propagator/git --token-file /etc/propagator/token`,
		Version:       service.Version().String(),
		Args:          noArguments,
		SilenceUsage:  true, // service.Main prints the error, once
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := service.FromEnvironment(cmd.Flags(), env); err != nil {
				return service.UsageError(err)
			}
			server, err := s.server(env, stderr, connect)
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
	f := cmd.Flags()
	s.git.Bind(f, true)
	s.registries.Bind(f)
	s.gates.Bind(f)
	s.hosts.Bind(f)
	s.tokens.Bind(f)
	f.StringVar(&s.webhooks, flagWebhookSecretFile, "", "`file` with the secret(s) that git hosts share with this program, one a line; without it POST /api/v1/webhook answers 404")
	s.service.Bind(f)
	f.DurationVar(&s.interval, "interval", time.Minute, "how often each pipeline is looked at without an event")
	f.DurationVar(&s.timeout, "timeout", 30*time.Minute, "limit for one look at a pipeline, mirroring included")
	f.DurationVar(&s.settle, "settle", 0, "how long an Application must have been healthy to count as deployed, from the end of the second that Argo CD notes")
	f.BoolVar(&s.watch, "watch", true, "look as soon as an Application changes; without it, at notifications and once per --interval")
	f.BoolVar(&s.share, flagShare, false, "share the pipelines with the other replicas of the same configuration, by Leases in the Pod's namespace: each is looked after by one of them, and by another within a minute if that one goes; needs the variable "+variablePodName+" and rights on Leases; without it every replica looks at every pipeline")
	f.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster in which Argo CD runs (default: the Pod's service account)")
	f.StringVar(&s.namespace, "argocd-namespace", "argocd", "namespace of the Applications; empty for all")
	f.StringSliceVar(&s.environments, "environments", nil, "environments whose Applications this Argo CD holds (default: all)")
	service.DescribeVariables(f)
	return cmd
}

// leastSettle is for the difference between Argo CD's clock and this one. It is
// not zero, so that the second is waited for in which Argo CD's times cannot be
// told apart.
const leastSettle = 50 * time.Millisecond

func (s *settings) settled() time.Duration { return max(s.settle, leastSettle) }

// server joins the adapters.
func (s *settings) server(env []string, stderr io.Writer, connect Connect) (*Server, error) {
	if err := s.service.Validate(); err != nil {
		return nil, err
	}
	if s.settle < 0 {
		return nil, fmt.Errorf("--settle is %s; it must not be negative", s.settle)
	}
	log := s.service.Logger(stderr)
	s.registries.Logger, s.gates.Logger = log, log
	if s.gates.InCluster = true; s.gates.Kubeconfig == "" {
		s.gates.Kubeconfig = s.kubeconfig
	}
	s.hosts.CAFile = s.git.CAFile
	openers, err := s.git.Openers(env, log)
	if err != nil {
		return nil, err
	}
	tokens, err := s.tokens.Tokens(env)
	if err != nil {
		return nil, err
	}
	var secrets *githost.Secrets
	if s.webhooks != "" {
		if secrets, err = githost.SecretsFile(s.webhooks); err != nil {
			return nil, fmt.Errorf("--%s: %w", flagWebhookSecretFile, err)
		}
	}
	cluster, err := connect(s.kubeconfig, s.namespace, log)
	if err != nil {
		return nil, err
	}
	c := Config{Tokens: tokens, Webhooks: secrets, Interval: s.interval, Timeout: s.timeout, Service: s.service, Log: log}
	if s.watch {
		c.Watch = cluster.Watch
	}
	for _, open := range openers {
		repo, err := open()
		if err != nil {
			return nil, err
		}
		c.Pipelines = append(c.Pipelines, Pipeline{Open: open, Engine: &promotion.Engine{
			Repo: repo, Registries: &s.registries, Gates: &s.gates, Branch: s.git.Branch, Applications: cluster.Applications, Live: cluster.Live,
			PullRequests: s.hosts.Opener(repo.URL()), Environments: s.environments, Settle: s.settled(), Actor: "propagator", Log: log,
		}})
	}
	if s.share {
		if c.Members, err = s.members(env, cluster, c.Pipelines); err != nil {
			return nil, fmt.Errorf("--%s: %w", flagShare, err)
		}
	}
	return New(c)
}

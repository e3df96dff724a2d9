package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/doctor"
	"github.com/fleeting-taas/propagator/pkg/kube"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// examined is the result of doctor.
type examined struct {
	// Server is the API server's address; empty without a cluster.
	Server    string `json:"server,omitempty"`
	Namespace string `json:"namespace"`
	// OK: nothing failed and, with --strict, nothing was skipped.
	OK bool `json:"ok"`
	// Complete: nothing was skipped, so OK is said of everything.
	Complete bool             `json:"complete"`
	Failed   int              `json:"failed"`
	Warnings int              `json:"warnings"`
	Skipped  int              `json:"skipped"`
	Findings []doctor.Finding `json:"findings"`
}

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	kubeconfig, context, namespace         string
	hookURL, generatorURL, sidecarURL      string
	pluginsDir                             string
	only, skip                             []string
	list, readOnly, ownCredentials, strict bool
	maxArchive                             int64 // MiB
	timeout                                time.Duration
	repositoryGiven, branchGiven, gitLogin bool
}

func doctorCommand(a *app) *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "check an installation, and say what to type for each finding",
		Long: `doctor examines what was installed into a cluster beside Argo CD: versions, the
sidecar, ApplicationSets, tokens, notifications, Git, registries and clocks. It
reads the cluster as you, by your kubeconfig, and asks Git and the registries
with what the hook has in its Secrets, or with your own credentials where those
may not be read. It changes nothing; in registries it opens an upload and gives
it up at once (--read-only leaves that out). No secret is ever printed.

What may not be looked at is skipped, never ok. The exit code is 0 when nothing
failed, 4 when something did, and 1 when the cluster could not be asked at all.
With --strict it is 4 also when something was skipped.`,
		Example: `  propagator doctor
  propagator doctor --only git,registries --read-only
  propagator doctor -o json | jq '.findings[] | select(.result == "failed")'
  propagator doctor --list`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd, o) },
	}
	o.bind(cmd.Flags())
	for _, name := range []string{"only", "skip"} {
		_ = cmd.RegisterFlagCompletionFunc(name, completeChecks) // the flags exist
	}
	return cmd
}

func (o *doctorOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster in which Argo CD runs (default: $KUBECONFIG, ~/.kube/config, or the Pod's service account)")
	f.StringVar(&o.context, "context", "", "`name` of the kubeconfig's context (default: the current one)")
	f.StringVar(&o.namespace, "argocd-namespace", "argocd", "`namespace` of Argo CD")
	f.StringVar(&o.hookURL, "hook-url", "", "`URL` of the hook (default: a port-forward to its Pod)")
	f.StringVar(&o.generatorURL, "generator-url", "", "`URL` of the generator (default: a port-forward to its Pod)")
	f.StringVar(&o.sidecarURL, "sidecar-url", "", "`URL` of the sidecar's health (default: a port-forward to repo-server's Pods)")
	f.StringVar(&o.pluginsDir, "plugins-dir", "", "`folder` of plugin sockets, when run where it can be seen")
	f.StringSliceVar(&o.only, "only", nil, "`checks` to run, separated by commas (default: all)")
	f.StringSliceVar(&o.skip, "skip", nil, "`checks` to leave out, separated by commas")
	f.BoolVar(&o.list, "list", false, "list the checks and run none")
	f.BoolVar(&o.readOnly, "read-only", false, "open no upload in registries, so that the right to push is not checked")
	f.BoolVar(&o.strict, "strict", false, "what was skipped counts as failed")
	f.BoolVar(&o.ownCredentials, "own-credentials", false, "ask Git and registries with your own credentials, not with those in the cluster's Secrets")
	f.Int64Var(&o.maxArchive, "max-archive", 50, "size in `MiB` from which what repo-server packs for each render is too large")
	f.DurationVar(&o.timeout, "check-timeout", time.Minute, "limit for one check")
}

func completeChecks(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	head, last := "", typed
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		head, last = typed[:i+1], typed[i+1:]
	}
	var fitting []string
	for _, c := range doctor.Checks() {
		if strings.HasPrefix(c.Name, last) {
			fitting = append(fitting, head+c.Name)
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (a *app) doctor(cmd *cobra.Command, o *doctorOptions) error {
	checks, err := o.checks(cmd)
	if err != nil {
		return err
	}
	if o.list {
		return a.print(checks, func(w io.Writer) {
			var rows [][]string
			for _, c := range checks {
				rows = append(rows, []string{c.Name, c.Looks})
			}
			writeTable(w, []string{"CHECK", "LOOKS AT"}, rows)
		})
	}
	if o.maxArchive < 1 || o.timeout <= 0 {
		return usage(cmd, "--max-archive and --check-timeout must be greater than 0")
	}
	changed := cmd.Flags().Changed
	o.repositoryGiven, o.branchGiven = changed("repository"), changed("branch")
	for _, login := range []string{"git-username", "git-password-file", "git-ssh-key"} {
		o.gitLogin = o.gitLogin || service.Typed(cmd.Flags(), login)
	}
	c, err := a.examination(o)
	if err != nil {
		return usage(cmd, "%w", err)
	}
	if c.Cluster, err = a.cluster(cmd.Context(), o, checks); err != nil {
		return err
	}
	report, err := doctor.Run(cmd.Context(), c, checks)
	if err != nil {
		return err
	}
	result := examined{
		Namespace: o.namespace, Findings: report.Findings,
		Failed: report.Count(doctor.Failed), Warnings: report.Count(doctor.Warning), Skipped: report.Count(doctor.Skipped),
	}
	result.Complete = result.Skipped == 0
	result.OK = result.Failed == 0 && (result.Complete || !o.strict)
	if c.Cluster != nil {
		result.Server = c.Cluster.Server()
	}
	if err := a.print(result, result.table); err != nil {
		return err
	}
	if result.Failed == 0 && !result.OK {
		return faultFound("give whoever runs it the rights, or leave those checks out with --skip", fmt.Errorf("%s skipped (--strict)", plural(result.Skipped, "finding")))
	}
	if !result.OK {
		return faultFound("do what stands under each of them, then run it again", fmt.Errorf("%s failed", plural(result.Failed, "finding")))
	}
	return nil
}

// checks are those that were chosen, in their own order.
func (o *doctorOptions) checks(cmd *cobra.Command) ([]doctor.Check, error) {
	all := doctor.Checks()
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	for _, name := range slices.Concat(o.only, o.skip) {
		if !slices.Contains(names, name) {
			return nil, usage(cmd, "there is no check %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	chosen := slices.DeleteFunc(all, func(c doctor.Check) bool {
		return len(o.only) > 0 && !slices.Contains(o.only, c.Name) || slices.Contains(o.skip, c.Name)
	})
	if len(chosen) == 0 {
		return nil, usage(cmd, "--only and --skip leave no check to run")
	}
	return chosen, nil
}

// cluster connects, and asks once, so that a cluster that is not there is one
// error and not sixteen. Checks that can do without go on without.
func (a *app) cluster(ctx context.Context, o *doctorOptions, checks []doctor.Check) (*kube.Client, error) {
	options := kube.Options{Kubeconfig: o.kubeconfig, Home: a.variable("HOME"), Context: o.context}
	if options.Kubeconfig == "" {
		options.Kubeconfig = a.variable("KUBECONFIG")
	}
	client, err := kube.Connect(options)
	if err == nil {
		asking, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		var version map[string]any
		err = client.Get(asking, "/version", &version)
		if errors.Is(err, kube.ErrForbidden) {
			err = nil // it is there
		}
	}
	switch needed := slices.ContainsFunc(checks, func(c doctor.Check) bool { return c.Cluster }); {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		return client, nil
	case needed:
		return nil, &hinted{error: err, hint: "name the cluster: --kubeconfig FILE (and --context NAME); kubectl cluster-info must work with it. What needs no cluster: propagator doctor --only git,archive,registries"}
	}
	a.note("without a cluster: %v", err)
	return nil, nil
}

// table shows a line for each finding, and below it what to type.
func (r examined) table(w io.Writer) {
	rows := make([][]string, len(r.Findings))
	for i, f := range r.Findings {
		rows[i] = []string{string(f.Result), f.Check, f.Subject, f.Message}
	}
	var text strings.Builder
	writeTable(&text, []string{"RESULT", "CHECK", "SUBJECT", "MESSAGE"}, rows)
	i := -1 // the first line is the header
	for line := range strings.Lines(text.String()) {
		_, _ = io.WriteString(w, line)
		if i >= 0 && r.Findings[i].Fix != "" {
			for fix := range strings.SplitSeq(strings.TrimSpace(r.Findings[i].Fix), "\n") {
				_, _ = fmt.Fprintf(w, "         %s\n", printable(fix))
			}
		}
		i++
	}
	_, _ = fmt.Fprintf(w, "%d ok, %s, %d failed, %d skipped\n",
		len(r.Findings)-r.Failed-r.Warnings-r.Skipped, plural(r.Warnings, "warning"), r.Failed, r.Skipped)
	if r.Skipped == 0 {
		return
	}
	var unknown []string
	for _, f := range r.Findings {
		if f.Result == doctor.Skipped && !slices.Contains(unknown, f.Check) {
			unknown = append(unknown, f.Check)
		}
	}
	_, _ = fmt.Fprintf(w, "skipped is not ok: nobody knows about %s\n", strings.Join(unknown, ", "))
}

// programVersion is what images are compared with.
func programVersion() string { return service.Version().Version }

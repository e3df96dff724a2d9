package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

const (
	defaultNamespace  = "argocd"
	defaultMaxArchive = 50 << 20
	defaultTimeout    = time.Minute
	// atOnce is how many checks run beside each other.
	atOnce = 4
)

// Checks lists every check, in the order in which an installation is built up.
func Checks() []Check {
	return []Check{
		{Name: "kubernetes", Looks: "the API server: does it know native sidecars", Cluster: true, run: checkKubernetes},
		{Name: "argocd", Looks: "Argo CD: is it a version that is known to work, and complete", Cluster: true, run: checkArgoCD},
		{Name: "programs", Looks: "generator and hook: do they run, in one version, and does all exist that their Pods need", Cluster: true, run: checkPrograms},
		{Name: "rights", Looks: "the hook's service account: may it see and patch Applications, poke ApplicationSets, and see Pods", Cluster: true, run: checkRights},
		{Name: "sidecar", Looks: "repo-server's Pod: is cmp-sidecar a native sidecar that shares the plugins folder and nothing else", Cluster: true, run: checkSidecar},
		{Name: "socket", Looks: "the plugin's socket: is it there, and does somebody answer", run: checkSocket},
		{Name: "tar-exclusions", Looks: "repo-server: does it leave .git, and nothing that is needed, out of what it sends to the plugin", Cluster: true, run: checkTarExclusions},
		{Name: "plugin-name", Looks: "Applications and ApplicationSets: do they name the plugin as it is called", Cluster: true, run: checkPluginName},
		{Name: "applicationset", Looks: "ApplicationSets: can they delete Applications, and does the controller obey them", Cluster: true, run: checkApplicationSets},
		{Name: "generator-config", Looks: "the generator's ConfigMap: address, token, time-out", Cluster: true, run: checkGeneratorConfig},
		{Name: "tokens", Looks: "the bearer tokens: are they equal, long enough, and accepted", Cluster: true, run: checkTokens},
		{Name: "hook", Looks: "the hook's newest run of every pipeline", Cluster: true, run: checkHook},
		{Name: "notifications", Looks: "argocd-notifications-cm: can it be read, and does it tell the hook", Cluster: true, run: checkNotifications},
		{Name: "git", Looks: "the repositories: can they be read and written, and is propagator.yaml valid", run: checkGit},
		{Name: "archive", Looks: "what repo-server packs for each render: how large is it", run: checkArchive},
		{Name: "registries", Looks: "the registries: do the credentials pull and push", run: checkRegistries},
		{Name: "clock", Looks: "the clocks of this machine, the API server, the hook, Git hosts and registries", run: checkClock},
	}
}

// Run examines an installation. It returns when every check is done or has used
// up its time, or ctx is over, whose error it then returns.
func Run(ctx context.Context, c Config, checks []Check) (Report, error) {
	c.Namespace = cmp.Or(c.Namespace, defaultNamespace)
	c.MaxArchive = cmp.Or(c.MaxArchive, defaultMaxArchive)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	x := &examination{Config: c, secrets: secretSet{names: []string{c.Namespace}}}
	found := make([][]Finding, len(checks))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, check := range checks {
		group.Go(func() error {
			found[i] = x.perform(ctx, check)
			return nil
		})
	}
	_ = group.Wait() // checks have findings, not errors
	if ctx.Err() != nil {
		return Report{}, ctx.Err()
	}
	report := Report{Findings: []Finding{}}
	clean := x.secrets.replacer()
	for _, f := range slices.Concat(found...) {
		f.Subject, f.Message, f.Fix = oneLine(clean.Replace(f.Subject)), oneLine(clean.Replace(f.Message)), clean.Replace(f.Fix)
		report.Findings = append(report.Findings, f)
	}
	return report, nil
}

// perform runs one check within its time. A check that does not stop by itself
// is left behind; what it finds later is nobody's.
func (x *examination) perform(ctx context.Context, check Check) []Finding {
	n := &notes{check: check.Name}
	if check.Cluster && x.Cluster == nil {
		n.skip("cluster", "needs the cluster in which Argo CD runs", "propagator doctor --kubeconfig FILE")
		return n.all()
	}
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if fault := recover(); fault != nil {
				x.Log.ErrorContext(ctx, "panic", "check", check.Name, "panic", fault, "stack", string(debug.Stack()))
				n.fail(check.Name, "internal error in this check; --verbose shows where", "report it, with the output of: propagator doctor --verbose --only "+check.Name)
			}
		}()
		check.run(ctx, x, n)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		n.fail(check.Name, fmt.Sprintf("not done within %s", x.Timeout), "give it more time: propagator doctor --check-timeout 5m --only "+check.Name)
	}
	return n.all()
}

// notes collects the findings of a check. A check that ran out of time may
// still write while they are read.
type notes struct {
	check string
	mu    sync.Mutex // guards list
	list  []Finding
}

func (n *notes) add(result Result, subject, message, fix string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, Finding{Check: n.check, Subject: subject, Result: result, Message: message, Fix: fix})
}

func (n *notes) ok(subject, format string, args ...any) {
	n.add(OK, subject, fmt.Sprintf(format, args...), "")
}
func (n *notes) warn(subject, message, fix string) { n.add(Warning, subject, message, fix) }
func (n *notes) fail(subject, message, fix string) { n.add(Failed, subject, message, fix) }
func (n *notes) skip(subject, message, fix string) { n.add(Skipped, subject, message, fix) }

func (n *notes) all() []Finding {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

// faults reports whether anything but ok was found.
func (n *notes) faults() bool {
	return slices.ContainsFunc(n.all(), func(f Finding) bool { return f.Result != OK })
}

// trouble notes that something could not be read. Forbidden is no fault of the
// installation, and says nothing about it.
func (n *notes) trouble(subject string, err error) {
	var cluster *kube.Error
	switch {
	case errors.Is(err, kube.ErrForbidden) && errors.As(err, &cluster):
		n.skip(subject, "needs a permission: "+cluster.Said, "run it as somebody who may, or ask for that right")
	case errors.Is(err, kube.ErrUnauthorized):
		n.fail(subject, "the API server does not accept these credentials", "log in to the cluster again, then: kubectl auth whoami")
	default:
		n.fail(subject, err.Error(), "see whether the API server is well: kubectl get --raw '/readyz?verbose'")
	}
}

// oneLine makes foreign text safe for a terminal and bounds it.
func oneLine(text string) string {
	const longest = 600
	text = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Package gates opens the gates of a configuration: it is where what
// propagator.yaml says meets what a machine has, such as tokens and programs.
package gates

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/extension"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/kube"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// Set opens gates. The configuration is written by whoever may push to the
// source branch, and so names no file outside of these two directories, which
// belong to whoever runs the program. It may be used concurrently.
type Set struct {
	// Tokens is the directory with bearer tokens for servers, each in a file with
	// the name of its host: a token can be sent nowhere else. Empty: there are none.
	Tokens string
	// Plugins is the directory with the programs that may be gates. Empty: none may.
	Plugins string
	// Kubeconfig is of the cluster in which gates look for Jobs. Empty: there is
	// none to look in, unless InCluster says that it is the one in which the
	// program runs as a Pod.
	Kubeconfig string
	InCluster  bool
	// Logger receives what those programs write. Default: discarded.
	Logger *slog.Logger

	proven gate.Proven
}

var _ promotion.Gates = (*Set)(nil)

// Bind adds the flags.
func (s *Set) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&s.Tokens, "gate-tokens", "", "`directory` with bearer tokens for the gates http and prometheus, each in a file with the name of its host")
	flags.StringVar(&s.Kubeconfig, "gate-kubeconfig", "", "kubeconfig `file` of the cluster in which gates of the kind job look for Jobs")
	flags.StringVar(&s.Plugins, "gate-plugins", "", "`directory` with the programs that gates of the kind plugin may start")
}

// Open implements promotion.Gates.
func (s *Set) Open(g config.Gate, from promotion.Sources) (gate.Gate, error) {
	switch {
	case g.Window != nil:
		return gate.NewWindow(g.Window.Cron, g.Window.Duration, g.Window.Timezone)
	case g.Freeze != nil:
		return gate.NewFreeze(gate.FreezeOptions(*g.Freeze))
	case g.Prometheus != nil:
		return gate.NewPrometheus(gate.PrometheusOptions{
			Server: g.Prometheus.Server, Query: g.Prometheus.Query, Pass: g.Prometheus.Pass, Empty: g.Prometheus.Empty,
			TokenFile: s.token(g.Prometheus.Server),
		})
	case g.HTTP != nil:
		return gate.NewHTTP(gate.HTTPOptions{
			URL: g.HTTP.URL, Method: g.HTTP.Method, Field: g.HTTP.Field, Value: g.HTTP.Value, Timeout: g.HTTP.Timeout,
			TokenFile: s.token(g.HTTP.URL),
		})
	case g.Signatures != nil:
		return s.signatures(*g.Signatures, from)
	case g.Job != nil:
		return s.job(*g.Job)
	case g.Plugin != nil:
		return s.plugin(*g.Plugin)
	}
	return nil, fmt.Errorf("this version cannot ask a gate %q", g.Name())
}

// token is the file with the token for a server; empty when there is none.
func (s *Set) token(address string) string {
	u, err := url.Parse(address)
	if s.Tokens == "" || err != nil || !filepath.IsLocal(u.Hostname()) {
		return ""
	}
	file := filepath.Join(s.Tokens, u.Hostname())
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		return ""
	}
	return file
}

func (s *Set) job(g config.JobGate) (gate.Gate, error) {
	if s.Kubeconfig == "" && !s.InCluster {
		return nil, errors.New("the Job cannot be looked for: there is no cluster here (--gate-kubeconfig)")
	}
	client, err := kube.Connect(kube.Options{Kubeconfig: s.Kubeconfig})
	if err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return gate.NewJob(gate.JobOptions{Jobs: jobs{client}, Namespace: g.Namespace, Name: g.Name, Selector: g.Selector})
}

func (s *Set) plugin(p config.PluginGate) (gate.Gate, error) {
	if s.Plugins == "" {
		return nil, fmt.Errorf("the plugin %s cannot be started: there is no directory of plugins here (--gate-plugins)", p.Command)
	}
	return extension.New(extension.Options{
		Command: p.Command, Dir: s.Plugins, SHA256: p.SHA256, Timeout: p.Timeout, Settings: p.Settings, Logger: s.Logger,
	})
}

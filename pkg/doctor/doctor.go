// Package doctor examines an installation of Propagator: what was applied to the
// cluster, whether its parts accept each other's tokens, whether Git and the
// registries grant what the hook needs, and whether the clocks agree.
//
// An examination is a list of small checks. Each of them ends in findings: what
// was looked at, whether it is in order, and for what is not, what to type. The
// checks read only (with one exception, see [Config.ReadOnly]), run beside each
// other, and have a time limit each, so none of them takes others down. What a
// check may not see is skipped with the permission it lacks; it is never ok.
//
// Secrets are compared in memory. No finding contains one: beside the care of
// every check, whatever was read from a Secret is removed from all texts.
package doctor

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/kube"
)

// Result says how a finding came out.
type Result string

// The results, from best to worst. Skipped is neither: nobody knows.
const (
	OK      Result = "ok"
	Skipped Result = "skipped"
	Warning Result = "warning"
	Failed  Result = "failed"
)

// Finding is what a check says about one thing that it looked at.
type Finding struct {
	// Check is the check's name.
	Check string `json:"check"`
	// Subject is what it looked at: an object, a repository, a registry.
	Subject string `json:"subject"`
	Result  Result `json:"result"`
	// Message is one line: what is so, or why it was skipped.
	Message string `json:"message"`
	// Fix is what to type or to edit, a line each; empty when all is well.
	Fix string `json:"fix,omitempty"`
}

// Check describes one check.
type Check struct {
	// Name for --only and --skip.
	Name string `json:"check"`
	// Looks says what it looks at.
	Looks string `json:"looksAt"`
	// Cluster: it is skipped without a cluster.
	Cluster bool `json:"needsCluster"`

	run func(context.Context, *examination, *notes)
}

// Program is one of Propagator's own that can be asked something.
type Program string

// The programs.
const (
	Hook      Program = "notifications-hook"
	Generator Program = "applicationset-generator"
	Sidecar   Program = "cmp-sidecar"
)

// Login is a user's name and password, or access token, for Git. It prints as
// REDACTED.
type Login struct{ Username, Password string }

// String keeps the password out of logs.
func (Login) String() string { return "REDACTED" }

// GoString keeps the password out of %#v.
func (Login) GoString() string { return "REDACTED" }

// Repository is a Git repository that can say whether it may be written to.
type Repository interface {
	gitrepo.Reader
	// MayPush reports an error when the server refuses a push at the door. It
	// pushes nothing.
	MayPush(ctx context.Context) error
}

// Registry is a registry that can say what is allowed in a repository.
type Registry interface {
	MayPull(ctx context.Context, repo string) error
	// MayPush opens an upload and gives it up.
	MayPush(ctx context.Context, repo string) error
}

// Registries opens the registries of a pipeline.
type Registries func(config.Registry) (Registry, error)

// Config is what an examination works with. Nil functions skip the checks that
// need them.
type Config struct {
	// Cluster is the one in which Argo CD runs. Nil: those checks that need it
	// are skipped.
	Cluster *kube.Client
	// Namespace of Argo CD. Default: argocd.
	Namespace string
	// Version of the program that examines, to compare images with. "" or
	// "devel" compares nothing.
	Version string

	// URLs reach programs directly. Default: through the API server, by
	// port-forward to a Pod.
	URLs map[Program]string
	// HTTP is the client for URLs and for asking Git hosts and registries the
	// time. It never sends credentials except to URLs. Default:
	// [http.DefaultClient].
	HTTP *http.Client
	// PluginsDir is repo-server's folder of plugin sockets, if the examination
	// runs where it can see it.
	PluginsDir string

	// Repositories are the URLs of the GitOps repositories, Branch the source
	// branch. Default: what ConfigMap propagator-settings tells the hook, else
	// Origin and main.
	Repositories []string
	Branch       string
	// Origin is the repository in whose checkout the examination runs, if any.
	Origin string
	// Endpoints reroute registries, by name. Default: what the hook was told.
	Endpoints map[string]string

	// OwnCredentials leaves the Secrets of the cluster alone. Otherwise Git and
	// the registries are asked with what the hook has (Secrets propagator-git,
	// propagator-registries), and with one's own where there is no Secret.
	OwnCredentials bool
	// GitCredentials: one's own were given by name, so they win over the
	// Secret's.
	GitCredentials bool
	// OpenRepository opens a repository with a login, or one's own when nil.
	OpenRepository func(url string, login *Login) (Repository, error)
	// OpenRegistries joins the credentials of a Docker configuration, or one's
	// own when it is nil, with the endpoints.
	OpenRegistries func(dockerConfig []byte, endpoints map[string]string) (Registries, error)
	// CheckHost asks the server that hosts a repository whether a token is accepted
	// and may see it; tokens are by the name of the API's host, or one's own when
	// nil. It returns what to do about an error, too.
	CheckHost func(ctx context.Context, repository string, host config.CodeHost, tokens map[string]string) (fix string, err error)
	// ReadOnly leaves out the one thing that a check writes: an upload, opened
	// in a registry and given up at once.
	ReadOnly bool

	// MaxArchive is the size in bytes from which the repository that Argo CD
	// packs for each render is too large. Default: 50 MiB.
	MaxArchive int64
	// Timeout bounds each check. Default: one minute.
	Timeout time.Duration
	// Log is told what a check could not finish. Default: silent.
	Log *slog.Logger
}

// Report is the outcome of an examination, in the order of [Checks].
type Report struct {
	Findings []Finding `json:"findings"`
}

// Count returns how many findings came out in a way.
func (r Report) Count(result Result) int {
	n := 0
	for _, f := range r.Findings {
		if f.Result == result {
			n++
		}
	}
	return n
}

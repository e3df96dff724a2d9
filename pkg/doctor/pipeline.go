package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/kube"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// own names the credentials of whoever runs the examination.
const own = "your own credentials"

// pipeline is one GitOps repository, as far as it can be read.
type pipeline struct {
	url string // without credentials
	// whose credentials were used.
	whose string
	repo  Repository
	refs  gitrepo.Refs
	// branch is the source branch, tip its commit, tree that one's tree.
	branch    string
	tip, tree gitrepo.Hash
	config    *config.Pipeline

	// err is why it cannot be read; the fields after it stay empty.
	err error
	// configErr is why propagator.yaml cannot be used.
	configErr error
}

// settings is what the hook is told, by ConfigMap propagator-settings. Nothing
// is missing when there is no cluster, or no such ConfigMap.
func (x *examination) settings(ctx context.Context) (map[string]string, error) {
	if x.Cluster == nil {
		return nil, nil
	}
	data, err := x.configMap(ctx, settingsMap)
	if errors.Is(err, kube.ErrNotFound) {
		return nil, nil
	}
	return data, err
}

// endpoints are the rerouted registries: NAME=URL, separated by commas.
func (x *examination) endpoints(settings map[string]string) map[string]string {
	if len(x.Endpoints) > 0 {
		return x.Endpoints
	}
	routes := map[string]string{}
	for route := range strings.SplitSeq(settings["PROPAGATOR_REGISTRY_ENDPOINT"], ",") {
		if name, to, ok := strings.Cut(strings.TrimSpace(route), "="); ok {
			routes[name] = to
		}
	}
	return routes
}

// repositories are the URLs of all pipelines.
func (x *examination) repositories(ctx context.Context) ([]string, error) {
	if len(x.Repositories) > 0 {
		return x.Repositories, nil
	}
	settings, err := x.settings(ctx)
	if err != nil {
		return nil, err
	}
	var urls []string
	for url := range strings.SplitSeq(settings["PROPAGATOR_REPOSITORY"], ",") {
		if url = strings.TrimSpace(url); url != "" {
			urls = append(urls, url)
		}
	}
	if len(urls) == 0 && x.Origin != "" {
		urls = []string{x.Origin}
	}
	if len(urls) == 0 {
		return nil, errNoRepository
	}
	return urls, nil
}

// open reads every pipeline's refs and configuration, once for all checks.
func (x *examination) open(ctx context.Context) ([]*pipeline, error) {
	return x.pipelines.get(ctx, func(ctx context.Context) ([]*pipeline, error) {
		urls, err := x.repositories(ctx)
		if err != nil {
			return nil, err
		}
		if x.OpenRepository == nil {
			return nil, errNoRepository
		}
		settings, err := x.settings(ctx)
		if err != nil && len(x.Repositories) == 0 {
			return nil, err
		}
		login, whose, err := x.login(ctx)
		if err != nil {
			return nil, err
		}
		branch := cmp.Or(x.Branch, settings["PROPAGATOR_BRANCH"], "main")
		var all []*pipeline
		for _, url := range urls {
			p := &pipeline{url: publicURL(url), whose: whose, branch: branch}
			p.read(ctx, func() (Repository, error) { return x.OpenRepository(url, login) })
			all = append(all, p)
		}
		return all, nil
	})
}

var errNoRepository = errors.New("no repository is known: ConfigMap " + settingsMap + " has no PROPAGATOR_REPOSITORY, and none was named")

// repositoriesOrNote is open for a check that ends when there is none.
func (x *examination) repositoriesOrNote(ctx context.Context, n *notes) []*pipeline {
	all, err := x.open(ctx)
	switch {
	case errors.Is(err, errNoRepository):
		n.skip("repository", err.Error(), "propagator doctor --repository URL, or:\n"+x.kubectl(`patch configmap %s --type merge -p '{"data":{"PROPAGATOR_REPOSITORY":"https://…"}}'`, settingsMap))
	case err != nil:
		n.trouble("repository", err)
	}
	return all
}

// login is what the hook has for Git, or nil for one's own.
func (x *examination) login(ctx context.Context) (*Login, string, error) {
	if x.OwnCredentials || x.GitCredentials || x.Cluster == nil {
		return nil, own, nil
	}
	s, err := x.secret(ctx, gitSecret)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return nil, own + " (there is no Secret " + gitSecret + ")", nil
	case errors.Is(err, kube.ErrForbidden):
		return nil, own + " (Secret " + gitSecret + " may not be read)", nil
	case err != nil:
		return nil, "", err
	}
	if len(s.Data["password"]) == 0 && len(s.Data["ssh-privatekey"]) > 0 {
		return nil, own + " (Secret " + gitSecret + " has an ssh key, which stays where it is)", nil
	}
	return loginOf(s), "Secret " + gitSecret, nil
}

func (p *pipeline) read(ctx context.Context, open func() (Repository, error)) {
	if p.repo, p.err = open(); p.err != nil {
		return
	}
	if p.refs, p.err = p.repo.Refs(ctx, gitrepo.Heads, gitrepo.Tags); p.err != nil {
		return
	}
	tip, ok := p.refs[gitrepo.Heads+p.branch]
	if !ok {
		p.configErr = fmt.Errorf("there is no branch %s", p.branch)
		return
	}
	p.tip = tip
	if p.err = p.repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1}); p.err != nil {
		return
	}
	commit, err := gitrepo.ReadCommit(p.repo, tip)
	if err != nil {
		p.err = err
		return
	}
	p.tree = commit.Tree
	p.config, p.configErr = snapshot.ReadConfig(p.repo, commit.Tree)
}

// newest is the lock of the newest snapshot; nil when there is none to read.
func (p *pipeline) newest(ctx context.Context) *snapshot.Lock {
	var best snapshot.Version
	for name := range p.refs {
		v, err := snapshot.ParseVersion(strings.TrimPrefix(name, gitrepo.Tags))
		if err == nil && p.config != nil && v.Pipeline == p.config.Name && (best.IsZero() || v.Compare(best) > 0) {
			best = v
		}
	}
	if best.IsZero() {
		return nil
	}
	id := p.refs[best.Ref()]
	if p.repo.Fetch(ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}) != nil {
		return nil
	}
	found, err := snapshot.Read(p.repo, id, best)
	if err != nil {
		return nil
	}
	return found.Lock
}

package shop

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/examples"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Options say where a company works.
type Options struct {
	Content Content
	// Git hosts the repository, which is named after the pipeline: shop.git.
	Git *gitserver.Server
	// Registries that the manifests name.
	Registries *registries.Set
	// Dir is where the working copies of CI and people are kept.
	Dir string
	// Build makes images other than the usual small ones; nil for these. A real
	// node needs images that run.
	Build Build
}

// Pipeline is a living GitOps repository. Its methods may be called
// concurrently; those of one user wait for each other.
type Pipeline struct {
	config     *config.Pipeline
	git        *gitserver.Server
	registries *registries.Set
	dir        string
	build      Build
	content    Content
	services   []examples.Service           // sorted by name
	targets    map[string]registry.Registry // CI's clients, by the registry's name

	mu      sync.Mutex             // guards the rest
	builds  map[string]int         // by service
	desks   map[string]*sync.Mutex // by user: who holds it uses the clone
	clones  map[string]*gitserver.Clone
	commits map[string]string // that objects named by refs are or lead to
}

// New makes the repository, with its content as the first commit of main, and
// pushes the images that its manifests name to the registries.
func New(ctx context.Context, options Options) (*Pipeline, error) {
	parsed, err := options.Content.pipeline()
	if err != nil {
		return nil, fmt.Errorf("set up the pipeline: %w", err)
	}
	p := &Pipeline{
		config: parsed, git: options.Git, registries: options.Registries, dir: options.Dir, build: options.Build,
		content: options.Content, services: slices.Clone(options.Content.Services),
		targets: map[string]registry.Registry{}, builds: map[string]int{}, desks: map[string]*sync.Mutex{}, clones: map[string]*gitserver.Clone{},
		commits: map[string]string{},
	}
	for _, r := range p.registries.All() {
		client, err := r.Open()
		if err != nil {
			return nil, fmt.Errorf("set up %s: %w", p.Name(), err)
		}
		p.targets[r.Name()] = client
	}
	if p.build == nil {
		p.build = small
	}
	if len(p.services) == 0 {
		return nil, fmt.Errorf("set up %s: no services", p.Name())
	}
	if p.config.Source.Branch != gitserver.Main {
		return nil, fmt.Errorf("set up %s: the source branch is %s; the suite's people write to %s", p.Name(), p.config.Source.Branch, gitserver.Main)
	}
	slices.SortFunc(p.services, func(a, b examples.Service) int { return cmp.Compare(a.Name, b.Name) })
	artifacts, err := options.Content.artifacts(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", p.Name(), err)
	}
	if err := p.git.Create(ctx, p.Repo(), gitserver.DefaultRights(p.Name())); err != nil {
		return nil, fmt.Errorf("set up %s: %w", p.Name(), err)
	}
	// Images first: whoever sees the commit finds them.
	if err := p.publish(ctx, artifacts); err != nil {
		return nil, fmt.Errorf("set up %s: %w", p.Name(), err)
	}
	err = p.as(ctx, gitserver.Developer, func(clone *gitserver.Clone) error {
		if err := clone.Write(options.Content.Files); err != nil {
			return err
		}
		if _, err := clone.Commit(ctx, "the "+p.Name()+"'s GitOps repository"); err != nil {
			return err
		}
		return clone.Push(ctx, "HEAD:refs/heads/"+gitserver.Main)
	})
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", p.Name(), err)
	}
	return p, nil
}

// Name is the pipeline's name: shop.
func (p *Pipeline) Name() string { return p.config.Name }

// Config is the pipeline's configuration as the repository began with it.
func (p *Pipeline) Config() *config.Pipeline { return p.config }

// Repo is the repository's name on the git server: shop.git.
func (p *Pipeline) Repo() string { return p.Name() + ".git" }

// URL is the repository's URL, without credentials.
func (p *Pipeline) URL() string { return p.git.URL(p.Repo()) }

// Settings are the values that are this company's own in Propagator's settings
// (the ConfigMap propagator-settings).
func (p *Pipeline) Settings() map[string]string {
	return map[string]string{
		"PROPAGATOR_REPOSITORY":        p.URL(),
		"PROPAGATOR_REGISTRY_ENDPOINT": p.registries.Endpoints(),
	}
}

// Head returns the commit of a branch or tag, and an empty string if there is
// none: "main", "environments/stage", "refs/tags/shop/v0.1.0".
func (p *Pipeline) Head(ctx context.Context, ref string) (string, error) {
	refs, err := p.git.Refs(p.Repo())
	id := refs[full(ref)]
	if err != nil || id == "" {
		return "", err
	}
	// What an object is never changes, so git is asked once.
	p.mu.Lock()
	commit := p.commits[id]
	p.mu.Unlock()
	if commit != "" {
		return commit, nil
	}
	if commit, err = p.git.Git(ctx, p.Repo(), "rev-parse", "--verify", id+"^{commit}"); err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commits[id] = commit
	return commit, nil
}

// full spells a branch out.
func full(ref string) string {
	if strings.HasPrefix(ref, "refs/") {
		return ref
	}
	return "refs/heads/" + ref
}

// as works in the clone of a user, one caller at a time.
func (p *Pipeline) as(ctx context.Context, user string, work func(*gitserver.Clone) error) error {
	p.mu.Lock()
	desk := p.desks[user]
	if desk == nil {
		desk = &sync.Mutex{}
		p.desks[user] = desk
	}
	p.mu.Unlock()
	desk.Lock()
	defer desk.Unlock()
	p.mu.Lock()
	clone := p.clones[user]
	p.mu.Unlock()
	if clone == nil {
		made, err := p.git.Clone(ctx, p.Repo(), user, filepath.Join(p.dir, p.Name(), user))
		if err != nil {
			return err
		}
		clone = made
		p.mu.Lock()
		p.clones[user] = clone
		p.mu.Unlock()
	}
	return work(clone)
}

// errNoSuchService names what there is instead.
func (p *Pipeline) errNoSuchService(name string) error {
	return fmt.Errorf("no service %s; there are %s", name, strings.Join(p.content.names(), ", "))
}

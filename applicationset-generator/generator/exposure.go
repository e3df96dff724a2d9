package generator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Set is one parameter set: one Application of one environment at one
// destination. The field names are what ApplicationSet templates refer to.
type Set struct {
	// Name is unique among the pipeline's sets and fit for an object's name:
	// <pipeline>-<environment>-<application>, with the cluster and the namespace
	// behind it where they are not the defaults.
	Name        string `json:"name"`
	Pipeline    string `json:"pipeline"`
	Environment string `json:"environment"`
	Application string `json:"application"`
	// Snapshot is shop/v1.4.0, Version v1.4.0, Tag refs/tags/shop/v1.4.0 and
	// Revision the snapshot's commit id.
	Snapshot string `json:"snapshot"`
	Version  string `json:"version"`
	Tag      string `json:"tag"`
	Revision string `json:"revision"`
	RepoURL  string `json:"repoURL"`
	Path     string `json:"path"`
	// Namespace and Cluster are the destination. Exactly one of the cluster's
	// name and server is not empty.
	Namespace string  `json:"namespace"`
	Cluster   Cluster `json:"cluster"`
	// Registry is where the environment's images are.
	Registry string `json:"registry"`
	// Renderer changes with the renderer's version, so that Argo CD does not
	// serve manifests that an older one made from its cache.
	Renderer string `json:"renderer"`
}

// Cluster is an Argo CD destination.
type Cluster struct {
	Name   string `json:"name"`
	Server string `json:"server"`
}

// exposure is what one pipeline's environments have been promoted to. It is
// immutable.
type exposure struct {
	pipeline string
	// fault is why the configuration at the tip of the source branch could not
	// be used, and that of the newest snapshot was; nil when it could.
	fault error
	// environments holds every environment with a ledger, in the order of the
	// configuration.
	environments []exposed
}

type exposed struct {
	name string
	// tip of the ledger; empty when the environment was never promoted to.
	tip gitrepo.Hash
	// snapshot is what the ledger names; zero before the first promotion.
	snapshot snapshot.Version
	sets     []Set
	// err is why the environment cannot be exposed; nil when it can. The other
	// environments are none the worse for it.
	err error
}

func (x *exposure) environment(name string) (exposed, bool) {
	for _, e := range x.environments {
		if e.name == name {
			return e, true
		}
	}
	return exposed{}, false
}

// load reads what a repository exposes now. Whatever cannot be read is an
// error: a shorter list would look like a deliberate removal.
func (s *source) load(ctx context.Context) (*exposure, error) {
	refs, err := s.repo.Refs(ctx, gitrepo.Heads, gitrepo.Tags)
	if err != nil {
		return nil, err
	}
	current, err := snapshot.ReadCurrent(ctx, s.repo, refs, s.branch)
	if err != nil {
		return nil, err
	}
	pipeline := current.Pipeline
	wanted := make([]gitrepo.Hash, 0, len(pipeline.Environments))
	for _, environment := range pipeline.Environments {
		if tip := refs[gitrepo.Heads+environment.Branch]; !environment.First() && tip != "" {
			wanted = append(wanted, tip)
		}
	}
	if len(wanted) > 0 {
		if err := s.repo.Fetch(ctx, wanted, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
			return nil, err
		}
	}
	x := &exposure{pipeline: pipeline.Name, fault: current.Fault}
	for _, environment := range pipeline.Environments {
		if environment.First() {
			continue
		}
		e, err := s.expose(ctx, pipeline, refs, environment)
		if err != nil && transient(err) {
			return nil, fmt.Errorf("environment %s: %w", environment.Name, err)
		}
		if err != nil {
			e.sets, e.err = nil, fmt.Errorf("environment %s: %w", environment.Name, err)
		}
		x.environments = append(x.environments, e)
	}
	return x, unique(x)
}

// transient reports whether an error is one of reaching the repository, which
// says nothing about an environment.
func transient(err error) bool {
	return errors.Is(err, gitrepo.ErrUnreachable) || errors.Is(err, gitrepo.ErrUnauthorized) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// expose reads what one environment has been promoted to.
func (s *source) expose(ctx context.Context, pipeline *config.Pipeline, refs gitrepo.Refs, environment config.Environment) (exposed, error) {
	e := exposed{name: environment.Name, tip: refs[gitrepo.Heads+environment.Branch]}
	if e.tip == "" {
		return e, nil
	}
	entry, err := snapshot.ReadEntry(s.repo, e.tip)
	if err != nil {
		return e, err
	}
	if entry.Environment != e.name {
		// Pushed there by hand: no gate of this environment was asked.
		return e, fmt.Errorf("its branch %s holds the ledger of environment %q", environment.Branch, entry.Environment)
	}
	if e.snapshot = entry.Snapshot; e.snapshot.IsZero() {
		return e, nil
	}
	e.sets, err = s.sets(ctx, pipeline, refs, e, entry.Tree)
	return e, err
}

// sets lists the parameter sets of one environment. tested is the tree that its
// ledger names.
func (s *source) sets(ctx context.Context, pipeline *config.Pipeline, refs gitrepo.Refs, e exposed, tested gitrepo.Hash) ([]Set, error) {
	commit, ok := refs[e.snapshot.Ref()]
	if !ok {
		return nil, fmt.Errorf("its branch names snapshot %s, but that tag does not exist", e.snapshot)
	}
	if err := s.repo.Fetch(ctx, []gitrepo.Hash{commit}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	snap, err := snapshot.Read(s.repo, commit, e.snapshot)
	if err != nil {
		return nil, err
	}
	if snap.Tree != tested {
		return nil, fmt.Errorf("the tag %s does not name the tree that its branch has: the tag was moved", e.snapshot)
	}
	own, err := snapshot.ReadConfig(s.repo, snap.Tree)
	if err != nil {
		return nil, err
	}
	if own.Name != pipeline.Name || e.snapshot.Pipeline != pipeline.Name {
		return nil, fmt.Errorf("its branch names snapshot %s of pipeline %q; this one is %q", e.snapshot, own.Name, pipeline.Name)
	}
	targets, err := snapshot.Targets(own, snap.Lock, e.name)
	if err != nil {
		return nil, err
	}
	environment, _ := own.Environment(e.name)
	sets := make([]Set, 0, len(targets))
	for _, t := range targets {
		name := append([]string{own.Name, e.name, t.Application}, distinction(own, e.name, t.Destination)...)
		sets = append(sets, Set{
			Name:        objectName(strings.Join(name, "-")),
			Pipeline:    own.Name,
			Environment: e.name,
			Application: t.Application,
			Snapshot:    e.snapshot.String(),
			Version:     e.snapshot.Number(),
			Tag:         e.snapshot.Ref(),
			Revision:    string(commit),
			RepoURL:     cmp.Or(s.publicURL, s.repo.URL()),
			Path:        t.Path,
			Namespace:   t.Destination.Namespace,
			Cluster:     Cluster{Name: t.Destination.Cluster, Server: t.Destination.Server},
			Registry:    own.Registries[environment.Registry].URL,
			Renderer:    s.renderer,
		})
	}
	return sets, nil
}

// distinction is what an Application's name says about its destination: the
// cluster unless it is the one Argo CD runs in, and the namespace unless it is
// the environment's default. It follows from the destination alone, so that
// adding another one renames no Application that exists: the old one would stay
// and fight with the new.
func distinction(p *config.Pipeline, environment string, d config.Destination) []string {
	var parts []string
	_, host, found := strings.Cut(d.Server, "://")
	if !found {
		host = d.Server
	}
	if cluster := cmp.Or(d.Cluster, host); cluster != "in-cluster" && cluster != "kubernetes.default.svc" {
		parts = append(parts, cluster)
	}
	if d.Namespace != p.Name+"-"+environment {
		parts = append(parts, d.Namespace)
	}
	return parts
}

// unique refuses sets of one name: Argo CD would drop or mix up the
// Applications.
func unique(x *exposure) error {
	seen := map[string]Set{}
	for _, e := range x.environments {
		for _, set := range e.sets {
			if other, double := seen[set.Name]; double {
				return fmt.Errorf("%s of environment %s and %s of environment %s would both be the Application %s; rename an application, an environment or a cluster",
					other.Application, other.Environment, set.Application, set.Environment, set.Name)
			}
			seen[set.Name] = set
		}
	}
	return nil
}

// objectName makes a text fit for the name of a Kubernetes object: folders,
// which give applications their names, and clusters may be called anything.
func objectName(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	return strings.Trim(name, "-")
}

// errShrunk: the answer would lose Applications although nothing in git says
// that they are meant to go.
var errShrunk = errors.New("would remove Applications without a record of it")

// checkShrink compares what would be served with what was served before. A
// snapshot with fewer applications, and an environment that the configuration
// no longer names, are recorded in git. A ledger that vanished, or that was
// begun anew, is not.
func checkShrink(before, after *exposure) error {
	if before == nil {
		return nil
	}
	for _, was := range before.environments {
		now, ok := after.environment(was.name)
		switch {
		case was.snapshot.IsZero():
		case !ok && after.fault != nil:
			return fmt.Errorf("%w: environment %s is not in the newest snapshot's configuration, and the one on the source branch cannot be used: %w", errShrunk, was.name, after.fault)
		case ok && now.err != nil: // it is answered with its own error
		case ok && now.snapshot.IsZero():
			return fmt.Errorf("%w: the branch of environment %s vanished or names no snapshot any more (it was at %s, %s); restore it",
				errShrunk, was.name, was.tip.Short(), was.snapshot)
		}
	}
	return nil
}

// keep remembers, for an environment that cannot be exposed now, what it was
// exposed as before, so that a later answer is compared with that.
func (x *exposure) keep(before *exposure) {
	if before == nil {
		return
	}
	for i := range x.environments {
		e := &x.environments[i]
		if was, ok := before.environment(e.name); ok && e.err != nil {
			e.tip, e.snapshot = was.tip, was.snapshot
		}
	}
}

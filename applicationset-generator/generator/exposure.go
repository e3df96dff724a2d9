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
	// Name is unique among all sets: <pipeline>-<environment>-<application>,
	// with the cluster behind it when there is more than one destination.
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
	// environments holds every environment with a ledger, in the order of the
	// configuration.
	environments []exposed
}

type exposed struct {
	name string
	// tip of the ledger; empty when the environment was never promoted to.
	tip  gitrepo.Hash
	sets []Set
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
	refs, err := s.repo.Refs(ctx)
	if err != nil {
		return nil, err
	}
	tip, ok := refs[gitrepo.Heads+s.branch]
	if !ok {
		return nil, fmt.Errorf("repository %s has no branch %s: %w", s.repo.URL(), s.branch, gitrepo.ErrNotFound)
	}
	pipeline, err := s.readConfig(ctx, tip)
	if err != nil {
		return nil, err
	}
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
	x := &exposure{pipeline: pipeline.Name}
	for _, environment := range pipeline.Environments {
		if environment.First() {
			continue
		}
		e := exposed{name: environment.Name, tip: refs[gitrepo.Heads+environment.Branch]}
		if e.sets, err = s.sets(ctx, pipeline, refs, e); err != nil {
			return nil, fmt.Errorf("environment %s: %w", environment.Name, err)
		}
		x.environments = append(x.environments, e)
	}
	return x, nil
}

func (s *source) readConfig(ctx context.Context, commit gitrepo.Hash) (*config.Pipeline, error) {
	if err := s.repo.Fetch(ctx, []gitrepo.Hash{commit}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	c, err := gitrepo.ReadCommit(s.repo, commit)
	if err != nil {
		return nil, err
	}
	return snapshot.ReadConfig(s.repo, c.Tree)
}

// sets lists the parameter sets of one environment.
func (s *source) sets(ctx context.Context, pipeline *config.Pipeline, refs gitrepo.Refs, e exposed) ([]Set, error) {
	if e.tip == "" {
		return nil, nil
	}
	entry, err := snapshot.ReadEntry(s.repo, e.tip)
	if err != nil || entry.Snapshot.IsZero() {
		return nil, err
	}
	commit, ok := refs[entry.Snapshot.Ref()]
	if !ok {
		return nil, fmt.Errorf("its branch names snapshot %s, but that tag does not exist", entry.Snapshot)
	}
	if err := s.repo.Fetch(ctx, []gitrepo.Hash{commit}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	snap, err := snapshot.Read(s.repo, commit, entry.Snapshot)
	if err != nil {
		return nil, err
	}
	own, err := snapshot.ReadConfig(s.repo, snap.Tree)
	if err != nil {
		return nil, err
	}
	if own.Name != pipeline.Name {
		return nil, fmt.Errorf("snapshot %s belongs to pipeline %q", entry.Snapshot, own.Name)
	}
	targets, err := snapshot.Targets(own, snap.Lock, e.name)
	if err != nil {
		return nil, err
	}
	environment, _ := own.Environment(e.name)
	sets := make([]Set, 0, len(targets))
	for _, t := range targets {
		name := strings.Join([]string{own.Name, e.name, t.Application}, "-")
		if len(environment.Destinations) > 1 {
			name += "-" + destinationName(t.Destination)
		}
		sets = append(sets, Set{
			Name:        name,
			Pipeline:    own.Name,
			Environment: e.name,
			Application: t.Application,
			Snapshot:    entry.Snapshot.String(),
			Version:     entry.Snapshot.Number(),
			Tag:         entry.Snapshot.Ref(),
			Revision:    string(commit),
			RepoURL:     cmp.Or(s.publicURL, s.repo.URL()),
			Path:        t.Path,
			Namespace:   t.Destination.Namespace,
			Cluster:     Cluster{Name: t.Destination.Cluster, Server: t.Destination.Server},
			Registry:    own.Registries[environment.Registry].URL,
			Renderer:    s.renderer,
		})
	}
	return sets, unique(sets)
}

// unique refuses sets of one name: Argo CD would drop or mix up the
// Applications.
func unique(sets []Set) error {
	seen := map[string]bool{}
	for _, set := range sets {
		if seen[set.Name] {
			return fmt.Errorf("two Applications would be called %s; rename an application or a cluster", set.Name)
		}
		seen[set.Name] = true
	}
	return nil
}

// destinationName makes a destination fit for an object name.
func destinationName(d config.Destination) string {
	host := d.Server
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(cmp.Or(d.Cluster, host)+"-"+d.Namespace))
	return strings.Trim(name, "-")
}

// errShrunk: the answer would lose Applications although nothing in git says
// that they are meant to go.
var errShrunk = errors.New("would remove Applications without a record of it")

// checkShrink compares what would be served with what was served before. A
// snapshot with fewer applications, and an environment that the configuration
// no longer names, are recorded in git. A ledger that vanished is not.
func checkShrink(before, after *exposure) error {
	if before == nil {
		return nil
	}
	for _, was := range before.environments {
		now, ok := after.environment(was.name)
		if ok && now.tip == "" && was.tip != "" {
			return fmt.Errorf("%w: the branch of environment %s vanished (it was at %s); restore it", errShrunk, was.name, was.tip.Short())
		}
	}
	return nil
}

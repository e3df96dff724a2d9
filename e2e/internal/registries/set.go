package registries

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// Names of the registries, as image references spell them.
const (
	DevName   = "dev.registry.example"
	StageName = "stage.registry.example"
	ProdName  = "prod.registry.example"
	HubName   = "docker.io"
)

// username is whom Stage's and Prod's registries know.
const username = "propagator"

// Options say how the registries are run.
type Options struct {
	// Binary is the file of the distribution registry.
	Binary string
	// Dir is where each registry has a folder for its configuration, its
	// images and its log. It is made if needed.
	Dir string
}

// Set is all registries of a suite. Its methods may be called concurrently.
type Set struct {
	// Dev is open to everybody, and deletes on request.
	Dev *Registry
	// Stage and Prod want credentials, and refuse to delete.
	Stage *Registry
	Prod  *Registry
	// Hub stands for Docker Hub: open, as far as the suite fills it.
	Hub *Registry
}

// Start starts all registries and waits until they answer. Call Stop at the
// end.
func Start(ctx context.Context, options Options) (*Set, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("registries: %w", err)
	}
	set := &Set{
		Dev:   &Registry{name: DevName, deletes: true},
		Stage: &Registry{name: StageName, password: rand.Text()},
		Prod:  &Registry{name: ProdName, password: rand.Text()},
		Hub:   &Registry{name: HubName},
	}
	group, within := errgroup.WithContext(ctx)
	for _, r := range set.All() {
		r.binary, r.dir = options.Binary, filepath.Join(dir, r.name)
		group.Go(func() error {
			if err := r.prepare(); err != nil {
				return fmt.Errorf("registry %s: %w", r.name, err)
			}
			return r.Start(within)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, set.Stop(context.WithoutCancel(ctx)))
	}
	return set, nil
}

// All returns the registries: Dev, Stage, Prod, Hub.
func (s *Set) All() []*Registry { return []*Registry{s.Dev, s.Stage, s.Prod, s.Hub} }

// Stop stops all registries. What they keep stays on disk.
func (s *Set) Stop(ctx context.Context) error {
	errs := make([]error, len(s.All()))
	var group sync.WaitGroup
	for i, r := range s.All() {
		group.Go(func() { errs[i] = r.Stop(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// Endpoints is the value of PROPAGATOR_REGISTRY_ENDPOINT: NAME=URL, separated
// by commas.
func (s *Set) Endpoints() string {
	var pairs []string
	for _, r := range s.All() {
		pairs = append(pairs, r.name+"="+r.URL())
	}
	return strings.Join(pairs, ",")
}

// DockerConfig is a Docker configuration with the credentials of those
// registries that want any: the content of a Secret of type
// kubernetes.io/dockerconfigjson.
func (s *Set) DockerConfig() ([]byte, error) {
	type login struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	logins := map[string]login{}
	for _, r := range s.All() {
		if user, password := r.Credentials(); user != "" {
			logins[r.name] = login{user, password}
		}
	}
	return json.Marshal(map[string]any{"auths": logins})
}

// Secrets are the strings that no log, error or commit may contain.
func (s *Set) Secrets() []string {
	var secrets []string
	for _, r := range s.All() {
		if _, password := r.Credentials(); password != "" {
			secrets = append(secrets, password)
		}
		r.passwords.Lock()
		secrets = append(secrets, r.expired...)
		r.passwords.Unlock()
	}
	return secrets
}

// Open returns Propagator's client for a registry, with the right to push, and
// only that registry's credentials. Repositories are named in full:
// "shop/orders".
func (r *Registry) Open() (registry.Registry, error) {
	return remote.New(remote.Config{Name: r.name, Endpoint: r.URL(), Writable: true, Keychain: keychain{r}})
}

// keychain has one registry's credentials.
type keychain struct{ registry *Registry }

// Resolve implements [authn.Keychain].
func (k keychain) Resolve(resource authn.Resource) (authn.Authenticator, error) {
	user, password := k.registry.Credentials()
	if user == "" || resource.RegistryStr() != k.registry.name {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: user, Password: password}, nil
}

package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Why a request was refused, beyond the errors of pinned and render.
var (
	// ErrParameters: the parameters ask for what the tree does not contain.
	ErrParameters = errors.New("parameters do not fit the snapshot")
	// ErrNoSnapshot: the tree is not that of a snapshot.
	ErrNoSnapshot = errors.New("not a snapshot")
	// ErrRenderDiffers: the output is not what was captured and tested.
	ErrRenderDiffers = errors.New("RENDER_DIFFERS")
)

// Request asks for the manifests of one application.
type Request struct {
	// Tree of the snapshot's commit.
	Tree fs.FS
	// AppPath is the Application's path in Tree; "." for its root.
	AppPath string
	// Env is what Argo CD gave with the request: the plugin's parameters and
	// the cluster's capabilities. The process's own environment is not
	// consulted.
	Env map[string]string
}

// Generate renders one application of a snapshot, one string per object, with
// every image pinned to the digest of the lock in the environment's registry.
//
// Parameters, path and lock must agree with each other and with the
// configuration in the tree. The output must have the hash that the lock
// records, unless it depends on the asking cluster. It is a pure function of
// its request.
func Generate(ctx context.Context, r Request) ([]string, error) {
	parameters, err := parseParameters(r.Env)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrParameters, err)
	}
	pipeline, lock, err := readSnapshot(r.Tree)
	if err != nil {
		return nil, err
	}
	manifests, err := generate(ctx, r, parameters, pipeline, lock)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s, %s/%s: %w", lock.Version, clip(parameters.Environment), clip(parameters.Application), err)
	}
	return manifests, nil
}

func generate(ctx context.Context, r Request, parameters Parameters, pipeline *config.Pipeline, lock *snapshot.Lock) ([]string, error) {
	application, locked, err := choose(r, parameters, pipeline, lock)
	if err != nil {
		return nil, err
	}
	result, err := pinned.Render(ctx, pinned.Input{
		FS:           r.Tree,
		Pipeline:     pipeline,
		Environment:  parameters.Environment,
		Application:  application,
		Capabilities: capabilitiesOf(r.Env),
		Lookup:       lookup(lock, parameters.Environment),
	})
	if errors.Is(err, pinned.ErrImageNotInLock) {
		return nil, fmt.Errorf("%w; a snapshot's lock is never edited, capture a new one", err)
	}
	if err != nil {
		return nil, err
	}
	// The hash of a render that depends on the cluster holds for one cluster
	// only. That it depends must have been known at capture: templates that were
	// made to depend on it later do not escape the comparison.
	if dependent := result.ClusterDependent && locked.ClusterDependent; !dependent && result.SHA256 != locked.SHA256 {
		return nil, differs(result.SHA256, locked.SHA256, lock.Tools)
	}
	if result.Empty && !locked.Empty {
		return nil, fmt.Errorf("%w, but the lock says it has some", render.ErrNoObjects)
	}
	return render.Documents(result.YAML)
}

// readSnapshot reads configuration and lock from the tree.
func readSnapshot(tree fs.FS) (*config.Pipeline, *snapshot.Lock, error) {
	text, err := fs.ReadFile(tree, config.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: there is no %s; Argo CD must send the whole repository, so the annotation argocd.argoproj.io/manifest-generate-paths must include its root, or the option --plugin-use-manifest-generate-paths be off", ErrNoSnapshot, config.File)
	}
	if err != nil {
		return nil, nil, err
	}
	pipeline, err := config.Parse(text, config.File)
	if err != nil {
		return nil, nil, err
	}
	text, err = fs.ReadFile(tree, snapshot.LockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: there is no %s; targetRevision must be a snapshot's tag such as refs/tags/%s/v1.4.0, not a branch (%s is deployed by Argo CD without this plugin)", ErrNoSnapshot, snapshot.LockFile, pipeline.Name, pipeline.First().Name)
	}
	if err != nil {
		return nil, nil, err
	}
	lock, err := snapshot.ParseLock(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNoSnapshot, err)
	}
	if lock.Version.Pipeline != pipeline.Name {
		return nil, nil, fmt.Errorf("%w: the lock is that of %s, the pipeline is %s", ErrNoSnapshot, lock.Version, pipeline.Name)
	}
	return pipeline, lock, nil
}

// choose checks the parameters against the tree and returns what they name:
// the application and what the lock recorded of its render.
func choose(r Request, parameters Parameters, pipeline *config.Pipeline, lock *snapshot.Lock) (config.Application, snapshot.Render, error) {
	refuse := func(format string, args ...any) (config.Application, snapshot.Render, error) {
		return config.Application{}, snapshot.Render{}, fmt.Errorf("%w: %s", ErrParameters, fmt.Sprintf(format, args...))
	}
	if parameters.Snapshot != "" && parameters.Snapshot != lock.Version.String() {
		return refuse("the Application asks for snapshot %s, but its targetRevision is %s", quote(parameters.Snapshot), lock.Version)
	}
	environment, ok := pipeline.Environment(parameters.Environment)
	if !ok {
		return refuse("there is no environment %s in %s", quote(parameters.Environment), config.File)
	}
	if environment.First() {
		return refuse("%s follows the branch %s and is deployed by Argo CD without this plugin; remove plugin from the Application's source", environment.Name, pipeline.Source.Branch)
	}
	applications, err := render.Discover(r.Tree, environment)
	if err != nil {
		return config.Application{}, snapshot.Render{}, err
	}
	i := slices.IndexFunc(applications, func(a config.Application) bool { return a.Name == parameters.Application })
	if i < 0 {
		return refuse("there is no application %s in %s", quote(parameters.Application), environment.Path)
	}
	application := applications[i]
	if path.Clean(r.AppPath) != path.Clean(application.Path) {
		return refuse("the Application's path is %s, but that of %s is %s", quote(r.AppPath), application.Name, application.Path)
	}
	for _, locked := range lock.RendersOf(environment.Name) {
		if locked.Application == application.Name {
			if locked.Path != application.Path {
				return refuse("the lock has the application at %s, not at %s", quote(locked.Path), application.Path)
			}
			return application, locked, nil
		}
	}
	return refuse("the lock does not list the application")
}

// lookup finds digests among the images of one environment. Others may be in
// the lock too, but only what an environment uses was mirrored for it.
func lookup(lock *snapshot.Lock, environment string) func(string) (string, bool) {
	return func(reference string) (string, bool) {
		image, ok := lock.Image(reference)
		used := slices.ContainsFunc(image.UsedBy, func(use string) bool { return strings.HasPrefix(use, environment+"/") })
		return image.Digest, ok && used
	}
}

// differs explains a hash that is not the lock's: other tools, or, with the
// same ones, a tree that was changed after capture.
func differs(got, want string, captured snapshot.Tools) error {
	var own snapshot.Tools
	own.Kustomize, own.Helm = render.Versions()
	if own != captured {
		return fmt.Errorf("%w: rendered %s, the lock has %s; rendered with kustomize %s and Helm %s, captured with %s and %s: run the version of cmp-sidecar that captured, or capture anew",
			ErrRenderDiffers, got, want, own.Kustomize, own.Helm, clip(captured.Kustomize), clip(captured.Helm))
	}
	return fmt.Errorf("%w: rendered %s, the lock has %s, both with kustomize %s and Helm %s: the files are not those that were captured", ErrRenderDiffers, got, want, own.Kustomize, own.Helm)
}

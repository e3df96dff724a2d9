// Package pinned renders an application of an environment with every image
// pinned to its digest in that environment's registry: the exact bytes that
// Argo CD is given.
//
// Capture computes the hashes of the lock with it and the sidecar checks them
// with it, so that both mean the same bytes by construction. It reads the tree
// and nothing else; digests come from [Input].Lookup.
package pinned

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// Why an image cannot be pinned; the texts begin with the names that operators
// look for.
var (
	// ErrImageNotInLock: the manifests name an image without a digest to pin
	// it to.
	ErrImageNotInLock = errors.New("IMAGE_NOT_IN_LOCK")
	// ErrForeignRegistry: an image would be pulled from another registry than
	// the environment's.
	ErrForeignRegistry = errors.New("FOREIGN_REGISTRY")
)

// Input is one application of one environment.
type Input struct {
	// FS is the tree of the source commit or of the snapshot made from it;
	// both render the same.
	FS fs.FS
	// Pipeline is the configuration in FS.
	Pipeline *config.Pipeline
	// Environment's name in Pipeline.
	Environment string
	// Application from [render.Discover].
	Application config.Application
	// Capabilities of the cluster that asks. They count only when the
	// environment does not fix its own; nil means Helm's built-in defaults.
	Capabilities *config.Capabilities
	// Lookup returns the digest (sha256:…) of an image reference as the
	// manifests write it. Unused by Images.
	Lookup func(reference string) (digest string, ok bool)
}

// Result is a pinned render.
type Result struct {
	// YAML is what Argo CD applies.
	YAML []byte
	// SHA256 of YAML: sha256:….
	SHA256 string
	// ClusterDependent: templates ask for the cluster's capabilities and the
	// environment does not fix them, so another cluster may get other bytes.
	ClusterDependent bool
	// Empty: there is no object in YAML.
	Empty bool
}

// Render renders and pins. Errors of rendering are of type [*render.Error];
// errors of pinning wrap ErrImageNotInLock or ErrForeignRegistry, or say what
// is wrong with a reference.
func Render(ctx context.Context, in Input) (Result, error) {
	environment, output, err := renderPlain(ctx, in)
	if err != nil {
		return Result{}, err
	}
	pin := func(reference string) (string, error) { return in.pin(environment, reference) }
	text, err := output.Pin(pin)
	if err != nil {
		return Result{}, fmt.Errorf("application %s: %w", in.Application.Name, err)
	}
	empty, err := in.verify(environment, text)
	if err != nil {
		return Result{}, fmt.Errorf("application %s: %w", in.Application.Name, err)
	}
	sum := sha256.Sum256(text)
	return Result{
		YAML:             text,
		SHA256:           "sha256:" + hex.EncodeToString(sum[:]),
		ClusterDependent: output.ClusterDependent && environment.Capabilities == nil,
		Empty:            empty,
	}, nil
}

// Images renders and lists the image references as the manifests write them,
// in order of appearance.
func Images(ctx context.Context, in Input) ([]render.Image, error) {
	_, output, err := renderPlain(ctx, in)
	if err != nil {
		return nil, err
	}
	return output.Images()
}

func renderPlain(ctx context.Context, in Input) (config.Environment, *render.Output, error) {
	environment, ok := in.Pipeline.Environment(in.Environment)
	if !ok {
		return environment, nil, fmt.Errorf("pipeline %s has no environment %q", in.Pipeline.Name, in.Environment)
	}
	capabilities := environment.Capabilities
	if capabilities == nil {
		capabilities = in.Capabilities
	}
	output, err := render.Render(ctx, render.Input{
		FS:           withoutOwnFiles{in.FS},
		Application:  in.Application,
		Namespace:    namespace(environment, in.Application),
		Capabilities: capabilities,
		Images:       in.Pipeline.Images,
	})
	return environment, output, err
}

// namespace is what Helm is told. With several destinations the first counts,
// because a render is the same for all of them; Argo CD puts objects that name
// no namespace into each destination's own.
func namespace(e config.Environment, a config.Application) string {
	if a.Namespace != "" || len(e.Destinations) == 0 {
		return a.Namespace
	}
	return e.Destinations[0].Namespace
}

func (in Input) pin(environment config.Environment, reference string) (string, error) {
	location, err := in.Pipeline.Locate(reference)
	if err != nil {
		return "", err
	}
	digest, ok := in.Lookup(reference)
	if !ok {
		return "", fmt.Errorf("%w: image %s has no digest for environment %s", ErrImageNotInLock, reference, environment.Name)
	}
	return in.Pipeline.Pinned(environment.Name, location, digest)
}

// verify looks at the result with fresh eyes: whatever way a reference took
// into the output, it has a digest and points into the environment's registry.
func (in Input) verify(environment config.Environment, text []byte) (empty bool, err error) {
	output, err := render.Parse(text, in.Pipeline.Images)
	if err != nil {
		return false, fmt.Errorf("the pinned output: %w", err)
	}
	images, err := output.Images()
	if err != nil {
		return false, fmt.Errorf("the pinned output: %w", err)
	}
	registry := in.Pipeline.Registries[environment.Registry].URL
	for _, image := range images {
		if !strings.HasPrefix(image.Reference, registry+"/") || !strings.Contains(image.Reference, "@sha256:") {
			return false, fmt.Errorf("%s: %w: image %s is not pinned in %s, the registry of %s", image.Object, ErrForeignRegistry, image.Reference, registry, environment.Name)
		}
	}
	documents, err := render.Documents(text)
	return len(documents) == 0, err
}

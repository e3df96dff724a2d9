package shop

import (
	"context"
	"crypto/sha1" //nolint:gosec // names invented commits, as git does
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// parallelPushes bounds how many images are pushed at once.
const parallelPushes = 8

// Build makes the image of one build of a service. The same arguments give the
// same image. Labels are for the image's configuration.
type Build func(service, version string, labels map[string]string) (imagebuild.Built, error)

// small is the usual Build: two platforms, a lower layer that all images share,
// some kilobytes of its own.
func small(service, version string, labels map[string]string) (imagebuild.Built, error) {
	return imagebuild.Index(imagebuild.Spec{
		Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
		Layers:    []imagebuild.Files{{"etc/os-release": "ID=shop\n", "usr/lib/base": noise("base", 64<<10)}},
		Files:     imagebuild.Files{"app/version": service + " " + version + "\n", "app/program": noise(service+version, 8<<10)},
		Labels:    labels,
	})
}

// artifact is an image as the manifests name it.
type artifact struct {
	service string // empty for a third party's
	host    string // the registry's name
	repo    string // in full, below the host
	tag     string
}

// artifacts lists the images that the content's manifests name in any
// environment, sorted by repository. They are found by rendering, so that no
// list can be out of date.
func (c Content) artifacts(ctx context.Context) ([]artifact, error) {
	pipeline, err := c.pipeline()
	if err != nil {
		return nil, err
	}
	files := c.fs()
	own := c.names()
	var found []artifact
	for _, environment := range pipeline.Environments {
		applications, err := render.Discover(files, environment)
		if err != nil {
			return nil, err
		}
		for _, application := range applications {
			out, err := render.Render(ctx, render.Input{FS: files, Application: application, Capabilities: environment.Capabilities, Images: pipeline.Images})
			if err != nil {
				return nil, fmt.Errorf("environment %s: %w", environment.Name, err)
			}
			images, err := out.Images()
			if err != nil {
				return nil, fmt.Errorf("environment %s: %w", environment.Name, err)
			}
			for _, image := range images {
				location, err := pipeline.Locate(image.Reference)
				if err != nil {
					return nil, err
				}
				a := artifact{host: location.Upstream, repo: location.Repo, tag: location.Tag}
				if location.Registry != "" {
					a.host, a.repo = repository(pipeline.Registries[location.Registry], location.Repo)
					if slices.Contains(own, location.Repo) {
						a.service = location.Repo
					}
				}
				if !slices.Contains(found, a) {
					found = append(found, a)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b artifact) int {
		return strings.Compare(a.host+"/"+a.repo+":"+a.tag, b.host+"/"+b.repo+":"+b.tag)
	})
	return found, nil
}

// repository splits a repository of a pipeline's registry into host and path.
func repository(r config.Registry, repo string) (host, path string) {
	host, prefix, deep := strings.Cut(r.URL, "/")
	if deep {
		return host, prefix + "/" + repo
	}
	return host, repo
}

// publish pushes the images that the repository begins with.
func (p *Pipeline) publish(ctx context.Context, artifacts []artifact) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(parallelPushes)
	for _, a := range artifacts {
		group.Go(func() error {
			revision := inventCommit(a.repo, 0)
			tags := []string{a.tag}
			if a.service != "" && a.tag != latest {
				revision = a.tag + revision[len(a.tag):]
				tags = append(tags, latest)
			}
			_, err := p.push(within, a, revision, tags...)
			return err
		})
	}
	return group.Wait()
}

// latest is the tag of services that have no other.
const latest = "latest"

// push builds an image and pushes it, with a signature if the company signs
// it, and returns its digest.
func (p *Pipeline) push(ctx context.Context, a artifact, revision string, tags ...string) (string, error) {
	name := a.service
	if name == "" {
		name = a.repo
	}
	image, err := p.build(name, revision, map[string]string{
		imagebuild.LabelSource:   "https://git.shop.example/" + name,
		imagebuild.LabelRevision: revision,
	})
	if err != nil {
		return "", fmt.Errorf("build %s %s: %w", name, revision, err)
	}
	if a.service != "" && a.service == p.signed() {
		image = image.Refer(imagebuild.Signature(image.Manifest.Descriptor(), "signed by the CI of "+a.service))
	}
	target, ok := p.targets[a.host]
	if !ok {
		return "", fmt.Errorf("the manifests name the registry %s, which the suite does not run", a.host)
	}
	if err := imagebuild.Push(ctx, target, a.repo, image, tags...); err != nil {
		return "", fmt.Errorf("push %s/%s: %w", a.host, a.repo, err)
	}
	return image.Digest(), nil
}

// signed is the service whose images are signed, so that every promotion has a
// referrer to carry, and images without.
func (p *Pipeline) signed() string { return p.services[0].Name }

// inventCommit names a commit of a service's repository that does not exist.
func inventCommit(name string, build int) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%s build %d", name, build)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// noise is text that does not compress well and is the same every time.
func noise(seed string, size int) string {
	sum := sha1.Sum([]byte(seed)) //nolint:gosec // see the import
	source := rand.NewChaCha8([32]byte(append(sum[:], make([]byte, 12)...)))
	raw := make([]byte, size/2)
	_, _ = source.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

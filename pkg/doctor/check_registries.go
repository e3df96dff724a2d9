package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/kube"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// unusedRepository is asked for when no snapshot says which repositories there
// are. It is never made.
const unusedRepository = "propagator-doctor"

// dockerConfig is what the hook has for registries, or nil for one's own.
func (x *examination) dockerConfig(ctx context.Context) ([]byte, string, error) {
	if x.OwnCredentials || x.Cluster == nil {
		return nil, own, nil
	}
	s, err := x.secret(ctx, registriesSecret)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return nil, own + " (there is no Secret " + registriesSecret + ")", nil
	case errors.Is(err, kube.ErrForbidden):
		return nil, own + " (Secret " + registriesSecret + " may not be read)", nil
	case err != nil:
		return nil, "", err
	}
	text, ok := s.Data[corev1.DockerConfigJsonKey]
	if !ok {
		return nil, "", fmt.Errorf("secret %s has no key %s", registriesSecret, corev1.DockerConfigJsonKey)
	}
	return text, "Secret " + registriesSecret, nil
}

func (x *examination) renewRegistries(host string) string {
	return "put working credentials for " + host + " into the Docker configuration, then:\n" +
		x.kubectl(`create secret generic %s --type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=config.json --dry-run=client -o yaml`, registriesSecret) + " | " + applySecret + "\n" +
		x.restart(hookWorkload)
}

func checkRegistries(ctx context.Context, x *examination, n *notes) {
	pipelines := x.repositoriesOrNote(ctx, n)
	if len(pipelines) == 0 {
		return
	}
	if x.OpenRegistries == nil {
		n.skip("registries", "this program has no way to them", "")
		return
	}
	settings, err := x.settings(ctx)
	if err != nil {
		n.trouble("ConfigMap "+settingsMap, err)
		return
	}
	login, whose, err := x.dockerConfig(ctx)
	if err != nil {
		n.trouble("Secret "+registriesSecret, err)
		return
	}
	open, err := x.OpenRegistries(login, x.endpoints(settings))
	if err != nil {
		n.fail("Secret "+registriesSecret, err.Error(), x.renewRegistries("each registry"))
		return
	}
	for _, p := range pipelines {
		if p.config == nil {
			n.skip("registries of "+p.url, "its propagator.yaml cannot be read", "propagator doctor --only git")
			continue
		}
		lock := p.newest(ctx)
		written := map[string]bool{}
		for _, e := range p.config.Environments {
			written[e.Registry] = written[e.Registry] || !e.First()
		}
		for _, name := range slices.Sorted(maps.Keys(p.config.Registries)) {
			r := p.config.Registries[name]
			x.checkRegistry(ctx, n, open, r, whose, probe(p.config, lock, r), written[name])
		}
	}
}

// probe is a repository that the hook reads from, or writes to, in a registry.
func probe(p *config.Pipeline, lock *snapshot.Lock, r config.Registry) string {
	if lock == nil {
		return unusedRepository
	}
	for _, image := range lock.Images {
		at, err := p.Locate(image.Requested)
		switch {
		case err != nil:
		case r.LongLiving():
			return at.TargetRepo()
		case at.Registry == r.Name:
			return at.Repo
		}
	}
	return unusedRepository
}

func (x *examination) checkRegistry(ctx context.Context, n *notes, open Registries, r config.Registry, whose, repo string, written bool) {
	subject := "registry " + r.URL
	host, _, _ := strings.Cut(r.URL, "/")
	at, err := open(r)
	if err != nil {
		n.fail(subject, err.Error(), "correct its url or endpoint in "+config.File)
		return
	}
	trouble := func(what string, err error) {
		fix := x.renewRegistries(host)
		if strings.HasPrefix(whose, own) {
			fix = "docker login " + host
		}
		switch {
		case errors.Is(err, registry.ErrUnauthorized):
			n.fail(subject, fmt.Sprintf("%s may not %s: %v", whose, what, err), fix)
		case errors.Is(err, registry.ErrNotFound):
			n.warn(subject, fmt.Sprintf("repository %s does not exist, and it makes none by itself: %v", repo, err), "create the repositories of every image there, or let the registry create them on push")
		case errors.Is(err, registry.ErrUnreachable) && inCluster(host):
			n.skip(subject, "its address means something inside the cluster only", "run propagator doctor in a Pod, or name another address of it: --registry-endpoint "+r.URL+"=URL")
		default:
			n.fail(subject, err.Error(), "curl -i https://"+host+"/v2/")
		}
	}
	if err := at.MayPull(ctx, repo); err != nil {
		trouble("pull", err)
		return
	}
	switch {
	case !written:
		n.ok(subject, "%s may pull (%s)", whose, repo)
		return
	case x.ReadOnly:
		n.skip(subject, whose+" may pull; whether they may push was not tried (--read-only)", "")
		return
	}
	if err := at.MayPush(ctx, repo); err != nil {
		trouble("push", err)
		return
	}
	n.ok(subject, "%s may pull and push (%s)", whose, repo)
}

package shop

import (
	"context"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// Approve agrees to a promotion with an annotated tag of a person
// ([gitserver.Developer], [gitserver.Lead]) on the snapshot's commit. The
// version may be short (v0.1.0) or whole (shop/v0.1.0).
func (p *Pipeline) Approve(ctx context.Context, environment, version, who string) error {
	if !strings.Contains(version, "/") {
		version = p.Name() + "/" + version
	}
	snapshot, err := p.Head(ctx, "refs/tags/"+version)
	if err != nil {
		return err
	}
	if snapshot == "" {
		return fmt.Errorf("approve %s for %s: there is no snapshot of that name", version, environment)
	}
	return p.Tag(ctx, who, "approve/"+environment+"/"+version+"/"+who, snapshot, "tested in the environment before")
}

// Tag sets a tag as a person, annotated if there is a message, and pushes it:
// v1.5.0 on a commit of the source branch.
func (p *Pipeline) Tag(ctx context.Context, who, name, commit, message string) error {
	return p.as(ctx, who, func(clone *gitserver.Clone) error {
		if _, err := clone.Git(ctx, "fetch", "--quiet", "--tags", "--force", "origin", "+refs/heads/*:refs/remotes/origin/*"); err != nil {
			return err
		}
		return clone.Tag(ctx, name, commit, message)
	})
}

// SetNeverReady says on the source branch that an application's Pods never
// become ready in one environment, or that they do again, and returns the
// commit. With the next snapshot it is true of that environment. The
// application has to be a kustomization.
func (p *Pipeline) SetNeverReady(ctx context.Context, environment, application string, never bool) (string, error) {
	e, ok := p.config.Environment(environment)
	if !ok {
		return "", fmt.Errorf("no environment %s", environment)
	}
	applications, err := render.Discover(p.content.fs(), e)
	if err != nil {
		return "", err
	}
	for _, a := range applications {
		if a.Name != application {
			continue
		}
		file := a.Path + "/kustomization.yaml"
		message := fmt.Sprintf("%s in %s: never ready: %t", application, environment, never)
		return p.Commit(ctx, gitserver.Developer, message, func(read Read) (map[string][]byte, error) {
			content, err := read(file)
			if err != nil {
				return nil, err
			}
			edited, err := neverReady(content, never)
			return map[string][]byte{file: edited}, err
		})
	}
	return "", fmt.Errorf("no application %s in %s", application, environment)
}

// neverReady adds a patch of all Deployments to a kustomization, or takes it
// out.
func neverReady(content []byte, never bool) ([]byte, error) {
	var kustomization map[string]any
	if err := yaml.Unmarshal(content, &kustomization); err != nil {
		return nil, err
	}
	// The target chooses the Deployments; kustomize wants a name all the same.
	patch := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "any"},` +
		` "spec": {"template": {"metadata": {"annotations": {"` + cluster.NeverReadyKey + `": "true"}}}}}`
	var patches []any
	if before, ok := kustomization["patches"].([]any); ok {
		for _, p := range before {
			if m, ok := p.(map[string]any); !ok || m["patch"] != patch {
				patches = append(patches, p)
			}
		}
	}
	if never {
		patches = append(patches, map[string]any{"target": map[string]any{"kind": "Deployment"}, "patch": patch})
	}
	delete(kustomization, "patches")
	if len(patches) > 0 {
		kustomization["patches"] = patches
	}
	return yaml.Marshal(kustomization)
}

// MergeFixes merges branches of hotfixes into the source branch, as the button of
// a git host does: with a merge commit each, and everything that is in the branch.
// They are pushed together, so that nothing is deployed of half of them.
func (p *Pipeline) MergeFixes(ctx context.Context, names ...string) error {
	err := p.as(ctx, gitserver.Lead, func(clone *gitserver.Clone) error {
		if err := clone.Update(ctx); err != nil {
			return err
		}
		for _, name := range names {
			if _, err := clone.Git(ctx, "merge", "--quiet", "--no-ff", "--no-edit", "origin/hotfix/"+name); err != nil {
				return err
			}
		}
		return clone.Push(ctx, "HEAD:refs/heads/"+gitserver.Main)
	})
	if err != nil {
		return fmt.Errorf("merge hotfixes %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

package shop

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
)

// PipelineLabel is all that Dev's Applications need for Propagator.
const PipelineLabel = "propagator.dev/pipeline"

// Applications returns the first environment's Applications as people write
// them for a stock Argo CD: no plugin, following the source branch, synced by
// Argo CD itself. They are named <pipeline>-<environment>-<application>.
func (p *Pipeline) Applications(namespace string) ([]*unstructured.Unstructured, error) {
	first := p.config.First()
	applications, err := render.Discover(p.content.fs(), first)
	if err != nil {
		return nil, err
	}
	if len(first.Destinations) != 1 {
		return nil, fmt.Errorf("environment %s has %d destinations; the suite deploys to one", first.Name, len(first.Destinations))
	}
	to := first.Destinations[0]
	var list []*unstructured.Unstructured
	for _, a := range applications {
		source, err := p.source(a)
		if err != nil {
			return nil, err
		}
		destination := map[string]any{"namespace": cmp.Or(a.Namespace, to.Namespace)}
		if to.Server != "" {
			destination["server"] = to.Server
		} else {
			destination["name"] = to.Cluster
		}
		list = append(list, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1",
			"kind":       "Application",
			"metadata": map[string]any{
				"name":      p.Name() + "-" + first.Name + "-" + a.Name,
				"namespace": namespace,
				"labels":    map[string]any{PipelineLabel: p.Name()},
			},
			"spec": map[string]any{
				"project":     "default",
				"source":      source,
				"destination": destination,
				"syncPolicy": map[string]any{
					"automated":   map[string]any{"prune": true, "selfHeal": true},
					"syncOptions": []any{"CreateNamespace=true"},
				},
			},
		}})
	}
	return list, nil
}

// source is an Application's source in Argo CD's own words.
func (p *Pipeline) source(a config.Application) (map[string]any, error) {
	source := map[string]any{"repoURL": p.URL(), "path": a.Path, "targetRevision": gitserver.Main}
	switch a.Renderer {
	case config.RendererKustomize: // found by its file
	case config.RendererHelm:
		helm := map[string]any{"releaseName": a.ReleaseName}
		var values []any
		for _, file := range a.Values {
			values = append(values, "/"+file) // from the repository's root
		}
		if len(values) > 0 {
			helm["valueFiles"] = values
		}
		source["helm"] = helm
	case config.RendererYAML:
		source["directory"] = map[string]any{"recurse": false}
	default:
		return nil, fmt.Errorf("application %s: Argo CD has no renderer %q", a.Name, a.Renderer)
	}
	return source, nil
}

// RepositorySecret returns the Secret that lets Argo CD read the repository, as
// a user who can do nothing else.
func (p *Pipeline) RepositorySecret(namespace string) (*unstructured.Unstructured, error) {
	user, err := p.git.User(gitserver.ArgoCD)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata": map[string]any{
			"name":      "repo-" + p.Name(),
			"namespace": namespace,
			"labels":    map[string]any{"argocd.argoproj.io/secret-type": "repository"},
		},
		"stringData": map[string]any{
			"type": "git", "url": p.URL(), "username": user.Name, "password": user.Password,
			// As docs/operations.md advises: without it each fetch first asks without
			// credentials, and then starts a program of 130 MB to be told them.
			"forceHttpBasicAuth": "true",
		},
	}}, nil
}

// PropagatorSecrets returns the Secrets with Propagator's credentials for the
// repository and the registries.
func (p *Pipeline) PropagatorSecrets(namespace string) ([]*unstructured.Unstructured, error) {
	user, err := p.git.User(gitserver.Propagator)
	if err != nil {
		return nil, err
	}
	docker, err := p.registries.DockerConfig()
	if err != nil {
		return nil, err
	}
	secret := func(name, kind string, values map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1",
			"kind":       "Secret",
			"metadata":   map[string]any{"name": name, "namespace": namespace},
			"type":       kind,
			"stringData": values,
		}}
	}
	return []*unstructured.Unstructured{
		secret("propagator-git", "Opaque", map[string]any{"username": user.Name, "password": user.Password}),
		secret("propagator-registries", "kubernetes.io/dockerconfigjson", map[string]any{".dockerconfigjson": string(docker)}),
	}, nil
}

// ArgoCDConfig are the values that the repository needs in argocd-cm: one of
// the shop's applications is a kustomization around a Helm chart.
func ArgoCDConfig() map[string]string {
	return map[string]string{"kustomize.buildOptions": "--enable-helm"}
}

// Manifest writes objects as one YAML text, for kubectl.
func Manifest(objects ...*unstructured.Unstructured) (string, error) {
	text := ""
	for _, object := range objects {
		one, err := yaml.Marshal(object.Object)
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		text += "---\n" + string(one)
	}
	return text, nil
}

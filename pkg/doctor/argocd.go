package doctor

import (
	"context"
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// application is what checks read of an Application.
type application struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Source      *source  `json:"source"`
		Sources     []source `json:"sources"`
		Destination struct {
			Name      string `json:"name"`
			Server    string `json:"server"`
			Namespace string `json:"namespace"`
		} `json:"destination"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type source struct {
	RepoURL string `json:"repoURL"`
	Path    string `json:"path"`
	Plugin  *struct {
		Name       string `json:"name"`
		Parameters []struct {
			Name string `json:"name"`
		} `json:"parameters"`
	} `json:"plugin"`
}

// ours reports whether the parameters are those of our plugin, whatever it is
// called.
func (s source) ours() bool {
	if s.Plugin == nil {
		return false
	}
	for _, p := range s.Plugin.Parameters {
		if p.Name == "snapshot" || p.Name == "environment" {
			return true
		}
	}
	return false
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// all are the sources of an Application, of which there is usually one.
func (a application) all() []source {
	if a.Spec.Source != nil {
		return []source{*a.Spec.Source}
	}
	return a.Spec.Sources
}

// set is the ApplicationSet that made the Application, "" when none did.
func (a application) set() string {
	for _, owner := range a.Metadata.OwnerReferences {
		if owner.Kind == "ApplicationSet" {
			return owner.Name
		}
	}
	return ""
}

// applicationSet is what checks read of an ApplicationSet.
type applicationSet struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		GoTemplate        bool        `json:"goTemplate"`
		GoTemplateOptions []string    `json:"goTemplateOptions"`
		Generators        []generator `json:"generators"`
		SyncPolicy        *struct {
			PreserveResourcesOnDeletion bool   `json:"preserveResourcesOnDeletion"`
			ApplicationsSync            string `json:"applicationsSync"`
		} `json:"syncPolicy"`
		Template struct {
			Metadata struct {
				Finalizers []string `json:"finalizers"`
			} `json:"metadata"`
			Spec struct {
				Source  *source  `json:"source"`
				Sources []source `json:"sources"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type generator struct {
	Plugin *pluginGenerator `json:"plugin"`
	Merge  *generators      `json:"merge"`
	Matrix *generators      `json:"matrix"`
}

type generators struct {
	Generators []generator `json:"generators"`
}

type pluginGenerator struct {
	ConfigMapRef struct {
		Name string `json:"name"`
	} `json:"configMapRef"`
	Input struct {
		Parameters map[string]json.RawMessage `json:"parameters"`
	} `json:"input"`
	RequeueAfterSeconds *int64 `json:"requeueAfterSeconds"`
}

// pipeline is the scope that the generator is asked for.
func (p *pluginGenerator) pipeline() string {
	var name string
	if json.Unmarshal(p.Input.Parameters["pipeline"], &name) != nil {
		return ""
	}
	return name
}

// plugins are the plugin generators of a set, also those inside others.
func (s applicationSet) plugins() []*pluginGenerator { return pluginsIn(s.Spec.Generators) }

func pluginsIn(list []generator) []*pluginGenerator {
	var found []*pluginGenerator
	for _, g := range list {
		if g.Plugin != nil {
			found = append(found, g.Plugin)
		}
		for _, inner := range []*generators{g.Merge, g.Matrix} {
			if inner != nil {
				found = append(found, pluginsIn(inner.Generators)...)
			}
		}
	}
	return found
}

// plugin is the generator of ours in a set: the one whose ConfigMap is ours, or
// any when the set says that it belongs to a pipeline.
func (s applicationSet) plugin() *pluginGenerator {
	all := s.plugins()
	for _, p := range all {
		if p.ConfigMapRef.Name == generatorMap {
			return p
		}
	}
	if s.Metadata.Labels[labelPipeline] != "" && len(all) > 0 {
		return all[0]
	}
	return nil
}

func (x *examination) applications(ctx context.Context) ([]application, error) {
	return kube.List[application](ctx, x.Cluster, kube.Path(argoAPI, x.Namespace, "applications", ""), labelPipeline)
}

// sets lists the ApplicationSets that use our generator.
func (x *examination) sets(ctx context.Context) ([]applicationSet, error) {
	all, err := kube.List[applicationSet](ctx, x.Cluster, kube.Path(argoAPI, x.Namespace, "applicationsets", ""), "")
	var ours []applicationSet
	for _, s := range all {
		if s.plugin() != nil {
			ours = append(ours, s)
		}
	}
	return ours, err
}

func templated(text string) bool { return strings.Contains(text, "{{") }

package manifests

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// answer is what the generator says to the request beside it, to the byte.
const answer = "../applicationset-generator/generator/testdata/answer.json"

// The part of Argo CD's types that a pipeline uses, the same in 2.14 and 3.
// Strict decoding finds a field at the wrong place.
type (
	appProject struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Description  string   `json:"description"`
			SourceRepos  []string `json:"sourceRepos"`
			Destinations []struct {
				Name      string `json:"name"`
				Server    string `json:"server"`
				Namespace string `json:"namespace"`
			} `json:"destinations"`
			ClusterResourceWhitelist []metav1.GroupKind `json:"clusterResourceWhitelist"`
		} `json:"spec"`
	}
	applicationSet struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			GoTemplate        bool     `json:"goTemplate"`
			GoTemplateOptions []string `json:"goTemplateOptions"`
			Generators        []struct {
				Plugin struct {
					ConfigMapRef struct {
						Name string `json:"name"`
					} `json:"configMapRef"`
					Input struct {
						Parameters map[string]any `json:"parameters"`
					} `json:"input"`
					RequeueAfterSeconds int `json:"requeueAfterSeconds"`
				} `json:"plugin"`
			} `json:"generators"`
			SyncPolicy struct {
				ApplicationsSync            string `json:"applicationsSync"`
				PreserveResourcesOnDeletion bool   `json:"preserveResourcesOnDeletion"`
			} `json:"syncPolicy"`
			IgnoreApplicationDifferences []struct {
				JSONPointers []string `json:"jsonPointers"`
			} `json:"ignoreApplicationDifferences"`
			Template json.RawMessage `json:"template"`
		} `json:"spec"`
	}
	generated struct {
		Metadata struct {
			Name   string            `json:"name"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			Project string `json:"project"`
			Source  struct {
				RepoURL        string `json:"repoURL"`
				TargetRevision string `json:"targetRevision"`
				Path           string `json:"path"`
				Plugin         struct {
					Name       string      `json:"name"`
					Parameters []parameter `json:"parameters"`
				} `json:"plugin"`
			} `json:"source"`
			Destination struct {
				Name      string `json:"name"`
				Server    string `json:"server"`
				Namespace string `json:"namespace"`
			} `json:"destination"`
			RevisionHistoryLimit int `json:"revisionHistoryLimit"`
			SyncPolicy           struct {
				Automated struct {
					Prune    bool `json:"prune"`
					SelfHeal bool `json:"selfHeal"`
				} `json:"automated"`
				SyncOptions []string `json:"syncOptions"`
				Retry       struct {
					Limit   int `json:"limit"`
					Backoff struct {
						Duration    string `json:"duration"`
						Factor      int    `json:"factor"`
						MaxDuration string `json:"maxDuration"`
					} `json:"backoff"`
				} `json:"retry"`
			} `json:"syncPolicy"`
		} `json:"spec"`
	}
	parameter struct {
		Name   string `json:"name"`
		String string `json:"string"`
	}
)

func pipeline(t *testing.T) (applicationSet, appProject) {
	t.Helper()
	var set applicationSet
	var project appProject
	objects := build(t, "pipeline")
	find(t, objects, "ApplicationSet", "propagator-shop", &set)
	find(t, objects, "AppProject", "propagator-shop", &project)
	return set, project
}

// TestPipelineIsSafe: what keeps Applications and workloads when everything
// else goes wrong.
func TestPipelineIsSafe(t *testing.T) {
	set, project := pipeline(t)
	if !set.Spec.GoTemplate || !cmp.Equal(set.Spec.GoTemplateOptions, []string{"missingkey=error"}) {
		t.Error("a parameter set that lacks something would be templated all the same")
	}
	if set.Spec.SyncPolicy.ApplicationsSync != "create-update" || !set.Spec.SyncPolicy.PreserveResourcesOnDeletion {
		t.Errorf("policy %+v", set.Spec.SyncPolicy)
	}
	if len(set.Spec.Generators) != 1 || set.Spec.Generators[0].Plugin.ConfigMapRef.Name != "propagator" {
		t.Fatalf("generators %+v", set.Spec.Generators)
	}
	plugin := set.Spec.Generators[0].Plugin
	if diff := cmp.Diff(map[string]any{"pipeline": "shop"}, plugin.Input.Parameters); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if plugin.RequeueAfterSeconds < 30 || plugin.RequeueAfterSeconds > 300 {
		t.Errorf("asked again every %d s", plugin.RequeueAfterSeconds)
	}
	if set.Labels["propagator.dev/pipeline"] != "shop" {
		t.Error("the hook does not find it to poke it")
	}
	if diff := cmp.Diff([]string{"https://git.example/shop.git"}, project.Spec.SourceRepos); diff != "" {
		t.Errorf("sources, -want +got:\n%s", diff)
	}
	if len(project.Spec.Destinations) != 1 || project.Spec.Destinations[0].Namespace != "shop-*" {
		t.Errorf("destinations %+v", project.Spec.Destinations)
	}
	if list := project.Spec.ClusterResourceWhitelist; len(list) > 0 {
		t.Errorf("a snapshot may change and prune objects of the cluster: %v", list)
	}
	// Without it the object is gone before the controller can let go of its
	// Applications, and these go with it.
	if diff := cmp.Diff([]string{"resources-finalizer.argocd.argoproj.io"}, set.Finalizers); diff != "" {
		t.Errorf("finalizers, -want +got:\n%s", diff)
	}
}

// TestGeneratedApplications templates the generator's recorded answer.
func TestGeneratedApplications(t *testing.T) {
	set, project := pipeline(t)
	raw, err := os.ReadFile(filepath.FromSlash(answer))
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Output struct {
			Parameters []map[string]any `json:"parameters"`
		} `json:"output"`
	}
	if err := json.Unmarshal(raw, &recorded); err != nil || len(recorded.Output.Parameters) == 0 {
		t.Fatalf("%v in %s", err, raw)
	}
	body, err := template.New("").Option(set.Spec.GoTemplateOptions...).Parse(string(set.Spec.Template))
	if err != nil {
		t.Fatal(err)
	}
	for _, parameters := range recorded.Output.Parameters {
		text := func(name string) string { value, _ := parameters[name].(string); return value }
		t.Run(text("name"), func(t *testing.T) {
			var out bytes.Buffer
			if err := body.Execute(&out, parameters); err != nil {
				t.Fatal(err)
			}
			var got generated
			decode(t, out.Bytes(), &got)
			if got.Metadata.Name != text("name") || got.Spec.Project != project.Name {
				t.Errorf("%s of project %s", got.Metadata.Name, got.Spec.Project)
			}
			wantLabels := map[string]string{
				"propagator.dev/pipeline": "shop", "propagator.dev/environment": text("environment"), "propagator.dev/application": text("application"),
			}
			if diff := cmp.Diff(wantLabels, got.Metadata.Labels); diff != "" {
				t.Errorf("labels, -want +got:\n%s", diff)
			}
			source := got.Spec.Source
			if source.RepoURL != text("repoURL") || source.TargetRevision != text("tag") || source.Path != text("path") || source.Plugin.Name != "propagator" {
				t.Errorf("source %+v", source)
			}
			var wantParameters []parameter
			for _, name := range announced(t) {
				wantParameters = append(wantParameters, parameter{name, text(name)})
			}
			if diff := cmp.Diff(wantParameters, source.Plugin.Parameters); diff != "" {
				t.Errorf("parameters of the plugin, -want +got:\n%s", diff)
			}
			if to := got.Spec.Destination; (to.Name == "") == (to.Server == "") || to.Namespace != text("namespace") {
				t.Errorf("destination %+v", to)
			}
			if sync := got.Spec.SyncPolicy; !sync.Automated.Prune || !sync.Automated.SelfHeal || sync.Retry.Limit == 0 {
				t.Errorf("sync policy %+v", sync)
			}
		})
	}
	delete(recorded.Output.Parameters[0], "tag")
	if err := body.Execute(new(bytes.Buffer), recorded.Output.Parameters[0]); err == nil {
		t.Error("a set without a tag makes an Application")
	}
}

// announced are the parameters that the sidecar's plugin.yaml names.
func announced(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../cmp-sidecar/plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		Spec struct {
			Parameters struct {
				Static []struct {
					Name string `json:"name"`
				} `json:"static"`
			} `json:"parameters"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(raw, &plugin); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, parameter := range plugin.Spec.Parameters.Static {
		names = append(names, parameter.Name)
	}
	return names
}

// TestLabelsAreTheHooks: pkg/argo looks for the labels that are set here.
func TestLabelsAreTheHooks(t *testing.T) {
	raw, err := os.ReadFile("../pkg/argo/application.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"propagator.dev/pipeline", "propagator.dev/environment", "propagator.dev/application"} {
		if !strings.Contains(string(raw), `"`+label+`"`) {
			t.Errorf("pkg/argo does not know the label %s", label)
		}
	}
}

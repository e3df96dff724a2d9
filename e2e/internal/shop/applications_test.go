package shop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
)

// TestApplications: what people would have written, one of each kind.
func TestApplications(t *testing.T) {
	content := shop(t)
	pipeline, err := content.pipeline()
	if err != nil {
		t.Fatal(err)
	}
	p := &Pipeline{config: pipeline, content: content, git: &gitserver.Server{}}
	applications, err := p.Applications("argocd")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	for _, a := range applications {
		source, rest := split(t, a.Object)
		want := `{"destination":{"name":"in-cluster","namespace":"shop-dev"},"project":"default","syncPolicy":{"automated":{"prune":true,"selfHeal":true},"syncOptions":["CreateNamespace=true"]}}`
		if diff := cmp.Diff(want, rest); diff != "" || a.GetLabels()[PipelineLabel] != "shop" || a.GetNamespace() != "argocd" {
			t.Errorf("%s (-want +got):\n%s%v", a.GetName(), diff, a.GetLabels())
		}
		sources[a.GetName()] = source
	}
	want := map[string]string{
		"shop-dev-cache":   `{"path":"envs/dev/cache","repoURL":"/shop.git","targetRevision":"main"}`,
		"shop-dev-catalog": `{"helm":{"releaseName":"catalog","valueFiles":["/envs/dev/catalog/values.yaml"]},"path":"charts/catalog","repoURL":"/shop.git","targetRevision":"main"}`,
		"shop-dev-gateway": `{"path":"envs/dev/gateway","repoURL":"/shop.git","targetRevision":"main"}`,
		"shop-dev-jobs":    `{"directory":{"recurse":false},"path":"envs/dev/jobs","repoURL":"/shop.git","targetRevision":"main"}`,
		"shop-dev-orders":  `{"path":"envs/dev/orders","repoURL":"/shop.git","targetRevision":"main"}`,
	}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	text, err := Manifest(applications...)
	if err != nil || strings.Count(text, "---\n") != 5 {
		t.Errorf("%v\n%s", err, text)
	}
}

// split returns an Application's source and the rest of its spec as JSON.
func split(t *testing.T, object map[string]any) (source, rest string) {
	t.Helper()
	spec, ok := object["spec"].(map[string]any)
	if !ok {
		t.Fatalf("no spec in %v", object)
	}
	source = encode(t, spec["source"])
	delete(spec, "source")
	defer func() { spec["source"] = map[string]any{} }()
	return source, encode(t, spec)
}

func encode(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

package argo

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/argoproj/argo-cd/v2/applicationset/services/plugin"
	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// generatorFiles is where the generator keeps a request and the answer that it
// gives to it, to the byte.
const generatorFiles = "../../applicationset-generator/generator/testdata"

// TestGeneratorContract: Argo CD's own client sends the request that the
// generator is tested with, and reads from the answer what is in it.
func TestGeneratorContract(t *testing.T) {
	file := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(generatorFiles, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	answer := file("answer.json")
	var method, path, authorization, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		method, path, authorization, body = r.Method, r.URL.Path, r.Header.Get("Authorization"), string(raw)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	client, err := plugin.NewPluginService(t.Context(), "shop", server.URL, "0123456789abcdef", 5)
	if err != nil {
		t.Fatal(err)
	}
	value := func(text string) apiextensionsv1.JSON { return apiextensionsv1.JSON{Raw: []byte(text)} }
	got, err := client.List(t.Context(), v1alpha1.PluginParameters{"pipeline": value(`"shop"`), "environments": value(`["stage","prod"]`)})
	if err != nil {
		t.Fatal(err)
	}
	if method != http.MethodPost || path != "/api/v1/getparams.execute" || authorization != "Bearer 0123456789abcdef" {
		t.Errorf("%s %s, %s", method, path, authorization)
	}
	if diff := cmp.Diff(string(file("request.json")), body); diff != "" {
		t.Errorf("the generator is tested with another request (-tested +sent):\n%s", diff)
	}

	if len(got.Output.Parameters) != 6 {
		t.Fatalf("%d parameter sets", len(got.Output.Parameters))
	}
	for _, parameters := range got.Output.Parameters {
		for name, value := range parameters {
			cluster, isMap := value.(map[string]any)
			if _, isText := value.(string); !isText && !(isMap && name == "cluster") {
				t.Errorf("%s is %T; templates want text", name, value)
			}
			for name, value := range cluster {
				if _, isText := value.(string); !isText {
					t.Errorf("cluster.%s is %T", name, value)
				}
			}
		}
	}
	// Nothing is lost on the way: encoded again it is the same document.
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document(t, answer), document(t, again)); diff != "" {
		t.Errorf("-sent +read:\n%s", diff)
	}
}

func document(t *testing.T, raw []byte) (value any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

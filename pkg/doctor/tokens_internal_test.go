package doctor

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/client-go/util/jsonpath" //nolint:depguard // it parses, and talks to no server
	"sigs.k8s.io/yaml"
)

// TestCopyToken: what kubectl prints on the left of the pipe is a patch that the
// right side takes.
func TestCopyToken(t *testing.T) {
	x := &examination{Config: Config{Namespace: "argocd"}}
	_, expression, _ := strings.Cut(x.copyToken(), "jsonpath='")
	expression, _, _ = strings.Cut(expression, "'")
	path := jsonpath.New("token")
	if err := path.Parse(expression); err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	var out bytes.Buffer
	if err := path.Execute(&out, map[string]any{"data": map[string]any{"token": "b3Vycw=="}}); err != nil {
		t.Fatal(err)
	}
	var patch struct{ Data map[string]string }
	if err := yaml.Unmarshal(out.Bytes(), &patch); err != nil || patch.Data[notificationsToken] != "b3Vycw==" {
		t.Errorf("%s is no patch: %v", &out, err)
	}
}

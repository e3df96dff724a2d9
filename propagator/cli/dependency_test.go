package cli_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies keeps Argo CD and what it drags along out of the program:
// only the hook knows its types.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "..").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		for _, banned := range []string{"github.com/argoproj/argo-cd/", "github.com/argoproj/gitops-engine/", "github.com/fleeting-taas/propagator/pkg/argo"} {
			if strings.HasPrefix(name+"/", banned) || name == banned {
				t.Errorf("propagator links %s", name)
			}
		}
	}
}

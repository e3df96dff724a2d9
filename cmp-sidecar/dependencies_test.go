package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The sidecar renders and talks to nobody: it links neither Argo CD, nor git,
// nor registries. (client-go comes with Helm's engine.)
func TestDependencies(t *testing.T) {
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	forbidden := []string{
		"github.com/argoproj/",
		"github.com/go-git/",
		"github.com/google/go-containerregistry",
		"github.com/fleeting-taas/propagator/pkg/argo",
		"github.com/fleeting-taas/propagator/pkg/registry",
	}
	packages := strings.Fields(string(list))
	if len(packages) < 100 {
		t.Fatalf("only %d packages are listed", len(packages))
	}
	for _, name := range packages {
		for _, prefix := range forbidden {
			if strings.HasPrefix(name, prefix) {
				t.Errorf("cmp-sidecar links %s", name)
			}
		}
	}
}

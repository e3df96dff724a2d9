package argocd

import (
	"context"
	"fmt"
	"strings"

	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
)

// Namespace is Argo CD's.
const Namespace = "argocd"

// source is where a version comes from.
type source struct {
	tools  string // The module of e2e/tools.
	module string // The Go module.
}

// sourceOf finds where a version like v2.14.21 comes from.
func sourceOf(version string) (source, error) {
	switch major, _, _ := strings.Cut(version, "."); major {
	case "v2":
		return source{toolchain.ArgoCDv2, "github.com/argoproj/argo-cd/v2"}, nil
	case "v3":
		return source{toolchain.ArgoCDv3, "github.com/argoproj/argo-cd/v3"}, nil
	}
	return source{}, fmt.Errorf("argo cd %q: only v2 and v3 can be built here", version)
}

// check says whether the tools are those of a version.
func check(ctx context.Context, t *toolchain.Tools, version string) (source, error) {
	s, err := sourceOf(version)
	if err != nil {
		return s, err
	}
	built, err := t.Version(ctx, s.tools, s.module)
	if err != nil {
		return s, fmt.Errorf("argo cd %s: %w", version, err)
	}
	if built != version {
		return s, fmt.Errorf("argo cd %s: e2e/tools/%s has %s", version, s.tools, built)
	}
	return s, nil
}

// Modules are the modules that [toolchain.Ensure] has to be given for a
// version like v2.14.21.
func Modules(version string) ([]string, error) {
	s, err := sourceOf(version)
	return []string{s.tools, toolchain.Renderers}, err
}

package argocd_test

import (
	"slices"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/argocd"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
)

func TestModules(t *testing.T) {
	for version, want := range map[string]string{"v2.14.21": toolchain.ArgoCDv2, "v3.5.7": toolchain.ArgoCDv3} {
		got, err := argocd.Modules(version)
		if err != nil || !slices.Equal(got, []string{want, toolchain.Renderers}) {
			t.Errorf("%s: %q, %v", version, got, err)
		}
	}
	for _, version := range []string{"", "2.14.21", "v4.0.0"} {
		if got, err := argocd.Modules(version); err == nil {
			t.Errorf("%q: %q", version, got)
		}
	}
}

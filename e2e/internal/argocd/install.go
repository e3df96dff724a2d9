package argocd

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
)

// installWithin bounds the wait for what install.yaml makes.
const installWithin = "--timeout=120s"

// Install applies the stock install.yaml of a version like v2.14.21 and waits
// until its kinds are served and its (simulated) Pods are ready. It applies on
// the server's side, since the ApplicationSet's definition is too big for the
// annotation of the other way. Again is an upgrade.
func Install(ctx context.Context, c *cluster.Cluster, t *toolchain.Tools, version string) error {
	if err := install(ctx, c, t, version); err != nil {
		return fmt.Errorf("install argo cd: %w", err)
	}
	return nil
}

func install(ctx context.Context, c *cluster.Cluster, t *toolchain.Tools, version string) error {
	s, err := check(ctx, t, version)
	if err != nil {
		return err
	}
	dir, err := t.ModuleDir(ctx, s.tools, s.module)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-n", Namespace, "-f", filepath.Join(dir, "manifests", "install.yaml")},
		{"wait", "--for=condition=Established", installWithin, "crd", "-l", "app.kubernetes.io/part-of=argocd"},
		{"wait", "--for=condition=Available", installWithin, "-n", Namespace, "deployment", "-l", "app.kubernetes.io/part-of=argocd"},
		{"rollout", "status", installWithin, "-n", Namespace, "statefulset/argocd-application-controller"},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

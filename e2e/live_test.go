//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

type lockImage = snapshot.Image

// checkRuns checks that an environment's live Deployments name exactly the
// lock's digests in the environment's registry, that the registry has them, and
// that the tree of the environment's branch is the snapshot's.
func (c *company) checkRuns(environment, version string) {
	c.t.Helper()
	e, ok := c.Config().Environment(environment)
	if !ok {
		c.t.Fatalf("no environment %s", environment)
	}
	prefix := c.Config().Registries[e.Registry].URL
	want := map[string]bool{}
	for _, image := range c.lock(version).Images {
		if slices.ContainsFunc(image.UsedBy, func(user string) bool { return strings.HasPrefix(user, environment+"/") }) {
			_, repo, _ := strings.Cut(strings.SplitN(image.Requested, ":", 2)[0], "/")
			_, repo, _ = strings.Cut(repo, "/") // below the company's own name
			want[prefix+"/"+repo+"@"+image.Digest] = true
		}
	}
	live := c.live(environment)
	if w, l := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(live)); !slices.Equal(w, l) {
		c.t.Errorf("%s runs\n  %s\nthe lock of %s says\n  %s", environment, strings.Join(l, "\n  "), version, strings.Join(w, "\n  "))
	}
	registry := map[string]*registries.Registry{"stage": world.registries.Stage, "prod": world.registries.Prod}[environment]
	for reference := range live {
		name, digest, _ := strings.Cut(reference, "@")
		_, repo, _ := strings.Cut(name, "/")
		if has, err := registry.Has(c.t.Context(), repo, digest); err != nil || !has {
			c.t.Errorf("%s: in its registry: %t, %v", reference, has, err)
		}
	}
	trees := map[string]string{}
	for _, ref := range []string{"refs/heads/environments/" + environment, c.tag(version)} {
		tree, err := world.git.Git(c.t.Context(), c.Repo(), "rev-parse", ref+"^{tree}")
		if err != nil {
			c.t.Fatal(err)
		}
		trees[tree] = ref
	}
	if len(trees) != 1 {
		c.t.Errorf("%s's tree is not that of %s: %v", environment, version, trees)
	}
}

// live returns the images of an environment's Deployments in the API server.
func (c *company) live(environment string) map[string]bool {
	c.t.Helper()
	list, err := world.cluster.Clientset().AppsV1().Deployments(c.Name()+"-"+environment).List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(fmt.Errorf("deployments of %s: %w", environment, err))
	}
	images := map[string]bool{}
	for _, d := range list.Items {
		for _, container := range slices.Concat(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers) {
			images[container.Image] = true
		}
	}
	return images
}

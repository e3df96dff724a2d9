//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

type lockImage = snapshot.Image

// checkRuns checks that an environment's live workloads name exactly the lock's
// digests in the environment's registry, that the registry has them, and that
// the tree of the environment's branch is the snapshot's.
func (c *company) checkRuns(environment, version string) {
	c.t.Helper()
	e, ok := c.Config().Environment(environment)
	if !ok {
		c.t.Fatalf("no environment %s", environment)
	}
	want := map[string]bool{}
	for _, image := range c.lock(version).Images {
		if slices.ContainsFunc(image.UsedBy, func(user string) bool { return strings.HasPrefix(user, environment+"/") }) {
			want[c.Config().Registries[e.Registry].URL+"/"+c.mirrored(image.Requested)+"@"+image.Digest] = true
		}
	}
	live := c.live(environment)
	if w, l := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(live)); len(w) == 0 || !slices.Equal(w, l) {
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

// mirrored is where docs/configuration.md says that an image is kept: the
// company's own under their names, others below the name of where they are
// from.
func (c *company) mirrored(requested string) string {
	name, _, _ := strings.Cut(requested, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	if own, ok := strings.CutPrefix(name, registries.DevName+"/"+c.Name()+"/"); ok {
		return own
	}
	switch host, _, ok := strings.Cut(name, "/"); {
	case !ok:
		return "docker.io/library/" + name
	case !strings.ContainsAny(host, ".:"):
		return "docker.io/" + name
	}
	return name
}

// live returns the images that an environment's workloads in the API server
// name.
func (c *company) live(environment string) map[string]bool {
	c.t.Helper()
	var (
		templates []corev1.PodTemplateSpec
		namespace = c.Name() + "-" + environment
		apps      = world.cluster.Clientset().AppsV1()
		batch     = world.cluster.Clientset().BatchV1()
	)
	fail := func(err error) {
		if err != nil {
			c.t.Fatal(err)
		}
	}
	deployments, err := apps.Deployments(namespace).List(c.t.Context(), metav1.ListOptions{})
	fail(err)
	for _, d := range deployments.Items {
		templates = append(templates, d.Spec.Template)
	}
	sets, err := apps.StatefulSets(namespace).List(c.t.Context(), metav1.ListOptions{})
	fail(err)
	for _, s := range sets.Items {
		templates = append(templates, s.Spec.Template)
	}
	jobs, err := batch.CronJobs(namespace).List(c.t.Context(), metav1.ListOptions{})
	fail(err)
	for _, j := range jobs.Items {
		templates = append(templates, j.Spec.JobTemplate.Spec.Template)
	}
	images := map[string]bool{}
	for _, template := range templates {
		for _, container := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
			images[container.Image] = true
		}
	}
	return images
}

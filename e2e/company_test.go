//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// patience bounds one step of a story. It is long because CI machines are
// slow; how long things take is what TestLatency is about.
const patience = 2 * time.Minute

// company is a pipeline at work: a repository, images, Dev's Applications, and
// Propagator looking after it. Its methods fail the test.
type company struct {
	*shop.Pipeline
	t *testing.T
}

// company makes a repository that Argo CD can read.
func (s *suite) company(ctx context.Context, content shop.Content, build shop.Build) (*shop.Pipeline, error) {
	p, err := shop.New(ctx, shop.Options{
		Content: content, Git: s.git, Registries: s.registries, Dir: filepath.Join(s.dir, "people"), Build: build,
	})
	if err != nil {
		return nil, err
	}
	secret, err := p.RepositorySecret("argocd")
	if err != nil {
		return nil, err
	}
	return p, s.apply(ctx, secret)
}

// kinds are the resources that the suite itself writes and reads. It does so
// without kubectl, whose start takes the time of some hundred requests.
var kinds = map[string]schema.GroupVersionResource{
	"Secret":         {Version: "v1", Resource: "secrets"},
	"Namespace":      {Version: "v1", Resource: "namespaces"},
	"Role":           {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	"RoleBinding":    {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"Application":    applications.Resource,
	"ApplicationSet": {Group: applications.Resource.Group, Version: applications.Resource.Version, Resource: "applicationsets"},
	"AppProject":     {Group: applications.Resource.Group, Version: applications.Resource.Version, Resource: "appprojects"},
}

// apply is "kubectl apply --server-side".
func (s *suite) apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		resource, ok := kinds[o.GetKind()]
		if !ok {
			return fmt.Errorf("apply %s %s: the suite does not know the kind", o.GetKind(), o.GetName())
		}
		if _, err := s.cluster.Dynamic().Resource(resource).Namespace(o.GetNamespace()).Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "operator"}); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// remove deletes a company's objects of a kind, and waits until they are gone.
func (s *suite) remove(ctx context.Context, kind, label string) error {
	of := s.cluster.Dynamic().Resource(kinds[kind]).Namespace(cluster.Namespace)
	if err := of.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: label}); err != nil {
		return fmt.Errorf("delete %s: %w", kind, err)
	}
	for {
		list, err := of.List(ctx, metav1.ListOptions{LabelSelector: label})
		if err != nil || len(list.Items) == 0 {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s %s is not gone: %w", kind, list.Items[0].GetName(), ctx.Err())
		}
	}
}

// open founds a company and installs its pipeline, for a story about that;
// others have [planned.open]. At the end of the test the company is closed: its
// Applications go, and nobody looks after it any more.
func open(t *testing.T, k kiosk) *company {
	t.Helper()
	return openContent(t, k.content(), nil)
}

func openContent(t *testing.T, content shop.Content, build shop.Build) *company {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := world.company(ctx, content, build)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{Pipeline: p, t: t}
	t.Cleanup(c.close)
	if err := world.lookAfter(ctx, p.URL()); err != nil {
		t.Fatal(err)
	}
	if err := world.putToWork(ctx, p); err != nil {
		t.Fatal(err)
	}
	return c
}

// putToWork gives a company what it has in Argo CD.
func (s *suite) putToWork(ctx context.Context, p *shop.Pipeline) error {
	if err := s.applyPipeline(ctx, p); err != nil {
		return err
	}
	dev, err := p.Applications("argocd")
	if err != nil {
		return err
	}
	return s.apply(ctx, dev...)
}

// lookAfter adds repositories to the settings of generator and hook, and sets
// them all.
func (s *suite) lookAfter(ctx context.Context, repositories ...string) error {
	s.mu.Lock()
	s.repositories = append(s.repositories, repositories...)
	value := strings.Join(s.repositories, ",")
	s.mu.Unlock()
	return s.set(ctx, map[string]string{"PROPAGATOR_REPOSITORY": value})
}

// set changes settings in the operator's folder, applies it, and restarts
// generator and hook, as docs/install.md says.
func (s *suite) set(ctx context.Context, settings map[string]string) error {
	dir := filepath.Join(s.dir, "install", "suite")
	file := filepath.Join(dir, "settings.env")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		_, changes := settings[name]
		return line == "" || changes
	})
	for name, value := range settings {
		lines = append(lines, name+"="+value)
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.cluster.ApplyFolder(ctx, dir, "propagator"); err != nil {
		return err
	}
	return together(
		func() error { return s.generator.Restart(ctx) },
		func() error { return s.hook.Restart(ctx) },
	)
}

// applyPipeline applies AppProject and ApplicationSet of a pipeline, in the
// operator's folder, as docs/install.md does.
func (s *suite) applyPipeline(ctx context.Context, p *shop.Pipeline) error {
	dir := s.folder(p)
	settings := fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: propagator-pipeline
  annotations: {config.kubernetes.io/local-config: "true"}
data:
  pipeline: %[1]s
  repository: %[2]s
  namespaces: "%[1]s-*"
`, p.Name(), p.URL())
	const kustomization = "resources: [settings.yaml]\ncomponents: [../../manifests/components/pipeline, ../../manifests/components/create-namespaces]\n"
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for name, content := range map[string]string{"settings.yaml": settings, "kustomization.yaml": kustomization} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return s.cluster.ApplyFolder(ctx, dir, "operator")
}

// folder is where the operator keeps what is a pipeline's own.
func (s *suite) folder(p *shop.Pipeline) string {
	return filepath.Join(s.dir, "install", "pipelines", p.Name())
}

// applicationSet is the name of the company's, which its AppProject has as well.
func (c *company) applicationSet() string { return "propagator-" + c.Name() }

// close dissolves the company. When the test has failed, it first says what
// the programs say.
func (c *company) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.t.Failed() {
		c.diagnose(ctx)
	}
	world.mu.Lock()
	world.repositories = slices.DeleteFunc(world.repositories, func(url string) bool { return url == c.URL() })
	world.mu.Unlock()
	for _, a := range c.applications() {
		world.apps.AllowDelete(a.Name)
	}
	for _, kind := range []string{"ApplicationSet", "Application", "AppProject", "Role", "RoleBinding"} {
		if err := world.remove(ctx, kind, shop.PipelineLabel+"="+c.Name()); err != nil {
			c.t.Error(err)
		}
	}
	for _, environment := range []string{"dev", "stage", "prod"} {
		err := world.cluster.Dynamic().Resource(kinds["Namespace"]).Delete(ctx, c.Name()+"-"+environment, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			c.t.Error(err)
		}
	}
	if err := os.RemoveAll(world.folder(c.Pipeline)); err != nil {
		c.t.Error(err)
	}
}

// diagnose prints what a person would look at.
func (c *company) diagnose(ctx context.Context) {
	if status, err := c.cli(ctx, "status"); err == nil {
		c.t.Logf("propagator status:\n%s", status)
	}
	if status, err := c.askHook(ctx); err == nil {
		c.t.Logf("the hook's status: %+v", status)
	}
	for _, a := range c.applications() {
		c.t.Log(a)
	}
	for name, logs := range map[string]string{"hook": world.hook.Logs(), "generator": world.generator.Logs(), "sidecar": world.sidecar.Logs()} {
		lines := strings.Split(strings.TrimSpace(logs), "\n")
		c.t.Logf("the %s's last words:\n%s", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

func (c *company) applications() []applications.State {
	return world.apps.Select(map[string]string{shop.PipelineLabel: c.Name()})
}

// of returns an environment's Applications; Dev's are the ones without a label.
func (c *company) of(environment string) []applications.State {
	if environment == c.Config().First().Name {
		return slices.DeleteFunc(c.applications(), func(a applications.State) bool { return a.Labels["propagator.dev/environment"] != "" })
	}
	return world.apps.Select(map[string]string{shop.PipelineLabel: c.Name(), "propagator.dev/environment": environment})
}

// tag is how Applications name a version: refs/tags/shop/v0.1.0.
func (c *company) tag(version string) string { return "refs/tags/" + c.Name() + "/" + version }

// deployed reports whether every Application of an environment is synced to a
// version (main's commit for Dev) and healthy.
func (c *company) deployed(environment, version string) bool {
	list := c.of(environment)
	commit := version
	if environment != c.Config().First().Name {
		commit = c.head(c.tag(version))
	}
	first := environment == c.Config().First().Name
	for _, a := range list {
		switch {
		case commit == "" || a.Revision != commit:
			return false
		case first && !a.Done("main"), !first && !a.Done(c.tag(version)):
			return false
		}
	}
	e, _ := c.Config().Environment(environment)
	return len(list) > 0 && len(list) >= len(e.Applications)
}

// awaitDeployed waits until an environment runs a version.
func (c *company) awaitDeployed(environment, version string) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s runs %s", environment, version), func() bool { return c.deployed(environment, version) })
}

// await waits for a condition over Applications.
func (c *company) await(what string, condition func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := world.apps.Until(ctx, what, condition); err != nil {
		c.t.Fatal(err)
	}
}

// eventually waits for a condition that no Application announces.
func (c *company) eventually(what string, condition func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// release lets CI release a service, and returns the commit.
func (c *company) release(service, note string) shop.Release {
	c.t.Helper()
	r, err := c.Release(c.t.Context(), service, note)
	if err != nil {
		c.t.Fatal(err)
	}
	c.refresh("dev")
	return r
}

// refresh is what a git host's webhook does for Argo CD: Dev's Applications
// look at the branch now and not in three minutes.
func (c *company) refresh(environment string) {
	c.t.Helper()
	for _, a := range c.of(environment) {
		c.annotate("Application", a.Name, "argocd.argoproj.io/refresh", "normal")
	}
}

// annotate sets an annotation of one of Argo CD's own objects.
func (c *company) annotate(kind, name, key, value string) {
	c.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := world.cluster.Dynamic().Resource(kinds[kind]).Namespace(cluster.Namespace).Patch(c.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// head is a branch's or a tag's commit; empty if there is none.
func (c *company) head(ref string) string {
	c.t.Helper()
	head, err := c.Head(c.t.Context(), ref)
	if err != nil {
		c.t.Fatal(err)
	}
	return head
}

// ledgers are the events of a branch by its tip, which says it all.
var ledgers sync.Map

// ledger lists an environment's events, the oldest first: "promote v0.1.0".
func (c *company) ledger(environment string) []string {
	c.t.Helper()
	branch := "refs/heads/environments/" + environment
	tip := c.head(branch)
	if tip == "" {
		return nil
	}
	if known, ok := ledgers.Load(tip); ok {
		return slices.Clone(known.([]string))
	}
	output, err := world.git.Git(c.t.Context(), c.Repo(), "log", "--first-parent", "--reverse",
		"--format=%(trailers:key=Propagator-Event,valueonly,separator=%x20) %(trailers:key=Propagator-Snapshot,valueonly,separator=%x20)", tip)
	if err != nil {
		c.t.Fatal(err)
	}
	var events []string
	for _, line := range strings.Split(output, "\n") {
		event, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		if event != "" {
			events = append(events, strings.TrimSpace(event+" "+strings.TrimPrefix(version, c.Name()+"/")))
		}
	}
	ledgers.Store(tip, slices.Clone(events))
	return events
}

// snapshots lists the versions that were captured, the oldest first.
func (c *company) snapshots() []string {
	c.t.Helper()
	refs, err := world.git.Refs(c.Repo())
	if err != nil {
		c.t.Fatal(err)
	}
	var versions []snapshot.Version
	for name := range refs {
		if v, err := snapshot.ParseVersion(strings.TrimPrefix(name, "refs/tags/")); err == nil && v.Pipeline == c.Name() {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, snapshot.Version.Compare)
	var names []string
	for _, v := range versions {
		names = append(names, strings.TrimPrefix(v.String(), c.Name()+"/"))
	}
	return names
}

// lock reads a snapshot's lock from its tag.
func (c *company) lock(version string) *snapshot.Lock {
	c.t.Helper()
	text, err := world.git.Git(c.t.Context(), c.Repo(), "show", c.tag(version)+":"+snapshot.LockFile)
	if err != nil {
		c.t.Fatal(err)
	}
	lock, err := snapshot.ParseLock([]byte(text + "\n"))
	if err != nil {
		c.t.Fatal(err)
	}
	return lock
}

// cli runs propagator as a developer would, from a machine of their own, and
// returns what it printed.
func (c *company) cli(ctx context.Context, args ...string) (string, error) {
	user, err := world.git.User(gitserver.Propagator)
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, filepath.Join(world.dir, "bin", "propagator"), args...)
	command.Env = []string{
		"HOME=" + world.dir, "USER=olga", "PATH=" + os.Getenv("PATH"), "DOCKER_CONFIG=" + filepath.Join(world.dir, "docker"),
		"PROPAGATOR_REPOSITORY=" + c.URL(), "PROPAGATOR_GIT_USERNAME=" + user.Name, "PROPAGATOR_GIT_PASSWORD=" + user.Password,
		"PROPAGATOR_REGISTRY_ENDPOINT=" + world.registries.Endpoints(),
	}
	output, err := command.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("propagator %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return string(output), nil
}

// propagator is cli for commands that must succeed. The git host's webhook fires
// where one has pushed: it is silent for the user Propagator, who is the hook as well.
func (c *company) propagator(args ...string) string {
	c.t.Helper()
	before := c.refs()
	output, err := c.cli(c.t.Context(), args...)
	if err != nil {
		c.t.Fatal(err)
	}
	if !maps.Equal(before, c.refs()) {
		world.pushed(c.Repo(), gitserver.Lead)
	}
	return output
}

// refs are all of the repository, with the ids of what they name.
func (c *company) refs() map[string]string {
	c.t.Helper()
	refs, err := world.git.Refs(c.Repo())
	if err != nil {
		c.t.Fatal(err)
	}
	return refs
}

// approve agrees to a version for prod.
func (c *company) approve(version string) {
	c.t.Helper()
	if err := c.Approve(c.t.Context(), "prod", version, gitserver.Lead); err != nil {
		c.t.Fatal(err)
	}
}

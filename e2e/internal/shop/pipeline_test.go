//go:build e2e

package shop_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
	"github.com/fleeting-taas/propagator/propagator/cli"
)

// company is a pipeline with its git server and registries.
type company struct {
	*shop.Pipeline
	t          *testing.T
	dir        string
	tools      *toolchain.Tools
	git        *gitserver.Server
	registries *registries.Set
}

func found(t *testing.T, content shop.Content, err error) *company {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c := &company{t: t, dir: t.TempDir()}
	if c.tools, err = toolchain.Ensure(t.Context(), os.Stderr, toolchain.Registry, toolchain.Renderers); err != nil {
		t.Fatal(err)
	}
	if c.git, err = gitserver.Start(t.Context(), gitserver.Options{Dir: filepath.Join(c.dir, "git"), Users: gitserver.DefaultUsers()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.git.Stop)
	if c.registries, err = registries.Start(t.Context(), registries.Options{Binary: c.tools.Path("registry"), Dir: filepath.Join(c.dir, "registries")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.registries.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	c.Pipeline, err = shop.New(t.Context(), shop.Options{Content: content, Git: c.git, Registries: c.registries, Dir: filepath.Join(c.dir, "clones")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ours(t *testing.T) *company {
	t.Helper()
	content, err := shop.Shop()
	return found(t, content, err)
}

// must is for calls whose only interest is that they work.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// propagator runs the command line tool with Propagator's own credentials.
func (c *company) propagator(args ...string) {
	c.t.Helper()
	config, err := c.registries.DockerConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), config, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.t.Setenv("DOCKER_CONFIG", c.dir)
	user, err := c.git.User(gitserver.Propagator)
	if err != nil {
		c.t.Fatal(err)
	}
	env := []string{"USER=e2e", "PROPAGATOR_GIT_USERNAME=" + user.Name, "PROPAGATOR_GIT_PASSWORD=" + user.Password}
	for name, value := range c.Settings() {
		env = append(env, name+"="+value)
	}
	var out, complaint bytes.Buffer
	if code := cli.Main(c.t.Context(), args, env, strings.NewReader(""), &out, &complaint); code != 0 {
		c.t.Fatalf("propagator %s: exit code %d\n%s%s", strings.Join(args, " "), code, &out, &complaint)
	}
	for _, secret := range append(c.git.Secrets(), c.registries.Secrets()...) {
		if strings.Contains(out.String()+complaint.String(), secret) {
			c.t.Errorf("propagator %s shows a password", strings.Join(args, " "))
		}
	}
}

// TestBeginning: the first commit is the content, every image is there, and
// nothing that is Propagator's.
func TestBeginning(t *testing.T) {
	c := ours(t)
	content := must(shop.Shop())(t)
	files := must(c.git.Git(t.Context(), c.Repo(), "ls-tree", "-r", "--name-only", "main"))(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(content.Files)), strings.Fields(files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, service := range content.Services {
		if _, err := c.registries.Dev.Digest(t.Context(), "shop/"+service.Name, service.Tag); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.registries.Hub.Digest(t.Context(), "library/redis", "7.4-alpine"); err != nil {
		t.Error(err)
	}
	for _, r := range []*registries.Registry{c.registries.Stage, c.registries.Prod} {
		if repos, err := r.Repositories(t.Context()); err != nil || len(repos) != 0 {
			t.Errorf("%s has %v, %v", r.Name(), repos, err)
		}
	}
	if refs := must(c.git.Git(t.Context(), c.Repo(), "for-each-ref", "--format=%(refname)"))(t); refs != "refs/heads/main" {
		t.Errorf("refs: %s", refs)
	}
}

// TestCI: every release is an image and a commit that names it, also when
// services release at the same time.
func TestCI(t *testing.T) {
	c := ours(t)
	var group sync.WaitGroup
	releases := make([]shop.Release, 6)
	for i := range releases {
		service := []string{"orders", "catalog", "gateway"}[i%3]
		group.Go(func() {
			var err error
			if releases[i], err = c.Release(t.Context(), service, fmt.Sprint("build ", i)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for _, r := range releases {
		if digest, err := c.registries.Dev.Digest(t.Context(), "shop/"+r.Service, r.Tag); err != nil || digest != r.Digest || seen[digest] {
			t.Errorf("%+v: %s, %v", r, digest, err)
		}
		seen[r.Digest] = true
		change := must(c.git.Git(t.Context(), c.Repo(), "show", "--format=%an %s", "--numstat", r.Commit))(t)
		if !strings.HasPrefix(change, "ci ci: "+r.Service+" "+r.Tag+" build ") || !strings.Contains(change, "1\t1\t") {
			t.Errorf("%+v: the commit is %s", r, change)
		}
	}
	if n := must(c.git.Git(t.Context(), c.Repo(), "rev-list", "--count", "main"))(t); n != "7" {
		t.Errorf("main has %s commits, want 7", n)
	}
	before := must(c.registries.Dev.Digest(t.Context(), "shop/worker", "latest"))(t)
	worker := must(c.Release(t.Context(), "worker", ""))(t)
	if now := must(c.registries.Dev.Digest(t.Context(), "shop/worker", "latest"))(t); worker.Commit != "" || now == before || now != worker.Digest {
		t.Errorf("worker's latest was %s and is %s: %+v", before, now, worker)
	}
	broken := must(c.ReleaseBroken(t.Context(), "orders", ""))(t)
	if !strings.HasPrefix(broken.Tag, "broken-") || broken.Commit == "" {
		t.Errorf("%+v", broken)
	}
	if _, err := c.ReleaseBroken(t.Context(), "worker", ""); err == nil {
		t.Error("a broken worker was released")
	}
	if _, err := c.Release(t.Context(), "basket", ""); err == nil || !strings.Contains(err.Error(), "catalog, gateway, orders, worker") {
		t.Errorf("a service that does not exist: %v", err)
	}
}

// TestTrain runs Propagator's engine by hand on the company: its git server
// and its registries are all that it needs.
func TestTrain(t *testing.T) {
	c := ours(t)
	release := must(c.Release(t.Context(), "orders", "faster"))(t)
	if err := c.Approve(t.Context(), "prod", "v0.1.0", gitserver.Lead); err == nil {
		t.Error("somebody approved what does not exist")
	}
	c.propagator("snapshot", "create") // and into Stage, which takes what is new
	if err := c.Approve(t.Context(), "prod", "v0.1.0", gitserver.Lead); err != nil {
		t.Fatal(err)
	}
	if err := c.Approve(t.Context(), "prod", "shop/v0.1.0", gitserver.ArgoCD); err == nil {
		t.Error("somebody without a right approved")
	}
	if deleted := must(c.DeleteDevImages(t.Context()))(t); deleted < 4*3 {
		t.Errorf("%d manifests deleted", deleted)
	}
	if deleted := must(c.DeleteDevImages(t.Context()))(t); deleted != 0 {
		t.Errorf("%d manifests deleted the second time", deleted)
	}
	if err := c.registries.Dev.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	c.propagator("mirror", "copy", "prod", "v0.1.0")
	for _, r := range []*registries.Registry{c.registries.Stage, c.registries.Prod} {
		if has, err := r.Has(t.Context(), "shop/orders", release.Digest); err != nil || !has {
			t.Errorf("%s: %v, %v", r.Name(), has, err)
		}
	}
	c.propagator("snapshot", "verify", "v0.1.0")
	tag := must(c.Head(t.Context(), "refs/tags/shop/v0.1.0"))(t)
	ledger := must(c.Head(t.Context(), "environments/stage"))(t)
	trees := must(c.git.Git(t.Context(), c.Repo(), "rev-parse", ledger+"^{tree}", tag+"^{tree}"))(t)
	if tree, snapshot, _ := strings.Cut(trees, "\n"); tree != snapshot {
		t.Error("environments/stage does not have the snapshot's tree")
	}
	approval := must(c.git.Git(t.Context(), c.Repo(), "rev-parse", "refs/tags/approve/prod/shop/v0.1.0/lead^{commit}"))(t)
	if approval != tag {
		t.Errorf("the approval is of %s, the snapshot is %s", approval, tag)
	}
	everything := must(c.git.Git(t.Context(), c.Repo(), "log", "--all", "--patch", "--format=fuller"))(t)
	for _, secret := range append(c.git.Secrets(), c.registries.Secrets()...) {
		if strings.Contains(everything, secret) {
			t.Error("a password is in the repository")
		}
	}
}

// TestPeople: what people do beside approving.
func TestPeople(t *testing.T) {
	c := ours(t)
	release := must(c.Release(t.Context(), "catalog", ""))(t)
	if err := c.Tag(t.Context(), gitserver.Developer, "v1.5.0", release.Commit, ""); err != nil {
		t.Error(err)
	}
	if at := must(c.Head(t.Context(), "refs/tags/v1.5.0"))(t); at != release.Commit {
		t.Errorf("v1.5.0 is at %s", at)
	}
	if none := must(c.Head(t.Context(), "environments/stage"))(t); none != "" {
		t.Errorf("a branch that does not exist is at %s", none)
	}
	commit := must(c.SetNeverReady(t.Context(), "stage", "orders", true))(t)
	changed := must(c.git.Git(t.Context(), c.Repo(), "diff", "--name-only", commit+"^", commit))(t)
	if changed != "envs/stage/orders/kustomization.yaml" {
		t.Errorf("changed: %s", changed)
	}
	if _, err := c.SetNeverReady(t.Context(), "stage", "basket", true); err == nil {
		t.Error("an application that does not exist is never ready")
	}
	if _, err := c.SetNeverReady(t.Context(), "moon", "orders", true); err == nil {
		t.Error("an environment that does not exist is never ready")
	}
	must(c.SetNeverReady(t.Context(), "stage", "orders", false))(t)
}

// TestStockTools: an Argo CD without any plugin can render Dev's Applications.
func TestStockTools(t *testing.T) {
	c := ours(t)
	clone := must(c.git.Clone(t.Context(), c.Repo(), gitserver.ArgoCD, filepath.Join(c.dir, "argocd")))(t)
	for _, application := range must(c.Applications("argocd"))(t) {
		t.Run(application.GetName(), func(t *testing.T) {
			path, _, err := unstructured.NestedString(application.Object, "spec", "source", "path")
			if err != nil {
				t.Fatal(err)
			}
			tool, args := "kustomize", []string{"build", path, shop.ArgoCDConfig()["kustomize.buildOptions"], "--helm-command", c.tools.Path("helm")}
			if values, isChart, err := unstructured.NestedStringSlice(application.Object, "spec", "source", "helm", "valueFiles"); err != nil {
				t.Fatal(err)
			} else if isChart {
				tool, args = "helm", []string{"template", "catalog", path, "--kube-version", "1.33.1", "--values", strings.TrimPrefix(values[0], "/")}
			} else if _, plain, _ := unstructured.NestedMap(application.Object, "spec", "source", "directory"); plain {
				return
			}
			cmd := exec.CommandContext(t.Context(), c.tools.Path(tool), args...)
			cmd.Dir = clone.Dir
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "kind: Deployment") {
				t.Errorf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
			}
		})
	}
}

// TestFleet: an environment of sixty applications, captured and promoted.
func TestFleet(t *testing.T) {
	content, err := shop.Fleet(60)
	c := found(t, content, err)
	if applications := must(c.Applications("argocd"))(t); len(applications) != 60 || applications[0].GetName() != "fleet-dev-app-001" {
		t.Errorf("%d applications, first %s", len(applications), applications[0].GetName())
	}
	release := must(c.Release(t.Context(), "app-042", ""))(t)
	c.propagator("snapshot", "create") // and into Stage, which takes what is new
	if has, err := c.registries.Stage.Has(t.Context(), "fleet/app-042", release.Digest); err != nil || !has {
		t.Errorf("%v, %v", has, err)
	}
}

// TestSecrets: what is applied to the cluster fits the servers.
func TestSecrets(t *testing.T) {
	c := ours(t)
	repository := must(c.RepositorySecret("argocd"))(t)
	values, _, err := unstructured.NestedStringMap(repository.Object, "stringData")
	if err != nil || values["url"] != c.URL() || values["username"] != gitserver.ArgoCD || values["password"] == "" {
		t.Errorf("%v", err)
	}
	secrets := must(c.PropagatorSecrets("argocd"))(t)
	text := must(shop.Manifest(append(secrets, repository)...))(t)
	for _, part := range []string{"name: propagator-git", "name: propagator-registries", "type: kubernetes.io/dockerconfigjson", "stage.registry.example", "argocd.argoproj.io/secret-type: repository"} {
		if !strings.Contains(text, part) {
			t.Errorf("the manifest lacks %s", part)
		}
	}
}

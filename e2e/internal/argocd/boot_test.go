//go:build e2e

package argocd_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/argocd"
	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/process"
	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// version is that of the suite.
func version() string {
	if v := os.Getenv("PROPAGATOR_E2E_ARGOCD"); v != "" {
		return v
	}
	return "v2.14.21"
}

// world is a cluster with a running Argo CD.
type world struct {
	cluster *cluster.Cluster
	net     *servicenet.Network
	kubelet *workload.Kubelet
	argocd  *argocd.ArgoCD
}

// boot starts everything, from nothing.
func boot(t *testing.T) *world {
	t.Helper()
	modules, err := argocd.Modules(version())
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolchain.Ensure(t.Context(), os.Stderr, append(cluster.Modules(), modules...)...)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "e2e-argocd-") //nolint:usetesting // t.TempDir's path is too long for sockets.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("PROPAGATOR_E2E_KEEP") == "1" {
			t.Logf("state: %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w := &world{}
	begun := time.Now()
	stamp := func(what string) { t.Logf("%6.1f s: %s", time.Since(begun).Seconds(), what) }

	if w.cluster, err = cluster.Start(t.Context(), tools, filepath.Join(dir, "cluster")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Stop)
	stamp("cluster")
	if err := argocd.Install(t.Context(), w.cluster, tools, version()); err != nil {
		t.Fatal(err)
	}
	stamp("install.yaml applied")
	if w.net, err = servicenet.Start(t.Context(), servicenet.Config{Client: w.cluster.Dynamic()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.net.Close() })
	images, err := argocd.Images(t.Context(), tools, version())
	if err != nil {
		t.Fatal(err)
	}
	w.kubelet, err = workload.NewKubelet(t.Context(), workload.Config{
		Cluster: w.cluster, Dir: filepath.Join(dir, "pods"), Net: w.net, Images: images,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kubelet.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if w.argocd, err = argocd.Start(ctx, w.kubelet); err != nil {
		t.Fatal(err)
	}
	stamp("Argo CD ready")
	return w
}

// repository is a bare repository with one Deployment, and its URL.
func repository(t *testing.T) (url string, push func(file, text string)) {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(process.HostEnv(), "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.invalid", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.invalid", "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	bare, work := filepath.Join(dir, "env.git"), filepath.Join(dir, "work")
	git("init", "-q", "--bare", "-b", "main", bare)
	git("init", "-q", "-b", "main", work)
	return "file://" + bare, func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, file)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		git("-C", work, "add", "-A")
		git("-C", work, "commit", "-q", "-m", file)
		git("-C", work, "push", "-q", bare, "main")
	}
}

func deployment(image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: %q}]
`, image)
}

// eventually asks until the answer is want.
func eventually(t *testing.T, what, want string, ask func() (string, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := ask()
		if err == nil && got == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: want %q, got %q, %v", what, want, got, err)
		}
	}
}

func (w *world) application(ctx context.Context) func() (string, error) {
	return func() (string, error) {
		return w.cluster.Kubectl(ctx, "get", "application", "web", "-o", "jsonpath={.status.sync.status}/{.status.health.status}")
	}
}

func TestArgoCDSyncsAPlainApplication(t *testing.T) {
	w := boot(t)
	url, push := repository(t)
	push("web/deployment.yaml", deployment("example.invalid/web:1"))
	application := fmt.Sprintf(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: web, namespace: argocd}
spec:
  project: default
  source: {repoURL: %q, path: web, targetRevision: main}
  destination: {server: https://kubernetes.default.svc, namespace: default}
  syncPolicy: {automated: {}}
`, url)
	begun := time.Now()
	if _, err := w.cluster.KubectlInput(t.Context(), application, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "application", "Synced/Healthy", w.application(t.Context()))
	t.Logf("Synced and Healthy after %.1f s", time.Since(begun).Seconds())
	memory(t, w)

	for name, component := range w.argocd.Components() {
		t.Run("restart "+name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begun := time.Now()
			if err := component.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			stopped := time.Since(begun)
			if s := component.Status(); s[0].PID != 0 || s[0].Ready {
				t.Errorf("after Stop: %+v", s)
			}
			if err := component.Start(ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped after %.1f s, ready again after %.1f s", stopped.Seconds(), time.Since(begun).Seconds())
		})
	}
	t.Run("parameters reach repo-server with a restart", func(t *testing.T) { parameters(t, w) })
	t.Run("a changed template replaces repo-server", func(t *testing.T) { changedTemplate(t, w) })
	t.Run("the server answers", func(t *testing.T) { serverAnswers(t, w) })

	push("web/deployment.yaml", deployment("example.invalid/web:2"))
	if _, err := w.cluster.Kubectl(t.Context(), "annotate", "application", "web", "argocd.argoproj.io/refresh=normal"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "image after all were restarted", "example.invalid/web:2", func() (string, error) {
		return w.cluster.Kubectl(t.Context(), "get", "-n", "default", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	})
	eventually(t, "application", "Synced/Healthy", w.application(t.Context()))
}

// variable returns one of a component's process, as the process has it.
func variable(t *testing.T, c *workload.Workload, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.Status()[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	for entry := range strings.SplitSeq(string(text), "\x00") {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func parameters(t *testing.T, w *world) {
	const name = "ARGOCD_REPO_SERVER_PLUGIN_TAR_EXCLUSIONS"
	if got := variable(t, w.argocd.RepoServer, name); got != "" {
		t.Fatalf("%s is %q already", name, got)
	}
	if _, err := w.cluster.Kubectl(t.Context(), "patch", "configmap", "argocd-cmd-params-cm", "--type=merge", "-p", `{"data":{"reposerver.plugin.tar.exclusions":".git"}}`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.argocd.RepoServer.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got := variable(t, w.argocd.RepoServer, name); got != ".git" {
		t.Errorf("%s is %q", name, got)
	}
}

func changedTemplate(t *testing.T, w *world) {
	before := w.argocd.RepoServer.Status()[0].PID
	if _, err := w.cluster.Kubectl(t.Context(), "set", "env", "deployment/argocd-repo-server", "ARGOCD_EXEC_TIMEOUT=77s"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.argocd.RepoServer.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if got := variable(t, w.argocd.RepoServer, "ARGOCD_EXEC_TIMEOUT"); got != "77s" || w.argocd.RepoServer.Status()[0].PID == before {
		t.Errorf("ARGOCD_EXEC_TIMEOUT is %q; process %d before, %d now", got, before, w.argocd.RepoServer.Status()[0].PID)
	}
}

func serverAnswers(t *testing.T, w *world) {
	url, err := w.argocd.ServerURL()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // G402: its certificate is of its own making.
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/version", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), version()) {
		t.Errorf("GET /api/version: %s %s, %v", resp.Status, body, err)
	}
}

// memory logs how much each process has resident.
func memory(t *testing.T, w *world) {
	t.Helper()
	resident := func(pid int) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return err.Error()
		}
		_, after, _ := strings.Cut(string(text), "VmRSS:")
		line, _, _ := strings.Cut(after, "\n")
		return strings.TrimSpace(line)
	}
	for name, p := range w.cluster.Processes() {
		t.Logf("memory of %s: %s", name, resident(p.PID()))
	}
	for name, c := range w.argocd.Components() {
		for _, s := range c.Status() {
			t.Logf("memory of %s: %s", name, resident(s.PID))
		}
	}
}

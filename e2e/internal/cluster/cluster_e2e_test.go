//go:build e2e

package cluster_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
)

// lines writes to the test's log.
type lines struct{ t *testing.T }

func (l lines) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func start(t *testing.T) *cluster.Cluster {
	t.Helper()
	tools, err := toolchain.Ensure(t.Context(), lines{t}, cluster.Modules()...)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c, err := cluster.Start(t.Context(), tools, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	t.Logf("from nothing to a working cluster: %.1f s", time.Since(began).Seconds())
	return c
}

// eventually asks until there is no error.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after 30 s: %v", err)
		case <-tick.C:
		}
	}
}

const manifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers:
      - {name: setup, image: "registry.example/shop/setup:1.0.0"}
      - {name: beside, image: "registry.example/shop/beside:1.0.0", restartPolicy: Always}
      containers:
      - name: web
        image: registry.example:5000/shop/web:1.0.0@sha256:4ed1d2a1d14c5a8b0ab5d4b1dc4cda7a32cb0fa1f9d1ae1b1a6f3c4f9c8d0e11
        readinessProbe: {httpGet: {path: /, port: 8080}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: slow}
spec:
  selector: {matchLabels: {app: slow}}
  template:
    metadata: {labels: {app: slow}, annotations: {e2e.propagator.dev/never-ready: "its database is not there"}}
    spec: {containers: [{name: slow, image: "registry.example/shop/slow:1.0.0"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lost}
spec:
  selector: {matchLabels: {app: lost}}
  template:
    metadata: {labels: {app: lost}}
    spec: {containers: [{name: lost, image: "registry.example/shop/lost:1.0.0-broken"}, {name: fine, image: "registry.example/shop/fine:1.0.0"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: migrate, image: "registry.example/shop/migrate:1.0.0"}]}
`

func TestClusterRunsPodsAndStopsWithoutATrace(t *testing.T) {
	c := start(t)
	if _, err := c.KubectlInput(t.Context(), manifests, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.Kubectl(t.Context(), "wait", "--timeout=30s", "--for=condition=Available", "deployment/web"); err != nil {
		t.Error(err)
	}
	t.Logf("Available after %.1f s", time.Since(began).Seconds())
	if _, err := c.Kubectl(t.Context(), "wait", "--timeout=30s", "--for=condition=Complete", "job/migrate"); err != nil {
		t.Error(err)
	}

	status := func(app string) string {
		t.Helper()
		out, err := c.Kubectl(t.Context(), "get", "pods", "-l", "app="+app, "-o", `jsonpath={range .items[*]}{.status.phase} {.status.conditions[?(@.type=="Ready")].status}`+
			`{range .status.initContainerStatuses[*]} {.name}:{.ready}{end}{range .status.containerStatuses[*]} {.name}:{.ready}:{.imageID}{.state.waiting.reason}{end}{"\n"}{end}`)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	const web = "Running True setup:true beside:true web:true:registry.example:5000/shop/web@sha256:4ed1d2a1d14c5a8b0ab5d4b1dc4cda7a32cb0fa1f9d1ae1b1a6f3c4f9c8d0e11\n"
	if diff := cmp.Diff(web+web, status("web")); diff != "" {
		t.Errorf("ready Pods (-want +got):\n%s", diff)
	}
	for app, want := range map[string]string{
		"slow": "Running False slow:false:\n",
		"lost": "Pending False lost:false:ImagePullBackOff fine:false:ContainerCreating\n",
	} {
		eventually(t, func() error {
			if got := status(app); got != want {
				return errors.New(cmp.Diff(want, got))
			}
			return nil
		})
		out, err := c.Kubectl(t.Context(), "get", "deployment", app, "-o", "jsonpath={.status.availableReplicas}")
		if err != nil || out != "" {
			t.Errorf("%s has %q available replicas: %v", app, out, err)
		}
	}

	// A mark that is taken away, and a deletion.
	if _, err := c.Kubectl(t.Context(), "annotate", "pods", "-l", "app=slow", cluster.NeverReadyKey+"-"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(t.Context(), "wait", "--timeout=30s", "--for=condition=Available", "deployment/slow"); err != nil {
		t.Error(err)
	}
	if _, err := c.Kubectl(t.Context(), "delete", "deployment", "web", "--cascade=foreground", "--timeout=30s"); err != nil {
		t.Error(err)
	}
	if out := status("web"); out != "" {
		t.Errorf("Pods outlive their Deployment:\n%s", out)
	}

	if _, err := c.Kubectl(t.Context(), "get", "deployment", "web"); err == nil || !strings.Contains(err.Error(), `deployments.apps "web" not found`) {
		t.Errorf("kubectl's complaint got lost: %v", err)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	for name, p := range c.Processes() {
		t.Logf("%s: %d MB resident", name, residentMB(t, p.PID()))
	}
	pids := c.Processes()
	began = time.Now()
	c.Stop()
	t.Logf("stopped in %.1f s", time.Since(began).Seconds())
	for name, p := range pids {
		select {
		case <-p.Done():
		default:
			t.Errorf("%s lives on", name)
		}
	}
	for _, pid := range processesIn(t, c.Dir()) {
		t.Errorf("process %d of the cluster lives on", pid)
	}
}

func TestServiceAccountsMayDoWhatTheirRolesSay(t *testing.T) {
	c := start(t)
	if _, err := c.KubectlInput(t.Context(), `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
`, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	path, err := c.ServiceAccountKubeconfig(t.Context(), cluster.Namespace, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the token: %v %v", info.Mode(), err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	// The authorizer reads roles from a cache that is a moment behind.
	eventually(t, func() error {
		_, err := reader.CoreV1().ConfigMaps(cluster.Namespace).List(t.Context(), metav1.ListOptions{})
		return err
	})
	if _, err := reader.CoreV1().Secrets(cluster.Namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("secrets: got %v, want forbidden", err)
	}
	if _, err := reader.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another namespace: got %v, want forbidden", err)
	}
	if _, err := c.ServiceAccountKubeconfig(t.Context(), cluster.Namespace, "nobody"); !apierrors.IsNotFound(err) {
		t.Errorf("a service account that does not exist: %v", err)
	}
	again, err := c.ServiceAccountKubeconfig(t.Context(), cluster.Namespace, "reader")
	if err != nil || again != path {
		t.Errorf("second kubeconfig: %s %v, want %s", again, err, path)
	}

	const user = "system:serviceaccount:argocd:reader"
	eventually(t, func() error {
		denials, err := c.Denials()
		// The first lists of ConfigMaps may have been too early for the authorizer.
		denials = slices.DeleteFunc(denials, func(d cluster.Denial) bool { return d.Resource == "configmaps" && d.Namespace == cluster.Namespace })
		want := []cluster.Denial{
			{User: user, Verb: "list", Resource: "secrets", Namespace: cluster.Namespace},
			{User: user, Verb: "list", Resource: "configmaps", Namespace: "default"},
		}
		if diff := cmp.Diff(want, denials, cmpopts.IgnoreFields(cluster.Denial{}, "At")); diff != "" {
			return errors.Join(err, errors.New(diff))
		}
		return err
	})

	// The dynamic client is the admin's.
	secrets := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	if _, err := c.Dynamic().Resource(secrets).Namespace(cluster.Namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// processesIn lists the processes whose command line names a folder.
func processesIn(t *testing.T, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && pid != os.Getpid() && strings.Contains(string(text), dir) {
			found = append(found, pid)
		}
	}
	return found
}

// residentMB is the memory that a process occupies.
func residentMB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

package workload

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// web is a Deployment with everything that a process sees.
func web(level string, replicas string) string {
	return strings.Replace(template(`
serviceAccountName: default
initContainers:
- name: prepare
  image: example/web
  command: [/bin/web]
  env: [{name: EXIT, valueFrom: {configMapKeyRef: {name: config, key: exit}}}]
containers:
- name: web
  image: example/web:v1
  args: [--level=`+level+`]
  ports: [{name: http, containerPort: 8080}]
  readinessProbe: {httpGet: {path: /readyz, port: http}}
  env:
  - {name: SECRETS, value: /etc/secrets}
  - {name: SHARED, value: /shared}
  - {name: LEVEL, valueFrom: {configMapKeyRef: {name: config, key: level}}}
  volumeMounts:
  - {name: secrets, mountPath: /etc/secrets}
  - {name: shared, mountPath: /shared}
volumes:
- {name: secrets, secret: {secretName: secret}}
- {name: shared, emptyDir: {}}`), "replicas: 2", "replicas: "+replicas, 1)
}

const (
	password1 = "{apiVersion: v1, kind: Secret, metadata: {name: secret}, data: {password: b25l, user: bWU=}}" // one
	password2 = "{apiVersion: v1, kind: Secret, metadata: {name: secret}, data: {password: dHdv}}"             // two
	config2   = "{apiVersion: v1, kind: ConfigMap, metadata: {name: config}, data: {level: debug}}"
	service   = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}"
)

func TestAContainerRunsAsItsManifestSays(t *testing.T) {
	s := start(t, account, config, password1, web("info", "2"))
	w := s.run(t)
	statuses := w.Status()
	if len(statuses) != 2 || statuses[0].Pod != "web-0" || statuses[1].Pod != "web-1" {
		t.Fatalf("replicas: %+v", statuses)
	}
	got := ask(t, statuses[1])
	if diff := cmp.Diff([]string{"--level=info"}, got.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"password": "one", "user": "me"}, got.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, want := range []string{"LEVEL=info", "KUBECONFIG=/kubeconfig/default", "HOSTNAME=web-1", "HTTP_PROXY=" + s.net.URL()} {
		if !slices.Contains(got.Env, want) {
			t.Errorf("environment without %s", want)
		}
	}
	// Nothing comes in from the suite's own environment.
	if slices.ContainsFunc(got.Env, func(e string) bool { return strings.HasPrefix(e, "GOCACHE=") || strings.HasPrefix(e, "LOGNAME=") }) {
		t.Errorf("environment: %q", got.Env)
	}
}

func TestReadyReplicasAreReachable(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	resource := s.client.Resource(services).Namespace(namespace)
	if _, err := resource.Create(t.Context(), decode(t, service), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w := s.run(t)
	address, err := s.net.Resolve(t.Context(), "web:80")
	if want := w.Status()[0].Ports[8080]; err != nil || address != want {
		t.Errorf("resolve: %q, %v, want %s", address, err, want)
	}
	if address, ok := w.Address(8080); !ok || address != w.Status()[0].Ports[8080] {
		t.Errorf("address: %q %t", address, ok)
	}
	if err := w.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	if address, err := s.net.Resolve(t.Context(), "web:80"); err == nil {
		t.Errorf("after Stop: %s", address)
	}
}

func TestVolumesFollowTheirObjectsAndVariablesDoNot(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	w := s.run(t)
	pid := w.Status()[0].PID
	s.apply(t, password2)
	s.apply(t, config2)
	eventually(t, "new password and no user", func() bool {
		files := ask(t, w.Status()[0]).Files
		_, user := files["user"]
		return files["password"] == "two" && !user
	})
	got := ask(t, w.Status()[0])
	if !slices.Contains(got.Env, "LEVEL=info") || w.Status()[0].PID != pid {
		t.Errorf("LEVEL and the process should be the same: %v", got)
	}
	if err := w.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, w.Status()[0]); !slices.Contains(got.Env, "LEVEL=debug") {
		t.Errorf("after a restart: %q", got.Env)
	}
}

func TestAMissingSecretIsWaitedFor(t *testing.T) {
	s := start(t, account, config, web("info", "1"))
	w, err := s.kubelet.Run(Ref{Deployment, "web", "web"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "reason", func() bool {
		all := w.Status()
		return len(all) == 1 && strings.Contains(all[0].Reason, `secret "secret" not found`)
	})
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Ready(short); err == nil || !strings.Contains(err.Error(), `secret "secret" not found`) {
		t.Errorf("ready: %v", err)
	}
	s.apply(t, password1)
	s.ready(t, w)
	// One that is removed later does no harm to what runs, nor to the next change.
	pid := w.Status()[0].PID
	s.remove(t, kindSecret, "secret")
	s.apply(t, config2)
	s.apply(t, password2)
	eventually(t, "new password and no user", func() bool {
		files := ask(t, w.Status()[0]).Files
		_, user := files["user"]
		return files["password"] == "two" && !user
	})
	if got := w.Status()[0].PID; got != pid {
		t.Errorf("the process was replaced: %d, %d", pid, got)
	}
}

func TestAMissingServiceAccountIsAReason(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	s.accounts["default"] = false
	w, err := s.kubelet.Run(Ref{Deployment, "web", "web"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "reason", func() bool {
		all := w.Status()
		return len(all) == 1 && strings.Contains(all[0].Reason, "FailedMount: serviceaccount argocd/default not found")
	})
}

func TestAChangedTemplateReplacesTheProcesses(t *testing.T) {
	s := start(t, account, config, password1, web("info", "2"))
	w := s.run(t)
	before := w.Status()
	s.apply(t, web("debug", "2"))
	s.ready(t, w)
	for i, now := range w.Status() {
		if now.PID == before[i].PID || now.Restarts != 0 || now.Generation != 2 {
			t.Errorf("replica %d: %+v, before %+v", i, now, before[i])
		}
		if diff := cmp.Diff([]string{"--level=debug"}, ask(t, now).Args); diff != "" {
			t.Errorf("replica %d (-want +got):\n%s", i, diff)
		}
		if now.Ports[8080] != before[i].Ports[8080] {
			t.Errorf("replica %d has another port: %s, %s", i, before[i].Ports[8080], now.Ports[8080])
		}
	}
}

func TestReplicasFollowTheManifestOrTheSuite(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	w := s.run(t)
	pid := w.Status()[0].PID
	s.apply(t, web("info", "3"))
	s.ready(t, w)
	if got := w.Status(); len(got) != 3 || got[0].PID != pid {
		t.Errorf("scaled to 3: %+v", got)
	}
	w.Replicas(2)
	s.ready(t, w)
	if got := w.Status(); len(got) != 2 || got[0].PID != pid {
		t.Errorf("2 by the suite: %+v", got)
	}
	w.Replicas(-1)
	s.ready(t, w)
	if got := w.Status(); len(got) != 3 {
		t.Errorf("3 again: %+v", got)
	}
	s.remove(t, Deployment, "web")
	eventually(t, "no replica of what is gone", func() bool { return len(w.Status()) == 0 })
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		t.Error("its process still runs")
	}
}

func TestAContainerThatIsTakenOutOfTheTemplateEnds(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	w := s.run(t)
	s.apply(t, strings.ReplaceAll(web("info", "1"), "- name: web\n        image", "- name: other\n        image"))
	eventually(t, "the container's end", func() bool {
		all := w.Status()
		return len(all) == 1 && all[0].PID == 0 && strings.Contains(all[0].Reason, "does not exist")
	})
}

func TestAProcessThatEndsIsRestarted(t *testing.T) {
	s := start(t, account, config, password1, web("info", "2"))
	w := s.run(t)
	before := w.Status()
	// It ends by itself.
	_, _ = get(t, before[0], "/exit")
	eventually(t, "restart", func() bool { return w.Status()[0].Restarts == 1 })
	s.ready(t, w)
	// It is killed.
	if err := w.KillReplica(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "restart", func() bool { return w.Status()[1].Restarts == 1 })
	s.ready(t, w)
	for i, now := range w.Status() {
		if now.PID == before[i].PID {
			t.Errorf("replica %d has the same process", i)
		}
	}
	if err := w.KillReplica(2); err == nil {
		t.Error("there is no replica 2")
	}
}

func TestStopHaltAndStart(t *testing.T) {
	s := start(t, account, config, password1, web("info", "2"))
	w := s.run(t)
	for name, down := range map[string]func(context.Context) error{"stop": w.Stop, "halt": w.Halt} {
		if err := down(within(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, status := range w.Status() {
			if status.PID != 0 || status.Ready || status.Ports != nil {
				t.Errorf("%s: %+v", name, status)
			}
		}
		if err := w.Start(within(t)); err != nil {
			t.Fatalf("start after %s: %v", name, err)
		}
	}
}

func TestAFrozenProcessIsUnready(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	w := s.run(t)
	pid := w.Status()[0].PID
	w.Pause()
	eventually(t, "not ready", func() bool { return !w.Status()[0].Ready })
	w.Resume()
	s.ready(t, w)
	if got := w.Status()[0]; got.PID != pid || got.Restarts != 0 {
		t.Errorf("after Resume: %+v, want the process %d", got, pid)
	}
	// A frozen one can be stopped all the same.
	w.Pause()
	if err := w.Stop(within(t)); err != nil {
		t.Error(err)
	}
}

func TestInitContainersRunOnRequest(t *testing.T) {
	s := start(t, account, password1, web("info", "1"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: config}, data: {exit: '0'}}")
	prepare := Ref{Deployment, "web", "prepare"}
	if err := s.kubelet.RunInit(within(t), prepare); err != nil {
		t.Error(err)
	}
	s.apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: config}, data: {exit: '7'}}")
	err := s.kubelet.RunInit(within(t), prepare)
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "ends as it was told") {
		t.Errorf("got %v", err)
	}
}

func TestRunRefusesWhatItCannotRun(t *testing.T) {
	s := start(t)
	if _, err := s.kubelet.Run(Ref{"Job", "web", "web"}); err == nil {
		t.Error("a Job runs")
	}
	if _, err := s.kubelet.Run(Ref{Deployment, "web", "web"}); err != nil {
		t.Error(err)
	}
	if _, err := s.kubelet.Run(Ref{Deployment, "web", "web"}); err == nil {
		t.Error("a container runs twice")
	}
	s.kubelet.Stop()
	if _, err := s.kubelet.Run(Ref{Deployment, "other", "web"}); err == nil {
		t.Error("a stopped kubelet runs something")
	}
	if _, err := NewKubelet(t.Context(), Config{}); err == nil {
		t.Error("a kubelet without a cluster")
	}
}

func TestAStatusAloneIsNoChange(t *testing.T) {
	s := start(t, account, config, password1, web("info", "1"))
	w := s.run(t)
	before := w.Status()[0]
	_, err := s.client.Resource(resources[Deployment]).Namespace(namespace).Patch(t.Context(), "web", types.MergePatchType,
		[]byte(`{"status":{"readyReplicas":1}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.apply(t, password2) // Comes after it, and is seen.
	eventually(t, "new password and no user", func() bool {
		files := ask(t, w.Status()[0]).Files
		_, user := files["user"]
		return files["password"] == "two" && !user
	})
	if now := w.Status()[0]; now.PID != before.PID || now.Generation != before.Generation {
		t.Errorf("%+v, before %+v", now, before)
	}
}

func TestWriteVolume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volume")
	if err := writeVolume(dir, map[string]File{"a": {[]byte("1"), 0o400}, "b/c": {[]byte("2"), 0o644}}); err != nil {
		t.Fatal(err)
	}
	kept, err := os.Stat(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeVolume(dir, map[string]File{"a": {[]byte("1"), 0o400}, "d": {[]byte("3"), 0o644}}); err != nil {
		t.Fatal(err)
	}
	now, err := os.Stat(filepath.Join(dir, "a"))
	if err != nil || !os.SameFile(kept, now) || now.Mode().Perm() != 0o400 {
		t.Errorf("a: %v, %v", now, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b", "c")); err == nil {
		t.Error("b/c is still there")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "d")); err != nil || string(text) != "3" {
		t.Errorf("d: %q, %v", text, err)
	}
}

var services = schema.GroupVersionResource{Version: "v1", Resource: "services"}

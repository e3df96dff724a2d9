package workload

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// template is a Deployment named web whose Pod spec is given.
func template(spec string) string {
	return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    metadata:
      labels: {app: web}
      annotations: {note: hello}
    spec:
` + indent(strings.TrimSpace(spec), "      ")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(text, "\n", "\n"+by)
}

const (
	account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}"
	config  = "{apiVersion: v1, kind: ConfigMap, metadata: {name: config}, data: {level: info, other: x}}"
	secret  = "{apiVersion: v1, kind: Secret, metadata: {name: secret}, data: {password: cDQkJHcw, user: bWU=}}" // p4$$w0, me
)

func TestResolve(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spec  string
		check func(*Container) any
		want  any
	}{
		{
			"environment", `
containers:
- name: web
  image: example/web
  envFrom:
  - configMapRef: {name: config}
  - secretRef: {name: secret}
    prefix: S_
  - configMapRef: {name: missing, optional: true}
  env:
  - {name: A, value: "a $(level) $(unset) $$(level) $(B)"}
  - {name: B, value: "$(A)!"}
  - {name: level, value: debug}
  - {name: LATER, value: $(level)}
  - {name: KEY, valueFrom: {configMapKeyRef: {name: config, key: other}}}
  - {name: NOKEY, valueFrom: {configMapKeyRef: {name: config, key: nope, optional: true}}}
  - {name: PASSWORD, valueFrom: {secretKeyRef: {name: secret, key: password}}}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
  - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
  - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
  - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  resources: {limits: {cpu: 1500m, memory: 1Gi}}`,
			func(c *Container) any { return c.Env },
			[]Variable{
				{"other", "x", false},
				{"S_password", "p4$$w0", true},
				{"S_user", "me", true},
				{"A", "a info $(unset) $(level) $(B)", false},
				{"B", "a info $(unset) $(level) $(B)!", false},
				{"level", "debug", false},
				{"LATER", "debug", false},
				{"KEY", "x", false},
				// Its value is not expanded again.
				{"PASSWORD", "p4$$w0", true},
				{"POD", "web-0", false},
				{"NAMESPACE", "argocd", false},
				{"APP", "web", false},
				{"NOTE", "hello", false},
				{"CPUS", "2", false},
				{"MEMORY", "1024", false},
			},
		},
		{
			"command and arguments", `
containers:
- name: web
  image: example/web
  command: [/bin/web, $(LEVEL)]
  args: ["--password $(PASSWORD)", "$$(LEVEL)", "$", "a$b", "$(open"]
  env:
  - {name: LEVEL, value: info}
  - {name: PASSWORD, valueFrom: {secretKeyRef: {name: secret, key: user}}}`,
			func(c *Container) any { return [][]string{c.Command, c.Args} },
			[][]string{{"/bin/web", "info"}, {"--password me", "$(LEVEL)", "$", "a$b", "$(open"}},
		},
		{
			"mounts", `
containers:
- name: web
  image: example/web
  volumeMounts:
  - {name: all, mountPath: /all/}
  - {name: some, mountPath: /some}
  - {name: both, mountPath: /both, subPath: sub}
  - {name: none, mountPath: /none}
  - {name: shared, mountPath: /shared}
volumes:
- {name: all, configMap: {name: config, defaultMode: 288}}
- {name: some, secret: {secretName: secret, items: [{key: user, path: a/name, mode: 256}]}}
- {name: both, projected: {sources: [{secret: {name: secret, items: [{key: user, path: user}]}}, {configMap: {name: config, items: [{key: level, path: level}]}}]}}
- {name: none, secret: {secretName: missing, optional: true}}
- {name: shared, emptyDir: {}}`,
			func(c *Container) any { return c.Mounts },
			[]Mount{
				{Path: "/all", Volume: "all", Files: map[string]File{"level": {[]byte("info"), 0o440}, "other": {[]byte("x"), 0o440}}},
				{Path: "/some", Volume: "some", Files: map[string]File{"a/name": {[]byte("me"), 0o400}}},
				{Path: "/both", Volume: "both", SubPath: "sub", Files: map[string]File{"user": {[]byte("me"), 0o644}, "level": {[]byte("info"), 0o644}}},
				{Path: "/none", Volume: "none", Files: map[string]File{}},
				{Path: "/shared", Volume: "shared"},
			},
		},
		{
			"an init container that keeps running", `
containers: [{name: main, image: example/main}]
initContainers:
- name: web
  image: example/web:v1
  restartPolicy: Always
  workingDir: /srv
  ports: [{name: http, containerPort: 8080}]
  securityContext: {readOnlyRootFilesystem: true}
  readinessProbe: {httpGet: {path: /readyz, port: http, scheme: HTTPS}}`,
			func(c *Container) any {
				return []any{c.Image, c.WorkingDir, c.Ports, c.ReadOnlyRoot, *c.Readiness, c.ServiceAccount, c.Token, c.Replicas, c.Pod, c.Generation, c.Labels["app"]}
			},
			[]any{"example/web:v1", "/srv", []Port{{"http", 8080}}, true, Probe{8080, "/readyz", true}, "default", true, 2, "web-0", int64(1), "web"},
		},
		{
			"no token", `
automountServiceAccountToken: false
containers: [{name: web, image: example/web, readinessProbe: {tcpSocket: {port: 1}}}]`,
			func(c *Container) any { return []any{c.Token, *c.Readiness} },
			[]any{false, Probe{Port: 1}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Resolve(t.Context(), newCluster(t, account, config, secret, template(tt.spec)), Deployment, namespace, "web", "web")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.check(c)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveSaysWhatIsMissing(t *testing.T) {
	const container = "containers:\n- name: web\n  image: example/web\n"
	for _, tt := range []struct {
		name, spec, want string
		reason           string // Of a StartError; empty when it is another error.
	}{
		{"secret", container + "  env: [{name: A, valueFrom: {secretKeyRef: {name: nope, key: k}}}]", `env A: CreateContainerConfigError: secret "nope" not found`, ReasonConfig},
		{"key", container + "  env: [{name: A, valueFrom: {secretKeyRef: {name: secret, key: k}}}]", "couldn't find key k in Secret argocd/secret", ReasonConfig},
		{"configmap of envFrom", container + "  envFrom: [{configMapRef: {name: nope}}]", `configmap "nope" not found`, ReasonConfig},
		{"volume", container + "  volumeMounts: [{name: v, mountPath: /v}]\nvolumes: [{name: v, secret: {secretName: nope}}]", `volume v: FailedMount: secret "nope" not found`, ReasonMount},
		{"item", container + "  volumeMounts: [{name: v, mountPath: /v}]\nvolumes: [{name: v, configMap: {name: config, items: [{key: k, path: k}]}}]", `references non-existent key k in configmap "config"`, ReasonMount},
		{"item that leaves the volume", container + "  volumeMounts: [{name: v, mountPath: /v}]\nvolumes: [{name: v, configMap: {name: config, items: [{key: level, path: ../k}]}}]", `which leaves the volume`, ReasonMount},
		{"service account", "serviceAccountName: nope\n" + container, `serviceaccount "nope" not found`, ReasonConfig},
		{"host path", container + "  volumeMounts: [{name: v, mountPath: /v}]\nvolumes: [{name: v, hostPath: {path: /}}]", "volume v: its kind is not played here", ""},
		{"unknown field", container + "  env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]", "fieldRef metadata.uid is not played here", ""},
		{"no limit", container + "  env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]", "limits.cpu is not set", ""},
		{"probe of an unknown port", container + "  readinessProbe: {httpGet: {port: http}}", `asks port "http", which no entry of its ports has`, ""},
		{"probe by a command", container + "  readinessProbe: {exec: {command: ['true']}}", "neither httpGet nor tcpSocket", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Resolve(t.Context(), newCluster(t, account, config, secret, template(tt.spec)), Deployment, namespace, "web", "web")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			var missing *StartError
			if errors.As(err, &missing) != (tt.reason != "") || missing != nil && missing.Reason != tt.reason {
				t.Errorf("reason of %v, want %q", err, tt.reason)
			}
		})
	}
}

func TestResolveWhatIsGone(t *testing.T) {
	c := newCluster(t, account, template("containers: [{name: web, image: example/web}]"))
	for _, ref := range []Ref{{Deployment, "web", "other"}, {Deployment, "other", "web"}, {StatefulSet, "web", "web"}} {
		if _, err := Resolve(t.Context(), c, ref.Kind, namespace, ref.Name, ref.Container); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v, want %v", ref, err, ErrGone)
		}
	}
	if _, err := Resolve(t.Context(), c, "DaemonSet", namespace, "web", "web"); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("a DaemonSet: %v", err)
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "$(A)", "$$(A)", "$(", "$()", "a$(A)b$(B)", "$$$(A)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		none := func(string) (string, bool) { return "", false }
		if got := expand(s, none); len(got) > len(s) {
			t.Errorf("%q became %q", s, got)
		}
		if got := expand(s, none); !strings.Contains(s, "$$") && got != s {
			t.Errorf("%q became %q though nothing is set", s, got)
		}
	})
}

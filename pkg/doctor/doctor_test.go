package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/doctor"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// TestHealthy: an installation in which nothing is wrong has no finding but ok,
// from every check.
func TestHealthy(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for _, f := range w.examine(w.config()) {
		seen[f.Check] = true
		if f.Result != doctor.OK || f.Fix != "" {
			t.Errorf("%s %s: %s: %s (%s)", f.Check, f.Subject, f.Result, f.Message, f.Fix)
		}
	}
	for _, check := range doctor.Checks() {
		if !seen[check.Name] {
			t.Errorf("check %s found nothing", check.Name)
		}
	}
	if w.login == nil || w.login.Username != "propagator" || !strings.Contains(string(w.dockerJSON), "stage.registry.example") {
		t.Error("git and registries were not asked with what the hook has")
	}
}

// notOK are the findings that are not ok, one a line, in a form for tables.
func notOK(findings []doctor.Finding) string {
	var lines []string
	for _, f := range findings {
		if f.Result != doctor.OK {
			lines = append(lines, fmt.Sprintf("%s: %s: %s", f.Result, f.Subject, f.Message))
		}
	}
	return strings.Join(lines, "\n")
}

// TestObjects breaks one thing at a time in what the API server has. want is a
// part of the only finding that is not ok; fix a part of what to type.
func TestObjects(t *testing.T) {
	tests := []struct {
		name  string
		check string
		// edit is pairs of old and new texts of the installation.
		edit      []string
		change    func(*world)
		want, fix string
	}{
		{"old Kubernetes", "kubernetes", nil, func(w *world) { w.Version("v1.28.9") }, "failed: https://127.0.0.1", "upgrade Kubernetes to 1.29"},
		{"Kubernetes of a provider", "kubernetes", nil, func(w *world) { w.Version("v1.29.4-gke.1043000") }, "", ""},
		{"unreadable version", "kubernetes", nil, func(w *world) { w.Version("unknown") }, "warning: https://127.0.0.1", "kubectl version"},

		{"no Argo CD", "argocd", nil, func(w *world) { w.Remove("argocd-repo-server") }, "failed: Deployment argocd-repo-server: namespace argocd has none", "--argocd-namespace"},
		{"old Argo CD", "argocd", []string{"- name: argocd-repo-server\n        image: quay.io/argoproj/argocd:v2.14.21", "- name: argocd-repo-server\n        image: quay.io/argoproj/argocd:v2.13.1"}, nil, "failed: Argo CD: v2.13.1 is older than 2.14", "upgrade"},
		{"new Argo CD", "argocd", []string{"- name: argocd-repo-server\n        image: quay.io/argoproj/argocd:v2.14.21", "- name: argocd-repo-server\n        image: localhost:5000/argocd:v4.0.0"}, nil, "warning: Argo CD: v4.0.0 is newer", "test cluster"},
		{"Argo CD by digest", "argocd", []string{"- name: argocd-repo-server\n        image: quay.io/argoproj/argocd:v2.14.21", "- name: argocd-repo-server\n        image: quay.io/argoproj/argocd@sha256:00"}, nil, "warning: Argo CD: the image of Deployment argocd-repo-server does not tell", "argocd version"},
		{"no ApplicationSet controller", "argocd", nil, func(w *world) { w.Remove("argocd-applicationset-controller") }, "failed: Deployment argocd-applicationset-controller: there is none", "install"},
		{"notifications scaled to zero", "argocd", []string{"replicas: 1 # of notifications", "replicas: 0"}, nil, "warning: Deployment argocd-notifications-controller: it is scaled to zero", "--replicas 1"},

		{"no hook", "programs", nil, func(w *world) { w.Remove("deployments/propagator-notifications-hook") }, "failed: Deployment propagator-notifications-hook: there is none", "$INSTALL/suite"},
		{"generator scaled to zero", "programs", []string{"replicas: 1 # of the generator", "replicas: 0"}, nil, "failed: Deployment propagator-applicationset-generator: it is scaled to zero", "--replicas 1"},
		{"hook does not start", "programs", []string{
			"availableReplicas: 1 } # of the hook", "availableReplicas: 0}",
			"spec: {containers: [{name: notifications-hook, ports: [{name: http, containerPort: 8080}]}]}\nstatus: {phase: Running, conditions: [{type: Ready, status: \"True\"}]}",
			"status: {phase: Running, containerStatuses: [{name: notifications-hook, state: {waiting: {reason: CrashLoopBackOff}}}]}",
		}, nil, "0 of 1 replica available; Pod propagator-notifications-hook-6b7-bbbbb: container notifications-hook ends again and again", "--previous"},
		{"no Secret for git", "programs", nil, func(w *world) { w.Remove("secrets/propagator-git") }, "failed: Secret propagator-git: there is none in namespace argocd, so no Pod of propagator-notifications-hook can start", "create secret generic propagator-git "},
		{"no Secret for registries", "programs", nil, func(w *world) { w.Remove("secrets/propagator-registries") }, "failed: Secret propagator-registries: there is none in namespace argocd, so no Pod of propagator-notifications-hook can start", "create secret generic propagator-registries"},
		{"no Secret for callers", "programs", nil, func(w *world) { w.Remove("secrets/propagator-token") }, "failed: Secret propagator-token: there is none", "openssl rand"},
		{"no settings", "programs", nil, func(w *world) { w.Remove("configmaps/propagator-settings") }, "failed: ConfigMap propagator-settings: there is none", "$INSTALL/suite"},
		{"a Secret of somebody else's", "programs", []string{"secret: {secretName: propagator-registries}", "secret: {secretName: company-logins}"}, nil, "failed: Secret company-logins: there is none", "make it"},
		{"versions differ", "programs", []string{"cmp-sidecar:v0.1.0", "cmp-sidecar:v0.2.0"}, nil, "warning: images: versions differ: cmp-sidecar v0.2.0, propagator-applicationset-generator and propagator-notifications-hook v0.1.0", "newTag"},

		{"no sidecar", "sidecar", []string{"- name: cmp-sidecar", "- name: other"}, nil, "failed: Deployment argocd-repo-server: it has no container cmp-sidecar", "overlays/argocd-v2"},
		{"restartPolicy dropped", "sidecar", []string{"        restartPolicy: Always\n", ""}, func(w *world) { w.Version("v1.27.0") }, "lacks restartPolicy: Always", "Kubernetes v1.27.0 does not know native sidecars"},
		{"restartPolicy forgotten", "sidecar", []string{"        restartPolicy: Always\n", ""}, nil, "lacks restartPolicy: Always", "overlays/argocd-v2"},
		{"no startup probe", "sidecar", []string{"        startupProbe: {httpGet: {path: /readyz, port: 8087}}\n", ""}, nil, "has no startup probe", "overlays"},
		{"more is shared", "sidecar", []string{"        - {name: tmp, mountPath: /tmp}\n", "        - {name: tmp, mountPath: /tmp}\n", "        securityContext: {runAsUser: 999}\n        volumeMounts:\n", "        securityContext: {runAsUser: 999}\n        volumeMounts:\n        - {name: tmp, mountPath: /tmp2}\n"}, nil, "warning: Deployment argocd-repo-server: repo-server and cmp-sidecar share more than the folder of plugins: tmp", "remove"},
		{"socket elsewhere", "sidecar", []string{"securityContext: {runAsUser: 999}\n        volumeMounts:\n        - {name: plugins,", "securityContext: {runAsUser: 999}\n        volumeMounts:\n        - {name: elsewhere,"}, nil, "looks for sockets in volume plugins, cmp-sidecar makes its own in volume elsewhere", "overlays"},
		{"no volume", "sidecar", []string{"securityContext: {runAsUser: 999}\n        volumeMounts:\n        - {name: plugins, mountPath: /home/argocd/cmp-server/plugins}", "securityContext: {runAsUser: 999}"}, nil, "cmp-sidecar has no volume at /home/argocd/cmp-server/plugins", "overlays"},
		{"another user", "sidecar", []string{"runAsUser: 999", "runAsUser: 1000"}, nil, "repo-server runs as user 999, cmp-sidecar as 1000", "999"},

		{"history is sent", "tar-exclusions", []string{"  reposerver.plugin.tar.exclusions: \".git\"\n", ""}, nil, "warning: Deployment argocd-repo-server: it sends .git", `-k "$INSTALL/argocd"`},
		{"lock is left out", "tar-exclusions", []string{`exclusions: ".git"`, `exclusions: ".*"`}, nil, `failed: Deployment argocd-repo-server: the exclusion ".*" leaves out everything`, ".git"},
		{"configuration is left out", "tar-exclusions", []string{`exclusions: ".git"`, `exclusions: ".git;*.yaml"`}, nil, `the exclusion "*.yaml" leaves out propagator.yaml`, ".git"},
		{"malformed exclusion", "tar-exclusions", []string{`exclusions: ".git"`, `exclusions: ".git;[a"`}, nil, `the exclusion "[a" is malformed`, ".git"},
		{"others are kept", "tar-exclusions", []string{`exclusions: ".git"`, `exclusions: "docs;services"`}, nil, "it sends .git", ".git;docs;services"},

		{"Application names another plugin", "plugin-name", []string{"    plugin:\n      name: propagator\n", "    plugin:\n      name: propagator-v1.0\n"}, nil, `failed: Application shop-stage-orders: its plugin is called "propagator-v1.0"`, "in ApplicationSet propagator-shop, which made it"},
		{"Application names none", "plugin-name", []string{"    plugin:\n      name: propagator\n", "    plugin:\n      version: x\n"}, nil, "failed: Application shop-stage-orders: its plugin has no name", "ApplicationSet propagator-shop"},
		{"set names another plugin", "plugin-name", []string{"plugin: {name: propagator} # of the set", "plugin: {name: kustomize}"}, nil, `failed: ApplicationSet propagator-shop: its plugin is called "kustomize"`, "patch applicationset propagator-shop"},
		{"set names none", "plugin-name", []string{"        plugin: {name: propagator} # of the set", "        path: x"}, nil, "failed: ApplicationSet propagator-shop: it names no plugin", "spec.template.spec.source.plugin.name"},
		{"sidecar has another name", "plugin-name", []string{"restartPolicy: Always", "restartPolicy: Always\n        args: [--name, train]"}, nil, `failed: ApplicationSet propagator-shop: its plugin is called "propagator", the sidecar's is "train"`, "train"},

		{"sets delete", "applicationset", []string{"applicationsSync: create-update", "applicationsSync: sync"}, nil, "failed: ApplicationSet propagator-shop: applicationsSync is sync", "create-update"},
		{"sets delete by default", "applicationset", []string{"    applicationsSync: create-update\n", ""}, nil, "applicationsSync is not set", "create-update"},
		{"sets never update", "applicationset", []string{"applicationsSync: create-update", "applicationsSync: create-only"}, nil, "no promotion ever changes an Application", "create-update"},
		{"workloads die with Applications", "applicationset", []string{"preserveResourcesOnDeletion: true", "preserveResourcesOnDeletion: false"}, nil, "preserveResourcesOnDeletion is not true", "preserveResourcesOnDeletion"},
		{"holes in templates", "applicationset", []string{"goTemplateOptions: [missingkey=error]", "goTemplateOptions: []"}, nil, "lacks missingkey=error", "missingkey=error"},
		{"old templates", "applicationset", []string{"goTemplate: true", "goTemplate: false"}, nil, "goTemplate is not true", "goTemplate"},
		{"poke misses the set", "applicationset", []string{"{name: propagator-shop, namespace: argocd, labels: {propagator.dev/pipeline: shop}, ", "{name: propagator-shop, namespace: argocd, "}, nil, "warning: ApplicationSet propagator-shop: it has no label", "label applicationset propagator-shop propagator.dev/pipeline=shop"},
		{"poke of another pipeline", "applicationset", []string{"{name: propagator-shop, namespace: argocd, labels: {propagator.dev/pipeline: shop}, ", "{name: propagator-shop, namespace: argocd, labels: {propagator.dev/pipeline: web}, "}, nil, "its label says pipeline web, its generator is asked for shop", "--overwrite"},
		{"no scope", "applicationset", []string{"      input: {parameters: {pipeline: shop}}\n", ""}, nil, "no input.parameters.pipeline", "pipeline"},
		{"no polling", "applicationset", []string{"requeueAfterSeconds: 60", "requeueAfterSeconds: 0"}, nil, "requeueAfterSeconds is 0", "60"},
		{"slow polling", "applicationset", []string{"      requeueAfterSeconds: 60\n", ""}, nil, "requeueAfterSeconds is not set", "60"},
		{"generation fails", "applicationset", []string{`status: "False", message: up to date`, `status: "True", message: "error listing params: API error with status code 401"`}, nil, "Argo CD reports: error listing params: API error with status code 401", "--only generator-config,tokens,git"},
		{"no set", "applicationset", nil, func(w *world) { w.Remove("applicationsets/propagator-shop") }, "warning: ApplicationSets: none in namespace argocd uses the generator", "$INSTALL/pipelines/$PIPELINE"},
		{"policy wins", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "applicationsetcontroller.policy: sync"}, nil, "it ignores applicationsSync of the ApplicationSets and deletes", "enable.policy.override"},
		{"override off", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, `applicationsetcontroller.enable.policy.override: "false"`}, nil, "it ignores applicationsSync", "enable.policy.override"},
		{"policy is safe", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "applicationsetcontroller.policy: create-update"}, nil, "", ""},
		{"no policy", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "unrelated: x"}, nil, "", ""},
		{"policy on the command line", "applicationset", []string{"args: [/usr/local/bin/argocd-applicationset-controller]", "args: [/usr/local/bin/argocd-applicationset-controller, --policy=create-delete, --enable-policy-override=false]"}, nil, "its policy create-delete overrides", "set --policy=create-update in the arguments"},

		{"policy in the arguments alone", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "unrelated: x", "args: [/usr/local/bin/argocd-applicationset-controller]", "args: [/usr/local/bin/argocd-applicationset-controller, --policy, sync]"}, nil, "", ""},
		{"override in capitals", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "applicationsetcontroller.enable.policy.override: \"TRUE\"\n  applicationsetcontroller.policy: sync"}, nil, "", ""},
		{"override as a flag", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "applicationsetcontroller.policy: sync", "args: [/usr/local/bin/argocd-applicationset-controller]", "args: [/usr/local/bin/argocd-applicationset-controller, --enable-policy-override=T]"}, nil, "", ""},
		{"policy creates only", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "applicationsetcontroller.policy: create-only"}, nil, "its policy create-only overrides", `"applicationsetcontroller.policy":"create-update"`},
		{"policy of a Helm release", "applicationset", []string{`applicationsetcontroller.enable.policy.override: "true"`, "applicationsetcontroller.policy: sync", "{app.kubernetes.io/component: applicationset-controller,", "{app.kubernetes.io/managed-by: Helm, app.kubernetes.io/component: applicationset-controller,"}, nil, "it ignores applicationsSync", `configs.params."applicationsetcontroller.enable.policy.override"`},
		{"override came after the start", "applicationset", []string{`time: "2026-03-02T09:00:00Z" # of the override`, `time: "2026-03-02T09:10:00Z"`}, nil, "warning: Deployment argocd-applicationset-controller: Pod argocd-applicationset-controller-6f4-z9z9z runs since 2026-03-02T09:05:00Z, and applicationsetcontroller.enable.policy.override in ConfigMap argocd-cmd-params-cm may have changed", "rollout restart deployment argocd-applicationset-controller"},
		{"exclusions came after the start", "tar-exclusions", []string{`time: "2026-03-02T09:00:00Z" # of our keys`, `time: "2026-03-02T09:10:00Z"`}, nil, "warning: Deployment argocd-repo-server: Pod argocd-repo-server-5c9f-x2x2x runs since 2026-03-02T09:05:00Z", "rollout restart deployment argocd-repo-server"},
		{"exclusions of a Helm release", "tar-exclusions", []string{"  reposerver.plugin.tar.exclusions: \".git\"\n", "", "{app.kubernetes.io/component: repo-server,", "{app.kubernetes.io/managed-by: Helm, app.kubernetes.io/component: repo-server,"}, nil, "it sends .git", "release's values"},
		{"a set that takes its Applications along", "applicationset", []string{", finalizers: [resources-finalizer.argocd.argoproj.io]}", ", finalizers: [example.com/audit]}"}, nil, "failed: ApplicationSet propagator-shop: it lacks the finalizer", `{"finalizers":["example.com/audit","resources-finalizer.argocd.argoproj.io"]}`},
		{"a template that takes workloads along", "applicationset", []string{"  template:\n    spec:\n      source:\n", "  template:\n    metadata: {finalizers: [resources-finalizer.argocd.argoproj.io/background]}\n    spec:\n      source:\n"}, nil, "failed: ApplicationSet propagator-shop: its template gives Applications the finalizer", "/spec/template/metadata/finalizers"},
		{"an Application that takes workloads along", "applicationset", []string{"  ownerReferences: [{apiVersion", "  finalizers: [example.com/audit, resources-finalizer.argocd.argoproj.io]\n  ownerReferences: [{apiVersion"}, nil, "failed: Application shop-stage-orders: it has the finalizer", `patch application shop-stage-orders --type merge -p '{"metadata":{"finalizers":["example.com/audit"]}}'`},

		{"old kubelet", "kubernetes", []string{"kubeletVersion: v1.31.4+old", "kubeletVersion: v1.28.15"}, nil, "failed: nodes: these kubelets do not know native sidecars, so a Pod of repo-server that lands there does not start: node-2 v1.28.15", "nodeSelector"},
		{"old kubelet of another system", "kubernetes", []string{"kubeletVersion: v1.31.4+old", "kubeletVersion: v1.28.15", "kubernetes.io/os: linux", "kubernetes.io/os: windows"}, nil, "", ""},
		{"nodes may not be seen", "kubernetes", nil, func(w *world) { w.Forbid("/nodes") }, "skipped: nodes: needs a permission", ""},
		{"repo-server does not run", "argocd", []string{"availableReplicas: 1} # of repo-server", "availableReplicas: 0}"}, nil, "failed: Deployment argocd-repo-server: 0 of 1 replica available", "describe deployment argocd-repo-server"},

		{"address of a machine of the company", "generator-config", []string{"baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local:8080", "baseUrl: http://generator.internal:8080"}, nil, "skipped: ConfigMap propagator: baseUrl: http://generator.internal:8080 is no Service of this cluster: namespace internal has no Service generator", "curl"},
		{"address of a Service elsewhere", "generator-config", []string{"baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local:8080", "baseUrl: http://generator.tools.svc:8080"}, nil, "failed: ConfigMap propagator: baseUrl: there is no Service generator in namespace tools", "$INSTALL/suite"},

		{"notifications are tried again", "notifications", []string{"    retryMax: -1\n", ""}, nil, "warning: ConfigMap argocd-notifications-cm: service.webhook.propagator: retryMax is not -1", "$INSTALL/argocd"},

		{"no ConfigMap", "generator-config", nil, func(w *world) { w.Remove("configmaps/propagator") }, "failed: ConfigMap propagator: there is none", "$INSTALL/suite"},
		{"set names another ConfigMap", "generator-config", []string{"configMapRef: {name: propagator}", "configMapRef: {name: propagator-plugin}"}, nil, "failed: ConfigMap propagator-plugin: there is none", "set configMapRef.name to propagator"},
		{"no address", "generator-config", []string{"  baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local:8080\n", ""}, nil, "baseUrl: it is not set", "baseUrl"},
		{"no such Service", "generator-config", []string{"baseUrl: http://propagator-applicationset-generator.argocd", "baseUrl: http://generator.argocd"}, nil, "there is no Service generator in namespace argocd", "propagator-applicationset-generator.argocd.svc.cluster.local:8080"},
		{"no such port", "generator-config", []string{"baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local:8080", "baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local"}, nil, "has no port 80; it has 8080", ":8080"},
		{"Service leads nowhere", "generator-config", nil, func(w *world) { w.Remove("propagator-applicationset-generator-7d8-aaaaa") }, "Service propagator-applicationset-generator selects no Pod", "baseUrl"},
		{"address elsewhere", "generator-config", []string{"baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local:8080", "baseUrl: https://ada:MARKER-url@generator.tools.example.com/x"}, nil, "skipped: ConfigMap propagator: baseUrl: https://generator.tools.example.com/x is no Service", "curl"},
		{"no address at all", "generator-config", []string{"baseUrl: http://propagator-applicationset-generator.argocd.svc.cluster.local:8080", "baseUrl: propagator"}, nil, "is not an http:// or https:// address", "http://"},
		{"token written out", "generator-config", []string{"token: $propagator-token:token", "token: MARKER-literal-0123456789"}, nil, "token is written out in the ConfigMap", "$propagator-token:token"},
		{"token of nobody", "generator-config", []string{"token: $propagator-token:token", "token: $propagator-tokens:token"}, nil, "failed: Secret propagator-tokens: there is none", "$propagator-token:token"},
		{"key of nobody", "generator-config", []string{"token: $propagator-token:token", "token: $propagator-token:tokens"}, nil, "it has no key tokens, so the ApplicationSet controller sends the reference", "$propagator-token:token"},
		{"token of argocd-secret", "generator-config", []string{"token: $propagator-token:token", "token: $propagator.token"}, nil, "failed: Secret argocd-secret: there is none", "$propagator-token:token"},
		{"token is empty", "generator-config", []string{"stringData: {token: MARKER-bearer-0123456789}", `stringData: {token: " "}`}, nil, "key token is empty", "openssl rand"},
		{"token is a reference", "generator-config", []string{"stringData: {token: MARKER-bearer-0123456789}", `stringData: {token: "$propagator-token"}`}, nil, "begins with $", "openssl rand"},
		{"token has a line end", "generator-config", []string{"stringData: {token: MARKER-bearer-0123456789}", `stringData: {token: "MARKER-bearer-0123456789\n"}`}, nil, "warning: Secret propagator-token: key token has blanks or a line end", "openssl rand"},
		{"two tokens", "generator-config", []string{"stringData: {token: MARKER-bearer-0123456789}", `stringData: {token: "MARKER-bearer-0123456789\nMARKER-old-0123456789"}`}, nil, "has several lines", "openssl rand"},
		{"Secret without label", "generator-config", []string{"{name: propagator-token, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}", "{name: propagator-token, namespace: argocd}"}, nil, "it lacks the label", "label secret propagator-token"},
		{"time-out with a unit", "generator-config", []string{`requestTimeout: "20"`, `requestTimeout: "20s"`}, nil, `requestTimeout is "20s"`, "--force-conflicts -k \"$INSTALL/suite\""},
		{"time-out too short", "generator-config", []string{`requestTimeout: "20"`, `requestTimeout: "5"`}, nil, "warning: ConfigMap propagator: requestTimeout is 5 s", "--force-conflicts -k \"$INSTALL/suite\""},

		{"no token", "tokens", nil, func(w *world) { w.Remove("secrets/propagator-token") }, "failed: Secret propagator-token: there is none", "openssl rand"},
		{"no token for notifications", "tokens", []string{"propagator-token: MARKER-bearer-0123456789, ", ""}, nil, "failed: Secret argocd-notifications-secret: key propagator-token is missing", "jsonpath"},
		{"another token for notifications", "tokens", []string{"propagator-token: MARKER-bearer-0123456789, ", "propagator-token: MARKER-other-0123456789, "}, nil, "another token than in Secret propagator-token", "jsonpath"},
		{"a line end for notifications", "tokens", []string{"propagator-token: MARKER-bearer-0123456789, ", `propagator-token: "MARKER-bearer-0123456789\n", `}, nil, "warning: Secret argocd-notifications-secret: the same token as in Secret propagator-token, with other blanks", "jsonpath"},
		{"no Secret for notifications", "tokens", nil, func(w *world) { w.Remove("argocd-notifications-secret") }, "failed: Secret argocd-notifications-secret: there is none", "create secret"},

		{"no notifications", "notifications", nil, func(w *world) { w.Remove("argocd-notifications-cm") }, "failed: ConfigMap argocd-notifications-cm: there is none", "overlays/argocd-v2"},
		{"somebody's YAML is broken", "notifications", []string{"message: Application {{ .app.metadata.name }}", "message: [Application"}, nil, "template.other cannot be read, which stops all notifications", "correct template.other"},
		{"somebody's template is broken", "notifications", []string{"message: Application {{ .app.metadata.name }}", "message: Application {{ .app.metadata.name "}, nil, "template.other cannot be read", "correct template.other"},
		{"somebody's function is unknown", "notifications", []string{"message: Application {{ .app.metadata.name }}", `message: '{{ env "HOME" }}'`}, nil, "template.other cannot be read", "correct template.other"},
		{"duration as a text", "notifications", []string{"    headers:\n", "    retryWaitMin: 2s\n    headers:\n"}, nil, `service.webhook.propagator cannot be read, which stops all notifications of this Argo CD: retryWaitMin is the text "2s"`, "correct service.webhook.propagator"},
		{"selector is broken", "notifications", []string{"selector: propagator.dev/pipeline", "selector: 'a in ('"}, nil, "subscriptions cannot be read", "correct subscriptions"},
		{"no service", "notifications", []string{"service.webhook.propagator:", "service.webhook.hook:"}, nil, "it has no service.webhook.propagator", "overlays"},
		{"hook elsewhere", "notifications", []string{"url: http://propagator-notifications-hook.argocd", "url: http://hook.argocd"}, nil, "url: there is no Service hook", "http://propagator-notifications-hook.argocd.svc.cluster.local:8080"},
		{"no header", "notifications", []string{"    headers:\n    - name: Authorization\n      value: Bearer $propagator-token\n", ""}, nil, "sends no Authorization header", "Bearer $propagator-token"},
		{"token in the open", "notifications", []string{"value: Bearer $propagator-token", "value: Bearer MARKER-literal-0123456789"}, nil, "has its token written out", "Bearer $propagator-token"},
		{"header without Bearer", "notifications", []string{"value: Bearer $propagator-token", "value: $propagator-token"}, nil, "must be: Bearer $propagator-token", "Bearer"},
		{"key that is not there", "notifications", []string{"value: Bearer $propagator-token", "value: Bearer $hook-token"}, nil, "refers to $hook-token, and Secret argocd-notifications-secret has no such key", "Bearer $propagator-token"},
		{"no template", "notifications", []string{"template.propagator:", "template.hook:", "oncePer: app.status.operationState.finishedAt\n      send: [propagator]", "oncePer: x\n      send: [hook]", "health.status == 'Healthy'\n      send: [propagator]", "health.status == 'Healthy'\n      send: [hook]"}, nil, "it has no template.propagator", "overlays"},
		{"GET", "notifications", []string{"method: POST", "method: GET"}, nil, `method is "GET"`, "overlays"},
		{"wrong path", "notifications", []string{"path: /api/v1/argocd", "path: /"}, nil, `path is "/"`, "overlays"},
		{"trigger sends what is not there", "notifications", []string{"oncePer: app.status.operationState.finishedAt\n      send: [propagator]", "oncePer: app.status.operationState.finishedAt\n      send: [propagator, gone]"}, nil, "trigger.on-propagator-deployed sends template gone, which does not exist", "template.gone"},
		{"no oncePer", "notifications", []string{"      oncePer: app.status.operationState.finishedAt\n", ""}, nil, "warning: ConfigMap argocd-notifications-cm: no trigger that sends template.propagator has oncePer", "overlays"},
		{"oncePer only", "notifications", []string{"- when: app.status.health.status == 'Healthy'", "- when: app.status.health.status == 'Healthy'\n      oncePer: x"}, nil, "every trigger that sends template.propagator has oncePer", "overlays"},
		{"nobody subscribed", "notifications", []string{"recipients: [propagator]", "recipients: [slack:general]"}, nil, "subscriptions: none has recipient propagator", "overlays"},
		{"subscribed for others", "notifications", []string{"selector: propagator.dev/pipeline", "selector: team=web"}, nil, "subscriptions: none has recipient propagator", "overlays"},
		{"half subscribed", "notifications", []string{"triggers: [on-propagator-deployed, on-propagator-healthy]", "triggers: [on-propagator-deployed]"}, nil, "nobody subscribed propagator to trigger on-propagator-healthy", "overlays"},

		{"no settings", "git", []string{"  PROPAGATOR_REPOSITORY: https://git.example/shop.git\n", "  X: x\n"}, nil, "skipped: repository: no repository is known", "--repository URL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.edit...)
			if test.change != nil {
				test.change(w)
			}
			check(t, w.examine(w.config(), test.check), test.want, test.fix)
		})
	}
}

// check wants exactly one finding that is not ok, or none.
func check(t *testing.T, findings []doctor.Finding, want, fix string) {
	t.Helper()
	bad := slices.DeleteFunc(slices.Clone(findings), func(f doctor.Finding) bool { return f.Result == doctor.OK })
	got := notOK(findings)
	switch {
	case want == "" && got != "":
		t.Errorf("got\n%s\nwant nothing", got)
	case want == "":
	case len(bad) != 1 || !strings.Contains(got, want):
		t.Errorf("got\n%s\nwant one finding with\n%s", got, want)
	case !strings.Contains(bad[0].Fix, fix):
		t.Errorf("the fix is\n%s\nand lacks\n%s", bad[0].Fix, fix)
	}
}

// TestPrograms: what our programs answer.
func TestPrograms(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	run := func(at time.Time, failure string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			service.WriteJSON(w, http.StatusOK, []map[string]any{{"repository": "https://ada:MARKER@git.example/shop.git", "at": at, "error": failure}})
		}
	}
	tests := []struct {
		name, check, path string
		answer            http.HandlerFunc
		want, fix         string
	}{
		{"generator has another token", "tokens", "/api/v1/getparams.execute", status(401, "{}"), "failed: applicationset-generator: it refuses the token", "rollout restart deployment propagator-applicationset-generator"},
		{"hook has another token", "tokens", "/api/v1/status", status(401, "{}"), "failed: notifications-hook: it refuses the token", "rollout restart deployment propagator-notifications-hook"},
		{"anybody may ask", "tokens", "/api/v1/status", status(200, "[]"), "failed: notifications-hook: it answers 200 to a token that nobody has", "in front of it"},
		{"a login page", "tokens", "/api/v1/status", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://login.example/?t=MARKER", http.StatusFound)
		}, "what answers there (302) is not notifications-hook", "logs"},
		{"hook fails", "hook", "/api/v1/status", run(time.Now(), "promote shop/v1.0.0 to stage: registry: 401"), "failed: pipeline https://git.example/shop.git: the hook's newest run: promote shop/v1.0.0 to stage", "--only git,registries"},
		{"hook sleeps", "hook", "/api/v1/status", run(time.Now().Add(-time.Hour), ""), "warning: pipeline https://git.example/shop.git: the hook's newest run was 1h0", "logs"},
		{"hook has just started", "hook", "/api/v1/status", status(200, "[]"), "warning: notifications-hook: it has not finished a run", "logs"},
		{"something else answers", "hook", "/api/v1/status", status(200, "<html>"), "failed: notifications-hook: its status cannot be read", "logs"},
		{"socket is gone", "socket", "/readyz", func(w http.ResponseWriter, _ *http.Request) {
			service.WriteJSON(w, http.StatusServiceUnavailable, map[string]any{"message": "not ready: socket", "reasons": map[string]string{"socket": "another process replaced the socket"}})
		}, "failed: http://127.0.0.1", "rollout restart deployment argocd-repo-server"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers[test.path] = test.answer
			check(t, w.examine(w.config(), test.check), test.want, test.fix)
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		w := newWorld(t)
		c := w.config()
		w.hook.Close()
		check(t, w.examine(c, "hook"), "failed: notifications-hook: http://127.0.0.1", "--hook-url")
	})
	t.Run("no Pod to forward to", func(t *testing.T) {
		w := newWorld(t)
		w.Remove("propagator-notifications-hook-6b7-bbbbb")
		c := w.config()
		c.URLs = nil
		check(t, w.examine(c, "hook"), "no Pod is ready", "--hook-url")
	})
}

// TestOutside: what Git and registries answer.
func TestOutside(t *testing.T) {
	tests := []struct {
		name, check string
		change      func(*world, *doctor.Config)
		want, fix   string
	}{
		{"credential expired", "git", func(w *world, _ *doctor.Config) {
			w.repo.refuseRead = fmt.Errorf("%w: %w", gitrepo.ErrUnauthorized, errRefused)
		}, "failed: repository https://git.example/shop.git: not with Secret propagator-git: not authorized: the host answered 401", "create secret generic propagator-git"},
		{"own credential refused", "git", func(w *world, c *doctor.Config) {
			w.repo.refuseRead, c.OwnCredentials = fmt.Errorf("%w: %w", gitrepo.ErrUnauthorized, errRefused), true
		}, "not with your own credentials", "--git-username"},
		{"no Secret for git", "git", func(w *world, _ *doctor.Config) {
			w.Remove("secrets/propagator-git")
			w.repo.refuseRead = gitrepo.ErrUnauthorized
		}, "not with your own credentials (there is no Secret propagator-git)", "--git-username"},
		{"generator's credential expired", "git", func(w *world, _ *doctor.Config) {
			w.refuseReader = fmt.Errorf("%w: %w", gitrepo.ErrUnauthorized, errRefused)
		}, "failed: repository https://git.example/shop.git: not with Secret propagator-git-read, so the generator cannot read it", `create secret generic propagator-git-read --from-literal=username="$GIT_READ_USERNAME"`},
		{"may not push", "git", func(w *world, _ *doctor.Config) {
			w.repo.refusePush = fmt.Errorf("%w: %w", gitrepo.ErrUnauthorized, errRefused)
		}, "Secret propagator-git may read and not push", "right to write"},
		{"may not push oneself", "git", func(w *world, c *doctor.Config) { w.repo.refusePush, c.OwnCredentials = gitrepo.ErrUnauthorized, true }, "warning: repository https://git.example/shop.git: your own credentials may not push", "--git-username"},
		{"host is away", "git", func(w *world, _ *doctor.Config) { w.repo.refuseRead = gitrepo.ErrUnreachable }, "failed: repository https://git.example/shop.git: unreachable", "git ls-remote"},
		{"host is inside the cluster", "git", func(w *world, c *doctor.Config) {
			w.repo.refuseRead, c.Repositories = gitrepo.ErrUnreachable, []string{"http://ada:MARKER-x@git.tools.svc.cluster.local/shop.git"}
		}, "skipped: repository http://git.tools.svc.cluster.local/shop.git: its address means something inside the cluster only", "--repository"},
		{"no configuration", "git", func(w *world, _ *doctor.Config) {
			w.repo = &repo{Memory: gitrepo.NewMemory(repository)}
			gitrepotest.Grow(w.t, w.repo, gitrepo.Heads+"main", gitrepotest.Files{"README.md": "x"})
		}, "branch main has no propagator.yaml", "propagator init"},
		{"faulty configuration", "git", func(w *world, _ *doctor.Config) {
			gitrepotest.Grow(w.t, w.repo, gitrepo.Heads+"main", gitrepotest.Files{"propagator.yaml": "kind: Pipeline\nextra: 1\n"})
		}, "propagator.yaml of branch main: propagator.yaml:", "docs/configuration.md"},
		{"no source branch", "git", func(_ *world, c *doctor.Config) { c.Branch = "trunk" }, "there is no branch trunk", "--branch"},
		{"Secret may not be read", "git", func(w *world, _ *doctor.Config) { w.Forbid("secrets/propagator-git") }, "skipped: Secret propagator-git-read", "may"},

		{"large repository", "archive", func(_ *world, c *doctor.Config) { c.MaxArchive = 1 << 10 }, "more than 1.0 KiB. Largest: . (", "reposerver.plugin.tar.exclusions"},
		{"repository unreadable", "archive", func(w *world, _ *doctor.Config) { w.repo.refuseRead = gitrepo.ErrUnauthorized }, "skipped: repository https://git.example/shop.git: it cannot be read", "--only git"},

		{"registry credential expired", "registries", func(w *world, _ *doctor.Config) {
			w.registries["stage.registry.example/shop"].pull = fmt.Errorf("%w: %w", registry.ErrUnauthorized, errRefused)
		}, "failed: registry stage.registry.example/shop: Secret propagator-registries may not pull: not authorized: the host answered 401", "for stage.registry.example"},
		{"registry is read-only", "registries", func(w *world, _ *doctor.Config) {
			w.registries["prod.registry.example/shop"].push = registry.ErrUnauthorized
		}, "failed: registry prod.registry.example/shop: Secret propagator-registries may not push", "propagator-registries"},
		{"own login", "registries", func(w *world, c *doctor.Config) {
			w.registries["prod.registry.example/shop"].push, c.OwnCredentials = registry.ErrUnauthorized, true
		}, "your own credentials may not push", "docker login prod.registry.example"},
		{"registry makes no repositories", "registries", func(w *world, _ *doctor.Config) {
			w.registries["prod.registry.example/shop"].push = registry.ErrNotFound
		}, "warning: registry prod.registry.example/shop: repository propagator-doctor does not exist", "create the repositories"},
		{"registry is away", "registries", func(w *world, _ *doctor.Config) {
			w.registries["dev.registry.example/shop"].pull = registry.ErrUnreachable
		}, "failed: registry dev.registry.example/shop: unreachable", "curl"},
		{"dev's is never written to", "registries", func(w *world, _ *doctor.Config) {
			w.registries["dev.registry.example/shop"].push = registry.ErrUnauthorized
		}, "", ""},
		{"broken Secret", "registries", func(_ *world, c *doctor.Config) {
			c.OpenRegistries = func([]byte, map[string]string) (doctor.Registries, error) {
				return nil, errors.New("the Docker configuration is not JSON")
			}
		}, "failed: Secret propagator-registries: the Docker configuration is not JSON", "create secret generic propagator-registries"},

		{"hook's clock", "clock", func(w *world, _ *doctor.Config) { w.hookAhead = -time.Minute }, "failed: notifications-hook: ", "chronyc"},
		{"hook's clock, a little", "clock", func(w *world, _ *doctor.Config) { w.hookAhead = 10 * time.Second }, "warning: notifications-hook: ", "chronyc"},
		{"hook's clock, within what can be told", "clock", func(w *world, _ *doctor.Config) { w.hookAhead = time.Second }, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.config()
			test.change(w, &c)
			check(t, w.examine(c, test.check), test.want, test.fix)
		})
	}
}

// TestClockOfTheServer: when the API server is wrong, everybody else is wrong by
// as much; the finding names both sides.
func TestClockOfTheServer(t *testing.T) {
	w := newWorld(t)
	w.Ahead(time.Hour)
	got := notOK(w.examine(w.config(), "clock"))
	for _, subject := range []string{"this machine", "notifications-hook", "Git host git.example", "registry stage.registry.example"} {
		if !strings.Contains(got, "failed: "+subject+": 1h0m0s behind") || !strings.Contains(got, "behind the API server") {
			t.Errorf("%s is not named in\n%s", subject, got)
		}
	}
}

// TestReadOnly: nothing is opened for writing.
func TestReadOnly(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.ReadOnly = true
	got := notOK(w.examine(c, "registries"))
	if strings.Count(got, "skipped") != 2 {
		t.Errorf("the right to push is not skipped for both registries:\n%s", got)
	}
	for url, r := range w.registries {
		if diff := cmp.Diff([]string{"pull propagator-doctor"}, r.asked); diff != "" {
			t.Errorf("%s was asked for (-want +got):\n%s", url, diff)
		}
	}
}

// TestForbidden: what may not be looked at is never ok, and takes nothing else
// down.
func TestForbidden(t *testing.T) {
	for _, part := range []string{"deployments", "secrets", "configmaps", "applicationsets", "applications/", "pods", "services", "/"} {
		t.Run(strings.Trim(part, "/"), func(t *testing.T) {
			w := newWorld(t)
			w.Forbid(part)
			findings := w.examine(w.config())
			for _, f := range findings {
				if f.Result == doctor.Failed || f.Result == doctor.Warning {
					t.Errorf("%s %s: %s: %s", f.Check, f.Subject, f.Result, f.Message)
				}
			}
			for _, f := range findings {
				// The socket is asked for at an address, not through the cluster.
				if part == "/" && f.Result == doctor.OK && f.Check != "socket" {
					t.Errorf("%s is ok although nothing may be seen: %s", f.Check, f.Message)
				}
			}
		})
	}
}

// TestTimeout: a check that hangs is ended, and the others are done.
func TestTimeout(t *testing.T) {
	w := newWorld(t)
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	c := w.config()
	c.Timeout = 500 * time.Millisecond
	c.OpenRepository = func(string, *doctor.Login) (doctor.Repository, error) {
		<-released // a library that knows no contexts
		return nil, errors.New("too late")
	}
	byCheck := map[string]doctor.Result{}
	for _, f := range w.examine(c, "git", "kubernetes") {
		byCheck[f.Check] = f.Result
	}
	if diff := cmp.Diff(map[string]doctor.Result{"git": doctor.Failed, "kubernetes": doctor.OK}, byCheck); diff != "" {
		t.Errorf("results differ (-want +got):\n%s", diff)
	}
}

// TestPanic: a bug in a check, or in what it is joined with, is a finding.
func TestPanic(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.OpenRepository = func(string, *doctor.Login) (doctor.Repository, error) { panic("MARKER") }
	check(t, w.examine(c, "git"), "internal error in this check", "--verbose")
}

// TestCancelled: an interrupted examination is an error, not a report.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := doctor.Run(ctx, w.config(), doctor.Checks()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWithoutCluster: what needs none works without one.
func TestWithoutCluster(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Cluster, c.URLs, c.Repositories = nil, nil, []string{repository}
	for _, f := range w.examine(c) {
		want := doctor.Skipped
		switch f.Check {
		case "git", "archive", "registries", "clock":
			want = doctor.OK
		}
		if f.Result != want {
			t.Errorf("%s: %s: %s", f.Check, f.Result, f.Message)
		}
	}
}

// TestSecretsInForeignTexts: what others say may repeat a secret of ours.
func TestSecretsInForeignTexts(t *testing.T) {
	w := newWorld(t, `status: "False", message: up to date`, `status: "True", message: "refused Bearer MARKER-bearer-0123456789"`)
	w.repo.refusePush = fmt.Errorf("%w: password MARKER-git-0123456789 is wrong", gitrepo.ErrUnauthorized)
	w.registries["stage.registry.example/shop"].pull = fmt.Errorf("%w: cHVzaDpNQVJLRVItcmVnaXN0cnktMDEyMzQ1Njc4OQ== MARKER-registry-0123456789", registry.ErrUnauthorized)
	findings := w.examine(w.config())
	if got := notOK(findings); strings.Count(got, "REDACTED") != 3 {
		t.Errorf("want three places cleaned:\n%s", got)
	}
}

// TestForbiddenList: that Argo CD has another name cannot be told apart from that
// it is not there, without the right to list.
func TestForbiddenList(t *testing.T) {
	w := newWorld(t)
	w.Remove("argocd-repo-server")
	w.ForbidExactly("/apis/apps/v1/namespaces/argocd/deployments")
	check(t, w.examine(w.config(), "argocd"), "skipped: Deployment argocd-repo-server: needs a permission", "may")
}

// TestHookTokenUnreadable: only a Secret that is not there means that there is no
// token.
func TestHookTokenUnreadable(t *testing.T) {
	w := newWorld(t)
	w.Break("/secrets/propagator-token")
	got := w.examine(w.config(), "hook")
	check(t, got, "failed: Secret propagator-token: kubernetes: ", "")
	w = newWorld(t)
	w.Remove("secrets/propagator-token")
	check(t, w.examine(w.config(), "hook"), "skipped: notifications-hook: there is no token", "--only tokens")
}

// TestFixesShowNoSecret: what is typed does not put a secret into a list of
// processes, deletes nothing that works, and keeps the certificate authority.
func TestFixesShowNoSecret(t *testing.T) {
	w := newWorld(t, "stringData: {token: MARKER-bearer-0123456789}", `stringData: {token: " "}`,
		"stringData: {username: propagator, password: MARKER-git-0123456789}", "stringData: {username: propagator, password: MARKER-git-0123456789, ca.crt: PEM}")
	w.repo.refuseRead = gitrepo.ErrUnauthorized
	var fixes []string
	for _, f := range w.examine(w.config(), "tokens", "generator-config", "git") {
		fixes = append(fixes, f.Fix)
	}
	all := strings.Join(fixes, "\n")
	for _, word := range []string{"--from-literal=token", "--from-literal=password", "delete secret"} {
		if strings.Contains(all, word) {
			t.Errorf("a fix has %s:\n%s", word, all)
		}
	}
	for _, word := range []string{"openssl rand", `--from-file=password="$GIT_PASSWORD_FILE" --from-literal=ca.crt="$(kubectl -n argocd get secret propagator-git -o jsonpath='{.data.ca\.crt}'`} {
		if !strings.Contains(all, word) {
			t.Errorf("no fix has %s:\n%s", word, all)
		}
	}
}

// TestOrdinaryWordsStay: a value of a Secret that is a word of doctor's own, or
// short, makes no hole in what is to be typed; others still do.
func TestOrdinaryWordsStay(t *testing.T) {
	w := newWorld(t, "slack-token: MARKER-slack-0123456789}", "slack-token: propagator, email: notifications-hook, city: restart, x: deployment}")
	w.answers["/api/v1/status"] = func(rw http.ResponseWriter, _ *http.Request) { service.WriteError(rw, http.StatusUnauthorized, "no") }
	w.repo.refusePush = fmt.Errorf("%w: password MARKER-git-0123456789 is wrong", gitrepo.ErrUnauthorized)
	got := w.examine(w.config(), "tokens", "git")
	fixes := ""
	for _, f := range got {
		fixes += f.Fix + "\n"
	}
	if !strings.Contains(fixes, "kubectl -n argocd rollout restart deployment propagator-notifications-hook\n") || strings.Contains(fixes, "REDACTED") {
		t.Errorf("the fixes are\n%s", fixes)
	}
	if !strings.Contains(notOK(got), "password REDACTED is wrong") {
		t.Errorf("the password is not removed:\n%s", notOK(got))
	}
}

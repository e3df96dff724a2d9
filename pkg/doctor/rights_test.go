package doctor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/doctor"
)

// destination puts the installation's Application somewhere.
func (w *world) destination(name, server, namespace string) {
	w.Add(map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": "to-" + namespace, "namespace": "argocd", "labels": map[string]any{"propagator.dev/pipeline": "shop"}},
		"spec":     map[string]any{"destination": map[string]any{"name": name, "server": server, "namespace": namespace}},
	})
}

// TestRights: the API server is asked what the hook's service account may do,
// and each right that it lacks is named with what it is good for.
func TestRights(t *testing.T) {
	const account = "ServiceAccount propagator-notifications-hook"
	for _, test := range []struct {
		name      string
		edit      []string
		change    func(*world)
		want, fix string
	}{
		{"all of them", nil, nil, "", ""},
		{"sees nothing", nil, func(w *world) { w.Deny("list applications") }, "failed: " + account + ": it may not list applications.argoproj.io in namespace argocd: it sees no Application", `-k "$INSTALL/suite"`},
		{"cannot patch", nil, func(w *world) { w.Deny("patch applications") }, "warning: " + account + ": it may not patch applications.argoproj.io in namespace argocd: it cannot ask Argo CD to compare one again", `-k "$INSTALL/suite"`},
		{"cannot watch", nil, func(w *world) { w.Deny("watch applications") }, "warning: " + account + ": it may not watch applications", `-k "$INSTALL/suite"`},
		{"cannot poke", nil, func(w *world) { w.Deny("patch applicationsets") }, "it may not patch applicationsets.argoproj.io/propagator-shop in namespace argocd", `-k "$INSTALL/pipelines/$PIPELINE"`},
		{"leases of one that does not share", nil, func(w *world) { w.Deny("get leases") }, "", ""},
		{
			"cannot share",
			[]string{"  PROPAGATOR_REPOSITORY: https://git.example/shop.git\n", "  PROPAGATOR_REPOSITORY: https://git.example/shop.git\n  PROPAGATOR_SHARE: \"true\"\n"},
			func(w *world) { w.Deny("update leases") }, "it may not update leases.coordination.k8s.io in namespace argocd: replicas cannot share", "manifests/overlays/ha",
		},
		{"another account", []string{"serviceAccountName: propagator-notifications-hook", "serviceAccountName: robot"}, func(w *world) { w.Deny("patch applications") }, "warning: ServiceAccount robot: ", "suite"},
		{"sees Pods", nil, func(w *world) { w.destination("in-cluster", "", "shop-stage") }, "", ""},
		{"sees no Pods", nil, func(w *world) { w.destination("in-cluster", "", "shop-stage"); w.Deny("list pods") }, "", ""},
		{"sees some Pods", nil, func(w *world) {
			w.destination("in-cluster", "", "shop-stage")
			w.destination("", "https://kubernetes.default.svc", "shop-prod")
			w.destination("far-away", "", "elsewhere")
			w.Deny("shop-prod/list pods")
		}, "not those of the namespaces shop-prod, where", "-n NAMESPACE create rolebinding propagator-live-digests --clusterrole=propagator-live-digests --serviceaccount=argocd:propagator-notifications-hook"},
		{"may not ask", nil, func(w *world) { w.Forbid("subjectaccessreviews") }, "skipped: " + account + ": needs a permission: ", "run it as somebody who may"},
		{"no hook", nil, func(w *world) { w.Remove("deployments/propagator-notifications-hook") }, "skipped: Deployment propagator-notifications-hook: there is none", "--only programs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.edit...)
			if test.change != nil {
				test.change(w)
			}
			check(t, w.examine(w.config(), "rights"), test.want, test.fix)
		})
	}
}

// TestRightsAreAskedFor: as the hook, and only about what it uses.
func TestRightsAreAskedFor(t *testing.T) {
	w := newWorld(t)
	w.destination("in-cluster", "", "shop-stage")
	w.destination("far-away", "", "elsewhere")
	w.Deny("list pods")
	found := w.examine(w.config(), "rights")
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.Result == doctor.OK && strings.Contains(f.Message, "it sees no Pods, which is optional")
	}) {
		t.Errorf("nobody says that Pods are not seen: %+v", found)
	}
	const hook = "system:serviceaccount:argocd:propagator-notifications-hook "
	want := []string{
		hook + "list argocd/applications", hook + "get argocd/applications", hook + "patch argocd/applications", hook + "watch argocd/applications",
		hook + "list argocd/applicationsets", hook + "patch argocd/applicationsets/propagator-shop", hook + "list shop-stage/pods",
	}
	if got := w.Asked(); !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestWebhookSecrets: what git hosts sign with, where the hook takes any.
func TestWebhookSecrets(t *testing.T) {
	// As manifests/components/webhook has it.
	mounted := []string{
		"          valueFrom: {secretKeyRef: {name: propagator-user, key: username, optional: true}}\n      volumes:\n",
		"          valueFrom: {secretKeyRef: {name: propagator-user, key: username, optional: true}}\n" +
			"        - {name: PROPAGATOR_WEBHOOK_SECRET_FILE, value: /etc/propagator/webhook/secret}\n" +
			"        volumeMounts: [{name: webhook, mountPath: /etc/propagator/webhook}]\n      volumes:\n      - {name: webhook, secret: {secretName: propagator-webhook}}\n",
	}
	for _, test := range []struct{ name, secret, want, fix string }{
		{"none", "", "failed: Secret propagator-webhook: there is none", "create secret generic propagator-webhook"},
		{"empty", "\n \n", "failed: Secret propagator-webhook: key secret is missing or empty", "openssl rand"},
		{"short", "MARKER-webhook-0123456789\nMARKER-x\n", "failed: Secret propagator-webhook: a secret in key secret has fewer than 16 characters", "openssl rand"},
		{"many", strings.Repeat("MARKER-webhook-0123456789\n", 9), "has 9 lines; the hook takes 8 secrets at most", "no git host uses"},
		{"good", "MARKER-webhook-0123456789\nMARKER-webhook-9876543210\n", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, mounted...)
			if test.secret != "" {
				w.Add(map[string]any{
					"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "propagator-webhook", "namespace": "argocd"},
					"stringData": map[string]any{"secret": test.secret},
				})
			}
			check(t, w.examine(w.config(), "tokens"), test.want, test.fix)
		})
	}
}

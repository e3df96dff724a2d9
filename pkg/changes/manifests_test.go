package changes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: web
        image: dev.example/shop/web:latest
`

func TestManifests(t *testing.T) {
	t.Parallel()
	repo := gitrepo.NewMemory("memory")
	a := sideOf(t, repo, "v0.1.0", gitrepotest.Files{
		"envs/prod/web/web.yaml":    deployment,
		"envs/prod/web/gone.yaml":   "apiVersion: v1\nkind: Service\nmetadata: {name: gone, namespace: x}\n",
		"envs/prod/web/order.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: order}\ndata: {a: '1', b: 'two'} # old\n",
		"envs/prod/web/list.yaml":   "apiVersion: v1\nkind: List\nitems:\n- apiVersion: x.example/v1\n  kind: Thing\n  metadata: {name: one}\n",
		"envs/prod/web/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\ndata:\n  a: aHVudGVyMQ==\n  b: c2hvcA==\nstringData: {c: hunter3}\n",
	}, image("dev.example/shop/web:latest", digest("a"), "", "", "prod/web"))
	b := sideOf(t, repo, "v0.2.0", gitrepotest.Files{
		"envs/prod/web/web.yaml":    deployment,
		"envs/prod/web/order.yaml":  "# new\napiVersion: v1\nkind: ConfigMap\ndata:\n  b: two\n  a: \"1\"\nmetadata:\n  name: order\n",
		"envs/prod/web/list.yaml":   "apiVersion: x.example/v2\nkind: Thing\nmetadata: {name: one}\n",
		"envs/prod/web/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\ndata:\n  a: aHVudGVyMg==\n  b: c2hvcA==\nstringData: {c: hunter3, d: hunter3}\n",
		"envs/prod/more/job.yaml":   "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: run-}\n",
	}, image("dev.example/shop/web:latest", digest("b"), "", "", "prod/web"))
	got, err := Manifests(t.Context(), repo, a, b, "prod")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, m := range got {
		text.WriteString(strings.Join([]string{string(m.Change), m.Environment, m.Application, m.APIVersion, m.Kind, m.Namespace, m.Name}, " ") + "\n" + m.Patch)
	}
	want := `added prod more batch/v1 Job  run-*
--- /dev/null
+++ b/prod/more/Job/run-*
@@ -0,0 +1,4 @@
+apiVersion: batch/v1
+kind: Job
+metadata:
+  generateName: run-
changed prod web apps/v1 Deployment  web
--- a/prod/web/Deployment/web
+++ b/prod/web/Deployment/web
@@ -7,5 +7,5 @@
   template:
     spec:
       containers:
-        - image: prod.example/shop/web@` + digest("a") + `
+        - image: prod.example/shop/web@` + digest("b") + `
           name: web
changed prod web v1 Secret  db
--- a/prod/web/Secret/db
+++ b/prod/web/Secret/db
@@ -1,9 +1,10 @@
 apiVersion: v1
 data:
-  a: (secret value 1)
+  a: (secret value 4)
   b: (secret value 2)
 kind: Secret
 metadata:
   name: db
 stringData:
   c: (secret value 3)
+  d: (secret value 3)
removed prod web v1 Service x gone
--- a/prod/web/Service/x/gone
+++ /dev/null
@@ -1,5 +0,0 @@
-apiVersion: v1
-kind: Service
-metadata:
-  name: gone
-  namespace: x
changed prod web x.example/v2 Thing  one
--- a/prod/web/Thing/one
+++ b/prod/web/Thing/one
@@ -1,4 +1,4 @@
-apiVersion: x.example/v1
+apiVersion: x.example/v2
 kind: Thing
 metadata:
   name: one
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if got, err := Manifests(t.Context(), repo, a, a, "prod"); err != nil || len(got) != 0 {
		t.Errorf("a side differs from itself: %v %v", got, err)
	}
	if got, err := Manifests(t.Context(), repo, a, b, "nowhere"); err != nil || len(got) != 0 {
		t.Errorf("an environment that neither side has: %v %v", got, err)
	}
	if got, err := Manifests(t.Context(), repo, Side{}, a, "prod"); err != nil || len(got) != 5 || got[0].Change != Added {
		t.Errorf("from nothing: %v %v", got, err)
	}
	if _, err := Manifests(t.Context(), repo, a, b, "dr"); err == nil || !strings.Contains(err.Error(), "shop/v0.1.0: environment dr: ") {
		t.Errorf("an application that is not there: %v", err)
	}
}

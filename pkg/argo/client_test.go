package argo

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	argocommon "github.com/argoproj/argo-cd/v2/common"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	kubetesting "k8s.io/client-go/testing"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// cluster is an API server that hands out Applications in pages.
type cluster struct {
	pages  [][]any
	broken int // the page that cannot be read; -1 for none
	// version of the newest Application; a request for something newer is in vain.
	version int
	slow    bool

	mu      sync.Mutex // guards queries
	queries []string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	c.mu.Lock()
	c.queries = append(c.queries, strings.TrimSpace(strings.Join([]string{
		r.Method, r.URL.Path, query.Get("labelSelector"), query.Get("limit") + query.Get("continue"), query.Get("resourceVersion"), query.Get("resourceVersionMatch"),
	}, " ")))
	c.mu.Unlock()
	page, _ := strconv.Atoi(query.Get("continue"))
	w.Header().Set("Content-Type", "application/json")
	if page == c.broken {
		w.WriteHeader(http.StatusGone)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"the provided continue parameter is too old"}`))
		return
	}
	if c.slow {
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Timeout","code":504,"message":"Timeout: request did not complete within the allotted timeout"}`))
		return
	}
	if wanted, _ := strconv.Atoi(query.Get("resourceVersion")); wanted > c.version {
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Timeout","code":504,"message":"Too large resource version: 75, current: 5",` +
			`"details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1}}`))
		return
	}
	// A list has the version of everything that there is, which no Application has.
	meta := map[string]any{"resourceVersion": strconv.Itoa(c.version + 1000)}
	if page+1 < len(c.pages) {
		meta["continue"] = strconv.Itoa(page + 1)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationList", "metadata": meta, "items": c.pages[page]})
}

// connect makes a client of the cluster.
func (c *cluster) connect(t *testing.T, namespace string) *Client {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	client, err := newClient(&rest.Config{Host: server.URL}, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// named is the good Application under another name.
func named(t *testing.T, name string) map[string]any {
	t.Helper()
	var app map[string]any
	if err := json.Unmarshal(read(t, "application-v2.14.json"), &app); err != nil {
		t.Fatal(err)
	}
	object(app, "metadata")["name"] = name
	return app
}

func TestListPages(t *testing.T) {
	several := named(t, "several")
	spec := object(several, "spec")
	spec["sources"] = []any{spec["source"]}
	c := &cluster{broken: -1, pages: [][]any{{named(t, "a"), named(t, "b")}, {several}, {}, {named(t, "c")}}}
	for namespace, path := range map[string]string{
		"argocd": "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications",
		"":       "/apis/argoproj.io/v1alpha1/applications",
	} {
		found, err := c.connect(t, namespace).List(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range found {
			names = append(names, a.Name)
		}
		if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		prefix := "GET " + path + " propagator.dev/pipeline=shop"
		if diff := cmp.Diff([]string{prefix, prefix + " 1", prefix + " 2", prefix + " 3"}, c.queries); diff != "" {
			t.Errorf("queries (-want +got):\n%s", diff)
		}
		c.queries = nil
	}
}

// TestListFromCache: an API server may answer from its cache, if that is not older
// than what was seen before, and an exact list is as new as the call. A server that
// is behind, or was restored from a backup, is asked for what it has.
func TestListFromCache(t *testing.T) {
	app := named(t, "a")
	c := &cluster{broken: -1, pages: [][]any{{app}}}
	has := func(version int) {
		c.version = version
		object(app, "metadata")["resourceVersion"] = strconv.Itoa(version)
	}
	has(40)
	client := c.connect(t, "argocd")
	const plain = "GET /apis/argoproj.io/v1alpha1/namespaces/argocd/applications propagator.dev/pipeline=shop"
	list := func(name string, ctx context.Context, want ...string) {
		t.Helper()
		c.queries = nil
		if found, err := client.List(ctx, "shop"); err != nil || len(found) != 1 {
			t.Errorf("%s: %d Applications, %v", name, len(found), err)
		}
		if diff := cmp.Diff(want, c.queries); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	list("first", t.Context(), plain)
	list("second", t.Context(), plain+"  40 NotOlderThan")
	list("exact", promotion.Exact(t.Context()), plain)
	client.see("70") // in a watch
	client.see("60")
	client.see("?")
	has(75)
	list("after a watch", t.Context(), plain+"  70 NotOlderThan")
	has(5)
	list("restored", t.Context(), plain+"  75 NotOlderThan", plain)
	list("and then", t.Context(), plain+"  5 NotOlderThan")

	// One that is slow is not asked for more.
	c.slow, c.queries = true, nil
	if found, err := client.List(t.Context(), "shop"); !apierrors.IsTimeout(err) || len(c.queries) != 1 {
		t.Errorf("a slow server: %d Applications, %v after %q", len(found), err, c.queries)
	}
}

// TestListFails: what cannot be read in full is an error, never fewer
// Applications.
func TestListFails(t *testing.T) {
	bad := named(t, "bad")
	object(bad, "status")["reconciledAt"] = "yesterday"
	for _, test := range []struct {
		name    string
		cluster *cluster
		says    string
	}{
		{"first page", &cluster{broken: 0, pages: [][]any{{}}}, "list Applications: the provided continue parameter is too old"},
		{"later page", &cluster{broken: 1, pages: [][]any{{named(t, "a")}, {named(t, "b")}}}, "list Applications: the provided continue parameter is too old"},
		{"one Application", &cluster{broken: -1, pages: [][]any{{named(t, "a"), bad}}}, "application bad: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := test.cluster.connect(t, "argocd").List(t.Context(), "shop")
			if err == nil || !strings.Contains(err.Error(), test.says) || found != nil {
				t.Errorf("%d Applications, error: %v", len(found), err)
			}
		})
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	client, err := newClient(&rest.Config{Host: gone.URL}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.List(t.Context(), "shop"); err == nil {
		t.Error("no API server, no error")
	}
}

func set(namespace, name, pipeline string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet",
		"metadata": map[string]any{"namespace": namespace, "name": name, "labels": map[string]any{LabelPipeline: pipeline}, "annotations": map[string]any{"kept": "yes"}},
		"spec":     map[string]any{"goTemplate": true},
	}}
}

func fakeKube(objects ...runtime.Object) *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		applications: "ApplicationList", applicationSets: "ApplicationSetList",
	}, objects...)
}

func annotations(t *testing.T, kube dynamic.Interface, s *unstructured.Unstructured) map[string]string {
	t.Helper()
	got, err := kube.Resource(applicationSets).Namespace(s.GetNamespace()).Get(t.Context(), s.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetAnnotations()
}

func TestPoke(t *testing.T) {
	mine, also, other := set("argocd", "shop", "shop"), set("team", "shop-prod", "shop"), set("argocd", "web", "web")
	kube := fakeKube(mine, also, other)
	client := New(kube, nil, "")
	now := time.Date(2026, 3, 1, 12, 0, 0, 1, time.FixedZone("", 3600))
	client.now = func() time.Time {
		now = now.Add(time.Nanosecond)
		return now
	}
	seen := map[string]bool{}
	for range 3 {
		if err := client.Poke(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*unstructured.Unstructured{mine, also} {
			got := annotations(t, kube, s)
			value := got[argocommon.AnnotationApplicationSetRefresh]
			if !strings.HasPrefix(value, "propagator-20260301T110000.00000000") || seen[s.GetName()+value] || got["kept"] != "yes" {
				t.Errorf("%s: %v", s.GetName(), got)
			}
			seen[s.GetName()+value] = true
		}
	}
	if diff := cmp.Diff(map[string]string{"kept": "yes"}, annotations(t, kube, other)); diff != "" {
		t.Errorf("another pipeline's was poked:\n%s", diff)
	}
	if err := New(kube, nil, "nowhere").Poke(t.Context(), "shop"); err != nil {
		t.Errorf("nothing to poke: %v", err)
	}
	for _, action := range kube.Actions() {
		if verb := action.GetVerb(); verb != "list" && verb != "patch" && verb != "get" {
			t.Errorf("%s needs more rights than the manifests give", verb)
		}
	}
}

// TestPokeFails: one that cannot be poked does not keep the others from it.
func TestPokeFails(t *testing.T) {
	a, b, c := set("argocd", "a", "shop"), set("argocd", "b", "shop"), set("argocd", "c", "shop")
	kube := fakeKube(a, b, c)
	forbidden := errors.New("forbidden")
	kube.PrependReactor("patch", "applicationsets", func(action kubetesting.Action) (bool, runtime.Object, error) {
		patch, ok := action.(kubetesting.PatchAction)
		return ok && patch.GetName() != "b", nil, forbidden
	})
	err := New(kube, nil, "argocd").Poke(t.Context(), "shop")
	if !errors.Is(err, forbidden) || err.Error() != "poke ApplicationSet a: forbidden\npoke ApplicationSet c: forbidden" {
		t.Errorf("error: %v", err)
	}
	if annotations(t, kube, b)[annotationRefresh] == "" {
		t.Error("b was not poked")
	}
	kube.PrependReactor("list", "applicationsets", func(kubetesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
	if err := New(kube, nil, "argocd").Poke(t.Context(), "shop"); err == nil || err.Error() != "list ApplicationSets: forbidden" {
		t.Errorf("error: %v", err)
	}
}

func TestConnect(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := write("good", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: [{name: k, cluster: {server: "https://127.0.0.1:1"}}]}`)
	if client, err := Connect(good, "argocd"); err != nil || client.namespace != "argocd" {
		t.Errorf("%+v, %v", client, err)
	}
	for _, test := range []struct{ name, file, says string }{
		{"not in a Pod", "", "name a file with --kubeconfig"},
		{"no such file", filepath.Join(dir, "none"), "no such file or directory; name another file with --kubeconfig"},
		{"empty", write("empty", ""), "names no cluster; name another file with --kubeconfig"},
		{"not a kubeconfig", write("bad", "{"), "name another file with --kubeconfig"},
		{"unknown context", write("context", "{apiVersion: v1, kind: Config, current-context: c}"), "name another file with --kubeconfig"},
	} {
		client, err := Connect(test.file, "argocd")
		if err == nil || client != nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.file) || strings.Contains(err.Error(), "KUBERNETES_MASTER") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

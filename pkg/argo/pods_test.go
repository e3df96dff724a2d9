package argo

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// podList is what an API server answers: one Pod a page.
const (
	podPage = `{"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"1","continue":"2"},"items":[{
		"apiVersion":"v1","kind":"Pod",
		"metadata":{"namespace":"shop-stage","name":"orders-7d4b9c-x2x","creationTimestamp":"2026-03-01T12:00:06Z",
			"labels":{"app":"orders","pod-template-hash":"7d4b9c"},
			"ownerReferences":[
				{"apiVersion":"example.org/v1","kind":"Other","name":"other","uid":"1"},
				{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"orders-7d4b9c","uid":"2","controller":true}]},
		"spec":{"initContainers":[{"name":"wait","image":"stage.example/shop/wait@sha256:1"}],
			"containers":[{"name":"main","image":"stage.example/shop/orders@sha256:2","resources":{"limits":{"cpu":1}}},{"name":"new","image":"x"}]},
		"status":{"phase":"Pending",
			"initContainerStatuses":[{"name":"wait","image":"wait","imageID":"stage.example/shop/wait@sha256:1","state":{"terminated":{"exitCode":0}}}],
			"containerStatuses":[{"name":"main","image":"","imageID":"","restartCount":0,"state":{"waiting":{"reason":"ImagePullBackOff","message":"Back-off pulling image"}}}],
			"ephemeralContainerStatuses":[{"name":"debug","imageID":"x"}]}}]}`
	podPage2 = `{"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{
		"metadata":{"namespace":"shop-stage","name":"bare","deletionTimestamp":"2026-03-01T12:00:06Z","labels":{"rollouts-pod-template-hash":"abc"}},
		"spec":{"containers":[]},"status":{"phase":"Failed","reason":"Evicted"}}]}`
)

func kubeAt(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	kube, err := dynamic.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return New(kube, nil, "argocd")
}

func TestPods(t *testing.T) {
	client := kubeAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/api/v1/namespaces/shop-stage/pods" || r.URL.Query().Get("limit") != "200" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		page := podPage
		if r.URL.Query().Get("continue") == "2" {
			page = podPage2
		}
		_, _ = w.Write([]byte(page))
	})
	got, err := client.Pods(t.Context(), "shop-stage")
	if err != nil {
		t.Fatal(err)
	}
	want := []promotion.Pod{
		{
			Namespace: "shop-stage", Name: "orders-7d4b9c-x2x", TemplateHash: "7d4b9c", Created: time.Date(2026, 3, 1, 12, 0, 6, 0, time.UTC),
			Owner: promotion.Workload{Group: "apps", Kind: "ReplicaSet", Namespace: "shop-stage", Name: "orders-7d4b9c"},
			Containers: []promotion.Container{
				{Name: "wait", Image: "stage.example/shop/wait@sha256:1", ImageID: "stage.example/shop/wait@sha256:1"},
				{Name: "main", Image: "stage.example/shop/orders@sha256:2", Waiting: "ImagePullBackOff", Message: "Back-off pulling image"},
				{Name: "new", Image: "x"},
			},
		},
		{Namespace: "shop-stage", Name: "bare", TemplateHash: "abc", Terminating: true, Finished: true, Containers: []promotion.Container{}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPodsFaults(t *testing.T) {
	for _, test := range []struct {
		name      string
		status    int
		body      string
		invisible bool
		says      string
	}{
		{"forbidden", 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"pods is forbidden"}`, true, "pods is forbidden"},
		{"down", 500, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500,"message":"etcd is away"}`, false, "list Pods of namespace shop-stage: "},
		{"not a Pod", 200, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"odd"},"spec":"x"}]}`, false, "pod shop-stage/odd: "},
		{"odd owner", 200, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"odd","ownerReferences":[{"apiVersion":"a/b/c","kind":"X","name":"x","uid":"1","controller":true}]}}]}`, false, "pod shop-stage/odd: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := kubeAt(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			})
			pods, err := client.Pods(t.Context(), "shop-stage")
			if err == nil || pods != nil || errors.Is(err, promotion.ErrNotVisible) != test.invisible || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, %v", pods, err)
			}
		})
	}
}

// TestPodsRefusedIsRemembered: without the right to list Pods the API server is
// asked once in five minutes and namespace, and as soon as there is one again,
// its answer counts.
func TestPodsRefusedIsRemembered(t *testing.T) {
	asked := map[string]int{}
	status := http.StatusForbidden
	client := kubeAt(t, func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status == http.StatusOK {
			_, _ = w.Write([]byte(`{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}`))
			return
		}
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"pods is forbidden"}`))
	})
	now := time.Now()
	client.now = func() time.Time { return now }
	look := func(namespace string, want error) {
		t.Helper()
		if _, err := client.Pods(t.Context(), namespace); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", namespace, err, want)
		}
	}
	const stage, prod = "/api/v1/namespaces/shop-stage/pods", "/api/v1/namespaces/shop-prod/pods"
	for range 3 {
		look("shop-stage", promotion.ErrNotVisible)
	}
	look("shop-prod", promotion.ErrNotVisible)
	if asked[stage] != 1 || asked[prod] != 1 {
		t.Errorf("asked %v", asked)
	}
	now = now.Add(pauseWithoutRight)
	status = http.StatusOK
	look("shop-stage", nil)
	look("shop-stage", nil)
	if asked[stage] != 3 {
		t.Errorf("allowed at last: asked %d times", asked[stage])
	}
}

func FuzzDecodePod(f *testing.F) {
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal([]byte(podPage), &list); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(list.Items[0]))
	f.Add([]byte(`{"metadata":{"ownerReferences":[null]},"spec":{"containers":[null]},"status":{"containerStatuses":[{"state":null}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var object map[string]any
		if json.Unmarshal(raw, &object) != nil {
			return
		}
		if p, err := decodePod(object); err == nil && len(p.Containers) > len(raw) {
			t.Error("more containers than bytes")
		}
	})
}

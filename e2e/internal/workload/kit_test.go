package workload

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"sigs.k8s.io/yaml"

	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

const (
	deadline  = 30 * time.Second
	namespace = "argocd"
	// childVariable makes this test's binary the program of a container.
	childVariable = "WORKLOAD_TEST_CHILD"
)

// TestMain is also the program that the containers of these tests run.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// seen is what the program tells about itself.
type seen struct {
	Env   []string
	Args  []string
	Dir   string
	Files map[string]string
}

// child serves what it sees at LISTEN until TERM.
func child() int {
	if os.Getenv("EXIT") != "" {
		_, _ = io.WriteString(os.Stderr, "ends as it was told\n")
		code, _ := strconv.Atoi(os.Getenv("EXIT"))
		return code
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		dir, _ := os.Getwd()
		s := seen{Env: os.Environ(), Args: os.Args[1:], Dir: dir, Files: map[string]string{}}
		for _, folder := range []string{os.Getenv("SECRETS"), os.Getenv("SHARED")} {
			entries, _ := os.ReadDir(folder)
			for _, e := range entries {
				text, _ := os.ReadFile(filepath.Join(folder, e.Name()))
				s.Files[e.Name()] = string(text)
			}
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", os.Getenv("LISTEN"))
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error())
		return 1
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: deadline}
	go func() { _ = server.Serve(listener) }()
	<-ctx.Done()
	return 0
}

// cluster is a fake one.
type cluster struct {
	client   *fake.FakeDynamicClient
	accounts map[string]bool
}

func newCluster(t *testing.T, manifests ...string) *cluster {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{}
	for kind, resource := range resources {
		lists[resource] = kind + "List"
	}
	lists[services] = "ServiceList"
	c := &cluster{
		client:   fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists),
		accounts: map[string]bool{"default": true, "web": true},
	}
	for _, m := range manifests {
		c.apply(t, m)
	}
	return c
}

func (c *cluster) Dynamic() dynamic.Interface { return c.client }

func (c *cluster) ServiceAccountKubeconfig(_ context.Context, namespace, name string) (string, error) {
	if !c.accounts[name] {
		return "", errors.New("serviceaccount " + namespace + "/" + name + " not found")
	}
	return "/kubeconfig/" + name, nil
}

// decode reads a manifest as a client does, with whole numbers.
func decode(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	u.SetNamespace(namespace)
	return u
}

// apply creates or replaces an object; workloads get a new generation when
// their spec is another one.
func (c *cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	c.create(t, decode(t, manifest))
}

func (c *cluster) create(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	u.SetGeneration(1)
	resource := c.client.Resource(resources[u.GetKind()]).Namespace(namespace)
	old, err := resource.Get(t.Context(), u.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = resource.Create(t.Context(), u, metav1.CreateOptions{})
	case err == nil:
		u.SetGeneration(old.GetGeneration() + 1)
		_, err = resource.Update(t.Context(), u, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) remove(t *testing.T, kind, name string) {
	t.Helper()
	if err := c.client.Resource(resources[kind]).Namespace(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// suite is a kubelet with one image, example/web, whose program is this binary.
type suite struct {
	*cluster
	net     *servicenet.Network
	kubelet *Kubelet
	dir     string
}

func start(t *testing.T, manifests ...string) *suite {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{cluster: newCluster(t, manifests...), dir: t.TempDir()}
	if s.net, err = servicenet.Start(t.Context(), servicenet.Config{Client: s.client}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.net.Close() })
	s.kubelet, err = NewKubelet(t.Context(), Config{Cluster: s.cluster, Dir: s.dir, Net: s.net, Images: []Image{webImage(self)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kubelet.Stop)
	return s
}

func webImage(path string) Image {
	return Image{
		Name: "web", Entrypoint: []string{"/bin/web"}, Path: "/bin", Home: "/home/web",
		Env: []string{childVariable + "=1"},
		Programs: map[string]Program{"/bin/web": {
			Path: path, Kubeconfig: "KUBECONFIG",
			Listen: []Listen{{Setting: Setting{Flag: "--listen", Variable: "LISTEN", Default: ":8080"}}},
			Free:   []string{"EXIT"},
		}},
	}
}

// run runs the container web of the Deployment web and waits until it is ready.
func (s *suite) run(t *testing.T) *Workload {
	t.Helper()
	w, err := s.kubelet.Run(Ref{Deployment, "web", "web"})
	if err != nil {
		t.Fatal(err)
	}
	s.ready(t, w)
	return w
}

func (s *suite) ready(t *testing.T, w *Workload) {
	t.Helper()
	if err := w.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// ask asks a replica what it sees.
func ask(t *testing.T, s Status) seen {
	t.Helper()
	var got seen
	body, err := get(t, s, "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return got
}

func get(t *testing.T, s Status, path string) ([]byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://"+s.Ports[8080]+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", deadline, what)
		}
	}
}

package servicenet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"

	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

const deadline = 20 * time.Second

// service is a Service with one port.
func service(name string, selector map[string]any, port, target any) *unstructured.Unstructured {
	entry := map[string]any{"port": port}
	if target != nil {
		entry["targetPort"] = target
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"namespace": "argocd", "name": name},
		"spec":     map[string]any{"selector": selector, "ports": []any{entry}},
	}}
}

var hookLabels = map[string]any{"app": "hook"}

// start runs a network over Services, by default one named hook.
func start(t *testing.T, services ...*unstructured.Unstructured) *servicenet.Network {
	t.Helper()
	if len(services) == 0 {
		services = append(services, service("hook", hookLabels, int64(8080), "http"))
	}
	var objects []runtime.Object
	for _, s := range services {
		objects = append(objects, s)
	}
	n, err := servicenet.Start(t.Context(), servicenet.Config{Client: fake.NewSimpleDynamicClient(runtime.NewScheme(), objects...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// replica serves the container port http, 8080, of a Pod with the label app=hook.
func replica(t *testing.T, n *servicenet.Network, name string, handler http.HandlerFunc) (remove func()) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return n.Add(servicenet.Endpoint{
		Namespace: "argocd", Pod: name, Labels: map[string]string{"app": "hook", "hash": name},
		Ports: []servicenet.Port{{Name: "http", Number: 8080, Address: strings.TrimPrefix(server.URL, "http://")}},
	})
}

// say answers with a fixed text.
func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// ask sends a request over the network, as a program with HTTP_PROXY does.
func ask(t *testing.T, n *servicenet.Network, method, target, body string) (int, string, error) {
	t.Helper()
	proxy, err := url.Parse(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy)}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ name, url, want string }{
		{"whole name", "http://hook.argocd.svc.cluster.local:8080/", "a"},
		{"without the cluster's domain", "http://hook.argocd.svc:8080/", "a"},
		{"namespace only", "http://hook.argocd:8080/", "a"},
		{"short name", "http://hook:8080/", "a"},
		{"upper case and a final dot", "http://Hook.ArgoCD.svc.cluster.local.:8080/", "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t)
			replica(t, n, "a", say("a"))
			status, text, err := ask(t, n, http.MethodGet, tt.url, "")
			if err != nil || status != http.StatusOK || text != tt.want {
				t.Errorf("got %d %q, %v", status, text, err)
			}
		})
	}
}

func TestTargetPorts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		service *unstructured.Unstructured
		url     string
		ok      bool
	}{
		{"by name", service("s", hookLabels, int64(80), "http"), "http://s/", true},
		{"by number", service("s", hookLabels, int64(80), int64(8080)), "http://s/", true},
		{"the same when not given", service("s", hookLabels, int64(8080), nil), "http://s:8080/", true},
		{"a name that no container port has", service("s", hookLabels, int64(80), "web"), "http://s/", false},
		{"a number that no container port has", service("s", hookLabels, int64(80), int64(9090)), "http://s/", false},
		{"a port that the Service lacks", service("s", hookLabels, int64(80), "http"), "http://s:8080/", false},
		{"a selector that selects nothing", service("s", map[string]any{"app": "hooks"}, int64(80), "http"), "http://s/", false},
		{"no selector", service("s", nil, int64(80), "http"), "http://s/", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t, tt.service)
			replica(t, n, "a", say("a"))
			status, _, err := ask(t, n, http.MethodGet, tt.url, "")
			if (err == nil && status == http.StatusOK) != tt.ok {
				t.Errorf("got %d, %v", status, err)
			}
		})
	}
}

func TestOtherHostsAreDirect(t *testing.T) {
	outside := httptest.NewServer(say("outside"))
	defer outside.Close()
	n := start(t)
	status, text, err := ask(t, n, http.MethodGet, outside.URL+"/x?y=1", "")
	if err != nil || status != http.StatusOK || text != "outside" {
		t.Errorf("got %d %q, %v", status, text, err)
	}
}

func TestRoundRobinOverReadyReplicas(t *testing.T) {
	n := start(t)
	replica(t, n, "a", say("a"))
	removeB := replica(t, n, "b", say("b"))
	count := func() map[string]int {
		got := map[string]int{}
		for range 6 {
			_, text, err := ask(t, n, http.MethodGet, "http://hook:8080/", "")
			if err != nil {
				t.Fatal(err)
			}
			got[text]++
		}
		return got
	}
	if diff := cmp.Diff(map[string]int{"a": 3, "b": 3}, count()); diff != "" {
		t.Errorf("both ready (-want +got):\n%s", diff)
	}
	removeB()
	removeB() // Removing twice does no harm.
	if diff := cmp.Diff(map[string]int{"a": 6}, count()); diff != "" {
		t.Errorf("one removed (-want +got):\n%s", diff)
	}
}

func TestNobodyReadyIsARefusedConnection(t *testing.T) {
	n := start(t)
	for _, host := range []string{"hook:8080", "hook.argocd.svc.cluster.local:8080", "no-such-service.argocd.svc:8080"} {
		status, text, err := ask(t, n, http.MethodPost, "http://"+host+"/", "{}")
		if err == nil {
			t.Errorf("%s: got %d %q, want no answer", host, status, text)
		}
	}
	if _, err := n.Resolve(t.Context(), "hook:8080"); !errors.Is(err, servicenet.ErrUnreachable) {
		t.Errorf("resolve: %v, want %v", err, servicenet.ErrUnreachable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	got, err := n.Await(ctx, servicenet.Match{}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Status != 0 || !strings.Contains(got[0].Err, "none is ready") {
		t.Errorf("records: %+v", got)
	}
}

func TestRequestsAreRecorded(t *testing.T) {
	n := start(t)
	replica(t, n, "a", func(w http.ResponseWriter, r *http.Request) {
		// The Service sees what was sent, whole, whatever the record keeps.
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprint(w, r.Method, " ", r.Host, " ", r.URL.RequestURI(), " ", len(body), " ", r.Header.Get("X-Forwarded-For")) //nolint:gosec // G705: a program reads it, no browser.
	})
	long := strings.Repeat("x", 100_000)
	status, text, err := ask(t, n, http.MethodPost, "http://hook:8080/api/v1/argocd?x=1", long)
	if err != nil || status != http.StatusAccepted || text != "POST hook:8080 /api/v1/argocd?x=1 100000 " {
		t.Fatalf("got %d %q, %v", status, text, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	got, err := n.Await(ctx, servicenet.Match{Host: "hook", Path: "/api/*", Method: http.MethodPost}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := got[0]
	if r.Status != http.StatusAccepted || r.Path != "/api/v1/argocd" || len(r.Body) != 64<<10 || r.Time.IsZero() || r.Duration <= 0 {
		t.Errorf("record: status %d path %s body %d time %s duration %s", r.Status, r.Path, len(r.Body), r.Time, r.Duration)
	}
	for _, other := range []servicenet.Match{{Host: "hook:8081"}, {Path: "/api"}, {Method: http.MethodGet}} {
		if found := n.Requests(other); len(found) != 0 {
			t.Errorf("%+v matches %+v", other, found)
		}
	}
	n.Forget()
	if found := n.Requests(servicenet.Match{}); len(found) != 0 {
		t.Errorf("after Forget: %d", len(found))
	}
	short, end := context.WithTimeout(t.Context(), time.Millisecond)
	defer end()
	if _, err := n.Await(short, servicenet.Match{}, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("await: %v", err)
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  servicenet.Fault
		status int    // What the client gets; 0 is a cut connection.
		text   string // The body of it.
		served int64  // How often the Service was called.
	}{
		{"drop", servicenet.Fault{Action: servicenet.Drop}, 0, "", 0},
		{"drop the answer", servicenet.Fault{Action: servicenet.DropAnswer}, 0, "", 1},
		{"answer", servicenet.Fault{Action: servicenet.Answer, Status: 503, Body: "no"}, 503, "no", 0},
		{"double", servicenet.Fault{Action: servicenet.Double}, 200, "{}2", 2},
		{"delay", servicenet.Fault{Delay: time.Millisecond}, 200, "{}1", 1},
		{"of another path", servicenet.Fault{Action: servicenet.Drop, Match: servicenet.Match{Path: "/other"}}, 200, "{}1", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t)
			var served atomic.Int64
			replica(t, n, "a", func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				_, _ = fmt.Fprintf(w, "%s%d", body, served.Add(1))
			})
			tt.fault.Times = 1
			remove, err := n.Inject(tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			defer remove()
			status, text, err := ask(t, n, http.MethodPost, "http://hook:8080/wake", "{}")
			if (err != nil) != (tt.status == 0) || status != tt.status || text != tt.text {
				t.Errorf("got %d %q, %v", status, text, err)
			}
			if got := served.Load(); got != tt.served {
				t.Errorf("the Service was called %d times, want %d", got, tt.served)
			}
			if strings.Contains(tt.name, "another") {
				return
			}
			// The fault was for one request; the next one passes.
			if status, _, err := ask(t, n, http.MethodPost, "http://hook:8080/wake", "{}"); err != nil || status != http.StatusOK {
				t.Errorf("next: got %d, %v", status, err)
			}
		})
	}
}

func TestFaultsThatSayNothingAreRefused(t *testing.T) {
	n := start(t)
	for _, f := range []servicenet.Fault{{}, {Action: "explode"}, {Action: servicenet.Answer}, {Action: servicenet.Answer, Status: 700}} {
		if _, err := n.Inject(f); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}

func TestFaultUntilRemoved(t *testing.T) {
	n := start(t)
	replica(t, n, "a", say("a"))
	remove, err := n.Inject(servicenet.Fault{Match: servicenet.Match{Host: "hook"}, Action: servicenet.Drop})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := ask(t, n, http.MethodPost, "http://hook:8080/", ""); err == nil {
			t.Error("answered in spite of the fault")
		}
	}
	remove()
	if _, _, err := ask(t, n, http.MethodPost, "http://hook:8080/", ""); err != nil {
		t.Error(err)
	}
}

func TestForwardIsRoundRobinOverTCP(t *testing.T) {
	n := start(t)
	address, err := n.Forward(t.Context(), "hook:8080")
	if err != nil {
		t.Fatal(err)
	}
	again, err := n.Forward(t.Context(), "hook:8080")
	if err != nil || again != address {
		t.Errorf("again: %s, %v", again, err)
	}
	get := func() (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	if text, err := get(); err == nil {
		t.Errorf("got %q before there is an endpoint", text)
	}
	replica(t, n, "a", say("a"))
	replica(t, n, "b", say("b"))
	got := map[string]int{}
	for range 4 {
		text, err := get()
		if err != nil {
			t.Fatal(err)
		}
		got[text]++
	}
	if diff := cmp.Diff(map[string]int{"a": 2, "b": 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := n.Inject(servicenet.Fault{Match: servicenet.Match{Method: servicenet.TCP}, Action: servicenet.Drop}); err != nil {
		t.Fatal(err)
	}
	if text, err := get(); err == nil {
		t.Errorf("got %q in spite of the fault", text)
	}
	if _, err := n.Forward(t.Context(), "hook"); err == nil {
		t.Error("an address without a port was accepted")
	}
}

func TestConnectTunnels(t *testing.T) {
	outside := httptest.NewTLSServer(say("outside"))
	defer outside.Close()
	n := start(t)
	proxy, err := url.Parse(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	transport, ok := outside.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	transport = transport.Clone()
	transport.Proxy = http.ProxyURL(proxy)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, outside.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "outside" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestCloseEndsOpenConnections(t *testing.T) {
	n, err := servicenet.Start(t.Context(), servicenet.Config{Client: fake.NewSimpleDynamicClient(runtime.NewScheme(), service("hook", hookLabels, int64(8080), "http"))})
	if err != nil {
		t.Fatal(err)
	}
	replica(t, n, "a", say("a"))
	address, err := n.Forward(t.Context(), "hook:8080")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := n.Forward(t.Context(), "other:1"); err == nil {
		t.Error("a closed network forwards")
	}
}

func TestANetworkNeedsAClient(t *testing.T) {
	if _, err := servicenet.Start(t.Context(), servicenet.Config{}); err == nil {
		t.Error("no error")
	}
}

func TestWhatIsNoProxyRequestIsRefused(t *testing.T) {
	n := start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL()+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d", resp.StatusCode)
	}
}

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// kubelet is the far end of a port-forward: it connects to what its ports name,
// and says on the error stream when it cannot.
func kubelet(t *testing.T, ports map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/api/v1/namespaces/argocd/pods/hook-0/portforward":
			w.WriteHeader(http.StatusNotFound)
			return
		case r.Method != http.MethodPost: // a server that does not know WebSocket
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
			t.Error(err)
			return
		}
		streams := make(chan httpstream.Stream, 2)
		connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if connection == nil {
			return
		}
		defer func() { _ = connection.Close() }()
		var failed, data httpstream.Stream
		for range 2 {
			switch s := <-streams; s.Headers().Get("streamType") {
			case "error":
				failed = s
			case "data":
				data = s
			}
		}
		backend, err := new(net.Dialer).DialContext(r.Context(), "tcp", ports[data.Headers().Get("port")])
		if err != nil {
			_, _ = io.WriteString(failed, "nobody listens on port "+data.Headers().Get("port"))
			_ = failed.Close()
			<-connection.CloseChan()
			return
		}
		defer func() { _ = backend.Close() }()
		_ = failed.Close()
		go func() {
			_, _ = io.Copy(data, backend)
			_ = data.Close()
		}()
		go func() { _, _ = io.Copy(backend, data) }()
		<-connection.CloseChan()
	}
}

func TestForward(t *testing.T) {
	var authorization []string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = append(authorization, r.Header.Get("Authorization"))
		if body, err := io.ReadAll(r.Body); err != nil || r.Method+" "+r.URL.Path+" "+string(body) != "POST /api question" {
			t.Errorf("the program got %s %s %s, %v", r.Method, r.URL.Path, body, err)
		}
		_, _ = w.Write([]byte("answer" + strings.Repeat("x", 1<<20)))
	}))
	t.Cleanup(backend.Close)
	client := serve(t, kubelet(t, map[string]string{"8080": strings.TrimPrefix(backend.URL, "http://")}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	through := client.Forward("argocd", "hook-0", 8080)
	for range 2 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost:8080/api", strings.NewReader("question"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer ours")
		resp, err := through.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.HasPrefix(string(body), "answerx") || len(body) < 1<<20 {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
	}
	// What the API server's own proxy would have taken away.
	for _, header := range authorization {
		if header != "Bearer ours" {
			t.Errorf("the program got %q", header)
		}
	}
}

func TestForwardFails(t *testing.T) {
	client := serve(t, kubelet(t, map[string]string{"8080": "127.0.0.1:1"}))
	tests := []struct {
		name, pod string
		want      string
		is        error
	}{
		{"nobody listens", "hook-0", "nobody listens on port 8080", nil},
		{"no such Pod", "hook-1", "", kube.ErrUnreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:8080/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Forward("argocd", test.pod, 8080).Do(req)
			if err == nil {
				_ = resp.Body.Close()
				t.Fatal("it answered")
			}
			if !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a secret is printed: %v", err)
			}
		})
	}
}

// TestForwardForbidden: the right is missing.
func TestForwardForbidden(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"hook-0\" is forbidden: User \"ada\" cannot create resource \"pods/portforward\"","reason":"Forbidden","code":403}`))
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:8080/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Forward("argocd", "hook-0", 8080).Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("got %v, want ErrForbidden", err)
	}
}

// TestForwardRefused: a status decides what a refusal means, and words do not:
// the network may say what it likes.
func TestForwardRefused(t *testing.T) {
	status := func(code int, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"code":%d}`, message, code)
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   error
	}{
		{"forbidden, of something not found", status(403, `pods "hook-0" is forbidden: role "x" not found, unauthorized`), kube.ErrForbidden},
		{"not found", status(404, `pods "forbidden" not found`), kube.ErrNotFound},
		{"not logged in", status(401, "the forbidden was not found"), kube.ErrUnauthorized},
		{"busy", status(500, "the server is forbidden to be found"), kube.ErrUnreachable},
		{"a proxy's page", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>forbidden, not found</html>", http.StatusBadGateway)
		}, kube.ErrUnreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:8080/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := serve(t, test.answer).Forward("argocd", "hook-0", 8080).Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			for _, sentinel := range []error{kube.ErrForbidden, kube.ErrNotFound, kube.ErrUnauthorized, kube.ErrUnreachable} {
				if errors.Is(err, sentinel) != errors.Is(test.want, sentinel) {
					t.Errorf("%v is %v: %t", err, sentinel, errors.Is(err, sentinel))
				}
			}
		})
	}
}

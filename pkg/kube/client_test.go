package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

const secret = "MARKER-token-0123456789"

func serve(t *testing.T, handler http.HandlerFunc) *kube.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := kube.New(&rest.Config{Host: server.URL, BearerToken: secret})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestPath(t *testing.T) {
	for want, got := range map[string]string{
		"/api/v1/namespaces/argocd/secrets/a":      kube.Path("v1", "argocd", "secrets", "a"),
		"/api/v1/nodes":                            kube.Path("v1", "", "nodes", ""),
		"/apis/apps/v1/namespaces/a/deployments":   kube.Path("apps/v1", "a", "deployments", ""),
		"/api/v1/namespaces/a%2Fb/pods/..%2F..%3F": kube.Path("v1", "a/b", "pods", "../..?"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestGet(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"metadata":{"name":"a"}}`))
	})
	var object struct {
		Metadata struct{ Name string }
	}
	if err := client.Get(t.Context(), "/api/v1/x", &object); err != nil || object.Metadata.Name != "a" {
		t.Errorf("got %+v, %v", object, err)
	}
}

// TestErrors: each kind of failure has its sentinel, and none repeats what may
// be secret.
func TestErrors(t *testing.T) {
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    error
		text    string
	}{
		{"forbidden", answer(403, `{"message":"secrets \"a\" is forbidden:\u001b[31m User \"ada\" cannot get"}`), kube.ErrForbidden, `secrets "a" is forbidden: [31m User "ada" cannot get`},
		{"not found", answer(404, `{"message":"not found"}`), kube.ErrNotFound, "not found"},
		{"unauthorized", answer(401, `nope`), kube.ErrUnauthorized, "the server answered 401 Unauthorized"},
		{"broken server", answer(500, ``), kube.ErrUnreachable, "the server answered 500"},
		{"not JSON", answer(200, secret), kube.ErrUnreachable, "not what was asked for"},
		{"wrong JSON", answer(200, `{"metadata":"`+secret+`"}`), kube.ErrUnreachable, "not what was asked for"},
		{"connection lost", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, kube.ErrUnreachable, "EOF"},
		{"redirect in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, kube.ErrUnreachable, "redirects"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var object struct{ Metadata struct{ Name string } }
			err := serve(t, test.handler).Get(t.Context(), "/api/v1/namespaces/n/secrets/a", &object)
			var typed *kube.Error
			if !errors.Is(err, test.want) || !errors.As(err, &typed) || !strings.Contains(typed.Said, test.text) {
				t.Errorf("got %v, want %v with %q", err, test.want, test.text)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a secret is printed: %v", err)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := client.Get(ctx, "/version", new(any))
	if !errors.Is(err, kube.ErrUnreachable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v", err)
	}
}

func TestList(t *testing.T) {
	var asked []string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("labelSelector")+" "+r.URL.Query().Get("continue"))
		switch r.URL.Query().Get("continue") {
		case "":
			_, _ = w.Write([]byte(`{"metadata":{"continue":"2"},"items":["a","b"]}`))
		case "2":
			_, _ = w.Write([]byte(`{"metadata":{"continue":"3"},"items":["c"]}`))
		default:
			_, _ = w.Write([]byte(`{"metadata":{},"items":null}`))
		}
	})
	got, err := kube.List[string](t.Context(), client, "/api/v1/pods", "app=x")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Errorf("items differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"app=x ", "app=x 2", "app=x 3"}, asked); diff != "" {
		t.Errorf("requests differ (-want +got):\n%s", diff)
	}
}

// TestListBreaksOff: half a list is an error.
func TestListBreaksOff(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continue") != "" {
			w.WriteHeader(http.StatusGone)
			return
		}
		_, _ = w.Write([]byte(`{"metadata":{"continue":"2"},"items":["a"]}`))
	})
	if got, err := kube.List[string](t.Context(), client, "/api/v1/pods", ""); err == nil {
		t.Errorf("got %v and no error", got)
	}
}

func TestClock(t *testing.T) {
	sent := time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)
	header := http.Header{"Date": {sent.Add(10 * time.Second).Format(http.TimeFormat)}}
	got, err := kube.ReadClock(header, sent, sent.Add(2*time.Second))
	want := kube.Clock{Offset: 9500 * time.Millisecond, Uncertainty: 1500 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := kube.ReadClock(http.Header{}, sent, sent); err == nil {
		t.Error("a missing date is accepted")
	}
}

func TestTime(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte(`{}`))
	})
	got, err := client.Time(t.Context())
	if err != nil || (got.Offset-time.Hour).Abs() > got.Uncertainty+time.Second {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestConnect(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cluster := func(context, server string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":%q,"contexts":[{"name":%q,"context":{"cluster":%q,"user":"u"}}],"clusters":[{"name":%q,"cluster":{"server":%q}}],"users":[{"name":"u","user":{"token":"x"}}]}`, context, context, context, context, server)
	}
	one := write("one", cluster("one", "https://one.example:6443"))
	two := write("two", cluster("two", "https://ada:MARKER@two.example"))
	write("home/.kube/config", cluster("home", "https://home.example"))
	empty := write("empty", `{"apiVersion":"v1","kind":"Config"}`)
	broken := write("broken", `{`)
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // no Pod
	tests := []struct {
		name      string
		options   kube.Options
		want, err string
	}{
		{"a file", kube.Options{Kubeconfig: one}, "https://one.example:6443", ""},
		{"two files", kube.Options{Kubeconfig: one + string(filepath.ListSeparator) + two}, "https://one.example:6443", ""},
		{"a context", kube.Options{Kubeconfig: one + string(filepath.ListSeparator) + two, Context: "two"}, "https://two.example", ""},
		{"at home", kube.Options{Home: filepath.Join(dir, "home")}, "https://home.example", ""},
		{"nothing", kube.Options{Home: dir}, "", "no kubeconfig, and this is no Pod"},
		{"missing", kube.Options{Kubeconfig: filepath.Join(dir, "missing")}, "", "no such file"},
		{"unknown context", kube.Options{Kubeconfig: one, Context: "x"}, "", `context "x" does not exist`},
		{"empty", kube.Options{Kubeconfig: empty}, "", "names no cluster"},
		{"broken", kube.Options{Kubeconfig: broken}, "", "kubeconfig " + broken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, err := kube.Connect(test.options)
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v, want an error with %q", err, test.err)
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err == "" && client.Server() != test.want:
				t.Errorf("got %s, want %s", client.Server(), test.want)
			}
		})
	}
}

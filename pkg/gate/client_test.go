package gate

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// patience is a time limit that no test is meant to reach.
const patience = 30 * time.Second

// subject is the promotion that the tests ask about.
func subject(t testing.TB) Subject {
	return Subject{
		Pipeline: "shop", Environment: "prod", Version: snapshot.Version{Pipeline: "shop", Major: 1, Minor: 4},
		Commit:       "3f2a9c4100000000000000000000000000000001",
		SourceCommit: "9c41000000000000000000000000000000000002",
		Images:       []Image{{Requested: "dev.example/shop/orders:v1", Reference: "stage.example/shop/orders@sha256:11", Digest: "sha256:11"}},
		Now:          at(t, "2026-11-26T12:00:00.5+01:00"),
	}
}

func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// hang waits until the client is gone, which the server notices only once the
// request was read.
func hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func tokenFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// onBoth lets both gates ask one server; what is wrong with a server is unknown to
// either.
func onBoth(t *testing.T, address, token string, timeout time.Duration) map[string]Gate {
	t.Helper()
	get, err := NewHTTP(HTTPOptions{URL: address + "/ok", TokenFile: token, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	post, err := NewHTTP(HTTPOptions{URL: address + "/ok", Method: "POST", TokenFile: token, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	prometheus, err := NewPrometheus(PrometheusOptions{Server: address, Query: "up", Pass: "== 1", TokenFile: token, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Gate{"get": get, "post": post, "prometheus": prometheus}
}

// TestServersThatMisbehave: whatever a server does instead of answering, no gate
// passes, and every one says why in one line.
func TestServersThatMisbehave(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("somebody else was asked") })
	redirect := func(to string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(status)
		}
	}
	for _, test := range []struct {
		name    string
		timeout time.Duration
		handler http.HandlerFunc
		// want follows the server's host.
		want string
	}{
		{"slow to begin", 50 * time.Millisecond, func(_ http.ResponseWriter, r *http.Request) { hang(r) }, " did not answer within 50ms"},
		{"slow to end", 50 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}, " did not answer within 50ms"},
		{"huge body", patience, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, ": the answer is larger than 1 MiB"},
		{"a byte too much", patience, says(200, "text/plain", strings.Repeat("x", maxBody+1)), ": the answer is larger than 1 MiB"},
		{"huge header", patience, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 2*maxHeader))
		}, ": net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted"},
		{"reset before the answer", patience, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ": EOF"},
		{"reset within the answer", patience, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, ": the answer broke off: unexpected EOF"},
		{"500", patience, says(500, "text/plain", "sorry\r\n\x1b[31m"), " answered 500 Internal Server Error: sorry [31m"},
		{"503 with a good body", patience, says(503, "text/plain", `ok`), " answered 503 Service Unavailable: ok"},
		{"redirect to another host", patience, redirect("http://other.example/ok", 307), ": redirect to another server, other.example, refused"},
		{"redirect to another port", patience, redirect(elsewhere.URL, 307), ": redirect to another server, " + hostOf(elsewhere.URL) + ", refused"},
		{"redirect to a strange name", patience, redirect("http://other.example%1b%0a/ok", 307), `: failed to parse Location header "http://other.example%1b%0a/ok": parse "http://other.example%1b%0a/ok": invalid URL escape "%1b"`},
		{"redirect in a circle", patience, redirect("/ok", 307), ": more than 5 redirects"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, test.handler)
			for name, g := range onBoth(t, server.URL, "", test.timeout) {
				want := Verdict{Result: Unknown, Detail: hostOf(server.URL) + test.want}
				if diff := cmp.Diff(want, g.Judge(t.Context(), subject(t))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}

	t.Run("nobody there", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // only to know a port that nobody listens on
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		for name, g := range onBoth(t, "http://"+listener.Addr().String(), "", patience) {
			if got := g.Judge(t.Context(), subject(t)); got.Result != Unknown || !strings.Contains(got.Detail, "connection refused") {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})
	t.Run("not HTTP", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("SSH-2.0-OpenSSH\r\n"))
				_ = conn.Close()
			}
		})
		for name, g := range onBoth(t, server.URL, "", patience) {
			if got := g.Judge(t.Context(), subject(t)); got.Result != Unknown || !strings.Contains(got.Detail, "malformed HTTP") {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})
	t.Run("nobody listens any more", func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		server := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); hang(r) })
		for name, g := range onBoth(t, server.URL, "", patience) {
			if diff := cmp.Diff(Verdict{Result: Unknown, Detail: "broken off"}, g.Judge(ended, subject(t))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

// TestRedirects follows those within a server.
func TestRedirects(t *testing.T) {
	for _, test := range []struct {
		method string
		status int
		result Result
	}{
		{"GET", 301, Pass},
		{"GET", 302, Pass},
		{"GET", 307, Pass},
		{"POST", 307, Pass},
		{"POST", 308, Pass},
		{"POST", 302, Unknown}, // would ask another question, by GET
		{"POST", 303, Unknown},
	} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/from" {
				http.Redirect(w, r, "/to", test.status)
				return
			}
			if r.Header.Get("Authorization") != "Bearer s3cret" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		g, err := NewHTTP(HTTPOptions{URL: server.URL + "/from", Method: test.method, TokenFile: tokenFile(t, "s3cret\n"), Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Judge(t.Context(), subject(t)); got.Result != test.result {
			t.Errorf("%s %d: %+v, want %s", test.method, test.status, got, test.result)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"http://a.example/x", "http://a.example/y", "<nil>"},
		{"http://a.example/x", "http://A.example:80/y", "<nil>"},
		{"http://a.example/x", "https://a.example/y", "<nil>"},
		{"https://a.example/x", "https://a.example:443/y", "<nil>"},
		{"https://a.example/x", "http://a.example/y", "redirect from https to http refused"},
		{"http://a.example:8080/x", "https://a.example/y", "redirect from http to https refused"},
		{"http://a.example/x", "https://b.example/y", "redirect to another server, b.example, refused"},
		{"http://a.example/x", "http://sub.a.example/y", "redirect to another server, sub.a.example, refused"},
		{"http://a.example/x", "http://a.example:8080/y", "redirect to another server, a.example:8080, refused"},
		{"http://a.example/x", "file://a.example/etc/passwd", "redirect from http to file refused"},
	} {
		from, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.from, nil)
		if err != nil {
			t.Fatal(err)
		}
		to, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(checkRedirect(to, []*http.Request{from})); got != test.want {
			t.Errorf("%s to %s: %s, want %s", test.from, test.to, got, test.want)
		}
	}
}

// TestCertificates: one that nobody vouches for is no answer.
func TestCertificates(t *testing.T) {
	server := httptest.NewTLSServer(says(200, "text/plain", "ok"))
	t.Cleanup(server.Close)
	g, err := NewHTTP(HTTPOptions{URL: server.URL, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Judge(t.Context(), subject(t)); got.Result != Unknown || !strings.Contains(got.Detail, "certificate") {
		t.Errorf("%+v", got)
	}
	transport, ok := g.client.http.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("transport is a %T", g.client.http.Transport)
	}
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	if got := g.Judge(t.Context(), subject(t)); got.Result != Pass {
		t.Errorf("with a certificate that is known: %+v", got)
	}
	if transport.Proxy != nil {
		t.Error("a proxy can come between")
	}
}

// TestToken: it is read each time, sent, and appears nowhere else, whatever the
// server does with it.
func TestToken(t *testing.T) {
	name := tokenFile(t, "  first-t0ken \n")
	var got string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		token := strings.TrimPrefix(got, "Bearer ")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, `{"message": %q, "hidden": "%s%s"}`, got, token[:3]+"\u200b", token[3:])
	})
	for kind, g := range onBoth(t, server.URL, name, patience) {
		for _, token := range []string{"first-t0ken", "sec0nd<token>&"} {
			if err := os.WriteFile(name, []byte(token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			v := g.Judge(t.Context(), subject(t))
			if got != "Bearer "+token {
				t.Errorf("%s: sent %q", kind, got)
			}
			if v.Result == Pass || strings.Contains(v.Detail, token) || strings.Count(v.Detail, "REDACTED") != 2 {
				t.Errorf("%s: %+v", kind, v)
			}
		}
	}

	for name, test := range map[string]struct{ file, want string }{
		"empty":     {tokenFile(t, " \n"), " is empty"},
		"two":       {tokenFile(t, "s3cret-one\ns3cret-two\n"), " holds more than one token, or characters that no token has"},
		"header":    {tokenFile(t, "s3cret\r\nX-Admin: yes"), " holds more than one token, or characters that no token has"},
		"not ASCII": {tokenFile(t, "s3crét"), " holds more than one token, or characters that no token has"},
		"huge":      {tokenFile(t, strings.Repeat("s3cret", maxTokenFile)), " is larger than 16384 bytes"},
	} {
		for kind, g := range onBoth(t, server.URL, test.file, patience) {
			want := Verdict{Result: Unknown, Detail: "token file " + test.file + test.want}
			if diff := cmp.Diff(want, g.Judge(t.Context(), subject(t))); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, kind, diff)
			}
		}
	}
	for kind, g := range onBoth(t, server.URL, filepath.Join(t.TempDir(), "none"), patience) {
		if got := g.Judge(t.Context(), subject(t)); got.Result != Unknown || !strings.HasPrefix(got.Detail, "token file: open ") {
			t.Errorf("%s without a file: %+v", kind, got)
		}
	}
}

// TestTokenInRedirect: an error can repeat what a server wrote, too.
func TestTokenInRedirect(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+".example/")
		w.WriteHeader(http.StatusFound)
	})
	for kind, g := range onBoth(t, server.URL, tokenFile(t, "s3cret"), patience) {
		if got := g.Judge(t.Context(), subject(t)); got.Result != Unknown || strings.Contains(got.Detail, "s3cret") {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

func TestTimeoutBounds(t *testing.T) {
	for timeout, want := range map[time.Duration]string{
		0:                             "<nil>",
		time.Nanosecond:               "<nil>",
		time.Minute:                   "<nil>",
		time.Minute + time.Nanosecond: "timeout is 1m0.000000001s, must be longer than nothing and at most 1m0s",
		-time.Second:                  "timeout is -1s, must be longer than nothing and at most 1m0s",
	} {
		c, err := newClient(timeout, "")
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s: %s, want %s", timeout, got, want)
		}
		if timeout == 0 && c.timeout != 10*time.Second {
			t.Errorf("default %s", c.timeout)
		}
	}
}

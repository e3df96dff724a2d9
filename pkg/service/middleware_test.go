package service

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRequestsAreLoggedWithoutSecrets(t *testing.T) {
	var lines bytes.Buffer
	s := New(Config{
		Options: loopback(),
		Log:     slog.New(slog.NewTextHandler(&lines, nil)),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, RequestID(r.Context()))
		}),
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hook?token=hush-query", strings.NewReader("hush-body"))
	r.Header.Set("Authorization", "Bearer hush-header")
	r.Header.Set("X-Request-Id", "caller-7")
	w := httptest.NewRecorder()
	s.mainHandler().ServeHTTP(w, r)
	if w.Body.String() != "caller-7" || w.Header().Get("X-Request-Id") != "caller-7" {
		t.Errorf("request id: %q %q", w.Body, w.Header())
	}
	got := lines.String()
	for _, want := range []string{"method=POST", "path=/hook", "status=202", "bytes=8", "id=caller-7"} {
		if !strings.Contains(got, want) {
			t.Errorf("log lacks %s: %s", want, got)
		}
	}
	if strings.Contains(got, "hush") {
		t.Errorf("log has a secret: %s", got)
	}
}

func TestForeignRequestIDs(t *testing.T) {
	for name, test := range map[string]struct {
		id   string
		kept bool
	}{
		"plain":    {"a.B-3_c", true},
		"missing":  {"", false},
		"newline":  {"a\nlevel=ERROR", false},
		"too long": {strings.Repeat("a", 65), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header["X-Request-Id"] = []string{test.id}
			w := httptest.NewRecorder()
			identify(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			got := w.Header().Get("X-Request-Id")
			if (got == test.id) != test.kept || got == "" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestPanicBecomesAnAnswer(t *testing.T) {
	var lines bytes.Buffer
	s, _ := start(t, Config{
		Options: loopback(),
		Log:     slog.New(slog.NewTextHandler(&lines, nil)),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/late" {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
			}
			panic("nil map of the caller's data")
		}),
	})
	a := get(t, "http://"+s.Addr().String()+"/early")
	if a.status != http.StatusInternalServerError || !strings.Contains(a.body, "internal error") || strings.Contains(a.body, "nil map") {
		t.Errorf("got %d %q", a.status, a.body)
	}
	// An answer that had begun is cut off rather than completed as if it were whole.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+"/late", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err == nil {
		_, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Error("a broken answer looks complete")
	}
}

func TestReadBody(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("12345"))
	if body, err := ReadBody(httptest.NewRecorder(), r, 5); err != nil || string(body) != "12345" {
		t.Errorf("at the limit: %q %v", body, err)
	}
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("123456"))
	_, err := ReadBody(httptest.NewRecorder(), r, 5)
	if !errors.Is(err, ErrBodyTooLarge) || BodyStatus(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("above the limit: %v", err)
	}
	if status := BodyStatus(io.ErrUnexpectedEOF); status != http.StatusBadRequest {
		t.Errorf("a broken connection is %d", status)
	}
}

func TestWriteJSONOfSomethingImpossible(t *testing.T) {
	w := httptest.NewRecorder()
	WriteJSON(w, http.StatusOK, func() {})
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "message") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

package service

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func status(t *testing.T, h http.Handler, authorization string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

var accepted = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func TestBearerToken(t *testing.T) {
	tokens, err := NewTokens("correct-horse\nnext-horse\n")
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	h := tokens.Require(accepted, slog.New(slog.NewTextHandler(&lines, nil)))
	for name, test := range map[string]struct {
		header string
		want   int
		says   string
	}{
		"right":             {"Bearer correct-horse", 204, ""},
		"the next one":      {"Bearer next-horse", 204, ""},
		"lower-case scheme": {"bearer correct-horse", 204, ""},
		"wrong":             {"Bearer correct-horsf", 401, "wrong"},
		"prefix":            {"Bearer correct", 401, "wrong"},
		"missing":           {"", 401, "no Authorization header"},
		"empty":             {"Bearer ", 401, "is not: Bearer"},
		"other scheme":      {"Basic correct-horse", 401, "is not: Bearer"},
		"unresolved":        {"Bearer $propagator:token", 401, "lacks the key"},
	} {
		t.Run(name, func(t *testing.T) {
			lines.Reset()
			code, body := status(t, h, test.header)
			if code != test.want || !strings.Contains(body, test.says) {
				t.Errorf("got %d %s", code, body)
			}
			if strings.Contains(body, "horse") {
				t.Errorf("the answer has a token: %s", body)
			}
			logged := lines.String()
			if refused := test.want == 401; refused != strings.Contains(logged, "level=WARN") || !strings.Contains(logged, test.says) ||
				refused && !strings.Contains(logged, "argocd-notifications-secret") || strings.Contains(logged, "horse") {
				t.Errorf("logged: %s", logged)
			}
		})
	}
}

func TestUnusableTokensStopTheStart(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "blank": " \n\n", "unresolved": "$secret:key", "one unresolved": "good\n$bad"} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewTokens(text); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestTokenSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	tokens, err := (&TokenOptions{File: file}).Tokens([]string{TokenVariable + "=unused"})
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	h := tokens.Require(accepted, slog.New(slog.NewTextHandler(&lines, nil)))
	if code, _ := status(t, h, "Bearer first"); code != 204 {
		t.Errorf("first: %d", code)
	}
	if code, _ := status(t, h, "Bearer unused"); code != 401 {
		t.Errorf("the variable counts beside the file: %d", code)
	}
	write("second\n")
	if code, _ := status(t, h, "Bearer second"); code != 204 {
		t.Errorf("a changed file is not read again: %d", code)
	}
	if code, _ := status(t, h, "Bearer first"); code != 401 {
		t.Errorf("the old token still works: %d", code)
	}
	for _, broken := range []string{"", "$unresolved", strings.Repeat("x", maxTokenFile+1)} {
		write(broken)
		if code, body := status(t, h, "Bearer second"); code != 401 || !strings.Contains(body, "cannot be checked") {
			t.Errorf("broken file: %d %s", code, body)
		}
	}
	if !strings.Contains(lines.String(), "level=ERROR") {
		t.Error("nobody is told that the token file is broken")
	}

	tokens, err = (&TokenOptions{}).Tokens([]string{"A=b", TokenVariable + "=from-variable"})
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := status(t, tokens.Require(accepted, nil), "Bearer from-variable"); code != 204 {
		t.Errorf("variable: %d", code)
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", tokens, tokens, tokens, tokens); strings.Contains(printed, "variable") {
		t.Errorf("tokens print as %s", printed)
	}
	for name, o := range map[string]TokenOptions{"none": {}, "no file": {File: file + "x"}} {
		if _, err := o.Tokens([]string{TokenVariable + "="}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

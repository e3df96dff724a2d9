package gate

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func TestHTTPAnswers(t *testing.T) {
	ready := HTTPOptions{Field: "status.ready", Value: "true"}
	text := HTTPOptions{Field: "status", Value: "ok"}
	post := HTTPOptions{Method: "POST"}
	const kind = "application/json; charset=utf-8"
	for _, test := range []struct {
		name    string
		options HTTPOptions
		status  int
		kind    string
		body    string
		result  Result
		// want has HOST for the server's.
		want string
	}{
		{"200", HTTPOptions{}, 200, "text/html", "{<p>", Pass, "HOST answered 200"},
		{"404", HTTPOptions{}, 404, "text/html", "<p>\n not here </p>", Wait, "expected 200; HOST answered 404 Not Found: <p> not here </p>"},
		{"204 is not 200", HTTPOptions{}, 204, "", "", Wait, "expected 200; HOST answered 204 No Content"},
		{"204 as asked for", HTTPOptions{Status: []int{204, 404}}, 204, "", "", Pass, "HOST answered 204"},
		{"404 as asked for", HTTPOptions{Status: []int{204, 404}}, 404, "", "", Pass, "HOST answered 404"},
		{"200 not asked for", HTTPOptions{Status: []int{204, 404}}, 200, "", "", Wait, "expected 204 or 404; HOST answered 200 OK"},
		{"a code without a name", HTTPOptions{}, 299, "", "", Wait, "expected 200; HOST answered 299"},
		{"redirect to nowhere", HTTPOptions{}, 304, "", "", Wait, "expected 200; HOST answered 304 Not Modified"},
		{"no body", HTTPOptions{}, 200, kind, "", Pass, "HOST answered 200"},
		{"a long one is cut", HTTPOptions{}, 400, "", strings.Repeat("ä", 1000), Wait, "expected 200; HOST answered 400 Bad Request: " + strings.Repeat("ä", 199) + "…"},

		{"field", text, 200, kind, `{"status": "ok"}`, Pass, `HOST: status is "ok"`},
		{"field without a header", text, 200, "text/plain", `{"status": "ok"}`, Pass, `HOST: status is "ok"`},
		{"field of a field", ready, 200, kind, `{"status": {"ready": true}}`, Pass, `HOST: status.ready is "true"`},
		{"text that looks like true", ready, 200, kind, `{"status": {"ready": "true"}}`, Pass, `HOST: status.ready is "true"`},
		{"number", HTTPOptions{Field: "n", Value: "12345678901234567890.10"}, 200, kind, `{"n": 12345678901234567890.10}`, Pass, `HOST: n is "12345678901234567890.10"`},
		{"another number", HTTPOptions{Field: "n", Value: "1"}, 200, kind, `{"n": 10}`, Wait, `HOST: n is 10, expected "1"`},
		{"empty text", HTTPOptions{Field: "error"}, 200, kind, `{"error": ""}`, Pass, `HOST: error is ""`},
		{"null is not empty", HTTPOptions{Field: "error"}, 200, kind, `{"error": null}`, Wait, `HOST: error is null, expected ""`},
		{"another value", text, 200, kind, `{"status": "<bad>\u001b[31m\nnews"}`, Wait, `HOST: status is "<bad>\u001b[31m\nnews", expected "ok"`},
		{"another case", text, 200, kind, `{"Status": "ok"}`, Wait, `HOST: status is missing, expected "ok"`},
		{"object", text, 200, kind, `{"status": {"ok": true}}`, Wait, `HOST: status is {"ok":true}, expected "ok"`},
		{"no object", ready, 200, kind, `{"status": "ready"}`, Wait, `HOST: status.ready is missing, expected "true"`},
		{"list", text, 200, kind, `[{"status": "ok"}]`, Wait, `HOST: status is missing, expected "ok"`},
		{"field of another code", text, 202, kind, `{"status": "ok"}`, Wait, `expected 200; HOST answered 202 Accepted: {"status": "ok"}`},
		{"malformed", text, 200, kind, `{"status": "ok"`, Unknown, "HOST: not JSON: unexpected EOF"},
		{"no JSON", text, 200, kind, `ok`, Unknown, "HOST: not JSON: invalid character 'o' looking for beginning of value"},
		{"empty", text, 200, kind, ``, Unknown, "HOST: not JSON: EOF"},
		{"two documents", text, 200, kind, `{"status": "ok"} {"status": "bad"}`, Unknown, "HOST: not JSON: something follows the document"},
		{"a bracket too much", text, 200, kind, `{"status": "ok"}}`, Unknown, "HOST: not JSON: something follows the document"},
		{"refusal that was not asked for", HTTPOptions{}, 200, kind, `{"verdict": "refuse"}`, Pass, "HOST answered 200"},

		{"post", post, 200, "text/plain", "fine", Pass, "HOST answered 200"},
		{"refuse", post, 200, kind, `{"verdict": "refuse", "detail": "no\nchange\u0007 filed"}`, Refuse, "no change filed"},
		{"refuse at another code", post, 403, "text/plain", `{"verdict": "refuse", "detail": "no"}`, Refuse, "no"},
		{"refuse with a server's fault", post, 500, kind, `{"verdict": "refuse"}`, Unknown, `HOST answered 500 Internal Server Error: {"verdict": "refuse"}`},
		{"refuse without a reason", post, 200, kind, `{"verdict": "refuse", "detail": 7}`, Refuse, "HOST gives no reason"},
		{"wait", post, 200, kind, `{"verdict": "wait", "detail": "not yet"}`, Wait, "not yet"},
		{"unknown", post, 200, kind, `{"verdict": "unknown", "detail": "who knows"}`, Unknown, "who knows"},
		{"pass", post, 200, kind, `{"verdict": "pass"}`, Pass, "HOST answered 200"},
		{"pass at another code", post, 403, kind, `{"verdict": "pass"}`, Wait, `expected 200; HOST answered 403 Forbidden: {"verdict": "pass"}`},
		{"pass and a field", HTTPOptions{Method: "POST", Field: "n", Value: "1"}, 200, kind, `{"verdict": "pass", "n": 2}`, Wait, `HOST: n is 2, expected "1"`},
		{"another word", post, 200, kind, `{"verdict": "Refuse"}`, Unknown, `HOST: "Refuse" is no verdict`},
		{"no word", post, 200, kind, `{"verdict": false}`, Unknown, `HOST: the verdict is no text`},
		{"no verdict", post, 200, kind, `{"id": 1}`, Pass, "HOST answered 200"},
		{"no object by post", post, 200, kind, `["refuse"]`, Pass, "HOST answered 200"},
		{"half a refusal", post, 200, "text/plain", ` {"verdict": "ref`, Unknown, "HOST: not JSON: unexpected EOF"},
		{"a refusal behind a mark", post, 200, "text/plain", "\ufeff" + `{"verdict": "refuse"}`, Unknown, "HOST: not JSON: invalid character 'ï' looking for beginning of value"},
		{"JSON that is none", post, 200, "application/problem+json", `<p>`, Unknown, "HOST: not JSON: invalid character '<' looking for beginning of value"},
		{"long reason", post, 200, kind, `{"verdict": "refuse", "detail": "` + strings.Repeat("x", 1000) + `"}`, Refuse, strings.Repeat("x", 199) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, says(test.status, test.kind, test.body))
			options := test.options
			options.URL, options.Timeout = server.URL, patience
			g, err := NewHTTP(options)
			if err != nil {
				t.Fatal(err)
			}
			want := Verdict{Result: test.result, Detail: strings.ReplaceAll(test.want, "HOST", hostOf(server.URL))}
			if diff := cmp.Diff(want, g.Judge(t.Context(), subject(t))); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHTTPQuestions looks at what is sent.
func TestHTTPQuestions(t *testing.T) {
	odd := subject(t)
	odd.Pipeline, odd.Environment = "a/../b?x=1#{commit}", "é &%+\r\n"
	const body = `{"pipeline":"shop","environment":"prod","version":"shop/v1.4.0","commit":"3f2a9c4100000000000000000000000000000001",` +
		`"source":"9c41000000000000000000000000000000000002","images":[{"requested":"dev.example/shop/orders:v1","reference":"stage.example/shop/orders@sha256:11","digest":"sha256:11"}],` +
		`"now":"2026-11-26T11:00:00.5Z"}`
	for _, test := range []struct {
		name, method, url string
		subject           Subject
		want              string
	}{
		{"as it is", "", "/a%2Fb?x=%20y&z", subject(t), "GET /a%2Fb?x=%20y&z"},
		{"every variable", "", "/{pipeline}/{environment}/{version}?c={commit}&s={source}", subject(t), "GET /shop/prod/shop%2Fv1.4.0?c=3f2a9c4100000000000000000000000000000001&s=9c41000000000000000000000000000000000002"},
		{"twice", "", "/{environment}?{environment}={version}", subject(t), "GET /prod?prod=shop%2Fv1.4.0"},
		{"escaped for their place", "", "/{pipeline}/{environment}?a={pipeline}&b={environment}?", odd, "GET /a%2F..%2Fb%3Fx=1%23%7Bcommit%7D/%C3%A9%20&%25+%0D%0A?a=a%2F..%2Fb%3Fx%3D1%23%7Bcommit%7D&b=%C3%A9+%26%25%2B%0D%0A?"},
		{"other braces", "", `/?filter={"environment":1}&x={}`, subject(t), `GET /?filter={"environment":1}&x={}`},
		{"post", "POST", "/{environment}", subject(t), "POST /prod application/json " + body},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				sent, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				got = strings.TrimSpace(strings.Join([]string{r.Method, r.RequestURI, r.Header.Get("Content-Type"), string(sent)}, " "))
			})
			g, err := NewHTTP(HTTPOptions{URL: server.URL + test.url, Method: test.method, Timeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			if v := g.Judge(t.Context(), test.subject); v.Result != Pass {
				t.Errorf("%+v", v)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHTTPQuestionsNotAsked: without a value, or with one that leads elsewhere,
// it would be another question.
func TestHTTPQuestionsNotAsked(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.RequestURI) })
	for _, test := range []struct {
		name, url string
		change    func(*Subject)
		want      string
	}{
		{"no commit", "/{commit}", func(s *Subject) { s.Commit = "" }, "nothing is known that {commit} stands for"},
		{"no source", "/?c={source}", func(s *Subject) { s.SourceCommit = "" }, "nothing is known that {source} stands for"},
		{"no version", "/{version}", func(s *Subject) { s.Version = snapshot.Version{} }, "nothing is known that {version} stands for"},
		{"upwards", "/a/{pipeline}/b", func(s *Subject) { s.Pipeline = ".." }, "the url would have . or .. for a folder"},
		{"nowhere", "/a/{environment}", func(s *Subject) { s.Environment = "." }, "the url would have . or .. for a folder"},
	} {
		g, err := NewHTTP(HTTPOptions{URL: server.URL + test.url, Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		s := subject(t)
		test.change(&s)
		if diff := cmp.Diff(Verdict{Result: Unknown, Detail: test.want}, g.Judge(t.Context(), s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestHTTPFaults(t *testing.T) {
	for _, test := range []struct {
		name    string
		options HTTPOptions
		want    string
	}{
		{"no url", HTTPOptions{}, "url is not an address such as https://check.example"},
		{"no host", HTTPOptions{URL: "https:///x"}, "url is not an address such as https://check.example"},
		{"scheme", HTTPOptions{URL: "file://host/etc/passwd"}, "url is not an address such as https://check.example"},
		{"escape", HTTPOptions{URL: "https://user:s3cret@a.example/%zz"}, "url is not an address such as https://check.example"},
		{"user", HTTPOptions{URL: "https://user:s3cret@a.example/"}, "url has a user or password in it; put a token into a file"},
		{"fragment", HTTPOptions{URL: "https://a.example/#{commit}"}, "url has a fragment (#), which no server is sent"},
		{"space", HTTPOptions{URL: "https://a.example/?a=b c"}, "url has spaces or other characters in it that have to be percent-encoded"},
		{"dots", HTTPOptions{URL: "https://a.example/a/../{commit}"}, "url: has . or .. for a folder; write where it leads"},
		{"variable as host", HTTPOptions{URL: "https://{environment}.example/"}, "url: variables can stand in the path and the query only"},
		{"variable as host alone", HTTPOptions{URL: "https://{environment}"}, "url: variables can stand in the path and the query only"},
		{"variable as port", HTTPOptions{URL: "https://a.example:{version}?x"}, "url: variables can stand in the path and the query only"},
		{"variable as scheme", HTTPOptions{URL: "{pipeline}://a.example/"}, "url is not an address such as https://check.example"},
		{"no variable", HTTPOptions{URL: "https://a.example/{verison}"}, "url: there is no variable {verison}, only {pipeline} {environment} {version} {commit} {source}"},
		{"method", HTTPOptions{URL: "https://a.example/", Method: "DELETE"}, `method "DELETE" is neither GET nor POST`},
		{"status", HTTPOptions{URL: "https://a.example/", Status: []int{200, 302, 503}}, "status 302 cannot pass; give codes 2xx or 4xx\nstatus 503 cannot pass; give codes 2xx or 4xx"},
		{"value", HTTPOptions{URL: "https://a.example/", Value: "ok"}, "value without field; say which field has to have it"},
		{"field", HTTPOptions{URL: "https://a.example/", Field: "a..b", Value: "ok"}, `field "a..b" has a part without a name`},
		{"timeout", HTTPOptions{URL: "https://a.example/", Timeout: 2 * MaxTimeout}, "timeout is 2m0s, must be longer than nothing and at most 1m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewHTTP(test.options)
			if got := fmt.Sprint(err); got != "http: "+test.want {
				t.Errorf("got %s\nwant http: %s", got, test.want)
			}
		})
	}
}

// checkDetail: whatever a server wrote, a person sees one short line.
func checkDetail(t *testing.T, v Verdict) {
	t.Helper()
	if v.Detail == "" || utf8.RuneCountInString(v.Detail) > 2*maxText || strings.ContainsFunc(v.Detail, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Fatalf("%+q", v.Detail)
	}
}

// FuzzHTTPAnswer: no answer makes a gate panic; what passes by a field has it,
// and a code that is not expected never passes.
func FuzzHTTPAnswer(f *testing.F) {
	for _, body := range []string{`{"status": {"ready": true}}`, `{"verdict": "refuse", "detail": "no"}`, `{"verdict": "pass", "status": {"ready": 1e400}}`, `{"status": [`, "\ufeff{}", `nul`, strings.Repeat("[", 20000)} {
		for _, status := range []int{200, 404, 503} {
			f.Add(status, true, []byte(body))
			f.Add(status, false, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status int, isJSON bool, body []byte) {
		a := &answer{host: "check.example", status: status, isJSON: isJSON, body: body, token: "s3cret"}
		for _, options := range []HTTPOptions{{}, {Method: "POST"}, {Field: "status.ready", Value: "true"}, {Method: "POST", Field: "status.ready", Value: "true"}} {
			options.URL = "https://check.example/"
			h, err := NewHTTP(options)
			if err != nil {
				t.Fatal(err)
			}
			v := h.weigh(a)
			checkDetail(t, v)
			if v.Result == Pass && (status != 200 || options.Field != "" && !strings.Contains(string(body), "true")) || strings.Contains(v.Detail, "s3cret") {
				t.Fatalf("%+v for %+v", v, options)
			}
			if v.Result == Refuse && options.Method != "POST" {
				t.Fatalf("refused without being asked: %+v", v)
			}
		}
	})
}

// FuzzHTTPTarget: no value of a variable changes which server is asked, or which
// parts the question has.
func FuzzHTTPTarget(f *testing.F) {
	f.Add("shop", "prod")
	f.Add("../..", "?a=b&c=d#e")
	f.Add("@evil.example/", "{pipeline}%2F\x00")
	f.Fuzz(func(t *testing.T, pipeline, environment string) {
		h, err := NewHTTP(HTTPOptions{URL: "https://check.example/v1/{pipeline}/{environment}/end?a={environment}&b={pipeline}"})
		if err != nil {
			t.Fatal(err)
		}
		target, err := h.target(Subject{Pipeline: pipeline, Environment: environment})
		if err != nil {
			return
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		parts := strings.Split(req.URL.EscapedPath(), "/")
		query := req.URL.Query()
		if req.URL.Host != "check.example" || len(parts) != 5 || parts[4] != "end" || len(query) != 2 ||
			query.Get("a") != environment || query.Get("b") != pipeline || req.URL.Path != "/v1/"+pipeline+"/"+environment+"/end" {
			t.Fatalf("%q and %q give %q", pipeline, environment, target)
		}
	})
}

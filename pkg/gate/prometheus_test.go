package gate

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is an answer with one series for each value.
func vector(values ...string) string {
	series := make([]string, 0, len(values))
	for i, value := range values {
		series = append(series, fmt.Sprintf(`{"metric":{"job":"orders","pod":"%d"},"value":[1732619000.5,%q]}`, i, value))
	}
	return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}}`
}

func result(kind, text string) string {
	return `{"status":"success","data":{"resultType":"` + kind + `","result":` + text + `}}`
}

func TestPrometheusAnswers(t *testing.T) {
	for _, test := range []struct {
		name, pass, empty string
		status            int
		body              string
		result            Result
		want              string // has HOST for the server's
	}{
		{"below", "< 0.01", "", 200, vector("0.005"), Pass, "0.005 is < 0.01"},
		{"not below", "< 0.01", "", 200, vector("0.01"), Wait, `expected < 0.01; found 0.01 for {job="orders", pod="0"}`},
		{"at most", "<=1e-2", "", 200, vector("0.01"), Pass, "0.01 is <= 1e-2"},
		{"not at most", "<= 0.01", "", 200, vector("0.011"), Wait, `expected <= 0.01; found 0.011 for {job="orders", pod="0"}`},
		{"above", "> -1.5", "", 200, vector("-1"), Pass, "-1 is > -1.5"},
		{"not above", "> -1.5", "", 200, vector("-1.5"), Wait, `expected > -1.5; found -1.5 for {job="orders", pod="0"}`},
		{"at least", ">= 0.99", "", 200, vector("0.99"), Pass, "0.99 is >= 0.99"},
		{"not at least", ">= 0.99", "", 200, vector("0.98"), Wait, `expected >= 0.99; found 0.98 for {job="orders", pod="0"}`},
		{"equal", "== 0", "", 200, vector("0"), Pass, "0 is == 0"},
		{"not equal", "== 0", "", 200, vector("1"), Wait, `expected == 0; found 1 for {job="orders", pod="0"}`},
		{"different", "!= 0", "", 200, vector("1"), Pass, "1 is != 0"},
		{"not different", "!= 0", "", 200, vector("0"), Wait, `expected != 0; found 0 for {job="orders", pod="0"}`},
		{"scalar", "== 1", "", 200, result("scalar", `[1732619000,"1"]`), Pass, "1 is == 1"},
		{"scalar of another value", "== 1", "", 200, result("scalar", `[1732619000,"2"]`), Wait, "expected == 1; found 2"},
		{"no labels", "== 1", "", 200, result("vector", `[{"metric":{},"value":[1,"2"]}]`), Wait, "expected == 1; found 2"},
		{"two series", "< 1", "", 200, vector("0.1", "0.2"), Pass, "all of 2 values are < 1"},
		{"the second of two", "< 1", "", 200, vector("0.1", "3"), Wait, `expected < 1, not satisfied by 1 of 2 values; found 3 for {job="orders", pod="1"}`},
		{"warnings", "== 1", "", 200, `{"status":"success","warnings":["partial"],"infos":["x"],"data":{"resultType":"scalar","result":[1,"1"]}}`, Pass, "1 is == 1"},

		{"NaN", "< 1", "", 200, vector("NaN"), Unknown, `expected < 1; found NaN for {job="orders", pod="0"}`},
		{"NaN is different from all", "!= 1", "", 200, vector("NaN"), Unknown, `expected != 1; found NaN for {job="orders", pod="0"}`},
		{"infinity", "> 1", "", 200, vector("+Inf"), Unknown, `expected > 1; found +Inf for {job="orders", pod="0"}`},
		{"negative infinity", "< 1", "", 200, vector("-Inf"), Unknown, `expected < 1; found -Inf for {job="orders", pod="0"}`},
		{"NaN beside a good one", "< 1", "", 200, vector("0", "NaN"), Unknown, `expected < 1, not satisfied by 1 of 2 values; found NaN for {job="orders", pod="1"}`},
		{"NaN beside a bad one", "< 1", "", 200, vector("NaN", "7"), Wait, `expected < 1, not satisfied by 1 of 2 values; found 7 for {job="orders", pod="1"}`},
		{"NaN though no data would pass", "< 1", "pass", 200, vector("NaN"), Unknown, `expected < 1; found NaN for {job="orders", pod="0"}`},

		{"no data", "< 1", "", 200, vector(), Unknown, "no data; expected < 1"},
		{"no data waits", "< 1", "wait", 200, vector(), Wait, "no data; expected < 1"},
		{"no data passes", "< 1", "pass", 200, vector(), Pass, "no data; expected < 1"},
		{"null is not no data", "< 1", "pass", 200, result("vector", "null"), Unknown, "HOST: the result is no list of values"},
		{"neither is nothing", "< 1", "pass", 200, `{"status":"success","data":{"resultType":"vector"}}`, Unknown, "HOST: the result is no list of values"},
		{"nor an object", "< 1", "pass", 200, `{}`, Unknown, `HOST: not an answer of Prometheus: status ""`},
		{"nor a matrix", "< 1", "pass", 200, result("matrix", "[]"), Unknown, `HOST: the result is a "matrix"; the query has to give a scalar or an instant vector`},
		{"nor text", "< 1", "pass", 200, result("string", `[1,"0"]`), Unknown, `HOST: the result is a "string"; the query has to give a scalar or an instant vector`},
		{"nor a long line", "< 1", "", 200, `{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}x`, Unknown, "HOST: not an answer of Prometheus: something follows the document"},

		{"error", "< 1", "pass", 400, `{"status":"error","errorType":"bad_data","error":"parse\n error\u0007"}`, Unknown, "HOST: bad_data: parse error"},
		{"error at 200", "< 1", "pass", 200, `{"status":"error","error":"odd","data":{"resultType":"vector","result":[]}}`, Unknown, "HOST: odd"},
		{"error of the server", "< 1", "pass", 503, `{"status":"error","errorType":"timeout","error":"too slow"}`, Unknown, "HOST: timeout: too slow"},
		{"success at another code", "< 1", "pass", 203, vector("0"), Unknown, "HOST answered 203 Non-Authoritative Information: " + oneLine(vector("0"))},
		{"log-in page", "< 1", "pass", 401, "<html>log in", Unknown, "HOST answered 401 Unauthorized: <html>log in"},
		{"log-in page as an answer", "< 1", "pass", 200, "<html>log in", Unknown, "HOST: not an answer of Prometheus: invalid character '<' looking for beginning of value"},
		{"malformed", "< 1", "pass", 200, vector("0")[:60], Unknown, "HOST: not an answer of Prometheus: unexpected EOF"},
		{"no pair", "< 1", "", 200, result("scalar", `[1]`), Unknown, "HOST: a value is no pair of time and number"},
		{"no value", "< 1", "", 200, result("vector", `[{"metric":{}}]`), Unknown, "HOST: a value is no pair of time and number"},
		{"no quotes", "< 1", "", 200, result("scalar", `[1,0]`), Unknown, "HOST: a value is no number in quotes"},
		{"null", "< 1", "", 200, result("scalar", `[1,null]`), Unknown, "HOST: a value is no number in quotes"},
		{"no number", "< 1", "", 200, vector("zero"), Unknown, `HOST: a value is "zero", no number`},
		{"empty text", "< 1", "", 200, vector(""), Unknown, `HOST: a value is "", no number`},
		{"a number too large", "< 1", "", 200, vector("-1e999"), Unknown, `HOST: a value is "-1e999", no number`},
		{"histogram", "< 1", "", 200, result("vector", `[{"metric":{},"histogram":[1,{"count":"0"}]}]`), Unknown, "HOST: the result has histograms; the query has to give numbers"},
		{"long labels", "< 1", "", 200, result("vector", `[{"metric":{"a":"`+strings.Repeat("x", 1000)+`"},"value":[1,"2"]}]`), Wait, `expected < 1; found 2 for {a="` + strings.Repeat("x", 189) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, says(test.status, "application/json", test.body))
			g, err := NewPrometheus(PrometheusOptions{Server: server.URL, Query: "up", Pass: test.pass, Empty: test.empty, Timeout: patience})
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

// TestPrometheusQuestions looks at what is sent.
func TestPrometheusQuestions(t *testing.T) {
	odd := subject(t)
	odd.Pipeline, odd.Environment = "x\"} or vector(0) # {commit}", "a'b`c\\d\ne"
	for _, test := range []struct {
		name, prefix, query string
		subject             Subject
		want                string
	}{
		{"plain", "", `sum(rate(errors{job="x"}[5m]))`, subject(t), `/api/v1/query sum(rate(errors{job="x"}[5m]))`},
		{"prefix", "/prom/", "up", subject(t), "/prom/api/v1/query up"},
		{
			"variables", "", `a{p="{pipeline}",e='{environment}'} + b{v=~"{version}",c="{commit}",s="{source}"}`, subject(t),
			`/api/v1/query a{p="shop",e='prod'} + b{v=~"shop/v1.4.0",c="3f2a9c4100000000000000000000000000000001",s="9c41000000000000000000000000000000000002"}`,
		},
		{"escaped", "", "a{p=\"{pipeline}\",e='{environment}'}", odd, `/api/v1/query a{p="x\x22} or vector(0) # {commit}",e='a\x27b\x60c\\d\x0ae'}`},
		{"in a comment", "", "up # it's {environment}", subject(t), "/api/v1/query up # it's prod"},
		{"other braces", "", `{__name__="up", x="{}{other}"}`, subject(t), `/api/v1/query {__name__="up", x="{}{other}"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if moment := r.URL.Query()["time"]; r.Method != http.MethodGet || !cmp.Equal(moment, []string{"2026-11-26T11:00:00.5Z"}) || len(r.URL.Query()) != 2 {
					t.Errorf("%s %s", r.Method, r.RequestURI)
				}
				got = r.URL.Path + " " + r.URL.Query().Get("query")
				_, _ = w.Write([]byte(vector("1")))
			})
			g, err := NewPrometheus(PrometheusOptions{Server: server.URL + test.prefix, Query: test.query, Pass: "== 1", Timeout: patience})
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

func TestPrometheusQuestionsNotAsked(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.RequestURI) })
	g, err := NewPrometheus(PrometheusOptions{Server: server.URL, Query: `up{c="{commit}"}`, Pass: "== 1", Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]Subject{
		"nothing is known that {commit} stands for": {Now: subject(t).Now},
		"there is no time to judge by":              {Commit: "3f2a"},
	} {
		if diff := cmp.Diff(Verdict{Result: Unknown, Detail: want}, g.Judge(t.Context(), s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestPrometheusFaults(t *testing.T) {
	const server = "https://prometheus.example"
	comparison := func(text string) string {
		return fmt.Sprintf("pass %q is not a comparison with a number such as \"< 0.01\"", text)
	}
	for _, test := range []struct {
		name    string
		options PrometheusOptions
		want    string
	}{
		{"nothing", PrometheusOptions{}, "server is not an address such as https://check.example\nquery is empty\n" + comparison("")},
		{"user", PrometheusOptions{Server: "https://a:s3cret@b.example", Query: "up", Pass: "== 1"}, "server has a user or password in it; put a token into a file"},
		{"query of the server", PrometheusOptions{Server: server + "?a=b", Query: "up", Pass: "== 1"}, "server has a query (?); the gate adds its own"},
		{"long query", PrometheusOptions{Server: server, Query: strings.Repeat("x", maxQuery+1), Pass: "== 1"}, "query is longer than 4096 bytes"},
		{"variable as a name", PrometheusOptions{Server: server, Query: "up_{environment}", Pass: "== 1"}, "query: {environment} stands outside of a string; put it in quotes"},
		{"variable behind a string", PrometheusOptions{Server: server, Query: `a{b="\"'"} + {pipeline}`, Pass: "== 1"}, "query: {pipeline} stands outside of a string; put it in quotes"},
		{"variable behind a raw string", PrometheusOptions{Server: server, Query: "a{b=`\\`} + {pipeline}", Pass: "== 1"}, "query: {pipeline} stands outside of a string; put it in quotes"},
		{"variable behind a comment", PrometheusOptions{Server: server, Query: "up # \"\n+ {version}", Pass: "== 1"}, "query: {version} stands outside of a string; put it in quotes"},
		{"string without an end", PrometheusOptions{Server: server, Query: `up{a="{version}\"}`, Pass: "== 1"}, `query: a string that begins with " does not end`},
		{"empty", PrometheusOptions{Server: server, Query: "up", Pass: "== 1", Empty: "refuse"}, `empty is "refuse", must be pass or wait`},
		{"no operator", PrometheusOptions{Server: server, Query: "up", Pass: "1"}, comparison("1")},
		{"other operator", PrometheusOptions{Server: server, Query: "up", Pass: "= 1"}, comparison("= 1")},
		{"no number", PrometheusOptions{Server: server, Query: "up", Pass: "< NaN"}, comparison("< NaN")},
		{"infinity", PrometheusOptions{Server: server, Query: "up", Pass: "< Inf"}, comparison("< Inf")},
		{"too large", PrometheusOptions{Server: server, Query: "up", Pass: "< 1e999"}, comparison("< 1e999")},
		{"percent", PrometheusOptions{Server: server, Query: "up", Pass: "< 1%"}, comparison("< 1%")},
		{"two", PrometheusOptions{Server: server, Query: "up", Pass: "> 1 < 2"}, comparison("> 1 < 2")},
		{"timeout", PrometheusOptions{Server: server, Query: "up", Pass: "== 1", Timeout: -1}, "timeout is -1ns, must be longer than nothing and at most 1m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewPrometheus(test.options)
			if got := fmt.Sprint(err); got != "prometheus: "+test.want {
				t.Errorf("got %s\nwant prometheus: %s", got, test.want)
			}
		})
	}
}

// FuzzPrometheusAnswer: no answer makes the gate panic, and none passes unless
// every number that was decoded is finite and satisfies.
func FuzzPrometheusAnswer(f *testing.F) {
	for _, body := range []string{
		vector(), vector("0.5"), vector("0.5", "NaN"), vector("+Inf"), result("scalar", `[1,"0"]`), result("vector", "null"), result("matrix", "[]"),
		`{"status":"error","errorType":"bad_data","error":"x"}`, `{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"0x1p-3"]}]}}`, strings.Repeat("[", 20000),
	} {
		f.Add(200, []byte(body))
		f.Add(503, []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		p, err := NewPrometheus(PrometheusOptions{Server: "https://prometheus.example", Query: "up", Pass: "< 1"})
		if err != nil {
			t.Fatal(err)
		}
		v := p.weigh(&answer{host: "prometheus.example", status: status, body: body})
		checkDetail(t, v)
		samples, err := decodeSamples(body)
		if v.Result == Pass && (err != nil || status != 200 || len(samples) == 0) {
			t.Fatalf("%+v", v)
		}
		for _, s := range samples {
			if v.Result == Pass && !(s.value < 1 && !math.IsInf(s.value, 0)) {
				t.Fatalf("%+v with %v", v, s)
			}
		}
	})
}

// FuzzEscapePromQL: no value ends the string that it stands in.
func FuzzEscapePromQL(f *testing.F) {
	f.Add("shop")
	f.Add("\"} or vector(0) #")
	f.Add("a'b`c\\")
	f.Add("\\\"\n\x00\xff")
	f.Fuzz(func(t *testing.T, value string) {
		escaped := escapePromQL(value)
		for _, quote := range []string{`"`, `'`, "`"} {
			// What follows is outside of a string only if the value did not end it.
			if err := checkQuery("x{a=" + quote + escaped + quote + "}"); err != nil && len(escaped) < maxQuery-10 {
				t.Fatalf("%q: %v", escaped, err)
			}
			if strings.Contains(escaped, quote) || strings.ContainsAny(escaped, "\r\n") {
				t.Fatalf("%q has %s in it", escaped, quote)
			}
		}
	})
}

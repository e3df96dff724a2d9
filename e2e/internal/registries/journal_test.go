package registries

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRequest(t *testing.T) {
	at := time.Date(2026, 3, 2, 10, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		line string
		want Request
		ok   bool
	}{
		"get": {
			`127.0.0.1 - - [02/Mar/2026:10:04:05 +0000] "GET /v2/shop/orders/manifests/3f2a9c1 HTTP/1.1" 200 1234 "" "propagator"`,
			Request{At: at, Method: "GET", Path: "/v2/shop/orders/manifests/3f2a9c1", Status: 200, Sent: 1234, Agent: "propagator"},
			true,
		},
		"head with query": {
			"127.0.0.1 - - [02/Mar/2026:11:04:05 +0100] \"HEAD /v2/a/blobs/x?ns=b HTTP/1.1\" 404 - \"\" \"\"\n",
			Request{At: at, Method: "HEAD", Path: "/v2/a/blobs/x?ns=b", Status: 404},
			true,
		},
		"complaint": {`time="2026-03-02T10:04:05Z" level=error msg="response completed with error"`, Request{}, false},
		"no time":   {`127.0.0.1 - - [yesterday] "GET / HTTP/1.1" 200 0 "" ""`, Request{}, false},
		"empty":     {"", Request{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseRequest(test.line)
			got.At = got.At.UTC()
			if !test.ok {
				got = Request{}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || ok != test.ok {
				t.Errorf("ok %v (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(`127.0.0.1 - - [02/Mar/2026:10:04:05 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "curl"`)
	f.Fuzz(func(t *testing.T, line string) {
		request, ok := parseRequest(line)
		if ok && (request.Method == "" || strings.ContainsAny(request.Path, " \n") || request.Status < 0) {
			t.Errorf("%q gives %+v", line, request)
		}
	})
}

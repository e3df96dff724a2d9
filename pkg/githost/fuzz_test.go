package githost

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// FuzzSieve holds the sieve to encoding/json: what is kept is the document
// without what is not wanted, in whatever parts it comes.
func FuzzSieve(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.body))
	}
	for _, body := range []string{
		`{"ref":1,"x":"\"}","y":{"ref":[{"z":"]"}]},"new":null}`, `{"re\u0066":1}`, `{"ref\\":1,"url":"\\"}`, `[{"a":1,"ref":2},["x","ref"]]`, `"ref"`, `{"":{}}`,
		`{"ref" : {"x":[1,2,{"ref":",}"}] , "url" :"a  b"} }`, `{"a":}`, `{"a" "b":1}`, `{"a"}`, "1 2", `{"a":"`, `{"a":]}`, `{"git_http_url_and_more":1}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var whole, parts sieve
		_, _ = whole.Write(body)
		if _, err := io.Copy(&parts, iotest.OneByteReader(bytes.NewReader(body))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(whole.kept, parts.kept) || (whole.err == nil) != (parts.err == nil) {
			t.Errorf("whole %q (%v), in parts %q (%v)", whole.kept, whole.err, parts.kept, parts.err)
		}
		if len(whole.kept) > maxKept {
			t.Errorf("%d bytes kept", len(whole.kept))
		}
		if !json.Valid(body) || whole.err != nil || bytes.Contains(body, []byte(`\`)) {
			return
		}
		var document, got any
		if err := json.Unmarshal(body, &document); err != nil {
			return // a number that is too large
		}
		if err := json.Unmarshal(whole.kept, &got); err != nil {
			t.Fatalf("%s became %s: %v", body, whole.kept, err)
		}
		if diff := cmp.Diff(without(document), got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// without is a document as the sieve leaves it.
func without(value any) any {
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = without(value[i])
		}
	case map[string]any:
		for key := range value {
			if !wanted[key] {
				value[key] = nil
			}
			value[key] = without(value[key])
		}
	}
	return value
}

// FuzzReceive: whatever is signed is decoded or refused with one of the errors
// that are promised, and a push names what was pushed.
func FuzzReceive(f *testing.F) {
	headers := []map[string]string{githubPush, giteaPush, gitlabPush, with(gitlabPush, "X-Gitlab-Event", systemHook), cloudPush, serverPush}
	for _, s := range samples {
		for i := range headers {
			f.Add(uint8(i), s.body)
		}
	}
	v := newVerifier(f)
	f.Fuzz(func(t *testing.T, host uint8, body string) {
		chosen := headers[int(host)%len(headers)]
		token := map[string]string{}
		if chosen["X-Gitlab-Event"] != "" {
			token = gitlabToken(secret, "")
		}
		signed := []map[string]string{chosen, hub256(secret, body), hub(secret, body), {"X-Gitea-Signature": hexSum(secret, body)}, token}
		d, err := v.Receive(request(t, body, signed...))
		switch {
		case err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge):
			t.Errorf("error: %v", err)
		case err != nil && d.Kind != "", err == nil && d.Kind == "":
			t.Errorf("kind %q, error %v", d.Kind, err)
		case d.Kind == Push && (len(d.Refs) == 0 || len(d.Repositories) == 0 && d.Path == ""):
			t.Errorf("a push of nothing: %+v", d)
		}
		for _, some := range append(d.Refs, d.Repositories...) {
			if some == "" {
				t.Errorf("something empty: %+v", d)
			}
		}
	})
}

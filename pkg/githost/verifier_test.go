package githost

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var reported = cmpopts.IgnoreUnexported(Delivery{})

func TestSamples(t *testing.T) {
	v := newVerifier(t)
	for _, s := range samples {
		for _, key := range []string{secret, newer} { // one of them is on its way out
			t.Run(s.name, func(t *testing.T) {
				got, err := v.Receive(request(t, s.body, s.headers, s.sign(key, s.body)))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(s.want, got, cmpopts.EquateEmpty(), reported); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

// TestUnproven: every sample without a proof, with one by another key, and with
// one of another body is refused, and nothing of it is reported.
func TestUnproven(t *testing.T) {
	v := newVerifier(t)
	const wrong = "a secret of someone else"
	for _, s := range samples {
		_, token := s.sign(wrong, s.body)["X-Gitlab-Token"]
		for name, r := range map[string]*http.Request{
			"unsigned":     request(t, s.body, s.headers),
			"changed body": request(t, s.body+" ", s.headers, s.sign(secret, s.body)),
			"wrong secret": request(t, s.body, s.headers, s.sign(wrong, s.body)),
		} {
			t.Run(s.name+", "+name, func(t *testing.T) {
				switch {
				case token && name == "changed body" && r.Header.Get("webhook-signature") == "":
					t.Skip("GitLab's token proves nothing about the body")
				case name == "wrong secret" && s.name == "GitLab, signed":
					t.Skip("the sample has one key")
				}
				got, err := v.Receive(r)
				if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), wrong) {
					t.Errorf("error: %v", err)
				}
				if diff := cmp.Diff(Delivery{Host: s.want.Host, Event: s.want.Event}, got, reported); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

// TestNeverTheWeakest: an attack is a request that mixes the headers of hosts.
func TestNeverTheWeakest(t *testing.T) {
	v := newVerifier(t)
	token, right := map[string]string{"X-Gitlab-Token": secret}, hub256(secret, githubBody)
	zeros := strings.Repeat("0", 64)
	old := standard("sixteen bytes and some more", "id", now.Add(-tolerance-time.Second), gitlabBody)
	early := standard("sixteen bytes and some more", "id", now.Add(tolerance+time.Second), gitlabBody)
	signed := standard("sixteen bytes and some more", "id", now, gitlabBody)
	for _, test := range []struct {
		name string
		body string
		all  []map[string]string
		says string // empty: accepted
	}{
		{"GitHub with GitLab's token", githubBody, []map[string]string{githubPush, token}, "no header X-Hub-Signature-256"},
		{"GitHub and GitLab with the token", githubBody, []map[string]string{githubPush, gitlabPush, token}, "no header X-Hub-Signature-256"},
		{"Bitbucket and GitLab with the token", cloudBody, []map[string]string{cloudPush, gitlabPush, token}, "no header X-Hub-Signature with sha256"},
		{"GitHub and Gitea with GitHub's signature", githubBody, []map[string]string{githubPush, {"X-Gitea-Event": "push"}, right}, "no header X-Gitea-Signature"},
		{"GitHub with SHA-1 only", githubBody, []map[string]string{githubPush, {"X-Hub-Signature": "sha1=" + zeros[:40]}}, "no header X-Hub-Signature-256"},
		{"GitHub with Bitbucket's signature", githubBody, []map[string]string{githubPush, hub(secret, githubBody)}, "no header X-Hub-Signature-256"},
		{"Bitbucket with SHA-1", cloudBody, []map[string]string{cloudPush, {"X-Hub-Signature": "sha1=" + zeros[:40]}}, "X-Hub-Signature with sha256"},
		{"GitHub with a wrong signature beside", githubBody, []map[string]string{githubPush, right, {"X-Gitea-Signature": zeros}}, "signature is wrong"},
		{"GitHub with another right one beside", githubBody, []map[string]string{githubPush, right, hub(newer, githubBody)}, ""},
		{"GitHub with SHA-1 beside", githubBody, []map[string]string{githubPush, right, {"X-Hub-Signature": "sha1=" + zeros[:40]}}, ""},
		{"GitLab with token and a wrong signature of GitHub", gitlabBody, []map[string]string{gitlabPush, token, {"X-Hub-Signature-256": "sha256=" + zeros}}, "signature is wrong"},
		{"GitLab with token and a wrong signature", gitlabBody, []map[string]string{gitlabPush, token, standard("another key", "id", now, gitlabBody)}, "signature is wrong"},
		{"GitLab with token and an empty signature", gitlabBody, []map[string]string{gitlabPush, token, with(signed, "webhook-signature", " ")}, "is not v1"},
		{"GitLab with the signature of another id", gitlabBody, []map[string]string{gitlabPush, signed, {"webhook-id": "other"}}, "signature is wrong"},
		{"GitLab with the signature of another time", gitlabBody, []map[string]string{gitlabPush, signed, {"webhook-timestamp": "1772619073"}}, "signature is wrong"},
		{"GitLab with a signature without id", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-id", "")}, "no header webhook-id"},
		{"GitLab with a signature without time", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-timestamp", "")}, "no header webhook-timestamp"},
		{"GitLab with a time that is none", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-timestamp", "today")}, "not a number"},
		{"GitLab with the last time there is", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-timestamp", "9223372036854775807")}, "clock"},
		{"GitLab with the first time there is", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-timestamp", "-9223372036854775808")}, "clock"},
		{"GitLab, signed too long ago", gitlabBody, []map[string]string{gitlabPush, old}, "clock"},
		{"GitLab, signed too early", gitlabBody, []map[string]string{gitlabPush, early}, "clock"},
		{"GitLab with another version only", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-signature", "v1a,AAAA")}, "is not v1"},
		{"GitLab while its key changes", gitlabBody, []map[string]string{gitlabPush, with(signed, "webhook-signature", "v1a,x v1,"+strings.Repeat("A", 43)+"= "+signed["webhook-signature"])}, ""},
		{"an empty signature", githubBody, []map[string]string{githubPush, {"X-Hub-Signature-256": "sha256="}}, "no header X-Hub-Signature-256"},
		{"a short signature", githubBody, []map[string]string{githubPush, {"X-Hub-Signature-256": "sha256=00"}}, "is not sha256=<"},
		{"a signature in base64", githubBody, []map[string]string{githubPush, {"X-Hub-Signature-256": "sha256=" + strings.Repeat("zz", 32)}}, "is not sha256=<"},
		{"a signature without its algorithm", githubBody, []map[string]string{githubPush, {"X-Hub-Signature-256": zeros}}, "is not sha256=<"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := v.Receive(request(t, test.body, test.all...))
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.says)):
				t.Errorf("error %v, want %q", err, test.says)
			}
		})
	}
	for _, name := range []string{"X-Hub-Signature-256", "webhook-id", "webhook-signature", "X-Gitlab-Token"} {
		t.Run(name+" twice", func(t *testing.T) {
			all := []map[string]string{githubPush, right}
			if name != "X-Hub-Signature-256" {
				all = []map[string]string{gitlabPush, signed}
			}
			if name == "X-Gitlab-Token" {
				all = []map[string]string{gitlabPush, token}
			}
			r := request(t, githubBody, all...)
			r.Header.Add(name, r.Header.Get(name))
			if _, err := v.Receive(r); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "more than once") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	v := newVerifier(t)
	large := `{"ref":"refs/heads/main","repository":{"clone_url":"https://github.example/acme/shop.git"},"commits":["` + strings.Repeat("x", MaxBody-200) + `"]}`
	manyRefs := `{"event_name":"repository_update","refs":[` + strings.Repeat(`"refs/heads/a-name-of-a-branch",`, 40_000) + `"refs/heads/main"],"project":{"git_http_url":"https://gitlab.example/acme/shop.git"}}`
	for _, test := range []struct {
		name, body string
		headers    map[string]string
		change     func(*http.Request)
		want       error // nil: accepted
	}{
		{"largest", large, nil, nil, nil},
		{"too large", large + strings.Repeat(" ", 200), nil, nil, ErrTooLarge},
		{"larger than it says", large + strings.Repeat(" ", 200), nil, func(r *http.Request) { r.ContentLength = 10 }, ErrTooLarge},
		{"too much to keep", manyRefs, with(gitlabPush, "X-Gitlab-Event", "System Hook", "X-Gitlab-Token", secret), nil, ErrTooLarge},
		{"in chunks", githubBody, nil, func(r *http.Request) { r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1 }, ErrLength},
		{"of unknown length", githubBody, nil, func(r *http.Request) { r.ContentLength = -1 }, ErrLength},
		{"compressed", githubBody, with(githubPush, "Content-Encoding", "gzip"), nil, ErrEncoding},
		{"compressed and not", githubBody, with(githubPush, "Content-Encoding", "gzip, identity"), nil, ErrEncoding},
		{"identity", githubBody, with(githubPush, "Content-Encoding", "identity"), nil, nil},
		{"form", "payload=%7B%7D", with(githubPush, "Content-Type", "application/x-www-form-urlencoded"), nil, ErrEncoding},
		{"text", githubBody, with(githubPush, "Content-Type", "text/plain"), nil, ErrEncoding},
		{"no type", githubBody, nil, func(r *http.Request) { r.Header.Del("Content-Type") }, ErrEncoding},
		{"type that is none", githubBody, with(githubPush, "Content-Type", ";;"), nil, ErrEncoding},
		{"with a character set", githubBody, with(githubPush, "Content-Type", "application/json; charset=utf-8"), nil, nil},
		{"breaks off", githubBody, nil, func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }, ErrMalformed},
		{"empty", "", nil, nil, ErrMalformed},
		{"half", githubBody[:300], nil, nil, ErrMalformed},
		{"half, inside of what is left out", githubBody[:len(githubBody)-3], nil, nil, ErrMalformed},
		{"text behind", githubBody + "x", nil, nil, ErrMalformed},
		{"two documents", githubBody + githubBody, nil, nil, ErrMalformed},
		{"a list", "[]", nil, nil, ErrMalformed},
		{"brackets", "]}", nil, nil, ErrMalformed},
		{"deep", strings.Repeat(`{"repository":`, 1000), nil, nil, ErrMalformed},
		{"deep where it is left out", `{"ref":"refs/heads/main","repository":{"clone_url":"x"},"commits":` + strings.Repeat(`[`, 1e6) + strings.Repeat(`]`, 1e6) + `}`, nil, nil, nil},
		{"wrong types", `{"ref":["refs/heads/main"]}`, nil, nil, ErrMalformed},
		{"no repository", `{"ref":"refs/heads/main"}`, nil, nil, ErrMalformed},
		{"binary", "\x00\xff", nil, nil, ErrMalformed},
		{"no host", githubBody, map[string]string{"X-Hub-Signature-256": "x"}, nil, ErrUnknownHost},
	} {
		t.Run(test.name, func(t *testing.T) {
			headers := test.headers
			if headers == nil {
				headers = githubPush
			}
			r := request(t, test.body, hub256(secret, test.body), headers)
			if test.change != nil {
				test.change(r)
			}
			got, err := v.Receive(r)
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err != nil && len(got.Repositories)+len(got.Refs) > 0 {
				t.Errorf("reported in spite of %v: %+v", err, got)
			}
		})
	}
}

// TestWrongSignatureComesFirst: what is wrong with a body is told to those only
// who signed it.
func TestWrongSignatureComesFirst(t *testing.T) {
	v := newVerifier(t)
	for _, body := range []string{"{", "]", `{"repository":"` + strings.Repeat("x", 2*maxKept) + `"}`} {
		if _, err := v.Receive(request(t, body, githubPush, hub256("a secret of someone else", body))); !errors.Is(err, ErrRefused) {
			t.Errorf("%.10s: %v", body, err)
		}
	}
}

// TestTokenBeforeBody: GitLab's token is judged without reading the body.
func TestTokenBeforeBody(t *testing.T) {
	r := request(t, gitlabBody, gitlabPush, map[string]string{"X-Gitlab-Token": "a secret of someone else"})
	r.Body = io.NopCloser(iotest.ErrReader(errors.New("read")))
	if _, err := newVerifier(t).Receive(r); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// TestLittleIsKept: a stranger's largest body costs little memory.
func TestLittleIsKept(t *testing.T) {
	body := append([]byte(`{"ref":"refs/heads/main","commits":["`), bytes.Repeat([]byte("x"), MaxBody-100)...)
	r := request(t, "", githubPush, hub256("a secret of someone else", ""))
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	v := newVerifier(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := v.Receive(r)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
		t.Errorf("%d bytes were allocated for a body of %d", allocated, len(body))
	}
}

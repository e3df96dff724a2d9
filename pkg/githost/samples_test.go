package githost

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	secret  = "a secret of the git host"
	newer   = "the secret that comes next"
	signing = "whsec_c2l4dGVlbiBieXRlcyBhbmQgc29tZSBtb3Jl"
)

// now is when the signed samples were sent.
var now = time.Date(2026, 3, 4, 10, 11, 12, 0, time.UTC)

func sum(key, text string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hexSum(key, text string) string { return hex.EncodeToString(sum(key, text)) }

// standard signs as Standard Webhooks says.
func standard(key, id string, at time.Time, body string) map[string]string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	return map[string]string{
		"webhook-id": id, "webhook-timestamp": seconds,
		"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(sum(key, id+"."+seconds+"."+body)),
	}
}

// sample is a request as a host documents it. sign gives the headers that depend
// on the body.
type sample struct {
	name    string
	headers map[string]string
	sign    func(key, body string) map[string]string
	body    string
	want    Delivery
}

func hub256(key, body string) map[string]string {
	return map[string]string{"X-Hub-Signature-256": "sha256=" + hexSum(key, body)}
}

func hub(key, body string) map[string]string {
	return map[string]string{"X-Hub-Signature": "sha256=" + hexSum(key, body)}
}

// gitea sends the headers of GitHub, too.
func gitea(key, body string) map[string]string {
	return map[string]string{
		"X-Gitea-Signature": hexSum(key, body), "X-Gogs-Signature": hexSum(key, body), "X-Hub-Signature-256": "sha256=" + hexSum(key, body),
		"X-Hub-Signature": "sha1=0123456789012345678901234567890123456789",
	}
}

func gitlabToken(key, _ string) map[string]string { return map[string]string{"X-Gitlab-Token": key} }

func gitlabSigned(key, body string) map[string]string {
	signed := standard(key, "f5e5f430-f57b-4e6e-9fac-d9128cd7232f", now, body)
	signed["X-Gitlab-Token"] = "another secret, which does not count"
	return signed
}

const (
	githubBody = `{"ref":"refs/heads/main","before":"1111111111111111111111111111111111111111","after":"2222222222222222222222222222222222222222",
"repository":{"id":7,"name":"shop","full_name":"acme/shop","private":true,"owner":{"name":"acme","url":"https://api.github.example/users/acme"},
"html_url":"https://github.example/acme/shop","url":"https://github.example/acme/shop","git_url":"git://github.example/acme/shop.git",
"ssh_url":"git@github.example:acme/shop.git","clone_url":"https://github.example/acme/shop.git","svn_url":"https://github.example/acme/shop",
"homepage":"https://attacker.example/shop","pushed_at":1772619072},
"pusher":{"name":"ann"},"created":false,"deleted":false,"forced":false,"base_ref":null,
"commits":[{"id":"2222222222222222222222222222222222222222","message":"a \"quoted\" {brace}","added":["a","b"],"removed":[],"modified":["c\\"]}],
"head_commit":{"id":"2222222222222222222222222222222222222222"}}`

	giteaBody = `{
  "ref": "refs/tags/v1",
  "before": "0000000000000000000000000000000000000000",
  "after": "2222222222222222222222222222222222222222",
  "compare_url": "https://gitea.example/acme/shop/compare/1...2",
  "commits": [],
  "total_commits": 0,
  "head_commit": null,
  "repository": {
    "id": 7,
    "name": "shop",
    "html_url": "https://gitea.example/acme/shop",
    "ssh_url": "ssh://git@gitea.example:2222/acme/shop.git",
    "clone_url": "https://gitea.example/acme/shop.git",
    "original_url": "https://attacker.example/shop",
    "website": ""
  },
  "pusher": {"login": "ann"}
}`

	gitlabBody = `{"object_kind":"push","event_name":"push","before":"1111111111111111111111111111111111111111","after":"2222222222222222222222222222222222222222",
"ref":"refs/heads/main","ref_protected":true,"checkout_sha":"2222222222222222222222222222222222222222","user_name":"Ann","project_id":15,
"project":{"id":15,"name":"shop","web_url":"https://gitlab.example/acme/shop","git_ssh_url":"git@gitlab.example:acme/shop.git",
"git_http_url":"https://gitlab.example/acme/shop.git","namespace":"acme","homepage":"https://gitlab.example/acme/shop",
"url":"git@gitlab.example:acme/shop.git","ssh_url":"git@gitlab.example:acme/shop.git","http_url":"https://gitlab.example/acme/shop.git"},
"commits":[{"id":"2","title":"x","added":["CHANGELOG"]}],"total_commits_count":1,
"repository":{"name":"shop","url":"git@gitlab.example:acme/shop.git","description":"","git_http_url":"https://gitlab.example/acme/shop.git","git_ssh_url":"git@gitlab.example:acme/shop.git"}}`

	gitlabUpdate = `{"event_name":"repository_update","user_id":1,"project_id":15,"project":{"git_http_url":"https://gitlab.example/acme/shop.git"},
"changes":[{"before":"1","after":"2","ref":"refs/heads/main"},{"before":"1","after":"2","ref":"refs/tags/v1"}],"refs":["refs/heads/main","refs/tags/v1"]}`

	cloudBody = `{"push":{"changes":[
{"forced":false,"old":{"type":"branch","name":"main","target":{"hash":"1"}},"new":{"type":"branch","name":"main","target":{"hash":"2","links":{"html":{"href":"https://bitbucket.org/acme/other"}}}},
"commits":[{"hash":"2","type":"commit"}],"truncated":false},
{"old":null,"new":{"type":"tag","name":"v1"},"created":true},
{"old":{"type":"branch","name":"gone"},"new":null,"closed":true}]},
"repository":{"type":"repository","full_name":"acme/shop","name":"shop","links":{"self":{"href":"https://api.bitbucket.org/2.0/repositories/acme/shop"},
"html":{"href":"https://bitbucket.org/acme/shop"},"avatar":{"href":"https://bytebucket.org/x"}},"project":{"key":"ACME","type":"project"},"website":"https://attacker.example"},
"actor":{"display_name":"Ann"}}`

	serverBody = `{"eventKey":"repo:refs_changed","date":"2026-03-04T10:11:12+0000","actor":{"name":"ann","emailAddress":"ann@acme.example","links":{"self":[null]}},
"repository":{"slug":"shop","id":84,"name":"shop","scmId":"git","state":"AVAILABLE","project":{"key":"ACME","id":3,"name":"Acme","links":{"self":[null]}},"public":false,
"links":{"clone":[{"href":"ssh://git@bitbucket.example:7999/acme/shop.git","name":"ssh"},{"href":"https://bitbucket.example/scm/acme/shop.git","name":"http"}],"self":[{"href":"https://bitbucket.example/projects/ACME/repos/shop/browse"}]}},
"changes":[{"ref":{"id":"refs/heads/main","displayId":"main","type":"BRANCH"},"refId":"refs/heads/main","fromHash":"1","toHash":"2","type":"UPDATE"}]}`

	oldServerBody = `{"eventKey":"repo:refs_changed","repository":{"slug":"shop","project":{"key":"ACME"},"links":{"self":[null]}},
"changes":[{"ref":{"id":"refs/tags/v1","type":"TAG"},"refId":"refs/tags/v1","type":"DELETE"}]}`
)

var (
	githubPush = map[string]string{"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "X-GitHub-Hook-ID": "1", "User-Agent": "GitHub-Hookshot/044aadd"}
	giteaPush  = map[string]string{"X-Gitea-Event": "push", "X-Gitea-Delivery": "a2", "X-Gogs-Event": "push", "X-GitHub-Event": "push", "X-GitHub-Delivery": "a2"}
	gitlabPush = map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Event-UUID": "b1", "Idempotency-Key": "b3", "X-Gitlab-Instance": "https://gitlab.example"}
	cloudPush  = map[string]string{"X-Event-Key": "repo:push", "X-Hook-UUID": "c1", "X-Request-UUID": "c2", "X-Attempt-Number": "1"}
	serverPush = map[string]string{"X-Event-Key": "repo:refs_changed", "X-Request-Id": "d1"}

	gitlabAddresses = []string{"git@gitlab.example:acme/shop.git", "https://gitlab.example/acme/shop", "https://gitlab.example/acme/shop.git"}
)

// samples are what each host sends.
var samples = []sample{
	{"GitHub", githubPush, hub256, githubBody, Delivery{
		Host: GitHub, Event: "push", Kind: Push, Refs: []string{"refs/heads/main"},
		Repositories: []string{"git://github.example/acme/shop.git", "git@github.example:acme/shop.git", "https://github.example/acme/shop", "https://github.example/acme/shop.git"},
	}},
	{"GitHub ping", with(githubPush, "X-GitHub-Event", "ping"), hub256, `{"zen":"Keep it simple.","hook_id":1,"hook":{"type":"Repository"},"repository":{"clone_url":"https://github.example/acme/shop.git"}}`, Delivery{
		Host: GitHub, Event: "ping", Kind: Ping,
	}},
	{"GitHub, another event", with(githubPush, "X-GitHub-Event", "issues"), hub256, `{"action":"opened"}`, Delivery{Host: GitHub, Event: "issues", Kind: Other}},
	{"Gitea", giteaPush, gitea, giteaBody, Delivery{
		Host: Gitea, Event: "push", Kind: Push, Refs: []string{"refs/tags/v1"},
		Repositories: []string{"https://gitea.example/acme/shop", "https://gitea.example/acme/shop.git", "ssh://git@gitea.example:2222/acme/shop.git"},
	}},
	{"Forgejo", map[string]string{"X-Forgejo-Event": "push", "X-Forgejo-Delivery": "a3"}, func(key, body string) map[string]string {
		return map[string]string{"X-Forgejo-Signature": hexSum(key, body)}
	}, `{"ref":"refs/heads/main","repository":{"clone_url":"https://forgejo.example/acme/shop.git"}}`, Delivery{
		Host: Gitea, Event: "push", Kind: Push, Refs: []string{"refs/heads/main"}, Repositories: []string{"https://forgejo.example/acme/shop.git"},
	}},
	{"GitLab", gitlabPush, gitlabToken, gitlabBody, Delivery{Host: GitLab, Event: "Push Hook", Kind: Push, Refs: []string{"refs/heads/main"}, Repositories: gitlabAddresses}},
	{"GitLab, signed", gitlabPush, func(_, body string) map[string]string { return gitlabSigned("sixteen bytes and some more", body) }, gitlabBody, Delivery{
		Host: GitLab, Event: "Push Hook", Kind: Push, Refs: []string{"refs/heads/main"}, Repositories: gitlabAddresses,
	}},
	{"GitLab, signed with a key of another form", gitlabPush, gitlabSigned, gitlabBody, Delivery{
		Host: GitLab, Event: "Push Hook", Kind: Push, Refs: []string{"refs/heads/main"}, Repositories: gitlabAddresses,
	}},
	{"GitLab, tag", with(gitlabPush, "X-Gitlab-Event", "Tag Push Hook"), gitlabToken, strings.ReplaceAll(gitlabBody, "refs/heads/main", "refs/tags/v1"), Delivery{
		Host: GitLab, Event: "Tag Push Hook", Kind: Push, Refs: []string{"refs/tags/v1"}, Repositories: gitlabAddresses,
	}},
	{"GitLab, instance", with(gitlabPush, "X-Gitlab-Event", "System Hook"), gitlabToken, gitlabUpdate, Delivery{
		Host: GitLab, Event: "System Hook", Kind: Push, Refs: []string{"refs/heads/main", "refs/tags/v1"}, Repositories: []string{"https://gitlab.example/acme/shop.git"},
	}},
	{"GitLab, instance, another event", with(gitlabPush, "X-Gitlab-Event", "System Hook"), gitlabToken, `{"event_name":"key_create","key":"ssh-ed25519 AAAA","ref":{}}`, Delivery{
		Host: GitLab, Event: "System Hook", Kind: Other,
	}},
	{"Bitbucket Cloud", cloudPush, hub, cloudBody, Delivery{
		Host: BitbucketCloud, Event: "repo:push", Kind: Push, Refs: []string{"refs/heads/gone", "refs/heads/main", "refs/tags/v1"}, Repositories: []string{"https://bitbucket.org/acme/shop"},
	}},
	{"Bitbucket Cloud, nothing pushed", cloudPush, hub, `{"push":{"changes":[]},"repository":{"links":{"html":{"href":"https://bitbucket.org/acme/shop"}}}}`, Delivery{
		Host: BitbucketCloud, Event: "repo:push", Kind: Other, Repositories: []string{"https://bitbucket.org/acme/shop"},
	}},
	{"Bitbucket Server", serverPush, hub, serverBody, Delivery{
		Host: BitbucketServer, Event: "repo:refs_changed", Kind: Push, Refs: []string{"refs/heads/main"},
		Repositories: []string{"https://bitbucket.example/scm/acme/shop.git", "ssh://git@bitbucket.example:7999/acme/shop.git"},
	}},
	{"Bitbucket Server without addresses", serverPush, hub, oldServerBody, Delivery{
		Host: BitbucketServer, Event: "repo:refs_changed", Kind: Push, Refs: []string{"refs/tags/v1"}, Path: "ACME/shop",
	}},
	{"Bitbucket Server, test", with(serverPush, "X-Event-Key", "diagnostics:ping"), hub, `{"test":true}`, Delivery{Host: BitbucketServer, Event: "diagnostics:ping", Kind: Ping}},
}

// with copies headers and sets some; an empty value removes one.
func with(headers map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range headers {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
		if more[i+1] == "" {
			delete(all, more[i])
		}
	}
	return all
}

// request makes one; later headers win.
func request(t testing.TB, body string, headers ...map[string]string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, some := range headers {
		for name, value := range some {
			r.Header.Set(name, value)
		}
	}
	return r
}

func newVerifier(t testing.TB) *Verifier {
	t.Helper()
	secrets, err := NewSecrets(newer + "\n" + secret + "\n" + signing + "\n")
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(secrets)
	v.now = func() time.Time { return now }
	return v
}

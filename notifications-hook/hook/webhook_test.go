package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/githost"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/service"
)

const (
	webhookPath   = "/api/v1/webhook"
	webhookSecret = "a secret of the git host"
)

// pushOf is GitHub's event, as far as it is read.
func pushOf(repository string) string {
	return fmt.Sprintf(`{"ref":"refs/heads/main","repository":{"clone_url":%q},"commits":[]}`, repository)
}

// signedPush makes GitHub's request.
func signedPush(t testing.TB, url, secret, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-GitHub-Event", "push")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// listening makes a server listen to git hosts.
func listening(t testing.TB) func(*Config) {
	t.Helper()
	secrets, err := githost.NewSecrets(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Webhooks = secrets }
}

// woken are the wake-ups of each worker that nobody took.
func woken(s *Server) []int {
	var n []int
	for _, worker := range s.workers {
		n = append(n, len(worker.wake))
	}
	return n
}

// counted is the metric of webhooks, as /metrics shows it.
func counted(t testing.TB, s *Server) string {
	t.Helper()
	families, err := s.http.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range families {
		if family.GetName() != "propagator_hook_webhooks_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := metric.GetLabel()
			lines = append(lines, fmt.Sprintf("%s %s %v", labels[0].GetValue(), labels[1].GetValue(), metric.GetCounter().GetValue()))
		}
	}
	return strings.Join(lines, ", ")
}

// TestWebhooks looks at the answers and at the wake-ups themselves; no worker
// runs.
func TestWebhooks(t *testing.T) {
	a, b := newShop(t, configuration), newShop(t, configuration)
	b.server = gitrepo.NewMemory("ssh://git@bitbucket.example:7999/acme/shop.git")
	own := pushOf("https://git.example/shop")
	token := []string{"X-GitHub-Event", "", "X-Hub-Signature-256", "", "X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", webhookSecret}
	for _, test := range []struct {
		name, secret, body string
		headers            []string
		status             int
		says               string
		woken              []int
		counted            string
	}{
		{"its own", webhookSecret, own, nil, 202, "woken: 1 of 2 pipelines", []int{1, 0}, "github woken 1"},
		{"by ssh", webhookSecret, pushOf("git@git.example:shop.git"), nil, 202, "woken: 1", []int{1, 0}, "github woken 1"},
		{"nobody's", webhookSecret, pushOf("https://git.example/other.git"), nil, 202, "https://git.example/other.git; nothing", []int{0, 0}, "github foreign 1"},
		{"a host that names no address", webhookSecret, `{"changes":[{"refId":"refs/heads/main"}],"repository":{"slug":"shop","project":{"key":"ACME"}}}`, nil, 401, "", []int{0, 0}, "bitbucket-server refused 1"},
		{"GitLab", "", `{"ref":"refs/heads/main","project":{"git_http_url":"https://git.example/shop.git"}}`, token, 202, "woken: 1", []int{1, 0}, "gitlab woken 1"},
		{"GitLab with a wrong token", "", own, append(token, "X-Gitlab-Token", "a secret of someone else"), 401, "X-Gitlab-Token is not the secret", []int{0, 0}, "gitlab refused 1"},
		{"ping", webhookSecret, `{"zen":"…"}`, []string{"X-GitHub-Event", "ping"}, 202, "the webhook works", []int{0, 0}, "github ping 1"},
		{"another event", webhookSecret, own, []string{"X-GitHub-Event", "issues"}, 202, "not a push", []int{0, 0}, "github ignored 1"},
		{"no refs", webhookSecret, `{}`, nil, 202, "not a push", []int{0, 0}, "github ignored 1"},
		{"wrong secret", "a secret of someone else", own, nil, 401, "signature is wrong", []int{0, 0}, "github refused 1"},
		{"unsigned", webhookSecret, own, []string{"X-Hub-Signature-256", ""}, 401, "no header X-Hub-Signature-256", []int{0, 0}, "github refused 1"},
		{"the bearer token", "", own, []string{"X-Hub-Signature-256", "", "Authorization", good}, 401, "no header X-Hub-Signature-256", []int{0, 0}, "github refused 1"},
		{"nobody", webhookSecret, own, []string{"X-GitHub-Event", ""}, 400, "no event of GitHub", []int{0, 0}, "unknown malformed 1"},
		{"malformed", webhookSecret, `{"ref":`, nil, 400, "malformed body", []int{0, 0}, "github malformed 1"},
		{"no repository", webhookSecret, `{"ref":"refs/heads/main"}`, nil, 400, "names no repository", []int{0, 0}, "github malformed 1"},
		{"form", webhookSecret, "payload=%7B%7D", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "set the content type of the webhook to application/json", []int{0, 0}, "github unsupported 1"},
		{"text", webhookSecret, own, []string{"Content-Type", "text/plain"}, 415, "not application/json", []int{0, 0}, "github unsupported 1"},
		{"compressed", webhookSecret, own, []string{"Content-Encoding", "gzip"}, 415, "compressed", []int{0, 0}, "github unsupported 1"},
		{"too large", webhookSecret, strings.Repeat(" ", githost.MaxBody+1), nil, 413, "more than 25 MiB", []int{0, 0}, "github too_large 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, listening(t), a, b)
			var lines bytes.Buffer
			s.config.Log = slog.New(slog.NewTextHandler(&lines, nil))
			r := signedPush(t, webhookPath, test.secret, test.body, test.headers...)
			if strings.HasPrefix(test.counted, "bitbucket") { // judged by its own header
				r.Header.Set("X-GitHub-Event", "")
				r.Header.Set("X-Event-Key", "repo:refs_changed")
			}
			w := httptest.NewRecorder()
			s.pushed(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, test.status, test.says)
			}
			if diff := cmp.Diff(test.woken, woken(s)); diff != "" {
				t.Errorf("woken, -want +got:\n%s", diff)
			}
			if got := counted(t, s); got != test.counted {
				t.Errorf("counted %s, want %s", got, test.counted)
			}
			logged := lines.String()
			if refused := test.status == 401; refused != strings.Contains(logged, "hint=") || refused && !strings.Contains(logged, "--webhook-secret-file") {
				t.Errorf("logged: %s", logged)
			}
			if failed := test.status >= 400; failed != strings.Contains(logged, "level=WARN") || failed && !strings.Contains(logged, "host="+strings.Fields(test.counted)[0]) {
				t.Errorf("logged: %s", logged)
			}
			if strings.Contains(logged+w.Body.String(), webhookSecret) || strings.Contains(logged+w.Body.String(), "someone else") {
				t.Errorf("a secret is in: %s%s", logged, w.Body)
			}
		})
	}
}

// TestRepositoryWithoutAddress: a Bitbucket Server that names project and
// repository only.
func TestRepositoryWithoutAddress(t *testing.T) {
	for repository, want := range map[string]bool{
		"ssh://git@bitbucket.example:7999/acme/shop.git":    true,
		"https://bitbucket.example/scm/ACME/shop/":          true,
		"https://bitbucket.example/scm/acme/bookshop.git":   false,
		"https://bitbucket.example/scm/other-acme/shop.git": false,
		"": false,
	} {
		if got := concerned(repository, githost.Delivery{Path: "ACME/shop"}); got != want {
			t.Errorf("%s: %t", repository, got)
		}
	}
	if concerned(repoURL, githost.Delivery{}) {
		t.Error("nothing concerns somebody")
	}
}

// TestReplayedWebhook: a delivery wakes once, whatever id it comes with; what
// wakes nobody is not remembered.
func TestReplayedWebhook(t *testing.T) {
	s := newServer(t, listening(t), newShop(t, configuration))
	send := func(body, id string) string {
		w := httptest.NewRecorder()
		s.pushed(w, signedPush(t, webhookPath, webhookSecret, body, "X-GitHub-Delivery", id))
		if w.Code != 202 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	own := pushOf(repoURL)
	if body := send(own, "1"); !strings.Contains(body, "woken: 1") {
		t.Error(body)
	}
	<-s.workers[0].wake
	for _, id := range []string{"1", "2", ""} {
		if body := send(own, id); !strings.Contains(body, "received before") || len(s.workers[0].wake) != 0 {
			t.Errorf("id %q: %s", id, body)
		}
	}
	other := strings.Replace(own, "main", "next", 1)
	if body := send(other, "3"); !strings.Contains(body, "woken: 1") || len(s.workers[0].wake) != 1 {
		t.Error(body)
	}
	foreign := pushOf("https://git.example/other.git")
	for range 2 {
		if body := send(foreign, "4"); !strings.Contains(body, "no pipeline") {
			t.Error(body)
		}
	}
	if got := counted(t, s); got != "github foreign 2, github replayed 3, github woken 2" {
		t.Errorf("counted %s", got)
	}
}

// TestManyWebhooks: no more are read at a time than memory allows, and the next
// one is told to come again.
func TestManyWebhooks(t *testing.T) {
	s := newServer(t, listening(t), newShop(t, configuration))
	goOn, answered := make(chan struct{}), make(chan int, maxWebhooks)
	reading := make(chan struct{}, maxWebhooks)
	for i := range maxWebhooks {
		r := signedPush(t, webhookPath, webhookSecret, pushOf(fmt.Sprintf("https://git.example/%d.git", i)))
		body := r.Body
		r.Body = io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) {
			reading <- struct{}{}
			<-goOn
			return 0, io.EOF
		}), body))
		go func() {
			w := httptest.NewRecorder()
			s.pushed(w, r)
			answered <- w.Code
		}()
	}
	for range maxWebhooks {
		<-reading
	}
	w := httptest.NewRecorder()
	s.pushed(w, signedPush(t, webhookPath, webhookSecret, pushOf(repoURL)))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || len(s.workers[0].wake) != 0 {
		t.Errorf("one too many: %d %s", w.Code, w.Body)
	}
	close(goOn)
	for range maxWebhooks {
		if code := <-answered; code != 202 {
			t.Errorf("%d", code)
		}
	}
	w = httptest.NewRecorder()
	s.pushed(w, signedPush(t, webhookPath, webhookSecret, pushOf(repoURL)))
	if w.Code != 202 || len(s.workers[0].wake) != 1 {
		t.Errorf("after the others: %d %s", w.Code, w.Body)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestWebhookBreaksOff: a sender that goes away leaves no place taken.
func TestWebhookBreaksOff(t *testing.T) {
	s := newServer(t, listening(t), newShop(t, configuration))
	for range maxWebhooks + 1 {
		r := signedPush(t, webhookPath, webhookSecret, pushOf(repoURL))
		r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		w := httptest.NewRecorder()
		s.pushed(w, r)
		if w.Code != 400 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// webhookLimit is how long an answer may take.
const webhookLimit = 20 * time.Millisecond

// TestWebhookWhileBusy: a push is answered at once over a real connection while
// the worker is held up, before and after it was woken. The fastest of many
// answers is looked at, so that a busy machine does not count.
func TestWebhookWhileBusy(t *testing.T) {
	shop := newShop(t, configuration)
	gate := make(chan struct{})
	shop.gate = gate
	s := newServer(t, listening(t), shop)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	until(t, "first run", func() bool { return len(shop.asked()) == 1 })

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	fastest := time.Hour
	for i := range 20 {
		body := strings.Replace(pushOf(repoURL), "main", fmt.Sprint("branch-", i), 1)
		r := signedPush(t, "http://"+s.Addr().String()+webhookPath, webhookSecret, body)
		start := time.Now()
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		fastest = min(fastest, time.Since(start))
		if err != nil || response.StatusCode != 202 || !strings.Contains(string(text), "woken: 1") {
			t.Errorf("%d %s %v", response.StatusCode, text, err)
		}
	}
	if fastest > webhookLimit {
		t.Errorf("the fastest answer took %s", fastest)
	}
	if n := len(shop.asked()); n != 1 {
		t.Errorf("%d runs at a time", n)
	}
	close(gate)
	until(t, "Prod", func() bool {
		entry := shop.entry("prod")
		return !entry.Deployed.IsZero()
	})
}

// TestNoWebhookSecret: without a secret the address is closed, and says how to
// open it.
func TestNoWebhookSecret(t *testing.T) {
	shop := newShop(t, configuration)
	r := serve(t, shop)
	until(t, "first run", func() bool { return len(r.status()) == 1 })
	before := len(shop.asked())
	for _, authorization := range []string{"", good} {
		answer := r.send(http.MethodPost, webhookPath, pushOf(repoURL), authorization)
		if answer.status != 404 || !strings.Contains(answer.body, "--webhook-secret-file (PROPAGATOR_WEBHOOK_SECRET_FILE)") {
			t.Errorf("%d %s", answer.status, answer.body)
		}
	}
	if n := len(shop.asked()); n != before {
		t.Errorf("%d runs", n-before)
	}
}

// TestWebhookSecretBreaks: a file that became unusable is the operator's matter,
// and the sender is not told.
func TestWebhookSecretBreaks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(webhookSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets, err := githost.SecretsFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	s := newServer(t, func(c *Config) {
		c.Webhooks, c.Log = secrets, slog.New(slog.NewTextHandler(&lines, nil))
	}, newShop(t, configuration))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.pushed(w, signedPush(t, webhookPath, webhookSecret, pushOf(repoURL)))
	if w.Code != 503 || strings.Contains(w.Body.String(), file) || !strings.Contains(lines.String(), "level=ERROR") || !strings.Contains(lines.String(), file) {
		t.Errorf("%d %s, logged %s", w.Code, w.Body, lines.String())
	}
	if got := counted(t, s); got != "github no_secret 1" {
		t.Errorf("counted %s", got)
	}
}

// TestWebhookFlag plays the operating system.
func TestWebhookFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"PROPAGATOR_TOKEN=" + token, "PROPAGATOR_REPOSITORY=" + t.TempDir()}
	for _, test := range []struct {
		name string
		env  []string
		args []string
		says string
	}{
		{"short", env, []string{"--webhook-secret-file", file}, "--webhook-secret-file: the webhook secret has 5 bytes; at least 16"},
		{"by its variable", append(env, "PROPAGATOR_WEBHOOK_SECRET_FILE="+file), nil, "the webhook secret has 5 bytes"},
		{"no file", env, []string{"--webhook-secret-file", file + "x"}, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, _, stderr := run(t, test.env, test.args...)
			if code != service.ExitUsage || !strings.Contains(stderr, test.says) {
				t.Errorf("exit %d, stderr %s", code, stderr)
			}
		})
	}
	if _, stdout, _ := run(t, nil, "--help"); !strings.Contains(stdout, "[$PROPAGATOR_WEBHOOK_SECRET_FILE]") || !strings.Contains(stdout, webhookPath) {
		t.Errorf("help: %s", stdout)
	}
}

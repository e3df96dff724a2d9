package generator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// run plays the operating system.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, env, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	env := []string{"PROPAGATOR_TOKEN=" + token}
	repository := []string{"--repository", t.TempDir()}
	for _, test := range []struct {
		name string
		env  []string
		args []string
		says string
	}{
		{"no repository", env, nil, "no repository; name it with --repository"},
		{"no token", nil, repository, "no bearer token: give --token-file or the variable PROPAGATOR_TOKEN"},
		{"reference for a token", []string{"PROPAGATOR_TOKEN=$propagator:token"}, repository, "begins with $"},
		{"no token file", env, append(repository, "--token-file", "/nonexistent/token"), "token file: open /nonexistent/token"},
		{"unknown flag", env, append(repository, "--repo", "x"), "unknown flag: --repo"},
		{"argument", env, append(repository, "x"), `unknown argument "x"`},
		{"not a duration", env, append(repository, "--interval", "often"), `invalid argument "often" for "--interval"`},
		{"variable not a duration", append(env, "PROPAGATOR_INTERVAL=often"), repository, "environment variable PROPAGATOR_INTERVAL does not hold a valid duration for --interval"},
		{"interval in the past", env, append(repository, "--interval", "-1s"), "--interval is -1s; it must be positive"},
		{"address", env, append(repository, "--listen", "8080"), `--listen is "8080"; write host:port or :port`},
		{"log format", env, append(repository, "--log-format", "xml"), `--log-format is "xml"`},
		{"two repositories, one public URL", env, append(repository, "--repository", t.TempDir(), "--public-url", "https://git.example/shop.git"), "--public-url needs a single --repository"},
		{"password in the public URL", env, append(repository, "--public-url", "https://ada:hunter2@git.example/shop.git"), "--public-url holds credentials"},
		{"access token in the public URL", env, append(repository, "--public-url", "https://hunter2@git.example/shop.git"), "--public-url holds credentials"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := run(t, test.env, test.args...)
			if code != service.ExitUsage || stdout != "" {
				t.Errorf("exit %d, stdout %q", code, stdout)
			}
			if line := strings.TrimSuffix(stderr, "\n"); !strings.HasPrefix(line, "applicationset-generator: ") || !strings.Contains(line, test.says) || strings.Contains(line, "\n") {
				t.Errorf("stderr:\n%s\nwant one line with %q", stderr, test.says)
			}
			if strings.Contains(stderr, "hunter2") || strings.Contains(stderr, token) {
				t.Errorf("stderr tells a secret: %s", stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	code, stdout, stderr := run(t, nil, "--help")
	if code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, part := range []string{"getparams.execute", "--repository", "[$PROPAGATOR_REPOSITORY]", "[$PROPAGATOR_TOKEN_FILE]", "PROPAGATOR_TOKEN", "[$PROPAGATOR_INTERVAL]", "[$PROPAGATOR_LOG_LEVEL]"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the help lacks %s", part)
		}
	}
	if code, stdout, _ := run(t, nil, "--version"); code != 0 || !strings.Contains(stdout, service.Version().Version) {
		t.Errorf("version: exit %d, %q", code, stdout)
	}
}

func TestPortTaken(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	git := gitrepotest.Server(t, githttp.Options{})
	address := taken.Addr().String()
	code, _, stderr := run(t, []string{"PROPAGATOR_TOKEN=" + token, "PROPAGATOR_REPOSITORY=" + git.Init("shop.git")}, "--listen", address)
	if want := "applicationset-generator: listen " + address + ": address already in use; choose another with --listen\n"; code != service.ExitFailure || stderr != want {
		t.Errorf("exit %d, stderr %q, want %q", code, stderr, want)
	}
}

// TestProgram runs the whole program against a real git server, configured by
// variables alone.
func TestProgram(t *testing.T) {
	git := gitrepotest.Server(t, githttp.Options{})
	url := git.Init("shop.git")
	people, err := remote.Open(url, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := promoted(t, people)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, stderr := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		exit <- Main(ctx, nil, []string{
			"PROPAGATOR_REPOSITORY=" + url, "PROPAGATOR_TOKEN=" + token, "PROPAGATOR_LISTEN=127.0.0.1:0",
			"PROPAGATOR_PUBLIC_URL=https://git.example/public/shop.git",
		}, io.Discard, stderr)
		_ = stderr.Close()
	}()
	lines := bufio.NewScanner(reader)
	r := &running{t: t}
	for r.url == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			r.url = "http://" + line.Address
		}
	}
	var log bytes.Buffer
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(&log, reader) // ends when the program does
	}()

	r.loaded()
	if diff := cmp.Diff(everything, r.ask(all).names(t)); diff != "" {
		t.Error(diff)
	}
	if body := r.ask(all).body; !strings.Contains(body, `"repoURL":"https://git.example/public/shop.git"`) || strings.Contains(body, url) {
		t.Errorf("repository URL: %s", body)
	}
	s.capture("shop/v0.2.0", "stage/orders")
	s.promote("stage", "shop/v0.2.0")
	if got := r.ask(all).names(t); got[0] != "shop-stage-orders@v0.2.0" {
		t.Errorf("after a push: %v", got)
	}
	cancel()
	select {
	case code := <-exit:
		if code != 0 {
			t.Errorf("exit %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the program does not stop")
	}
	<-drained
	if strings.Contains(log.String(), token) {
		t.Error("the log tells the token")
	}
}

// TestShutdown: a request that is under way is answered, and when Serve has
// returned nothing is left running.
func TestShutdown(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	promoted(t, server)
	repo := &git{Repo: server.Client()}
	r := serve(t, repo).loaded()
	asked, gate := make(chan answer, 1), make(chan struct{})
	before := repo.listed()
	repo.set(func(g *git) { g.gate = gate })
	go func() { asked <- r.ask(all) }()
	deadline := time.Now().Add(10 * time.Second)
	for repo.listed() == before {
		if time.Now().After(deadline) {
			t.Fatal("the request does not arrive")
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	close(gate)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if a := <-asked; a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestNewRefuses(t *testing.T) {
	repo := gitrepo.Fixed(gitrepo.NewMemory(repoURL))
	broken := func() (gitrepo.Repo, error) { return nil, errors.New("no such key file") }
	for _, test := range []struct {
		name   string
		config Config
		says   string
	}{
		{"no repository", Config{Tokens: mustTokens(t)}, "no repository"},
		{"no token", Config{Repositories: []gitrepo.Opener{repo}}, "no token"},
		{"repository cannot be opened", Config{Repositories: []gitrepo.Opener{broken}, Tokens: mustTokens(t)}, "no such key file"},
		{"interval", Config{Repositories: []gitrepo.Opener{repo}, Tokens: mustTokens(t), Interval: -1}, "--interval"},
	} {
		if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	s, err := New(Config{Repositories: []gitrepo.Opener{repo}, Tokens: mustTokens(t), Log: slog.New(slog.DiscardHandler)})
	if err != nil || s.interval != time.Minute || s.sources[0].branch != "main" {
		t.Errorf("defaults: %+v, %v", s, err)
	}
	for url, secret := range map[string]bool{
		"": false, "https://git.example/shop.git": false, "git@git.example:shop.git": false, "ssh://git@git.example/shop.git": false,
		"https://ada@git.example/shop.git": true, "ssh://git:pw@git.example/shop.git": true, "http://:x@git.example": true,
	} {
		if hasSecret(url) != secret {
			t.Errorf("%s: %v", url, !secret)
		}
	}
}

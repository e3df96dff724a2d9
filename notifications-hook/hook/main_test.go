package hook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// run plays the operating system; the cluster cannot be reached.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	connect := func(string, string, *slog.Logger) (Cluster, error) {
		return Cluster{}, errors.New("not in a Pod; name a file with --kubeconfig")
	}
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, env, &out, &errs, connect)
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
		{"no cluster", env, repository, "not in a Pod; name a file with --kubeconfig"},
		{"unknown flag", env, append(repository, "--repo", "x"), "unknown flag: --repo"},
		{"argument", env, append(repository, "x"), `unknown argument "x"; see notifications-hook --help`},
		{"not a duration", env, append(repository, "--timeout", "long"), `invalid argument "long" for "--timeout"`},
		{"variable not a duration", append(env, "PROPAGATOR_SETTLE=a while"), repository, "environment variable PROPAGATOR_SETTLE does not hold a valid duration for --settle"},
		{"settle in the past", env, append(repository, "--settle", "-1s"), "--settle is -1s; it must not be negative"},
		{"address", env, append(repository, "--listen", "8080"), `--listen is "8080"; write host:port or :port`},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := run(t, test.env, test.args...)
			if code != service.ExitUsage || stdout != "" {
				t.Errorf("exit %d, stdout %q", code, stdout)
			}
			if line := strings.TrimSuffix(stderr, "\n"); !strings.HasPrefix(line, "notifications-hook: ") || !strings.Contains(line, test.says) || strings.Contains(line, "\n") {
				t.Errorf("stderr:\n%s\nwant one line with %q", stderr, test.says)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	code, stdout, stderr := run(t, nil, "--help")
	if code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, part := range []string{
		"/api/v1/argocd", "/api/v1/wake", "DOCKER_CONFIG", "[$PROPAGATOR_REPOSITORY]", "[$PROPAGATOR_INTERVAL]", "[$PROPAGATOR_TIMEOUT]",
		"[$PROPAGATOR_SETTLE]", "[$PROPAGATOR_WATCH]", "[$PROPAGATOR_SHARE]", "[$PROPAGATOR_KUBECONFIG]", "[$PROPAGATOR_ARGOCD_NAMESPACE]", "[$PROPAGATOR_ENVIRONMENTS]", "[$PROPAGATOR_TOKEN_FILE]",
	} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the help lacks %s", part)
		}
	}
}

// TestProgram runs the program against a real git server with a repository
// that is no pipeline yet, and an address that is taken first.
func TestProgram(t *testing.T) {
	git := gitrepotest.Server(t, githttp.Options{})
	env := []string{"PROPAGATOR_REPOSITORY=" + git.Init("shop.git"), "PROPAGATOR_TOKEN=" + token, "PROPAGATOR_ARGOCD_NAMESPACE=gitops"}
	s := newShop(t, configuration)
	namespaces := make(chan string, 2)
	watching := make(chan struct{})
	watch := func(ctx context.Context, _ func(string)) {
		close(watching)
		<-ctx.Done()
	}
	connect := func(kubeconfig, namespace string, _ *slog.Logger) (Cluster, error) { //nolint:unparam // the type is Connect
		namespaces <- kubeconfig + "|" + namespace
		return Cluster{Applications: s, Watch: watch}, nil
	}

	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	var stderr bytes.Buffer
	code := Main(t.Context(), []string{"--listen", taken.Addr().String(), "--kubeconfig", "some/file"}, env, io.Discard, &stderr, connect)
	if want := "notifications-hook: listen " + taken.Addr().String() + ": address already in use; choose another with --listen\n"; code != service.ExitFailure || stderr.String() != want {
		t.Errorf("exit %d, stderr %q, want %q", code, stderr.String(), want)
	}
	if got := <-namespaces; got != "some/file|gitops" {
		t.Errorf("connected with %s", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		exit <- Main(ctx, []string{"--listen", "127.0.0.1:0"}, env, io.Discard, writer, connect)
		_ = writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	r := &running{t: t}
	for r.url == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			r.url = "http://" + line.Address
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, reader) // ends when the program does
	}()
	until(t, "first run", func() bool { return len(r.status()) == 1 })
	if status := r.status()[0]; !strings.Contains(status.Error, "has no branch main") {
		t.Errorf("status: %+v", status)
	}
	if answer := r.send(http.MethodPost, eventPath, event, good); answer.status != 202 {
		t.Errorf("event: %d", answer.status)
	}
	<-watching
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
}

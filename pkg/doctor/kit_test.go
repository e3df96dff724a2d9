package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/doctor"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/kube/kubetest"
	"github.com/fleeting-taas/propagator/pkg/service"
)

const (
	bearer     = "MARKER-bearer-0123456789"
	repository = "https://git.example/shop.git"
)

// world is an installation on loopback: an API server that serves objects from
// a file, our two servers, a repository and registries.
type world struct {
	*kubetest.Server
	t *testing.T

	generator, hook, sidecar *httptest.Server
	// answers replace those of our programs, by path.
	answers map[string]http.HandlerFunc
	// ahead of the hook's clock.
	hookAhead time.Duration

	repo      *repo
	openError error
	// refuseReader refuses the generator's login.
	refuseReader error
	registries   map[string]*fakeRegistry // by URL
	dockerJSON   []byte
	login        *doctor.Login
}

// newWorld reads the installation, after the replacements were made; each old
// text must occur exactly once.
func newWorld(t *testing.T, replacements ...string) *world {
	t.Helper()
	raw, err := os.ReadFile("testdata/installation.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for i := 0; i+1 < len(replacements); i += 2 {
		if n := strings.Count(text, replacements[i]); n != 1 {
			t.Fatalf("the installation has %q %d times", replacements[i], n)
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	w := &world{t: t, Server: kubetest.New(t, text), answers: map[string]http.HandlerFunc{}, registries: map[string]*fakeRegistry{}}
	tokens, err := service.NewTokens(bearer)
	if err != nil {
		t.Fatal(err)
	}
	w.generator = w.program(tokens, "POST /api/v1/getparams.execute", func(rw http.ResponseWriter, _ *http.Request) {
		service.WriteError(rw, http.StatusNotFound, "unknown pipeline")
	})
	w.hook = w.program(tokens, "GET /api/v1/status", func(rw http.ResponseWriter, _ *http.Request) {
		service.WriteJSON(rw, http.StatusOK, []map[string]any{{"repository": repository, "at": time.Now().UTC(), "waits": []any{}}})
	})
	w.sidecar = w.program(tokens, "GET /readyz", nil)
	w.repo = newRepo(t)
	for _, url := range []string{"dev.registry.example/shop", "stage.registry.example/shop", "prod.registry.example/shop"} {
		w.registries[url] = &fakeRegistry{}
	}
	return w
}

// program serves what needs the token at route, and health without it.
func (w *world) program(tokens *service.Tokens, route string, handler http.HandlerFunc) *httptest.Server {
	mux := http.NewServeMux()
	if handler == nil {
		mux.HandleFunc(route, func(rw http.ResponseWriter, _ *http.Request) {
			service.WriteJSON(rw, http.StatusOK, map[string]bool{"ready": true})
		})
	} else {
		mux.Handle(route, tokens.Require(handler, nil))
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(w.hookAhead).UTC().Format(http.TimeFormat))
		if answer := w.answers[r.URL.Path]; answer != nil {
			answer(rw, r)
			return
		}
		mux.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(server.Close)
	return server
}

// config is an examination of the world.
func (w *world) config() doctor.Config {
	w.t.Helper()
	return doctor.Config{
		Cluster: w.Client(),
		Version: "v0.1.0",
		URLs:    map[doctor.Program]string{doctor.Hook: w.hook.URL, doctor.Generator: w.generator.URL, doctor.Sidecar: w.sidecar.URL},
		HTTP:    &http.Client{Transport: w},
		OpenRepository: func(_ string, login *doctor.Login) (doctor.Repository, error) {
			if login != nil && login.Username == "propagator-read" { // the generator's
				return &repo{Memory: w.repo.Memory, refuseRead: w.refuseReader}, nil
			}
			w.login = login
			return w.repo, w.openError
		},
		OpenRegistries: func(dockerConfig []byte, _ map[string]string) (doctor.Registries, error) {
			w.dockerJSON = dockerConfig
			return func(r config.Registry) (doctor.Registry, error) { return w.registries[r.URL], nil }, nil
		},
		Timeout: 20 * time.Second,
	}
}

// RoundTrip answers for the names of the outside, with the right time, and lets
// loopback through.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, "127.0.0.1:") {
		return http.DefaultTransport.RoundTrip(r)
	}
	if r.Header.Get("Authorization") != "" {
		w.t.Errorf("credentials are sent to %s", r.URL)
	}
	return &http.Response{
		StatusCode: http.StatusUnauthorized, Request: r, Body: io.NopCloser(bytes.NewReader(nil)),
		Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}},
	}, nil
}

// examine runs the named checks, or all.
func (w *world) examine(c doctor.Config, names ...string) []doctor.Finding {
	w.t.Helper()
	chosen := slices.DeleteFunc(doctor.Checks(), func(check doctor.Check) bool { return len(names) > 0 && !slices.Contains(names, check.Name) })
	if len(chosen) == 0 {
		w.t.Fatalf("no check is called %v", names)
	}
	report, err := doctor.Run(w.t.Context(), c, chosen)
	if err != nil {
		w.t.Fatal(err)
	}
	printed, err := json.Marshal(report)
	if err != nil {
		w.t.Fatal(err)
	}
	if bytes.Contains(printed, []byte("MARKER")) || bytes.Contains(printed, []byte(kubetest.Token)) {
		w.t.Errorf("a secret is printed: %s", printed)
	}
	for _, f := range report.Findings {
		if f.Subject == "" || f.Message == "" || f.Result == doctor.Failed && f.Fix == "" {
			w.t.Errorf("incomplete finding: %+v", f)
		}
	}
	return report.Findings
}

// repo is a repository in memory.
type repo struct {
	*gitrepo.Memory
	refuseRead, refusePush error
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	r := &repo{Memory: gitrepo.NewMemory("https://git.example/shop.git")}
	gitrepotest.Grow(t, r, gitrepo.Heads+"main", gitrepotest.Files{
		"propagator.yaml":          string(config.Starter("shop", nil, nil)),
		"envs/dev/orders/a.yaml":   "a: 1\n",
		"envs/stage/orders/a.yaml": "a: 2\n",
	})
	return r
}

func (r *repo) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	if r.refuseRead != nil {
		return nil, r.refuseRead
	}
	return r.Memory.Refs(ctx, prefixes...)
}

func (r *repo) MayPush(context.Context) error { return r.refusePush }

// fakeRegistry allows what its errors do not refuse.
type fakeRegistry struct {
	pull, push error
	asked      []string
}

func (f *fakeRegistry) MayPull(_ context.Context, repo string) error {
	f.asked = append(f.asked, "pull "+repo)
	return f.pull
}

func (f *fakeRegistry) MayPush(_ context.Context, repo string) error {
	f.asked = append(f.asked, "push "+repo)
	return f.push
}

var errRefused = errors.New("the host answered 401")

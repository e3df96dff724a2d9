package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/applicationset-generator/generator"
	"github.com/fleeting-taas/propagator/cmp-sidecar/sidecar"
	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry/diskregistry"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// repositoryName is the bare repository's folder.
const repositoryName = "gitops.git"

// world is everything that runs during the demo.
type world struct {
	dir      string
	content  fs.FS
	log      *slog.Logger
	progress *progress
	report   *Report

	gitDir     string
	repoURL    string
	registries map[string]*servedRegistry
	endpoints  *registryremote.Set

	ci     *ci
	argo   *argoCD
	person *promotion.Engine

	// stop ends everything that was started, in reverse order.
	stop []func()

	mu       sync.Mutex // guards the fields below
	requests []request
	during   string
	seen     map[string]map[gitrepo.Hash]bool
}

// servedRegistry is one of the three registries.
type servedRegistry struct {
	*diskregistry.Registry
	name string
	addr string
}

// now is the demo's clock: the real one, in whole seconds as git has them.
func (w *world) now() time.Time { return time.Now().UTC().Truncate(time.Second) }

func (w *world) mark(during string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.during = during
}

func (w *world) sawTip(environment string, tip gitrepo.Hash) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[environment] == nil {
		w.seen[environment] = map[gitrepo.Hash]bool{}
	}
	w.seen[environment][tip] = true
}

// start brings up the servers and then the three programs.
func (w *world) start(ctx context.Context) error {
	w.seen = map[string]map[gitrepo.Hash]bool{}
	pipeline, err := readPipeline(w.content)
	if err != nil {
		return err
	}
	if err := w.startGit(ctx, pipeline.Source.Branch); err != nil {
		return err
	}
	if err := w.startRegistries(ctx, pipeline); err != nil {
		return err
	}
	openRepo := func() (gitrepo.Repo, error) { return gitremote.Open(w.repoURL, gitremote.Options{Logger: w.log}) }
	people, err := openRepo()
	if err != nil {
		return err
	}
	branch := pipeline.Source.Branch
	w.ci = &ci{repo: people, branch: branch, registries: w.endpoints, now: w.now, signatures: map[string]signature{}}
	w.person = &promotion.Engine{Repo: people, Registries: w.endpoints, Branch: branch, Actor: "alice", Log: w.log}
	if err := w.ci.seed(ctx, w.content); err != nil {
		return err
	}
	return w.startPrograms(ctx, branch, openRepo)
}

func readPipeline(content fs.FS) (*config.Pipeline, error) {
	text, err := fs.ReadFile(content, config.File)
	if err != nil {
		return nil, err
	}
	return config.Parse(text, config.File)
}

func (w *world) startGit(ctx context.Context, branch string) error {
	root := filepath.Join(w.dir, "git")
	if err := os.MkdirAll(root, 0o750); err != nil {
		return err
	}
	handler, err := githttp.New(root, githttp.Options{Logger: w.log})
	if err != nil {
		return err
	}
	if w.gitDir, err = handler.InitBare(ctx, repositoryName, branch); err != nil {
		return fmt.Errorf("git repository: %w", err)
	}
	addr, err := w.serve(ctx, handler)
	if err != nil {
		return err
	}
	w.repoURL = "http://" + addr + "/" + repositoryName
	return nil
}

// startRegistries serves one registry for each that the pipeline names. Third
// parties' images are in the first one's server, as in a pull-through cache.
func (w *world) startRegistries(ctx context.Context, pipeline *config.Pipeline) error {
	w.registries = map[string]*servedRegistry{}
	endpoints := map[string]string{}
	for name, r := range pipeline.Registries {
		registry, err := openRegistry(w.dir, name, func(method string, status int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.requests = append(w.requests, request{registry: name, method: method, status: status, during: w.during})
		})
		if err != nil {
			return err
		}
		addr, err := w.serve(ctx, registry)
		if err != nil {
			return err
		}
		host, _, _ := strings.Cut(r.URL, "/")
		endpoints[host] = "http://" + addr
		w.registries[name] = &servedRegistry{Registry: registry, name: r.URL, addr: addr}
	}
	for _, name := range []string{"dev", "stage", "prod"} {
		if w.registries[name] == nil {
			return fmt.Errorf("%s has no registry %q; the story needs dev, stage and prod", config.File, name)
		}
	}
	endpoints[config.DockerHub] = "http://" + w.registries["dev"].addr + "/docker.io"
	w.endpoints = &registryremote.Set{Endpoints: endpoints, Keychain: anonymous{}, Retries: 1, Logger: w.log}
	return nil
}

// startPrograms starts sidecar, generator and hook as their main functions
// do, and Argo CD between them.
func (w *world) startPrograms(ctx context.Context, branch string, open gitrepo.Opener) error {
	token := rand.Text()
	tokens, err := service.NewTokens(token)
	if err != nil {
		return err
	}
	loopback := service.DefaultOptions("127.0.0.1:0", "")
	generate, err := generator.New(generator.Config{
		Repositories: []gitrepo.Opener{open}, Branch: branch, Tokens: tokens, Service: loopback, Log: w.log.With("program", "applicationset-generator"),
	})
	if err != nil {
		return err
	}
	if err := generate.Listen(ctx); err != nil {
		return err
	}
	socket, err := w.startSidecar(ctx)
	if err != nil {
		return err
	}
	plugin, err := cmpwire.Dial(socket)
	if err != nil {
		return err
	}
	w.stop = append(w.stop, func() { _ = plugin.Close() })
	server, err := open()
	if err != nil {
		return err
	}
	w.argo = &argoCD{
		repo: server, branch: branch, token: token, plugin: plugin, now: w.now,
		generatorURL: "http://" + generate.Addr().String(),
		kubelet:      &kubelet{registries: w.endpoints, have: map[string]bool{}},
		poked:        make(chan struct{}, 1), applications: map[string]*application{},
	}
	repo, err := open()
	if err != nil {
		return err
	}
	log := w.log.With("program", "notifications-hook")
	work, err := hook.New(hook.Config{
		Pipelines: []hook.Pipeline{{Open: open, Engine: &promotion.Engine{
			Repo: repo, Registries: w.endpoints, Branch: branch, Applications: w.argo, Actor: "propagator", Log: log,
		}}},
		Tokens: tokens, Interval: lookAgain, Service: loopback, Log: log,
	})
	if err != nil {
		return err
	}
	if err := work.Listen(ctx); err != nil {
		return err
	}
	w.argo.hookURL = "http://" + work.Addr().String()
	w.spawn(ctx, generate.Serve)
	w.spawn(ctx, func(ctx context.Context) error { w.argo.run(ctx); return nil })
	w.spawn(ctx, work.Serve)
	return nil
}

// lookAgain is how often the hook looks without being told, so that the story
// need not wait a minute.
const lookAgain = 2 * time.Second

// startSidecar serves the plugin on a socket of its own and returns its path.
func (w *world) startSidecar(ctx context.Context) (string, error) {
	// A socket's path may have about a hundred bytes only, so it is not in w.dir.
	dir, err := os.MkdirTemp("", "propagator-")
	if err != nil {
		return "", err
	}
	w.stop = append(w.stop, func() { _ = os.RemoveAll(dir) })
	options := sidecar.DefaultOptions()
	options.SocketDir = dir
	options.Service.OperatorListen = "127.0.0.1:0"
	server, err := sidecar.New(options, w.log.With("program", "cmp-sidecar"))
	if err != nil {
		return "", err
	}
	if err := server.Listen(ctx); err != nil {
		return "", err
	}
	w.spawn(ctx, server.Serve)
	return server.Socket(), nil
}

// spawn runs a server until the world is stopped.
func (w *world) spawn(ctx context.Context, serve func(context.Context) error) {
	running, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := serve(running); err != nil && running.Err() == nil {
			w.log.ErrorContext(ctx, "server ended", "error", err)
			if w.argo != nil {
				w.argo.fault(err)
			}
		}
	}()
	w.stop = append(w.stop, func() { cancel(); <-done })
}

// serve serves a handler on a free port of loopback.
func (w *world) serve(ctx context.Context, handler http.Handler) (addr string, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug)}
	w.spawn(ctx, func(ctx context.Context) error {
		stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stopped()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return listener.Addr().String(), nil
}

// close stops everything, the newest first.
func (w *world) close() {
	for i := len(w.stop) - 1; i >= 0; i-- {
		w.stop[i]()
	}
	w.stop = nil
}

// gitOutput runs git in the served repository.
func (w *world) gitOutput(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--git-dir", w.gitDir}, args...)...) //nolint:gosec // fixed arguments
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

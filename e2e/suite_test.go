//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/applications"
	"github.com/fleeting-taas/propagator/e2e/internal/argocd"
	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// The names that manifests/ gives to the objects of the suite.
const (
	hookName      = "propagator-notifications-hook"
	generatorName = "propagator-applicationset-generator"
)

// defaultArgoCD is tested when PROPAGATOR_E2E_ARGOCD names no version.
const defaultArgoCD = "v2.14.21"

// suite is everything that runs. There is one, set up by TestMain; the
// scenarios bring pipelines of their own.
type suite struct {
	dir      string // state, logs
	checkout string // a copy of manifests/, with the operator's own files
	version  string // of Argo CD

	tools      *toolchain.Tools
	cluster    *cluster.Cluster
	git        *gitserver.Server
	registries *registries.Set
	net        *servicenet.Network
	kubelet    *workload.Kubelet
	argocd     *argocd.ArgoCD
	hook       *workload.Workload
	generator  *workload.Workload
	sidecar    *workload.Workload
	apps       *applications.Watcher
	log        *slog.Logger

	// stock is what Argo CD's own objects were like before the installation.
	stock    map[string]any
	shop     *shop.Pipeline
	operator *operator

	// noWebhook silences the git host's webhook, which otherwise wakes the hook
	// after each push.
	noWebhook atomic.Bool

	mu           sync.Mutex // guards repositories
	repositories []string
}

var world *suite

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run()) // which only lists
	}
	os.Exit(run(m))
}

// claim is how every scenario begins, but for those [beside] others. Where several
// suites go through the same list (internal/cmd/scenarios), one of them plays it and
// the others skip it.
func claim(t *testing.T) {
	t.Helper()
	mine, err := claimed(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !mine {
		t.Skip("another suite plays it")
	}
}

// beside is how a scenario begins that disturbs no other one: it kills nothing and
// changes no setting, and of what others have it looks at nothing. Such scenarios
// are played side by side after the others, -test.parallel of them at a time, as most
// of each is waiting.
func beside(t *testing.T) {
	t.Helper()
	waitForBeside.Add(1)
	t.Cleanup(waitForBeside.Done)
	t.Parallel()
	claim(t)
	foundBeside(t)
}

// waitForBeside is for who has to be the last one.
var waitForBeside sync.WaitGroup

// claims are the scenarios that this suite will play or has played.
var claims = struct {
	sync.Mutex
	of map[string]bool
}{of: map[string]bool{}}

// claimed takes a scenario for this suite, and reports whether it has it.
func claimed(test string) (bool, error) {
	dir := os.Getenv("PROPAGATOR_E2E_CLAIMS")
	claims.Lock()
	defer claims.Unlock()
	if dir == "" || claims.of[test] {
		return true, nil
	}
	file, err := os.OpenFile(filepath.Join(dir, test), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	claims.of[test] = true
	return true, file.Close()
}

func run(m *testing.M) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := newSuite()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.stop()
	if err := s.boot(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "the suite does not start: %v\nlogs are in %s\n", err, s.dir)
		s.keep()
		return 1
	}
	world = s
	code := m.Run()
	if faults := s.verdict(); len(faults) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL after all scenarios:\n  %s\n", strings.Join(faults, "\n  "))
		code = 1
	}
	if code != 0 {
		s.keep()
	}
	return code
}

func newSuite() (*suite, error) {
	s := &suite{version: os.Getenv("PROPAGATOR_E2E_ARGOCD"), dir: os.Getenv("PROPAGATOR_E2E_DIR")}
	if s.version == "" {
		s.version = defaultArgoCD
	}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "e2e") // short: sockets are in it
		if err != nil {
			return nil, err
		}
		s.dir = dir
	}
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(s.dir, "suite.log"))
	if err != nil {
		return nil, err
	}
	s.log = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return s, nil
}

// keep leaves the state behind for whoever has to find out.
func (s *suite) keep() { _ = os.Setenv("PROPAGATOR_E2E_KEEP", "1") }

func (s *suite) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.kubelet != nil {
		s.kubelet.Stop()
	}
	if s.net != nil {
		_ = s.net.Close()
	}
	if s.registries != nil {
		_ = s.registries.Stop(ctx)
	}
	if s.git != nil {
		s.git.Stop()
	}
	if s.cluster != nil {
		s.cluster.Stop()
	}
	if os.Getenv("PROPAGATOR_E2E_KEEP") == "" {
		_ = os.RemoveAll(s.dir)
	} else {
		fmt.Fprintln(os.Stderr, "the suite's state and logs are in", s.dir)
	}
}

// overlay is the folder of manifests/overlays for a version: v2 or v3.
func overlay(version string) string { return version[:2] }

// boot starts everything up to a stock Argo CD, and installs the suite as
// docs/install.md says.
func (s *suite) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Minute) // a first run builds the tools
	defer cancel()
	begin := time.Now()
	step := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	modules, err := argocd.Modules(s.version)
	if err != nil {
		return err
	}
	modules = append(modules, toolchain.Registry)
	modules = append(modules, cluster.Modules()...)
	if s.tools, err = toolchain.Ensure(ctx, os.Stderr, modules...); err != nil {
		return err
	}
	step("tools are there")
	begin = time.Now()
	err = together(
		func() (err error) {
			s.cluster, err = cluster.Start(ctx, s.tools, filepath.Join(s.dir, "c"))
			return err
		},
		func() (err error) {
			log, err := os.Create(filepath.Join(s.dir, "git.log"))
			if err != nil {
				return err
			}
			s.git, err = gitserver.Start(ctx, gitserver.Options{Dir: filepath.Join(s.dir, "git"), Users: gitserver.DefaultUsers(), AfterPush: s.pushed, Log: log})
			return err
		},
		func() (err error) {
			s.registries, err = registries.Start(ctx, registries.Options{Binary: s.tools.Path("registry"), Dir: filepath.Join(s.dir, "registries")})
			return err
		},
		func() error { return s.programs(ctx) },
		func() error { return s.copyManifests() },
	)
	if err != nil {
		return err
	}
	step("Kubernetes, git and registries are up")
	if s.net, err = servicenet.Start(ctx, servicenet.Config{Client: s.cluster.Dynamic(), Namespace: cluster.Namespace, Log: s.log}); err != nil {
		return err
	}
	if err := argocd.Install(ctx, s.cluster, s.tools, s.version); err != nil {
		return err
	}
	if err := s.configureArgoCD(ctx); err != nil {
		return err
	}
	images, err := argocd.Images(ctx, s.tools, s.version)
	if err != nil {
		return err
	}
	if s.kubelet, err = workload.NewKubelet(ctx, workload.Config{
		Cluster: s.cluster, Dir: filepath.Join(s.dir, "p"), Net: s.net, Log: s.log,
		Images: append(images, workload.Images(filepath.Join(s.dir, "bin"))...),
	}); err != nil {
		return err
	}
	if s.argocd, err = argocd.Start(ctx, s.kubelet); err != nil {
		return err
	}
	step("Argo CD %s is up", s.version)
	if s.apps, err = applications.Watch(context.WithoutCancel(ctx), s.cluster.Dynamic(), cluster.Namespace); err != nil {
		return err
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	step("Propagator is installed")
	return nil
}

// programs puts our programs into the folder bin: those that somebody has built
// for several suites, or its own.
func (s *suite) programs(ctx context.Context) error {
	bin := filepath.Join(s.dir, "bin")
	if built := os.Getenv("PROPAGATOR_E2E_PROGRAMS"); built != "" {
		return os.Symlink(built, bin)
	}
	return workload.Build(ctx, bin)
}

// configureArgoCD sets what the shop's repository needs.
func (s *suite) configureArgoCD(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"data": shop.ArgoCDConfig()})
	if err != nil {
		return err
	}
	_, err = s.cluster.Kubectl(ctx, "patch", "configmap", "argocd-cm", "--type", "merge", "--patch", string(patch))
	return err
}

// together runs functions at the same time.
func together(functions ...func() error) error {
	errs := make([]error, len(functions))
	var group sync.WaitGroup
	for i, f := range functions {
		group.Go(func() { errs[i] = f() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// copyManifests gives the operator a folder to write into.
func (s *suite) copyManifests() error {
	s.checkout = filepath.Join(s.dir, "checkout")
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(s.checkout, "manifests"), os.DirFS(filepath.Join(root, "manifests")))
}

func repositoryRoot() (string, error) {
	output, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}

// verdict is what must hold whatever the scenarios did.
func (s *suite) verdict() []string {
	var faults []string
	if deleted := s.apps.Deleted(); len(deleted) > 0 {
		faults = append(faults, "Applications were deleted: "+strings.Join(deleted, ", "))
	}
	if err := s.cluster.Err(); err != nil {
		faults = append(faults, err.Error())
	}
	return append(faults, s.leaks()...)
}

// leaks looks for secrets in everything that was logged (I9).
func (s *suite) leaks() []string {
	secrets := slices.Concat(s.git.Secrets(), s.registries.Secrets())
	var found []string
	for _, w := range []*workload.Workload{s.hook, s.generator, s.sidecar} {
		logs := w.Logs()
		for _, secret := range secrets {
			if strings.Contains(logs, secret) {
				found = append(found, "a secret is in the log of "+w.Ref().String())
			}
		}
	}
	return found
}

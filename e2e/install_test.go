//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
	"github.com/fleeting-taas/propagator/e2e/internal/runbook"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// The headings of docs/install.md, as far as they have commands, in order. The
// suite boots with the first part; TestInstall goes on.
var (
	installParts = []string{"Your values", "Look first", "Secrets", "Generator and hook", "Argo CD's part"}
	shopParts    = []string{"The pipeline", "The first promotion", "Examine it"}
	laterParts   = []string{"Upgrade", "Uninstall"}
)

// operator is the person who follows docs/install.md.
type operator struct {
	blocks []runbook.Block
	shell  *runbook.Shell
}

// install makes the shop's repository and follows the page up to a running
// suite.
func (s *suite) install(ctx context.Context) error {
	content, err := shop.Shop()
	if err != nil {
		return err
	}
	if s.shop, err = s.company(ctx, content, nil); err != nil {
		return err
	}
	dev, err := s.shop.Applications("argocd")
	if err != nil {
		return err
	}
	var names []string
	for _, a := range dev {
		a.SetLabels(nil) // the page sets the label
		names = append(names, a.GetName())
	}
	if err := s.apply(ctx, dev...); err != nil {
		return err
	}
	// The page asks for Applications that are synced and healthy.
	if err := s.apps.Until(ctx, "the shop's Dev Applications", func() bool {
		return !slices.ContainsFunc(names, func(name string) bool {
			a, _ := s.apps.Get(name)
			return !a.Done("main")
		})
	}); err != nil {
		return err
	}
	// The page asks for the namespaces of the later environments. The other
	// companies list the component that creates them.
	for _, environment := range []string{"stage", "prod"} {
		if _, err := s.cluster.Kubectl(ctx, "create", "namespace", s.shop.Name()+"-"+environment); err != nil {
			return err
		}
	}
	if err := s.hireOperator(names); err != nil {
		return err
	}
	for _, program := range []struct {
		into **workload.Workload
		ref  workload.Ref
	}{
		{&s.hook, workload.Ref{Kind: workload.Deployment, Name: hookName, Container: workload.Hook}},
		{&s.generator, workload.Ref{Kind: workload.Deployment, Name: generatorName, Container: workload.Generator}},
		{&s.sidecar, workload.Ref{Kind: workload.Deployment, Name: "argocd-repo-server", Container: workload.Sidecar}},
	} {
		w, err := s.kubelet.Run(program.ref)
		if err != nil {
			return err
		}
		*program.into = w
	}
	if s.stock, err = s.sharedObjects(ctx); err != nil {
		return err
	}
	if err := s.follow(ctx, installParts...); err != nil {
		return err
	}
	s.mu.Lock()
	s.repositories = []string{s.shop.URL()}
	s.mu.Unlock()
	for _, w := range []*workload.Workload{s.sidecar, s.generator, s.hook, s.argocd.RepoServer} {
		if err := w.Ready(ctx); err != nil {
			return err
		}
	}
	// "kubectl rollout restart" was for simulated Pods; the processes follow
	// the template by themselves, which this waits for.
	return s.argocd.ApplicationSets.Ready(ctx)
}

// hireOperator reads the page and prepares what it asks for.
func (s *suite) hireOperator(devApplications []string) error {
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "install.md"))
	if err != nil {
		return err
	}
	blocks, err := runbook.Parse(page)
	if err != nil {
		return fmt.Errorf("docs/install.md: %w", err)
	}
	if _, err := runbook.Sections(blocks, slices.Concat(installParts, shopParts, laterParts)...); err != nil {
		return fmt.Errorf("docs/install.md: %w", err)
	}
	for _, block := range blocks {
		if !slices.Contains(slices.Concat(installParts, shopParts, laterParts), block.Section) {
			return fmt.Errorf("docs/install.md, line %d: nobody runs the commands of %q", block.Line, block.Section)
		}
	}
	account, err := s.git.User(gitserver.Propagator)
	if err != nil {
		return err
	}
	reader, err := s.git.User(gitserver.ArgoCD)
	if err != nil {
		return err
	}
	docker, err := s.registries.DockerConfig()
	if err != nil {
		return err
	}
	password, readPassword := filepath.Join(s.dir, "git-password"), filepath.Join(s.dir, "git-read-password")
	registries := filepath.Join(s.dir, "docker", "config.json")
	if err := os.MkdirAll(filepath.Dir(registries), 0o750); err != nil {
		return err
	}
	for path, content := range map[string][]byte{password: []byte(account.Password), readPassword: []byte(reader.Password), registries: docker} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	s.operator = &operator{blocks: blocks, shell: &runbook.Shell{
		Dir: s.checkout,
		Env: append(s.net.Environment(),
			"PATH="+strings.Join([]string{filepath.Join(s.dir, "bin"), filepath.Dir(s.tools.Path("kubectl")), os.Getenv("PATH")}, ":"),
			"HOME="+s.dir, "KUBECONFIG="+s.cluster.Kubeconfig(),
			"PROPAGATOR_REGISTRY_ENDPOINT="+s.registries.Endpoints(), "DOCKER_CONFIG="+filepath.Dir(registries),
		),
		Replace: map[string]string{
			"GITOPS_REPOSITORY":      s.shop.URL(),
			"PIPELINE":               s.shop.Name(),
			"NAMESPACES":             s.shop.Name() + "-*",
			"DEV_APPLICATIONS":       strings.Join(devApplications, " "),
			"FIRST_APPLICATION":      s.shop.Name() + "-stage-orders",
			"ARGOCD_VERSION":         overlay(s.version),
			"GIT_USERNAME":           account.Name,
			"GIT_PASSWORD_FILE":      password,
			"GIT_READ_USERNAME":      reader.Name,
			"GIT_READ_PASSWORD_FILE": readPassword,
			"REGISTRY_CONFIG":        registries,
			"SETTINGS":               "PROPAGATOR_REGISTRY_ENDPOINT=" + s.registries.Endpoints(),
			"INSTALL":                filepath.Join(s.dir, "install"),
		},
	}}
	return nil
}

// follow runs the commands below headings of the page.
func (s *suite) follow(ctx context.Context, headings ...string) error {
	blocks, err := runbook.Sections(s.operator.blocks, headings...)
	if err != nil {
		return err
	}
	for _, block := range blocks {
		output, err := s.operator.shell.Run(ctx, block)
		if err != nil {
			return fmt.Errorf("docs/install.md: %w", err)
		}
		s.log.Info("followed docs/install.md", "section", block.Section, "line", block.Line, "output", output)
	}
	return nil
}

// TestInstall goes on where the suite's boot has stopped: the pipeline, the
// first promotion, the final check, as an operator reads it.
func TestInstall(t *testing.T) {
	claim(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, heading := range shopParts {
		if heading == "Examine it" {
			// Nothing can be forwarded to the Pods, which are simulated: doctor
			// has to reach the Services by name, as it would in a Pod.
			address, _ := world.sidecar.Address(8087)
			environment := slices.Clone(world.operator.shell.Env)
			defer func() { world.operator.shell.Env = environment }()
			world.operator.shell.Env = append(environment, "PROPAGATOR_HOOK_URL="+hookURL,
				"PROPAGATOR_GENERATOR_URL="+generatorURL, "PROPAGATOR_SIDECAR_URL=http://"+address)
		}
		if err := world.follow(ctx, heading); err != nil {
			t.Fatal(err)
		}
	}
}

package workload

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// module is the Go module of the suite's own programs.
const module = "github.com/fleeting-taas/propagator"

// Programs of the suite, which are also the names of their images.
const (
	Sidecar   = "cmp-sidecar"
	Generator = "applicationset-generator"
	Hook      = "notifications-hook"
	CLI       = "propagator"
)

// Build compiles the four programs of the checkout that the test runs in into
// dir. Go's build cache makes a second time quick.
func Build(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}
	for _, program := range []string{Sidecar, Generator, Hook, CLI} {
		args = append(args, module+"/"+program)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, said.Bytes())
	}
	return nil
}

// Images are the images of the programs that [Build] put into dir. The hook and
// the others take every setting as a flag or as a variable, so that none of
// their manifests has to know that they run here.
func Images(dir string) []Image {
	var (
		listen   = Listen{Setting: Setting{Flag: "--listen", Variable: "PROPAGATOR_LISTEN", Default: ":8080"}}
		operator = func(address string) Listen {
			return Listen{Setting: Setting{Flag: "--operator-listen", Variable: "PROPAGATOR_OPERATOR_LISTEN", Default: address}}
		}
		sockets = Setting{Flag: "--socket-dir", Variable: "PROPAGATOR_SOCKET_DIR", Default: "/home/argocd/cmp-server/plugins"}
	)
	image := func(name string, program Program) Image {
		program.Path = filepath.Join(dir, name)
		return Image{
			Name:       name,
			Entrypoint: []string{"/usr/local/bin/" + name},
			Path:       "/usr/local/bin", // As in the Dockerfile: there is nothing else to run.
			Home:       "/",
			Programs:   map[string]Program{"/usr/local/bin/" + name: program},
		}
	}
	return []Image{
		image(Sidecar, Program{Listen: []Listen{operator(":8087")}, Paths: []Setting{sockets}}),
		image(Generator, Program{Listen: []Listen{listen, operator("")}}),
		image(Hook, Program{Listen: []Listen{listen, operator("")}, Kubeconfig: "PROPAGATOR_KUBECONFIG"}),
	}
}

package realnode

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

// Program compiles the one program that runs in the node's containers.
func Program(ctx context.Context, dir string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary,
		"github.com/fleeting-taas/propagator/e2e/internal/realnode/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=local")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build program: %w\n%s", err, output)
	}
	return os.ReadFile(binary)
}

// Image builds an image that runs the program and says which version it is:
// different versions have different digests. It has two platforms, of which
// the node takes its own.
func Image(program []byte, version string, labels map[string]string) (imagebuild.Built, error) {
	return imagebuild.Index(imagebuild.Spec{
		Platforms:  []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
		Layers:     []imagebuild.Files{},
		Files:      imagebuild.Files{"program": string(program), "etc/version": version + "\n"},
		Entrypoint: []string{"/program"},
		Labels:     labels,
	})
}

package workload

import (
	"fmt"
	"path"
	"strings"

	"github.com/distribution/reference"
)

// Image is how the programs of a container image are run here: the whole
// table of what a manifest cannot know.
type Image struct {
	// Name is the last part of the image's repository.
	Name string
	// Entrypoint is run when the container has no command. Words before the
	// program that only start it (tini --) are left out.
	Entrypoint []string
	// Path and Home are the values of PATH and HOME; a Home below a mount is
	// translated.
	Path, Home string
	// Env is set before the container's own variables.
	Env []string
	// Programs are those that a command may begin with, by their path in the
	// image.
	Programs map[string]Program
}

// Program is one program of an [Image].
type Program struct {
	// Path is the local file.
	Path string
	// Env is set before the container's own variables.
	Env []string
	// Kubeconfig is the variable that names the kubeconfig, when the container
	// has a token. Empty means that the program never uses it.
	Kubeconfig string
	// Listen are the addresses that it listens on.
	Listen []Listen
	// Peers are Services that it connects to without knowing proxies.
	Peers []Setting
	// Paths are paths that are built into the program.
	Paths []Setting
	// TwoWords says that it wants --flag value, not --flag=value.
	TwoWords bool
	// Free are variables and flags whose values are no paths or addresses,
	// even if they look like some.
	Free []string
}

// Setting is how a program is told one thing: by a flag, or else by a variable,
// or else it takes the default.
type Setting struct {
	// Flag with its dashes, Variable: at least one is set.
	Flag, Variable string
	// Default is what holds without them.
	Default string
}

// Listen is an address that a program listens on, host:port in one setting, or
// the port in Port and the host in Host.
type Listen struct {
	Setting
	// Host is set for programs that take host and port apart; then the other
	// setting is the port alone. A flag of "-" means that the host cannot be
	// set.
	Host Setting
}

// apart says whether the program takes host and port apart.
func (l Listen) apart() bool { return l.Host != (Setting{}) }

// program finds the program of a command line and returns its arguments.
func (i *Image) program(c *Container) (Program, []string, error) {
	line := append([]string{}, c.Command...)
	if len(line) == 0 {
		line = append(line, i.Entrypoint...)
	}
	line = append(line, c.Args...)
	// An init process in front changes nothing about the program.
	if len(line) > 1 && path.Base(line[0]) == "tini" {
		line = line[1:]
		for len(line) > 0 && strings.HasPrefix(line[0], "-") {
			line = line[1:]
		}
	}
	if len(line) == 0 {
		return Program{}, nil, fmt.Errorf("image %s has no program to run", c.Image)
	}
	program, ok := i.Programs[line[0]]
	if !ok {
		return Program{}, nil, fmt.Errorf("image %s: %q is none of its programs", c.Image, line[0])
	}
	return program, line[1:], nil
}

// imageName is the last part of an image's repository.
func imageName(image string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", image, err)
	}
	return path.Base(reference.Path(ref)), nil
}

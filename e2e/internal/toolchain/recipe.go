package toolchain

import (
	"maps"
	"slices"
	"strings"
)

// A recipe is what building a module takes beside its go.mod.
type recipe struct {
	// builds is false for names that stand for programs of the machine only.
	builds bool
	// tool is the Go module whose version the programs are told to have.
	tool string
	// variables are the Go variables that tell it, for the linker.
	variables func(version string) map[string]string
	// rename gives a built file the name that the program is known by.
	rename map[string]string
	// scripts are files of tool that are placed in the folder "path".
	scripts []string
	// links are further names in "path" for programs that were built.
	links map[string]string
	// machine are the programs that no Go module has.
	machine []machineProgram
}

// recipeOf knows the modules of e2e/tools.
func recipeOf(module string) (recipe, bool) {
	switch module {
	case Kubernetes:
		return recipe{
			builds: true, tool: "k8s.io/kubernetes", variables: kubernetesVersion,
			machine: []machineProgram{{name: "etcd", pkg: "etcd-server"}},
		}, true
	case KWOK:
		return recipe{builds: true, tool: "sigs.k8s.io/kwok", variables: func(version string) map[string]string {
			return map[string]string{"sigs.k8s.io/kwok/pkg/consts.Version": version}
		}}, true
	case ArgoCDv2:
		return argocd("github.com/argoproj/argo-cd/v2"), true
	case ArgoCDv3:
		return argocd("github.com/argoproj/argo-cd/v3"), true
	case Registry, Renderers:
		return recipe{builds: true}, true
	case Containers:
		return recipe{machine: []machineProgram{
			{name: "containerd", pkg: "containerd"},
			{name: "containerd-shim-runc-v2", pkg: "containerd"},
			{name: "ctr", pkg: "containerd"},
			{name: "runc", pkg: "runc"},
			{name: "loopback", pkg: "containernetworking-plugins"},
			{name: "bridge", pkg: "containernetworking-plugins"},
			{name: "host-local", pkg: "containernetworking-plugins"},
		}}, true
	}
	return recipe{}, false
}

// kubernetesVersion is what its release builds set. Without it the API server
// calls itself v0.0.0-master+$Format:%H$, and clients that parse that fail.
func kubernetesVersion(version string) map[string]string {
	const pkg = "k8s.io/component-base/version."
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	return map[string]string{
		pkg + "gitVersion":   version,
		pkg + "gitMajor":     major,
		pkg + "gitMinor":     minor,
		pkg + "gitTreeState": "clean",
		pkg + "gitCommit":    strings.Repeat("0", 40),
		pkg + "buildDate":    "1970-01-01T00:00:00Z",
	}
}

func argocd(tool string) recipe {
	return recipe{
		builds: true, tool: tool,
		variables: func(version string) map[string]string {
			return map[string]string{
				tool + "/common.version":      strings.TrimPrefix(version, "v"),
				tool + "/common.buildDate":    "1970-01-01T00:00:00Z",
				tool + "/common.gitTreeState": "clean",
				// Only with these it calls itself a release, without "+unknown".
				tool + "/common.gitTag":    version,
				tool + "/common.gitCommit": strings.Repeat("0", 40),
			}
		},
		// One program for all components, named after the folder of its source.
		rename: map[string]string{"cmd": "argocd"},
		// What its image has in PATH. Repo-server of v3 asks the second for every
		// revision, with signature checks or without.
		scripts: []string{"hack/git-ask-pass.sh", "hack/git-verify-wrapper.sh", "hack/gpg-wrapper.sh"},
		links:   map[string]string{"argocd": "argocd", "argocd-k8s-auth": "argocd"},
		machine: []machineProgram{
			{name: "redis-server", pkg: "redis-server"},
			{name: "git", pkg: "git"},
			{name: "gpg", pkg: "gnupg"},
		},
	}
}

// ldflags are the linker's flags for a version of the tool: small programs
// that say what they are.
func (r recipe) ldflags(version string) string {
	flags := []string{"-s", "-w"}
	if r.variables != nil {
		variables := r.variables(version)
		for _, name := range slices.Sorted(maps.Keys(variables)) {
			flags = append(flags, "-X", name+"="+variables[name])
		}
	}
	return strings.Join(flags, " ")
}

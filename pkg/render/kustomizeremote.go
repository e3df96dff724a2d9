package render

import (
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// onlyResources: plugin configurations may come from a folder, but not be
// edited on the way, since what they refer to is checked as it is written.
func onlyResources(k *kustomizationFile) error {
	for i := 0; i < len(k.root.Content); i += 2 {
		switch key := k.root.Content[i]; strings.ToLower(key.Value) {
		case "apiversion", "kind", "metadata", "resources":
		default:
			return atf(k.file, key.Line, "%s in a kustomization of generators or transformers; only resources can be used there", key.Value)
		}
	}
	return nil
}

// builtinPlugin is the apiVersion of configurations of kustomize's own
// generators and transformers.
const builtinPlugin = "builtin"

// pluginsIn checks configurations of generators, transformers and validators.
// kustomize is told to run none but its own, so the others get a better
// message here; its own must not name remote files.
func (w *walk) pluginsIn(file string, line int, roots []*yaml.Node) error {
	for _, root := range roots {
		where := line
		if where == 0 {
			where = root.Line
		}
		kind := scalar(root, "kind")
		switch {
		case scalar(root, "apiVersion") != builtinPlugin:
			return atf(file, where, "%s is not one of kustomize's own plugins; programs and containers are not run while rendering (render it in CI and commit the result)", kind)
		case kind == "HelmChartInflationGenerator":
			return atf(file, where, "%s; use helmCharts in the kustomization", kind)
		}
		if entry := remoteIn(root, ""); entry != "" {
			return atf(file, where, "%s: %s is not in the repository; copy it in (vendor it), because rendering uses no network", kind, redacted(entry))
		}
	}
	return nil
}

// remoteIn finds a remote file named by a plugin's configuration.
func remoteIn(n *yaml.Node, key string) string {
	n = target(n).node
	switch n.Kind {
	case yaml.MappingNode:
		for name, v := range fields(n) {
			if entry := remoteIn(v.node, name); entry != "" {
				return entry
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if entry := remoteIn(item, key); entry != "" {
				return entry
			}
		}
	case yaml.ScalarNode:
		switch strings.ToLower(key) {
		case "path", "paths", "files", "env", "envs", "targetfilepath":
			_, after, _ := strings.Cut(n.Value, "=")
			if isURL(n.Value) || isURL(after) || n.ShortTag() == "!!binary" {
				return n.Value
			}
		}
	}
	return ""
}

// isURL: kustomize fetches it as a file, whatever else it is.
func isURL(entry string) bool {
	u, err := url.Parse(entry)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

var (
	repository     = regexp.MustCompile(`(?i)^(git::|ssh://|https?:|file://|github\.com[/:]|[a-z][a-z0-9-]*@)`)
	repositoryLike = regexp.MustCompile(`\?(ref|version|submodules|timeout)=|//`)
)

// isRepository: kustomize clones it even if there is a folder of that name.
func isRepository(entry string) bool { return repository.MatchString(entry) }

// meantRemote: an entry that is not in the repository was meant to be fetched.
func meantRemote(entry string) bool {
	return isURL(entry) || isRepository(entry) || repositoryLike.MatchString(entry)
}

package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Starter returns a commented propagator.yaml for a new pipeline, as
// propagator init writes it. Environments are in the order of promotion, each
// after the one before; none means dev, stage and prod. Registries maps
// environments to the URLs of their registries; the missing ones are invented
// under the reserved domain .example. [Parse] accepts the text if it accepts
// the names and URLs, and says what is wrong with them otherwise.
func Starter(name string, environments []string, registries map[string]string) []byte {
	if len(environments) == 0 {
		environments = []string{"dev", "stage", "prod"}
	}
	s := starter{name: name, environments: environments}
	for _, environment := range environments {
		url, given := registries[environment]
		if !given {
			url = environment + ".registry.example/" + name
		}
		s.use(environment, url)
	}
	s.head()
	for i := range environments {
		s.environment(i)
	}
	return []byte(s.text.String())
}

type starter struct {
	name         string
	environments []string
	// keys[i] names the registry of environments[i], urls its URL. Several
	// environments may share one.
	keys []string
	urls []string
	text strings.Builder
}

func (s *starter) use(environment, url string) {
	key := environment
	for i, known := range s.urls {
		if known == url {
			key = s.keys[i]
			break
		}
	}
	s.keys = append(s.keys, key)
	s.urls = append(s.urls, url)
}

func (s *starter) print(format string, args ...any) { fmt.Fprintf(&s.text, format, args...) }

func (s *starter) head() {
	s.print(`# The release pipeline of this repository. Every field is explained in
# docs/configuration.md of Propagator; mistakes are reported with their line.
apiVersion: %s
kind: %s
metadata:
  # Stands in front of every version: %s/v1.4.0.
  name: %s

# The branch that people and CI write to. %s follows it directly.
source:
  branch: main

# Where images live, as image references spell it: host[:port][/prefix].
registries:
`, APIVersion, Kind, plain(s.name), plain(s.name), plain(s.environments[0]))
	for i, key := range s.keys {
		if s.shared(i) < i {
			continue
		}
		s.print("  %s:\n    url: %s\n", plain(key), plain(s.urls[i]))
		if i == 0 && s.exclusive() {
			s.print("    # Images may vanish here at any time. They are saved when a snapshot is taken.\n    retention: ephemeral\n")
		}
	}
	s.print("\nenvironments:\n")
}

// shared returns the first environment with the registry of environment i.
func (s *starter) shared(i int) int {
	for j, key := range s.keys {
		if key == s.keys[i] {
			return j
		}
	}
	return i
}

// exclusive reports whether only the first environment uses its registry.
func (s *starter) exclusive() bool {
	for i := range s.keys[1:] {
		if s.shared(i+1) == 0 {
			return false
		}
	}
	return true
}

func (s *starter) environment(i int) {
	name := s.environments[i]
	if i == 0 {
		s.print("# The first environment follows the source branch; Propagator only watches it.\n")
	}
	s.print("- name: %s\n", plain(name))
	if i == 1 {
		s.print("  # What has proven itself there may come here.\n")
	}
	if i > 0 {
		s.print("  after: [%s]\n", plain(s.environments[i-1]))
	}
	if i == 0 {
		s.print("  # Every folder below with a kustomization, a chart or manifests is an application.\n")
	}
	s.print("  path: %s\n  registry: %s\n", plain("envs/"+name), plain(s.keys[i]))
	switch {
	case i == 0:
	case i == len(s.environments)-1:
		s.print(`  # manual: a person runs "propagator promote".
  promote: manual
  # All gates must pass before a snapshot enters.
  gates:
  # Somebody has to agree, with an annotated tag. With "signers: FILE", the list of
  # those who may, only signed tags count; without, protect the tags approve/* in git.
  - approval: {count: 1}
  # Healthy in all environments before this one for so long:
  # - soak: 4h
  # Where Argo CD deploys it (this is the default):
  # destinations:
  # - {cluster: in-cluster, namespace: %s}
`, comment(s.name+"-"+name))
	default:
		s.print("  # auto: as soon as the environments before it are healthy and all gates pass.\n  promote: auto\n")
	}
}

var plainScalar = regexp.MustCompile(`^[a-z][a-z0-9./:-]*[a-z0-9]$`)

// words that YAML or its older parsers take for something else than text.
var otherScalar = regexp.MustCompile(`^(y|n|yes|no|on|off|true|false|null|nan|inf)$`)

// plain writes text as a YAML scalar, in quotes where it might not be read as
// text.
func plain(s string) string {
	if plainScalar.MatchString(s) && !otherScalar.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// comment writes text so that it stays on its line.
func comment(s string) string { return strings.Trim(strconv.Quote(s), `"`) }

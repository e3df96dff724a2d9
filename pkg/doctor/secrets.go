package doctor

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// shortest is the length from which a value is taken for a secret when texts
// are cleaned. Removing shorter ones would make holes in ordinary words.
const shortest = 8

// vocabulary are words of findings and of what they say to type. A value that is
// made of nothing else is no secret that could be kept (it stands in the
// documentation), and without it a command would be another one.
const vocabulary = settingsMap + " " + tokenSecret + " " + gitReadSecret + " " + registriesSecret + " " + generatorWorkload + " " + hookWorkload + " " +
	sidecarContainer + " " + pluginsVolume + " " + paramsMap + " " + notificationsMap + " " + notificationsSecret + " " + argocdSecret + " " +
	repoServer + " " + applicationSets + " " + notifications + " " + argoAPI + " " + labelPipeline + " " + labelComponent + " " + labelPartOf + " " +
	setFinalizer + " " + policyCreateUpdate + " " + policyCreateOnly + " " + overrideParam + " " +
	"kubectl kubernetes cluster local service server side namespace namespaces deployment deployments rollout restart status replicas " +
	"application applications applicationset applicationsets configmap configmaps container containers username password passwords secrets " +
	"registry repository repositories environment environments snapshot promotion pipeline pipelines install manifests docker dockerconfigjson " +
	"generic literal describe annotate annotation operations troubleshooting authorization bearer localhost openssl stdin metadata template " +
	"subscriptions webhook triggers finalizer finalizers stage staging prod production default main"

// ordinary reports whether a value has only words of the vocabulary, and of the
// names that were given.
func ordinary(value string, names ...string) bool {
	split := func(text string) []string {
		return strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return c < 'a' || c > 'z' })
	}
	words := append(split(vocabulary), split(strings.Join(names, " "))...)
	of := split(value)
	foreign := func(word string) bool { return !slices.Contains(words, word) }
	// Digits make it more than words.
	return len(of) > 0 && !slices.ContainsFunc(of, foreign) && !strings.ContainsAny(value, "0123456789")
}

// secretSet remembers what was read from Secrets, to keep it out of findings.
type secretSet struct {
	mu     sync.Mutex // guards values
	values map[string]bool
	// names of this installation that are no secrets either. Not changed once
	// checks run.
	names []string
}

func (s *secretSet) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]bool{}
	}
	for _, value := range values {
		for _, form := range []string{value, strings.TrimSpace(value)} {
			if len(form) >= shortest && !ordinary(form, s.names...) {
				s.values[form] = true
				s.values[url.QueryEscape(form)] = true
				s.values[url.PathEscape(form)] = true
				s.values[base64.StdEncoding.EncodeToString([]byte(form))] = true
			}
		}
	}
}

// addDockerConfig remembers the passwords in a Docker configuration.
func (s *secretSet) addDockerConfig(text []byte) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
	}
	if json.Unmarshal(text, &file) != nil {
		return // whoever uses it says so
	}
	for _, login := range file.Auths {
		s.add(login.Auth, login.Password, login.IdentityToken, login.RegistryToken)
		if plain, err := base64.StdEncoding.DecodeString(login.Auth); err == nil {
			_, password, _ := strings.Cut(string(plain), ":")
			s.add(password)
		}
	}
}

// replacer removes all that was remembered, longer texts first, so that none
// leaves a rest of another.
func (s *secretSet) replacer() *strings.Replacer {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([]string, 0, len(s.values))
	for value := range s.values {
		values = append(values, value)
	}
	slices.SortFunc(values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, value := range values {
		pairs = append(pairs, value, "REDACTED")
	}
	return strings.NewReplacer(pairs...)
}

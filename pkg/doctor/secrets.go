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
const shortest = 6

// secretSet remembers what was read from Secrets, to keep it out of findings.
type secretSet struct {
	mu     sync.Mutex // guards values
	values map[string]bool
}

func (s *secretSet) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]bool{}
	}
	for _, value := range values {
		for _, form := range []string{value, strings.TrimSpace(value)} {
			if len(form) >= shortest {
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

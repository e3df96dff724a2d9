package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const tokenPath = "/token"

// tokens are the bearer tokens handed out, with their scopes.
type tokens struct {
	mu     sync.Mutex
	scopes map[string][]string
	gone   bool
}

// GoneTokens makes the token server answer 404 from now on.
func (s *Server) GoneTokens() {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.gone = true
}

// RevokeTokens makes every token invalid, as time would.
func (s *Server) RevokeTokens() {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.scopes = nil
}

// SetPassword gives the user another password. Tokens that were handed out before stay
// valid.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Password = password
}

// knows reports whether a request has the user's name and password.
func (s *Server) knows(req *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, password, ok := req.BasicAuth()
	return ok && user == s.options.Username && password == s.options.Password
}

func (s *Server) serveToken(w http.ResponseWriter, req *http.Request) {
	s.tokens.mu.Lock()
	gone := s.tokens.gone
	s.tokens.mu.Unlock()
	if gone {
		http.NotFound(w, req)
		return
	}
	if !s.knows(req) {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	token := rand.Text()
	s.tokens.mu.Lock()
	if s.tokens.scopes == nil {
		s.tokens.scopes = map[string][]string{}
	}
	s.tokens.scopes[token] = req.URL.Query()["scope"]
	s.tokens.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token}) // the test looks at the client
}

// admit checks credentials, and answers when they do not do.
func (s *Server) admit(w http.ResponseWriter, req *http.Request) bool {
	if s.options.Tokens {
		return s.admitToken(w, req)
	}
	if s.options.Username == "" {
		return true
	}
	if s.knows(req) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

func (s *Server) admitToken(w http.ResponseWriter, req *http.Request) bool {
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	s.tokens.mu.Lock()
	scopes, ok := s.tokens.scopes[token]
	s.tokens.mu.Unlock()
	needed := needs(req)
	if ok && !slices.ContainsFunc(needed, func(scope string) bool { return !covers(scopes, scope) }) {
		return true
	}
	challenge := fmt.Sprintf(`Bearer realm="%s%s",service="test"`, s.URL, tokenPath)
	if len(needed) > 0 {
		challenge += fmt.Sprintf(`,scope="%s"`, strings.Join(needed, " "))
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

// needs are the scopes that a request takes.
func needs(req *http.Request) []string {
	repo, _, _ := split(req.URL.Path)
	if repo == "" {
		return nil
	}
	actions := "pull,push"
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		actions = "pull"
	}
	scopes := []string{"repository:" + repo + ":" + actions}
	if from := req.URL.Query().Get("from"); from != "" {
		scopes = append(scopes, "repository:"+from+":pull")
	}
	return scopes
}

func covers(have []string, need string) bool {
	return slices.ContainsFunc(have, func(scope string) bool {
		return slices.ContainsFunc(strings.Fields(scope), func(one string) bool {
			return one == need || strings.HasPrefix(one, need+",")
		})
	})
}

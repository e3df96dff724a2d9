package remote

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// authenticator keeps, per repository and kind of access, the round tripper
// that adds credentials. How the registry authenticates is asked once.
type authenticator struct {
	keychain authn.Keychain
	name     string
	at       place
	ggcr     name.Registry
	wire     http.RoundTripper
	stall    time.Duration
	now      func() time.Time

	ping      keyedLocks // one goroutine asks
	exchange  keyedLocks // one goroutine fetches a repository's token
	mu        sync.Mutex // guards the rest
	challenge *transport.Challenge
	sessions  map[string]*session
}

// session is authenticated access to one repository.
type session struct {
	http.RoundTripper
	scopes []string
	opened time.Time
}

// maxScopes bounds the scopes that one token collects; they travel in a URL.
const maxScopes = 16

func newAuthenticator(config Config, at place, ggcr name.Registry, wire http.RoundTripper) *authenticator {
	return &authenticator{
		keychain: config.Keychain, name: config.Name, at: at, ggcr: ggcr, wire: wire, stall: config.Stall,
		now: time.Now, sessions: map[string]*session{},
	}
}

// access is what a request needs.
type access struct {
	repo string // full path on the host
	push bool
	from string // full path of the repository to mount from, or empty
}

func (a access) scopes() []string {
	actions := "pull"
	if a.push {
		actions = "pull,push"
	}
	scopes := []string{"repository:" + a.repo + ":" + actions}
	if a.from != "" && a.from != a.repo {
		scopes = append(scopes, "repository:"+a.from+":pull")
	}
	return scopes
}

// session returns access to a repository, and whether it was made just now.
// Reading and writing are separate sessions: some token servers refuse a
// reader who asks for more.
func (a *authenticator) session(ctx context.Context, want access) (*session, bool, error) {
	challenge, err := a.ask(ctx)
	if err != nil {
		return nil, false, err
	}
	key := want.scopes()[0]
	bearer := strings.EqualFold(challenge.Scheme, "bearer")
	if !bearer {
		key = ""
	}
	unlock, err := a.exchange.lock(ctx, key)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	a.mu.Lock()
	s := a.sessions[key]
	a.mu.Unlock()
	missing := want.scopes()
	if s != nil {
		missing = slices.DeleteFunc(missing, func(scope string) bool { return slices.Contains(s.scopes, scope) })
		if !bearer || len(missing) == 0 {
			return s, false, nil
		}
		if len(s.scopes)+len(missing) <= maxScopes {
			missing = append(slices.Clone(s.scopes), missing...)
		} else {
			missing = want.scopes()
		}
	}
	s, err = a.open(ctx, challenge, missing)
	if err != nil {
		return nil, false, err
	}
	a.mu.Lock()
	a.sessions[key] = s
	a.mu.Unlock()
	return s, true, nil
}

// mayExpire is the age from which access may have expired where a registry does not
// say so: ECR refuses an old login like one without the right (403), ECR Public an old
// token like a malformed request (400).
const mayExpire = time.Minute

// refused drops a session that the registry has refused, and reports whether it did,
// so that the next request gets the credentials of then. expired says that the
// registry says so, rather than that there is no right: for that it takes a session that
// is not new. Of a fresh one that has expired not even how to authenticate is right.
func (a *authenticator) refused(s *session, expired, fresh bool) bool {
	if !expired && a.now().Sub(s.opened) < mayExpire {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, have := range a.sessions {
		if have == s {
			delete(a.sessions, key)
		}
	}
	if fresh {
		a.challenge = nil
	}
	return true
}

// ask asks the registry, once, how it authenticates.
func (a *authenticator) ask(ctx context.Context) (*transport.Challenge, error) {
	unlock, err := a.ping.lock(ctx, "")
	if err != nil {
		return nil, err
	}
	defer unlock()
	a.mu.Lock()
	known := a.challenge
	a.mu.Unlock()
	if known != nil {
		return known, nil
	}
	limited, cancel := context.WithTimeout(ctx, a.stall)
	defer cancel()
	challenge, err := transport.Ping(limited, a.ggcr, a.wire)
	if err != nil {
		return nil, err
	}
	// The wire speaks the scheme of the configuration, whatever the ping tried.
	challenge.Insecure = a.at.scheme == "http"
	a.mu.Lock()
	a.challenge = challenge
	a.mu.Unlock()
	return challenge, nil
}

func (a *authenticator) open(ctx context.Context, challenge *transport.Challenge, scopes []string) (*session, error) {
	credentials, err := a.credentials(ctx)
	if err != nil {
		return nil, err
	}
	token := &transport.Token{}
	if strings.EqualFold(challenge.Scheme, "bearer") {
		config, err := authn.Authorization(ctx, credentials)
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		if config.RegistryToken != "" {
			token.Token = config.RegistryToken
		} else {
			limited, cancel := context.WithTimeout(ctx, a.stall)
			defer cancel()
			token, err = transport.Exchange(limited, a.ggcr, credentials, a.wire, scopes, challenge)
			if err != nil {
				return nil, fmt.Errorf("token: %w", err)
			}
			token.Token = cmp.Or(token.AccessToken, token.Token)
		}
	}
	rt, err := transport.FromToken(a.ggcr, credentials, a.wire, challenge, token)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return &session{RoundTripper: rt, scopes: scopes, opened: a.now()}, nil
}

// credentials looks under the name first, which is what people log in to, then
// under the endpoint.
func (a *authenticator) credentials(ctx context.Context) (authn.Authenticator, error) {
	host, _, _ := strings.Cut(a.name, "/")
	if host == "docker.io" {
		host = name.DefaultRegistry // the key of docker's configuration
	}
	found, err := authn.Resolve(ctx, a.keychain, resource{full: a.name, host: host})
	if err == nil && found == authn.Anonymous && host != a.at.host {
		found, err = authn.Resolve(ctx, a.keychain, resource{full: a.at.host, host: a.at.host})
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return found, nil
}

type resource struct{ full, host string }

func (r resource) String() string      { return r.full }
func (r resource) RegistryStr() string { return r.host }

// sessionKey is the context key under which a request carries its session.
type sessionKey struct{}

// authorized sends a request, and the redirects that follow it, through the
// session in its context.
type authorized struct{}

func (authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	s, ok := req.Context().Value(sessionKey{}).(*session)
	if !ok {
		return nil, fmt.Errorf("request without a session")
	}
	return s.RoundTrip(req)
}

package remote_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// secretFile is a login that is changed while the process runs.
type secretFile struct {
	mu       sync.Mutex
	password string
}

func (f *secretFile) Resolve(authn.Resource) (authn.Authenticator, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return authn.FromConfig(authn.AuthConfig{Username: "ci", Password: f.password}), nil
}

func (f *secretFile) change(password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.password = password
}

// TestChangedPassword: access that began with a password goes on with the next one,
// whatever the registry's way to say that the old one is over.
func TestChangedPassword(t *testing.T) {
	for name, options := range map[string]registrytest.Options{
		"basic":  {Username: "ci", Password: secret},
		"tokens": {Username: "ci", Password: secret, Tokens: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.NewServer(t, options)
			file := &secretFile{password: secret}
			r := open(t, s, func(c *remote.Config) { c.Keychain = file })
			registrytest.MustPush(t, r, "orders", registrytest.MustImage(t, imagebuild.Spec{}), "1.0")
			file.change("battery-staple")
			s.SetPassword("battery-staple")
			s.RevokeTokens() // they end at some time
			if tags, err := r.Tags(t.Context(), "orders"); err != nil || len(tags) != 1 {
				t.Errorf("reading with the new password: %v, %v", tags, err)
			}
			registrytest.MustPush(t, r, "orders", registrytest.MustImage(t, imagebuild.Spec{Layers: []imagebuild.Files{{"a": "1"}}}), "1.1")
		})
	}
}

// TestExpiredAccess: some registries refuse what has expired with a status that others
// have for "no right" (ECR: 403), or for a malformed request (ECR Public: 400). Access
// that is older than a minute begins anew, once.
func TestExpiredAccess(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusBadRequest} {
		s := registrytest.NewServer(t, registrytest.Options{Username: "ci", Password: secret})
		r := open(t, s, login)
		clock := time.Now()
		remote.SetClock(r, func() time.Time { return clock })
		registrytest.MustPush(t, r, "orders", registrytest.MustImage(t, imagebuild.Spec{}), "1.0")
		refuse := func(times int) {
			s.Fail(registrytest.HTTPFault{Path: "tags/list", Status: status, Code: "DENIED", Times: times})
		}
		refuse(1)
		if _, err := r.Tags(t.Context(), "orders"); !errors.Is(err, registry.ErrUnauthorized) {
			t.Errorf("%d at once: %v", status, err)
		}
		clock = clock.Add(time.Hour)
		refuse(1)
		if tags, err := r.Tags(t.Context(), "orders"); err != nil || len(tags) != 1 {
			t.Errorf("%d an hour later: %v, %v", status, tags, err)
		}
		clock = clock.Add(time.Hour)
		refuse(2)
		if _, err := r.Tags(t.Context(), "orders"); !errors.Is(err, registry.ErrUnauthorized) {
			t.Errorf("%d with new access as well: %v", status, err)
		}
	}
}

// TestAuthenticationIsAskedAgain: a page that is in the registry's place for a moment
// says nothing about how it authenticates.
func TestAuthenticationIsAskedAgain(t *testing.T) {
	s := registrytest.NewServer(t, registrytest.Options{Username: "ci", Password: secret, Tokens: true})
	var once sync.Once
	r := open(t, s, login, func(c *remote.Config) {
		c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			res, err := http.DefaultTransport.RoundTrip(req)
			if err == nil && req.URL.Path == "/v2/" {
				once.Do(func() {
					res.StatusCode, res.Status = http.StatusOK, "200 OK"
					res.Header.Del("WWW-Authenticate")
				})
			}
			return res, err
		})
	})
	_, _ = r.Tags(t.Context(), "orders") // which may fail
	if _, err := r.Tags(t.Context(), "orders"); err != nil {
		t.Errorf("the next request: %v", err)
	}
}

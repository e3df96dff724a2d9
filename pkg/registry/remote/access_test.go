package remote_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// open reaches a test registry with the credentials of a Docker configuration.
func openAs(t *testing.T, server *registrytest.Server, user, password string) *remote.Registry {
	t.Helper()
	keychain, err := remote.DockerKeychain(fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, server.Host, user, password))
	if err != nil {
		t.Fatal(err)
	}
	r, err := remote.New(remote.Config{Name: server.Host + "/shop", Keychain: keychain, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMayPullAndPush(t *testing.T) {
	for _, tokens := range []bool{false, true} {
		server := registrytest.NewServer(t, registrytest.Options{Username: "push", Password: "right-password", Tokens: tokens})
		t.Run(fmt.Sprint("right, tokens ", tokens), func(t *testing.T) {
			r := openAs(t, server, "push", "right-password")
			server.Requests()
			if err := errors.Join(r.MayPull(t.Context(), "orders"), r.MayPush(t.Context(), "orders")); err != nil {
				t.Error(err)
			}
			seen := server.Requests()
			given := slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "DELETE /v2/shop/orders/blobs/uploads/") })
			stored := slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "PUT ") || strings.HasPrefix(s, "PATCH ") })
			if !given || stored {
				t.Errorf("the upload is not given up: %v", seen)
			}
		})
		t.Run(fmt.Sprint("wrong, tokens ", tokens), func(t *testing.T) {
			r := openAs(t, server, "push", "wrong-password")
			for _, err := range []error{r.MayPull(t.Context(), "orders"), r.MayPush(t.Context(), "orders")} {
				if !errors.Is(err, registry.ErrUnauthorized) || strings.Contains(err.Error(), "wrong-password") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestMayPushRefused(t *testing.T) {
	server := registrytest.NewServer(t, registrytest.Options{})
	r := openAs(t, server, "", "")
	server.Deny(func(req *http.Request) bool { return req.Method == http.MethodPost })
	if err := r.MayPull(t.Context(), "orders"); err != nil {
		t.Error(err)
	}
	if err := r.MayPush(t.Context(), "orders"); !errors.Is(err, registry.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
	server.Deny(nil)
	// A registry that cannot give uploads up is none that refuses them.
	server.Fail(registrytest.HTTPFault{Method: http.MethodDelete, Times: 1, Status: http.StatusMethodNotAllowed})
	if err := r.MayPush(t.Context(), "orders"); err != nil {
		t.Error(err)
	}
}

func TestDockerKeychain(t *testing.T) {
	const config = `{"auths":{
		"https://index.docker.io/v1/": {"auth":"aHViOnNlY3JldA=="},
		"stage.registry.example": {"username":"stage","password":"secret"},
		"prod.registry.example/shop": {"username":"prod","password":"secret"},
		"http://127.0.0.1:5000/v2/": {"username":"local","password":"secret"},
		"empty.example": {}
	}}`
	keychain, err := remote.DockerKeychain([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]string{
		"index.docker.io": "hub", "stage.registry.example": "stage", "stage.registry.example/shop": "stage",
		"prod.registry.example/shop": "prod", "prod.registry.example": "", "127.0.0.1:5000": "local", "empty.example": "", "other.example": "",
	} {
		found, err := keychain.Resolve(resource(place))
		if err != nil {
			t.Fatal(err)
		}
		login, err := found.Authorization()
		if err != nil || login.Username != want {
			t.Errorf("%s: got user %q, %v, want %q", place, login.Username, err, want)
		}
	}
	for _, broken := range []string{"", "[]", `{"auths":"secret-value"}`, `{"auths":{"a":{"auth":"secret-value"}}}`} {
		if _, err := remote.DockerKeychain([]byte(broken)); err == nil || strings.Contains(err.Error(), "secret-value") {
			t.Errorf("%s: got %v", broken, err)
		}
	}
}

// FuzzDockerKeychain: what a Secret holds is foreign.
func FuzzDockerKeychain(f *testing.F) {
	f.Add([]byte(`{"auths":{"a":{"auth":"YTpi"}}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		keychain, err := remote.DockerKeychain(config)
		if err != nil {
			return
		}
		if _, err := keychain.Resolve(resource("stage.registry.example/shop")); err != nil {
			t.Error(err)
		}
	})
}

type resource string

func (r resource) String() string      { return string(r) }
func (r resource) RegistryStr() string { host, _, _ := strings.Cut(string(r), "/"); return host }

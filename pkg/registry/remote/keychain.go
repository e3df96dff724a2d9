package remote

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// DockerKeychain finds credentials in a Docker configuration (config.json, or
// what a Secret of type kubernetes.io/dockerconfigjson holds) and nowhere else:
// it starts no credential helper and reads no file. Errors do not repeat the
// input.
func DockerKeychain(config []byte) (authn.Keychain, error) {
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if json.Unmarshal(config, &file) != nil {
		return nil, errors.New("the Docker configuration is not JSON of the form {\"auths\": {\"<host>\": {\"auth\": \"<base64 of user:password>\"}}}")
	}
	known := keychain{}
	for key, login := range file.Auths {
		known[placeOf(key)] = login
	}
	return known, nil
}

// keychain has credentials by host, or by host and path.
type keychain map[string]authn.AuthConfig

// Resolve implements [authn.Keychain].
func (k keychain) Resolve(of authn.Resource) (authn.Authenticator, error) {
	for _, key := range []string{of.String(), of.RegistryStr()} {
		if login, ok := k[placeOf(key)]; ok && login != (authn.AuthConfig{}) {
			return authn.FromConfig(login), nil
		}
	}
	return authn.Anonymous, nil
}

// placeOf is a key of a Docker configuration as a plain place. Old clients wrote
// URLs with the version of the API.
func placeOf(key string) string {
	_, rest, found := strings.Cut(key, "://")
	if !found {
		rest = key
	}
	rest = strings.Trim(rest, "/")
	for _, version := range []string{"/v1", "/v2"} {
		rest = strings.TrimSuffix(rest, version)
	}
	if rest == "docker.io" {
		return name.DefaultRegistry
	}
	return rest
}

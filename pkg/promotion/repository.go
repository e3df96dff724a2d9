package promotion

import (
	"net/url"
	"strings"
)

// SameRepository compares repository URLs as people write them: the scheme,
// credentials, a trailing .git and the spelling git@host:path do not matter.
func SameRepository(a, b string) bool { return repositoryKey(a) == repositoryKey(b) }

func repositoryKey(raw string) string {
	key := strings.TrimSuffix(strings.TrimSuffix(raw, "/"), ".git")
	if u, err := url.Parse(key); err == nil && u.Host != "" {
		return strings.ToLower(u.Host) + "/" + strings.TrimPrefix(u.Path, "/")
	}
	if host, path, ok := strings.Cut(key, ":"); ok && !strings.Contains(host, "/") {
		_, host, _ = strings.Cut("@"+host, "@")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		return strings.ToLower(host) + "/" + path
	}
	return key
}

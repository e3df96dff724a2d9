package config

import (
	"net/url"
	"strings"
)

// CodeHost is the server that hosts the repository, as far as it can do more than
// git: it has pull requests. Whose token it gets is not said here, because who may
// push to the source branch could send it anywhere.
type CodeHost struct {
	// Kind of the server. Default: what the host of the repository's URL is known
	// to be (github.com, gitlab.com, bitbucket.org, codeberg.org).
	Kind HostKind
	// API is the base URL of its API. Default: the place that the kind has on the
	// host of the repository's URL.
	API string
}

// HostKind is a kind of server that hosts repositories.
type HostKind string

// The values of HostKind.
const (
	// GitHub: github.com, or GitHub Enterprise.
	GitHub HostKind = "github"
	// GitLab: gitlab.com, or one's own.
	GitLab HostKind = "gitlab"
	// Gitea: Gitea or Forgejo.
	Gitea HostKind = "gitea"
	// Bitbucket: bitbucket.org.
	Bitbucket HostKind = "bitbucket"
	// BitbucketServer: Bitbucket Data Center.
	BitbucketServer HostKind = "bitbucket-server"
)

func hostFields(d *decoder, h *CodeHost) []field {
	return []field{
		optional("kind", oneOf(d, &h.Kind, GitHub, GitLab, Gitea, Bitbucket, BitbucketServer)),
		optional("api", d.text(&h.API)),
	}
}

func (r *report) checkHost(h CodeHost) {
	const at = "source.host.api"
	r.check(at, h.API, apiFault)
	if r.written(at) && !r.written("source.host.kind") {
		r.add("source.host.kind", "is missing beside api; write kind: github, gitlab, gitea, bitbucket or bitbucket-server")
	}
}

// apiFault checks the base URL of an API.
func apiFault(s string) string {
	const want = "write for instance https://git.example/api/v1"
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return "is not a URL; " + want
	case u.User != nil:
		return "has credentials; remove them, the token comes from --host-tokens"
	case u.Scheme != "https" && u.Scheme != "http":
		return quote(s) + " must start with https:// or http://"
	case u.Hostname() == "":
		return quote(s) + " has no host; " + want
	case strings.ContainsAny(s, "?#"):
		return "has a query or a fragment; remove it"
	case strings.Contains(u.Path, "//") || strings.Contains("/"+u.Path+"/", "/../") || strings.Contains("/"+u.Path+"/", "/./"):
		return quote(s) + " has a part of its path that leads elsewhere; " + want
	}
	return ""
}

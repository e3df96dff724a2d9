package codehost

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// place is a repository on a server.
type place struct {
	kind config.HostKind
	// api is the base URL of the API, without a slash at its end.
	api *url.URL
	// web is the server's own address, likewise.
	web string
	// owner may be several names with slashes between them, where groups are nested.
	owner, name string
	// trusted: the API is on the host of the repository's URL, or belongs to it.
	// Its URL is given by who runs the program.
	trusted bool
	// repository is that host.
	repository string
}

func (p place) host() string { return p.api.Host }

// path is the repository's path with both names escaped.
func (p place) path() string { return url.PathEscape(p.owner) + "/" + url.PathEscape(p.name) }

// public are the servers that everybody knows.
var public = map[string]struct {
	kind config.HostKind
	api  string
}{
	"github.com":    {config.GitHub, "https://api.github.com"},
	"gitlab.com":    {config.GitLab, "https://gitlab.com/api/v4"},
	"bitbucket.org": {config.Bitbucket, "https://api.bitbucket.org/2.0"},
	"codeberg.org":  {config.Gitea, "https://codeberg.org/api/v1"},
}

// sshNames are the names of public servers for ssh through the port of https.
var sshNames = map[string]string{"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com", "altssh.bitbucket.org": "bitbucket.org"}

// base is where the API of a kind is, below the server's own address.
var base = map[config.HostKind]string{
	config.GitHub: "/api/v3", config.GitLab: "/api/v4", config.Gitea: "/api/v1", config.Bitbucket: "/2.0", config.BitbucketServer: "/rest/api/1.0",
}

// locate finds out where the API of a repository is.
func locate(repository string, host config.CodeHost) (place, error) {
	git, err := parse(repository)
	if err != nil {
		return place{}, err
	}
	known := public[git.name]
	p := place{kind: cmp.Or(host.Kind, known.kind), repository: git.name}
	if p.kind == "" {
		return p, &missing{fmt.Errorf("nobody knows which kind of server %s is", git.name), "write source.host.kind into propagator.yaml: github, gitlab, gitea (also Forgejo), bitbucket or bitbucket-server"}
	}
	derived := git.server() + base[p.kind]
	if p.kind == known.kind {
		derived = known.api
	}
	if p.api, err = url.Parse(strings.TrimRight(cmp.Or(host.API, derived), "/")); err != nil {
		return p, errors.New("source.host.api is not a URL")
	}
	same := strings.EqualFold(p.api.Hostname(), git.name)
	p.trusted = same || p.kind == known.kind && p.api.String() == known.api
	if p.api.Scheme != "https" && !(same && git.scheme == "http") {
		return p, &missing{fmt.Errorf("a token would go to %s unprotected", p.api.Host), "write an address that begins with https:// into source.host.api"}
	}
	if p.kind == known.kind && p.api.String() == known.api {
		p.web = "https://" + git.name
	} else {
		p.web = p.api.Scheme + "://" + p.api.Host + strings.TrimSuffix(p.api.Path, base[p.kind])
	}
	return p, p.named(git)
}

// named takes the repository's path apart.
func (p *place) named(git gitURL) error {
	path := strings.TrimSuffix(strings.Trim(git.path, "/"), ".git")
	if web, err := url.Parse(p.web); err == nil && strings.Trim(web.Path, "/") != "" {
		// The whole server is below a folder.
		path = strings.TrimPrefix(path, strings.Trim(web.Path, "/")+"/")
	}
	if p.kind == config.BitbucketServer {
		path = strings.TrimPrefix(path, "scm/")
	}
	i := strings.LastIndexByte(path, '/')
	if i <= 0 || i == len(path)-1 || p.kind != config.GitLab && strings.Count(path, "/") != 1 {
		return fmt.Errorf("the path %q is not that of a repository on a server of the kind %s", path, p.kind)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the path %q is not that of a repository", path)
		}
	}
	p.owner, p.name = path[:i], path[i+1:]
	return nil
}

// gitURL is the URL of a repository, as far as it matters here.
type gitURL struct {
	scheme string
	// name of the host; port, for http(s) only.
	name, port string
	path       string
}

// server is the address of the web server on the same host.
func (g gitURL) server() string {
	scheme, host := "https", g.name
	if g.scheme == "http" {
		scheme = g.scheme
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if g.port != "" {
		host += ":" + g.port
	}
	return scheme + "://" + host
}

// parse reads https://host/path, ssh://host/path and git@host:path.
func parse(repository string) (gitURL, error) {
	var g gitURL
	if !strings.Contains(repository, "://") {
		host, path, ok := strings.Cut(repository, ":")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = host[at+1:]
		}
		if !ok || host == "" || strings.ContainsAny(host, "/\\") || len(host) == 1 {
			return g, errors.New("the repository is not on a server, so nobody could look at a pull request")
		}
		g = gitURL{scheme: "ssh", name: strings.ToLower(host), path: path}
	} else {
		u, err := url.Parse(repository)
		if err != nil || u.Hostname() == "" {
			return g, errors.New("the repository is not on a server, so nobody could look at a pull request")
		}
		g = gitURL{scheme: u.Scheme, name: strings.ToLower(u.Hostname()), path: u.Path}
		if u.Scheme == "https" || u.Scheme == "http" {
			g.port = u.Port()
		}
	}
	if name := sshNames[g.name]; name != "" {
		g.name = name
	}
	return g, nil
}

// missing is what is not said, and where to say it.
type missing struct {
	error
	fix string
}

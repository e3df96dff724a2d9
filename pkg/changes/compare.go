package changes

import (
	"net/url"
	"regexp"
	"strings"
)

var (
	revisionPattern = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
	hostPattern     = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
	webPathPattern  = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+){2,}$`)
)

// CompareURL is the page on which a Git host shows what changed between two
// revisions of a repository: GitHub, GitLab, Gitea and Forgejo, and Bitbucket
// Cloud, known by the name of the host. It is empty for other hosts, for equal
// revisions, and for what is no commit id: a source and a revision are what
// somebody wrote into an image.
func CompareURL(source, old, now string) string {
	if old == now || !revisionPattern.MatchString(old) || !revisionPattern.MatchString(now) {
		return ""
	}
	address := webAddress(source)
	if address == "" {
		return ""
	}
	_, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, ":")
	switch kind, _, _ := strings.Cut(host, "."); {
	case host == "bitbucket.org":
		return address + "/branches/compare/" + now + "%0D" + old
	case kind == "gitlab":
		return address + "/-/compare/" + old + "..." + now
	case kind == "github" || kind == "gitea" || kind == "forgejo" || host == "codeberg.org":
		return address + "/compare/" + old + "..." + now
	}
	return ""
}

// webAddress is the page of a repository: https://host/path. It is empty for
// what cannot have one; nothing of credentials, queries and odd characters
// remains.
func webAddress(source string) string {
	source = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(source), "/"), ".git")
	scheme, host, path := "https", "", ""
	if u, err := url.Parse(source); err == nil && u.Host != "" {
		host, path = u.Host, u.Path
		switch u.Scheme {
		case "https":
		case "http":
			scheme = "http"
		case "ssh", "git+ssh", "git":
			host = u.Hostname() // its port is not that of the pages
		default:
			return ""
		}
	} else if at, rest, ok := strings.Cut(source, ":"); ok && !strings.Contains(at, "/") {
		host, path = at[strings.LastIndexByte(at, '@')+1:], "/"+strings.TrimPrefix(rest, "/")
	}
	host = strings.ToLower(host)
	if !hostPattern.MatchString(host) || !webPathPattern.MatchString(path) || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
		return ""
	}
	return scheme + "://" + host + path
}

package config

import (
	"io/fs"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// The functions of this file say what is wrong with one value, in words that
// follow the name of the field; empty means nothing.

const (
	maxName      = 40  // leaves room for <pipeline>-<environment>-<application> in Kubernetes names
	maxLabel     = 63  // of a DNS label, and so of a namespace
	maxRelease   = 53  // Helm's own limit
	maxReference = 255 // of an image's name with its host
)

var (
	namePattern        = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	releasePattern     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	kindPattern        = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	kubeVersionPattern = regexp.MustCompile(`^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)([-+][0-9A-Za-z.+-]+)?)?$`)
	tagPattern         = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	apiVersionPattern  = regexp.MustCompile(`^(v[0-9]+|[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[a-z0-9]([a-z0-9-]*[a-z0-9])?)(/[A-Z][A-Za-z0-9]*)?$`)
	imagePathPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\[\])*(\.[A-Za-z0-9_-]+(\[\])*)*$`)
)

func nameFault(s string) string  { return labelFault(s, maxName) }
func spaceFault(s string) string { return labelFault(s, maxLabel) }

func labelFault(s string, limit int) string {
	switch {
	case len(s) > limit:
		return quote(s) + " is longer than " + strconv.Itoa(limit) + " characters"
	case !namePattern.MatchString(s):
		return quote(s) + " may only have lower-case letters, digits and dashes, and must start and end with a letter or digit"
	}
	return ""
}

func releaseFault(s string) string {
	switch {
	case len(s) > maxRelease:
		return quote(s) + " is longer than the " + strconv.Itoa(maxRelease) + " characters that Helm allows"
	case !releasePattern.MatchString(s):
		return quote(s) + " is not a Helm release name: lower-case letters, digits, dashes and dots only"
	}
	return ""
}

// pathFault checks a path in the repository.
func pathFault(s string) string {
	first, _, _ := strings.Cut(s, "/")
	switch {
	case strings.Contains(s, `\`):
		return quote(s) + " has a backslash; separate folders with /"
	case strings.HasPrefix(s, "/"):
		return quote(s) + " is absolute; write it from the repository's root, without the leading slash"
	case strings.HasSuffix(s, "/"):
		return quote(s) + " ends with a slash; remove it"
	case strings.ContainsFunc(s, isControl):
		return quote(s) + " has a control character"
	case s == "." || !fs.ValidPath(s):
		return quote(s) + ` must name a folder below the repository's root, without ".", ".." or empty parts`
	case first == ".git" || first == ".propagator":
		return quote(s) + " is reserved"
	}
	return ""
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// branchFault applies the rules of git check-ref-format --branch.
func branchFault(s string) string {
	reason := ""
	switch {
	case strings.HasPrefix(s, "refs/"):
		return quote(s) + " is a full ref; write the branch without refs/heads/"
	case s == "HEAD" || s == "@":
		reason = "it has a meaning of its own"
	case strings.HasPrefix(s, "-"):
		reason = "it starts with a dash"
	case strings.ContainsFunc(s, isControl) || strings.ContainsAny(s, ` ~^:?*[\`):
		reason = `it has a blank, a control character or one of ~ ^ : ? * [ \`
	case strings.Contains(s, "..") || strings.Contains(s, "@{"):
		reason = "it has .. or @{"
	case strings.HasSuffix(s, "."):
		reason = "it ends with a dot"
	default:
		for part := range strings.SplitSeq(s, "/") {
			switch {
			case part == "":
				reason = "it starts or ends with a slash or has two in a row"
			case strings.HasPrefix(part, "."):
				reason = "a part of it starts with a dot"
			case strings.HasSuffix(part, ".lock"):
				reason = "a part of it ends with .lock"
			}
		}
	}
	if reason == "" {
		return ""
	}
	return "git does not accept " + quote(s) + " as a branch: " + reason
}

// registryFault checks host[:port][/prefix].
func registryFault(s string) string {
	const want = "write host[:port][/prefix], for instance registry.example/shop"
	if fault := bareFault(s); fault != "" {
		return fault
	}
	host, prefix, _ := strings.Cut(s, "/")
	last := prefix[strings.LastIndex(prefix, "/")+1:]
	switch {
	case strings.HasSuffix(s, "/"):
		return quote(s) + " ends with a slash; remove it"
	case strings.Contains(last, ":"):
		return quote(s) + " has a tag; " + want
	case hostFault(host) != "":
		return hostFault(host)
	}
	named, err := reference.ParseNormalizedNamed(s + "/x")
	if err != nil || named.String() != s+"/x" {
		return quote(s) + " is not the start of an image reference; " + want
	}
	return ""
}

// hostFault checks host[:port] as image references spell it.
func hostFault(s string) string {
	if fault := bareFault(s); fault != "" {
		return fault
	}
	name, port := s, ""
	if at := strings.LastIndex(s, ":"); at >= 0 && !strings.HasSuffix(s, "]") {
		name, port = s[:at], s[at+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return quote(s) + " has no valid port"
		}
	}
	switch {
	case strings.Contains(s, "/"):
		return quote(s) + " has a path; write only host[:port]"
	case name == "index.docker.io" || name == "registry-1.docker.io":
		return quote(s) + " is written docker.io in image references; write docker.io"
	case !strings.ContainsAny(s, ".:") && s != "localhost":
		return quote(s) + " is no host: without a dot or a port, image references take it for a folder of docker.io"
	case anchoredDomain.FindString(s) != s:
		return quote(s) + " is not a host name"
	}
	return ""
}

var anchoredDomain = regexp.MustCompile("^(?:" + reference.DomainRegexp.String() + ")$")

// bareFault refuses what belongs to other notations of a registry.
func bareFault(s string) string {
	switch {
	case strings.Contains(s, "@sha256:"):
		return "has a digest; write host[:port][/prefix] only"
	case strings.Contains(s, "@"):
		return "has credentials; remove them, they come from the Docker configuration"
	case strings.Contains(s, "://"):
		_, rest, _ := strings.Cut(s, "://")
		return "has a scheme; write " + quote(rest) + " and, if https is not right, set endpoint"
	case strings.ToLower(s) != s:
		return quote(s) + " has upper-case letters; image references have none"
	}
	return ""
}

// endpointFault checks http(s)://host[:port][/prefix].
func endpointFault(s string) string {
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, "@"):
		return "has credentials; remove them, they come from the Docker configuration"
	case err != nil:
		return "is not a URL; write http://host[:port][/prefix] or https://…"
	case u.Scheme != "http" && u.Scheme != "https":
		return quote(s) + " must start with http:// or https://"
	case u.Hostname() == "":
		return quote(s) + " has no host"
	case strings.ContainsAny(s, "?#"):
		return "has a query or a fragment; remove it"
	case strings.HasSuffix(s, "/"):
		return quote(s) + " ends with a slash; remove it"
	}
	return ""
}

// serverFault checks the URL of a cluster.
func serverFault(s string) string {
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, "@"):
		return "has credentials; remove them, Argo CD has its own"
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return quote(s) + " is not the URL of a cluster, such as https://kubernetes.default.svc"
	}
	return ""
}

func identityFault(s string) string {
	if strings.ContainsAny(s, "<>") || strings.ContainsFunc(s, isControl) || strings.TrimSpace(s) != s {
		return quote(s) + " cannot stand in a commit: no angle brackets, control characters or blanks around it"
	}
	return ""
}

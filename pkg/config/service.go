package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/distribution/reference"
)

// Service says where images are built.
type Service struct {
	// Image is an image as manifests write it, without tag and digest. It may
	// end in /*, which means every image below.
	Image string
	// Repository is the URL of the Git repository, without credentials: http(s),
	// ssh, or git@host:path.
	Repository string
}

// everyImage is the end of Service.Image that stands for every image below.
const everyImage = "/*"

// ServiceOf returns the service that builds an image, given as manifests write
// it. Of several that match, the one with the longest image wins.
func (p *Pipeline) ServiceOf(image string) (Service, bool) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return Service{}, false
	}
	var best Service
	longest := -1
	for _, s := range p.Services {
		name, below, err := serviceImage(s.Image)
		if err == nil && len(name) > longest && (named.Name() == name || below && strings.HasPrefix(named.Name(), name)) {
			best, longest = s, len(name)
		}
	}
	return best, longest >= 0
}

// serviceImage returns an image's full name; where it stands for all below, the
// name ends in a slash.
func serviceImage(image string) (name string, below bool, err error) {
	base, below := strings.CutSuffix(image, everyImage)
	if below {
		base += "/x"
	}
	named, err := reference.ParseNormalizedNamed(base)
	if err != nil {
		return "", below, err
	}
	if below {
		return strings.TrimSuffix(named.Name(), "x"), true, nil
	}
	return named.Name(), false, nil
}

func (r *report) checkServices(p *Pipeline) {
	seen := map[string]bool{}
	for i, service := range p.Services {
		path := fmt.Sprintf("services[%d]", i)
		r.check(path+".image", service.Image, serviceImageFault)
		r.check(path+".repository", service.Repository, repositoryFault)
		name, _, err := serviceImage(service.Image)
		if err != nil || service.Image == "" {
			continue
		}
		if seen[name] {
			r.add(path+".image", "%s is listed twice", quote(service.Image))
		}
		seen[name] = true
	}
}

func serviceImageFault(s string) string {
	const want = "write it as the manifests do, without tag and digest, or end it in " + everyImage
	base := strings.TrimSuffix(s, everyImage)
	name, _, err := serviceImage(s)
	switch {
	case strings.Contains(s, "://"):
		return quote(s) + " has a scheme; " + want
	case strings.Contains(s, "@"):
		return "has a digest, or credentials; " + want
	case strings.Contains(base, "*"):
		return quote(s) + " has a * elsewhere than at its end; " + want
	case strings.Contains(base[strings.LastIndex(base, "/")+1:], ":") && (strings.Contains(base, "/") || base == s):
		return quote(s) + " has a tag; " + want
	case err != nil || len(name) > maxReference:
		return quote(s) + " is not an image; " + want
	}
	return ""
}

const maxRepository = 1000 // characters of a Git repository's URL

// repositoryFault checks the URL of a Git repository.
func repositoryFault(s string) string {
	const want = "write https://host/path, ssh://host/path or git@host:path"
	if len(s) > maxRepository || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return quote(s) + " has a blank or a control character, or is too long; " + want
	}
	if !strings.Contains(s, "://") {
		user, rest, at := strings.Cut(s, "@")
		host, path, colon := strings.Cut(rest, ":")
		if !at || !colon || user == "" || host == "" || path == "" || strings.ContainsAny(user+host, "/:@") || strings.HasPrefix(user, "-") || strings.HasPrefix(host, "-") {
			return quote(s) + " is not the URL of a Git repository; " + want
		}
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a URL; " + want
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh":
		return quote(s) + " must start with https://, http:// or ssh://"
	case u.User != nil && (u.Scheme != "ssh" || strings.Contains(u.User.String(), ":")):
		return "has credentials; remove them, they come from --git-username and --git-password-file"
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-"):
		return quote(s) + " has no host; " + want
	case strings.ContainsAny(s, "?#"):
		return "has a query or a fragment; remove it"
	case strings.Trim(u.Path, "/") == "":
		return quote(s) + " has no path; " + want
	}
	return ""
}

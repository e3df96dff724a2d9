package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// Location is where an image reference points to, seen from a pipeline.
type Location struct {
	// Registry is a key of Pipeline.Registries, empty for an image from
	// elsewhere.
	Registry string
	// Upstream is the host of an image from elsewhere, in its canonical
	// spelling: docker.io. Empty when Registry is set.
	Upstream string
	// Repo is the repository's path: below the URL of Registry, or on the host
	// Upstream (library/redis).
	Repo string
	// Tag as written; latest when the reference has neither tag nor digest,
	// empty when it only has a digest.
	Tag string
	// Digest as written (sha256:…), or empty.
	Digest string
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Locate says where an image reference, as manifests write it, points to. Of
// several registries that match, the one with the longest URL wins.
func (p *Pipeline) Locate(image string) (Location, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return Location{}, fmt.Errorf("%s is not an image reference: %s", quote(image), reason(image))
	}
	// Host names have no case, repository paths have none either.
	host, repo := strings.ToLower(reference.Domain(named)), reference.Path(named)
	if strings.HasPrefix(host, "[") {
		return Location{}, fmt.Errorf("%s names a registry by its IPv6 address, which cannot be part of a mirrored name; give the registry a host name", quote(image))
	}
	l := Location{Upstream: host, Repo: repo}
	longest := -1
	for name, registry := range p.Registries {
		below, ok := strings.CutPrefix(host+"/"+repo, registry.URL+"/")
		if ok && len(registry.URL) > longest {
			longest = len(registry.URL)
			l.Registry, l.Upstream, l.Repo = name, "", below
		}
	}
	if tagged, ok := named.(reference.Tagged); ok {
		l.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		l.Digest = digested.Digest().String()
		if !digestPattern.MatchString(l.Digest) {
			return Location{}, fmt.Errorf("%s has a digest other than sha256, which is not supported", quote(image))
		}
	}
	if l.Tag == "" && l.Digest == "" {
		l.Tag = "latest"
	}
	return l, nil
}

// reason says what is wrong with a malformed reference. The parser's own words
// would repeat the input, and with it whatever secret is in there.
func reason(image string) string {
	name, _, _ := strings.Cut(image, "@")
	path := name[strings.Index(name, "/")+1:]
	path, _, _ = strings.Cut(path, ":")
	switch {
	case image == "":
		return "it is empty"
	case strings.ContainsAny(image, " \t\r\n"):
		return "it has blanks"
	case strings.Contains(image, "://"):
		return "it has a scheme; write host/repository:tag"
	case strings.Contains(image, "${") || strings.Contains(image, "{{") || strings.Contains(image, "$("):
		return "it has a placeholder that nobody filled in"
	case strings.ToLower(path) != path:
		return "repositories are in lower case"
	case strings.HasSuffix(image, ":"):
		return "the tag after the colon is missing"
	case strings.Contains(image, "@"):
		return "what stands after @ is not a digest (sha256: and 64 hexadecimal digits), or what stands before it is not a name"
	default:
		return "write [host[:port]/]repository[:tag][@sha256:…]"
	}
}

// TargetRepo is the repository's path inside the registry of any environment:
// unchanged for images of the pipeline, below the host's name for others
// (docker.io/library/redis), with a port's colon as an underscore.
func (l Location) TargetRepo() string {
	if l.Upstream == "" {
		return l.Repo
	}
	return strings.ReplaceAll(l.Upstream, ":", "_") + "/" + l.Repo
}

// Pinned is the reference under which an environment runs an image: the
// environment's registry, the target repository and the digest. The digest
// must be the one that the reference names, if it names one.
func (p *Pipeline) Pinned(environment string, l Location, digest string) (string, error) {
	e, ok := p.Environment(environment)
	if !ok {
		return "", fmt.Errorf("there is no environment %s in pipeline %s", quote(environment), p.Name)
	}
	registry, ok := p.Registries[e.Registry]
	if !ok {
		return "", fmt.Errorf("environment %s has no registry", environment)
	}
	name := registry.URL + "/" + l.TargetRepo()
	switch {
	case !digestPattern.MatchString(digest):
		return "", fmt.Errorf("image %s: %s is not a digest (sha256: and 64 hexadecimal digits)", clip(name), quote(digest))
	case l.Digest != "" && l.Digest != digest:
		return "", fmt.Errorf("image %s: the manifests ask for %s, not for %s", clip(name), l.Digest, digest)
	case len(name) > maxReference:
		return "", fmt.Errorf("image %s: the name is longer than %d characters in the registry of %s; shorten the registry's prefix", clip(name), maxReference, environment)
	}
	return name + "@" + digest, nil
}

// UpstreamEndpoint is where an upstream host is reached: the endpoint of the
// configuration, otherwise the host itself over https.
func (p *Pipeline) UpstreamEndpoint(host string) string {
	for _, u := range p.Upstreams {
		if u.Host == host {
			return u.Endpoint
		}
	}
	return endpointOf(host)
}

// endpointOf is the default endpoint of host[:port][/prefix].
func endpointOf(place string) string {
	if place == DockerHub || inside(place, DockerHub) {
		return dockerHubEndpoint + strings.TrimPrefix(place, DockerHub)
	}
	return "https://" + place
}

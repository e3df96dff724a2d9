package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// checkPipeline reports contradictions. It runs on whatever could be decoded;
// empty values have been reported as missing already.
func (r *report) checkPipeline(p *Pipeline) {
	r.check("metadata.name", p.Name, nameFault)
	r.checkSource(p.Source)
	r.checkHost(p.Source.Host)
	r.check("identity.name", p.Identity.Name, identityFault)
	r.check("identity.email", p.Identity.Email, identityFault)
	r.checkRegistries(p)
	r.checkUpstreams(p)
	r.checkImages(p)
	r.checkServices(p)
	r.checkEnvironments(p)
}

// check reports what is wrong with a single value.
func (r *report) check(path, s string, fault func(string) string) {
	if s == "" || r.faulty[path] {
		return
	}
	if message := fault(s); message != "" {
		r.add(path, "%s", message)
	}
}

func sourceBranchFault(s string) string {
	if strings.HasPrefix(s, "hotfix/") {
		return quote(s) + " is a hotfix branch; environments take those up by themselves"
	}
	return branchFault(s)
}

func (r *report) checkRegistries(p *Pipeline) {
	names := make([]string, 0, len(p.Registries))
	for name := range p.Registries {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := r.position(join("registries", a)), r.position(join("registries", b))
		return cmp.Or(cmp.Compare(x.line, y.line), cmp.Compare(x.column, y.column), cmp.Compare(a, b))
	})
	if len(names) > maxRegistries {
		r.add("registries", "there are %d; at most %d are read", len(names), maxRegistries)
		return
	}
	if len(names) == 0 && r.written("registries") && !r.faulty["registries"] {
		r.add("registries", "is empty; every environment needs a registry")
	}
	for i, name := range names {
		path := join("registries", name)
		registry := p.Registries[name]
		if message := nameFault(name); message != "" {
			r.add(path, "the name %s", message)
		}
		r.check(path+".url", registry.URL, registryFault)
		if r.faulty[path+".url"] {
			continue // endpoint's default repeats it
		}
		r.check(path+".endpoint", registry.Endpoint, endpointFault)
		for _, earlier := range names[:i] {
			r.checkAmbiguous(path+".url", registry, p.Registries[earlier])
		}
	}
}

// checkAmbiguous refuses registries that both claim the same images.
func (r *report) checkAmbiguous(path string, later, earlier Registry) {
	switch {
	case later.URL == "" || earlier.URL == "":
	case later.URL == earlier.URL:
		r.add(path, "registry %s has the same url; an image could belong to both", earlier.Name)
	case inside(later.URL, earlier.URL):
		r.add(path, "lies inside %s of registry %s; an image could belong to both", quote(earlier.URL), earlier.Name)
	case inside(earlier.URL, later.URL):
		r.add(path, "contains %s of registry %s; an image could belong to both", quote(earlier.URL), earlier.Name)
	}
}

// inside reports whether a slash-separated path is below another.
func inside(inner, outer string) bool { return strings.HasPrefix(inner, outer+"/") }

func (r *report) checkUpstreams(p *Pipeline) {
	hosts := map[string]string{}
	for name, registry := range p.Registries {
		host, _, _ := strings.Cut(registry.URL, "/")
		// Of several registries on a host, name one that does not depend on
		// the order of a map.
		if known, ok := hosts[host]; !ok || name < known {
			hosts[host] = name
		}
	}
	seen := map[string]bool{}
	for i, upstream := range p.Upstreams {
		path := fmt.Sprintf("upstreams[%d]", i)
		r.check(path+".host", upstream.Host, hostFault)
		r.check(path+".endpoint", upstream.Endpoint, endpointFault)
		name, isRegistry := hosts[upstream.Host]
		switch {
		case upstream.Host == "":
		case seen[upstream.Host]:
			r.add(path+".host", "%s is listed twice", quote(upstream.Host))
		case isRegistry:
			r.add(path+".host", "%s is the host of registry %s; set the endpoint there", quote(upstream.Host), clip(name))
		}
		seen[upstream.Host] = true
	}
}

func (r *report) checkImages(p *Pipeline) {
	seen := map[ImagePath]bool{}
	for i, image := range p.Images {
		path := fmt.Sprintf("images[%d]", i)
		if image.Kind != "" && !kindPattern.MatchString(image.Kind) {
			r.add(path+".kind", "%s is not the kind of an object, such as Rollout", quote(image.Kind))
		}
		if image.Group != "" && !releasePattern.MatchString(image.Group) {
			r.add(path+".group", "%s is not an API group, such as argoproj.io; write it without the version", quote(image.Group))
		}
		if image.Path != "" && !imagePathPattern.MatchString(image.Path) {
			r.add(path+".path", "%s is not a path to an image; write fields with dots and [] for the elements of a list, such as spec.sidecars[].image", quote(image.Path))
		}
		if seen[image] && image.Path != "" {
			r.add(path, "is listed twice")
		}
		seen[image] = true
	}
}

package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// inCluster is Argo CD's name of the cluster it runs in, and inClusterServer
// its address.
const (
	inCluster       = "in-cluster"
	inClusterServer = "https://kubernetes.default.svc"
)

// maxEnvironments and maxRegistries bound the checks of everything against
// everything.
const (
	maxEnvironments = 200
	maxRegistries   = 200
)

// maxRequestsWithin bounds how old a request may be: its ledger has to tell whether
// it was carried out.
const maxRequestsWithin = 7 * 24 * time.Hour

func environmentPath(i int) string { return fmt.Sprintf("environments[%d]", i) }

func (r *report) checkEnvironments(p *Pipeline) {
	if len(p.Environments) == 0 && r.written("environments") && !r.faulty["environments"] {
		r.add("environments", "is empty; list at least the first environment")
	}
	if len(p.Environments) > maxEnvironments {
		r.add("environments", "there are %d; at most %d are read", len(p.Environments), maxEnvironments)
		return
	}
	r.checkOrder(p)
	for i := range p.Environments {
		e, path := &p.Environments[i], environmentPath(i)
		r.check(path+".name", e.Name, nameFault)
		r.check(path+".path", e.Path, pathFault)
		r.checkRole(p, e, path)
		r.checkGates(e.Gates, path+".gates")
		if e.OnFailure != nil {
			r.checkLasts(path+".onFailure.after", e.OnFailure.After, 0)
		}
		if e.Requests != nil {
			r.check(path+".requests.signers", e.Requests.Signers, pathFault)
			r.checkLasts(path+".requests.within", e.Requests.Within, maxRequestsWithin)
		}
		r.checkSoak(p, e, path)
		r.checkDestinations(e, path)
		r.checkApplications(e, path)
		r.checkCapabilities(e.Capabilities, path+".capabilities")
		for j := range i {
			if e.Name != "" && e.Name == p.Environments[j].Name {
				r.add(path+".name", "there are two environments %s", quote(e.Name))
			}
			if !r.faulty[path+".path"] && !r.faulty[environmentPath(j)+".path"] {
				r.checkFolders(&p.Environments[j], e, path)
			}
		}
	}
	r.checkBranches(p)
}

// first reports whether the file means the environment to be the first one: a
// faulty "after" does not make it so.
func (r *report) first(e *Environment, path string) bool {
	return e.First() && !r.faulty[path+".after"] && !r.faulty[path]
}

// checkRole checks what depends on being the first environment or not.
func (r *report) checkRole(p *Pipeline, e *Environment, path string) {
	registry, known := p.Registries[e.Registry]
	switch {
	case e.Registry == "" || r.faulty["registries"]:
	case !known:
		names := slices.Sorted(maps.Keys(p.Registries))
		r.add(path+".registry", "there is no registry %s; %s", quote(e.Registry), suggestion(nearest(e.Registry, names), names))
	case !e.First() && registry.Retention == Ephemeral:
		r.add(path+".registry", "registry %s is ephemeral; only the first environment may use it, because images promoted to %s have to stay", e.Registry, clip(e.Name))
	}
	if !r.first(e, path) {
		if r.written(path + ".branch") {
			r.check(path+".branch", e.Branch, branchFault)
		}
		return
	}
	const why = "%s is the first environment (it has no after): it follows the source branch and is never promoted to; remove %s"
	for _, name := range []string{"branch", "promote", "admit", "onFailure", "requests", "gates"} {
		if r.written(path+"."+name) && !r.faulty[path+"."+name] {
			r.add(path+"."+name, why, clip(e.Name), name)
		}
	}
}

// checkBranches refuses branches that git cannot hold at the same time, or
// that have two writers.
func (r *report) checkBranches(p *Pipeline) {
	type use struct{ branch, by string }
	uses := []use{{p.Source.Branch, "the source branch"}, {"hotfix", "the prefix of hotfix branches"}}
	for i := range p.Environments {
		e, path := &p.Environments[i], environmentPath(i)
		if e.First() || e.Name == "" || r.faulty[path+".branch"] || r.faulty[path+".name"] {
			continue
		}
		for _, other := range uses {
			switch {
			case e.Branch == other.branch:
				r.add(path+".branch", "%s is %s; every environment needs a branch of its own", quote(e.Branch), other.by)
			case inside(e.Branch, other.branch), inside(other.branch, e.Branch):
				r.add(path+".branch", "git cannot keep %s beside %s, %s", quote(e.Branch), quote(other.branch), other.by)
			}
		}
		uses = append(uses, use{e.Branch, "the branch of environment " + e.Name})
	}
}

// checkFolders refuses folders that two environments would search for
// applications, or that give two environments nothing of their own.
func (r *report) checkFolders(earlier, later *Environment, path string) {
	if earlier.Path == "" || later.Path == "" {
		return
	}
	same := later.Path == earlier.Path
	outer, inner := earlier, later
	if inside(earlier.Path, later.Path) {
		outer, inner = later, earlier
	}
	if !same && !inside(inner.Path, outer.Path) {
		return
	}
	const hint = "list the applications of both, so that it is clear what belongs to which"
	switch {
	case !same && len(outer.Applications) == 0:
		r.add(path+".path", "%s of %s contains %s of %s, so its applications would be found twice; use separate folders or list the applications of %s",
			quote(outer.Path), clip(outer.Name), quote(inner.Path), clip(inner.Name), clip(outer.Name))
	case equalApplications(earlier.Applications, later.Applications):
		r.add(path+".path", "%s is the folder of %s as well, with the same applications; use separate folders or %s", quote(later.Path), clip(earlier.Name), hint)
	}
}

func equalApplications(a, b []Application) bool {
	return slices.EqualFunc(a, b, func(x, y Application) bool {
		return x.Name == y.Name && x.Path == y.Path && x.Renderer == y.Renderer && x.ReleaseName == y.ReleaseName &&
			x.Namespace == y.Namespace && x.Empty == y.Empty && slices.Equal(x.Values, y.Values)
	})
}

// checkSoak: how long a snapshot was healthy is read from the ledger of the
// environment before, and the first environment has none.
func (r *report) checkSoak(p *Pipeline, e *Environment, path string) {
	for _, name := range e.After {
		before, ok := p.Environment(name)
		if !ok || len(before.After) > 0 {
			return
		}
	}
	if e.First() || r.faulty[path+".after"] {
		return
	}
	for i, gate := range e.Gates {
		if gate.Soak != nil {
			r.add(fmt.Sprintf("%s.gates[%d].soak", path, i), "nothing says how long a snapshot was healthy in %s, which follows the source branch; use it in a later environment", clip(e.After[0]))
		}
	}
}

func (r *report) checkDestinations(e *Environment, path string) {
	seen := map[Destination]bool{}
	for i, d := range e.Destinations {
		at := fmt.Sprintf("%s.destinations[%d]", path, i)
		if r.faulty[at] {
			continue
		}
		if d.Cluster != "" && d.Server != "" {
			r.add(at, "has both cluster and server; keep one of them")
		}
		if d.Cluster != "" && strings.ContainsFunc(d.Cluster, isControl) {
			r.add(at+".cluster", "%s has a control character", quote(d.Cluster))
		}
		r.check(at+".server", d.Server, serverFault)
		if r.written(at + ".namespace") {
			r.check(at+".namespace", d.Namespace, spaceFault)
		} else if len(d.Namespace) > maxLabel && !r.faulty["metadata.name"] && !r.faulty[path+".name"] {
			r.add(at+".namespace", "the default %s is longer than %d characters; give a shorter one", quote(d.Namespace), maxLabel)
		}
		if d.Server == inClusterServer {
			d.Cluster, d.Server = inCluster, ""
		}
		if seen[d] {
			r.add(at, "is the same as an earlier destination")
		}
		seen[d] = true
	}
}

func (r *report) checkApplications(e *Environment, path string) {
	if len(e.Applications) == 0 && r.written(path+".applications") && !r.faulty[path+".applications"] {
		r.add(path+".applications", "is empty; list applications, or remove it to have them found below path")
	}
	seen := map[string]bool{}
	for i, a := range e.Applications {
		at := fmt.Sprintf("%s.applications[%d]", path, i)
		r.check(at+".path", a.Path, pathFault)
		switch {
		case a.Name == "" || r.faulty[at+".path"] && !r.written(at+".name"):
		case seen[a.Name]:
			r.add(at+".name", "there are two applications %s; give one of them another name", quote(a.Name))
		case r.written(at + ".name"):
			r.check(at+".name", a.Name, nameFault)
		case nameFault(a.Name) != "":
			r.add(at+".name", "the default, taken from path, does not do: %s", nameFault(a.Name))
		}
		seen[a.Name] = true
		if r.written(at + ".releaseName") {
			r.check(at+".releaseName", a.ReleaseName, releaseFault)
		}
		for j, file := range a.Values {
			r.check(fmt.Sprintf("%s.values[%d]", at, j), file, pathFault)
		}
		if a.Renderer != "" && a.Renderer != RendererHelm {
			for _, name := range []string{"releaseName", "values"} {
				if r.written(at + "." + name) {
					r.add(at+"."+name, "only helm has %s, and renderer is %s", name, a.Renderer)
				}
			}
		}
		r.check(at+".namespace", a.Namespace, spaceFault)
	}
}

func (r *report) checkCapabilities(c *Capabilities, path string) {
	if c == nil {
		return
	}
	if c.KubeVersion != "" && !kubeVersionPattern.MatchString(c.KubeVersion) {
		r.add(path+".kubeVersion", "%s is not a Kubernetes version, such as 1.33.1", quote(c.KubeVersion))
	}
	seen := map[string]bool{}
	for i, version := range c.APIVersions {
		at := fmt.Sprintf("%s.apiVersions[%d]", path, i)
		switch {
		case version == "":
		case !apiVersionPattern.MatchString(version):
			r.add(at, "%s is not an API version, such as monitoring.coreos.com/v1", quote(version))
		case seen[version]:
			r.add(at, "%s is listed twice", quote(version))
		}
		seen[version] = true
	}
}

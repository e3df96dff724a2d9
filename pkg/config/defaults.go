package config

import (
	"path"
	"time"
)

// DockerHub is the canonical host of images without one, and dockerHubEndpoint
// where its API really answers: docker.io itself serves a web site.
const (
	DockerHub         = "docker.io"
	dockerHubEndpoint = "https://index.docker.io"
)

// defaultFailureAfter is how long a deployment may fail before something is done
// about it: Kubernetes takes ten minutes to call a Deployment hopeless.
const defaultFailureAfter = 10 * time.Minute

// DefaultRequestsWithin is how long a signed request is carried out.
const DefaultRequestsWithin = time.Hour

// quietAtMost is how many times the quiet that is asked for a commit waits for it.
const quietAtMost = 10

// fillDefaults sets what the file leaves out. It runs before the checks, so
// that a default which does not work is reported as well.
func (p *Pipeline) fillDefaults() {
	p.Source.fillDefaults()
	p.Hotfixes.fillDefaults()
	setDefault(&p.Identity.Name, "propagator")
	setDefault(&p.Identity.Email, "propagator@localhost")
	for name, r := range p.Registries {
		setDefault(&r.Retention, Keep)
		if r.URL != "" {
			setDefault(&r.Endpoint, endpointOf(r.URL))
		}
		p.Registries[name] = r
	}
	for i := range p.Environments {
		p.Environments[i].fillDefaults(p.Name)
	}
}

func (s *Source) fillDefaults() {
	setDefault(&s.Branch, "main")
	if len(s.Capture) == 0 {
		s.Capture = []CaptureMode{CaptureSync}
	}
	if s.Captures(CaptureTag) {
		setDefault(&s.Tags, "v*")
	}
	if s.Schedule != nil {
		setDefault(&s.Schedule.Timezone, "UTC")
	}
	if s.QuietAtMost == 0 {
		s.QuietAtMost = quietAtMost * s.Quiet
	}
}

func (e *Environment) fillDefaults(pipeline string) {
	if !e.First() {
		setDefault(&e.Branch, "environments/"+e.Name)
		setDefault(&e.Promote, Manual)
		setDefault(&e.Admit, AdmitLatest)
	}
	for _, g := range e.Gates {
		g.fillDefaults()
	}
	if len(e.Destinations) == 0 {
		e.Destinations = []Destination{{}}
	}
	for i := range e.Destinations {
		d := &e.Destinations[i]
		if d.Server == "" {
			setDefault(&d.Cluster, inCluster)
		}
		setDefault(&d.Namespace, pipeline+"-"+e.Name)
	}
	for i := range e.Applications {
		a := &e.Applications[i]
		if a.Path != "" {
			setDefault(&a.Name, path.Base(a.Path))
		}
		setDefault(&a.ReleaseName, a.Name)
	}
}

func (g Gate) fillDefaults() {
	if g.Window != nil {
		setDefault(&g.Window.Timezone, "UTC")
	}
	if g.Freeze != nil {
		setDefault(&g.Freeze.Timezone, "UTC")
	}
	if g.HTTP != nil {
		setDefault(&g.HTTP.Method, "GET")
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Package config reads propagator.yaml, the one file that makes a GitOps
// repository a pipeline: its environments, their order, their registries and
// the conditions of promotion.
//
// Decoding is strict. An unknown field, a contradiction or a missing part is a
// fault with its line, and [Parse] reports all faults at once; nothing is
// guessed and nothing is read from the process's environment.
package config

import "time"

// File is the configuration's name at the root of the repository.
const File = "propagator.yaml"

// The only accepted values of apiVersion and kind.
const (
	APIVersion = "propagator/v1alpha1"
	Kind       = "Pipeline"
)

// Pipeline is a whole propagator.yaml. A value from [Parse] is valid and has
// every default filled in.
type Pipeline struct {
	// Name is metadata.name: the pipeline's name in tags, trailers and
	// parameter sets. Lower-case letters, digits and dashes; at most 40.
	Name string

	// Source is where people and CI write.
	Source Source

	// Registries by name.
	Registries map[string]Registry

	// Upstreams are registries outside the pipeline from which manifests may
	// take third-party images. A host that is not listed is reached directly.
	Upstreams []Upstream

	// Images are places in custom kinds that hold an image reference, beyond
	// the pod specs that rendering finds by itself.
	Images []ImagePath

	// Hotfixes says what is done about hotfix branches.
	Hotfixes Hotfixes
	// Services say where images are built, so that release notes can list the
	// commits between two of them.
	Services []Service

	// Identity authors the commits that Propagator makes.
	// Default: propagator <propagator@localhost>.
	Identity Identity

	// Environments in the order of the file. The first one follows the source
	// branch and is never written; every other one has "after".
	Environments []Environment
}

// Source names the branch that the first environment follows, and what makes
// one of its commits a snapshot.
type Source struct {
	// Branch, without refs/heads/. Default: main.
	Branch string
	// Capture lists what makes a commit a snapshot. Default: sync.
	Capture []CaptureMode
	// Tags is the form of the names of the tags that are captured, without
	// refs/tags/; its one * stands for the version. Empty unless Capture has
	// tag; default then: v*.
	Tags string
	// Schedule are the times of CaptureSchedule; nil without it.
	Schedule *Schedule
	// Quiet is how long the branch must have been without a change before a commit
	// is captured because of a sync. Default: 0, at once.
	Quiet time.Duration
	// QuietAtMost is how long a commit waits for that when there is no quiet.
	// Default: ten times Quiet.
	QuietAtMost time.Duration
	// Host is the server that hosts the repository, where that does not follow from
	// the repository's URL.
	Host CodeHost
}

// Schedule names times.
type Schedule struct {
	// Cron has five fields (minute, hour, day of the month, month, day of the
	// week), in the local time of Timezone.
	Cron string
	// Timezone such as Europe/Berlin. Default: UTC.
	Timezone string
}

// Registry is a long-living or ephemeral home of images.
type Registry struct {
	// Name is the key under registries.
	Name string
	// URL is host[:port][/prefix] as image references spell it; no scheme.
	URL string
	// Endpoint is where Propagator reaches the registry when that differs
	// from URL (a second host name, plain http): http://127.0.0.1:5000[/prefix].
	// Its path takes the place of the URL's prefix. Default: https://URL.
	Endpoint string
	// Retention is "ephemeral" (images may vanish at any time; never promoted
	// from later than capture) or "keep", the default.
	Retention Retention
}

// Retention says whether a registry keeps images.
type Retention string

// The values of Retention.
const (
	Keep      Retention = "keep"
	Ephemeral Retention = "ephemeral"
)

// Upstream reroutes a third-party registry, for instance to a pull-through cache.
type Upstream struct {
	// Host as image references spell it: docker.io, quay.io.
	Host string
	// Endpoint as in Registry: http(s)://host[:port][/prefix].
	Endpoint string
}

// ImagePath points to image references in objects of a custom kind.
type ImagePath struct {
	// Kind of the object; Group narrows it (empty: any group).
	Kind  string
	Group string
	// Path is dotted, with [] for every element of a list:
	// spec.sidecars[].image
	Path string
}

// Identity is a commit author.
type Identity struct {
	Name  string
	Email string
}

// PromoteMode says who starts a promotion into an environment.
type PromoteMode string

// The values of PromoteMode.
const (
	// Auto: as soon as the environments before it have validated a snapshot
	// and all gates pass.
	Auto PromoteMode = "auto"
	// Manual: only when a person runs propagator promote.
	Manual PromoteMode = "manual"
)

// OnFailure says what is done about a deployment that has definitely failed: a
// sync that Argo CD could not apply, an image that no node can pull, or an
// Application that is Degraded.
type OnFailure struct {
	// After is how long the environment has pointed at the snapshot by then.
	// Default: 10m.
	After time.Duration
	// Do is FailureHold or FailureRollback.
	Do FailureAction
}

// Requests says whose signed tags request/<environment>/… the hook carries out.
type Requests struct {
	// Signers is the path of a file of allowed signers on the source branch, in the
	// format of ssh-keygen(1).
	Signers string
	// Within is how long after it was signed a request is carried out. Default: 1h.
	Within time.Duration
}

// FailureAction is what is done about a failed deployment.
type FailureAction string

// The values of FailureAction.
const (
	// FailureHold: automation leaves the environment alone.
	FailureHold FailureAction = "hold"
	// FailureRollback: back to the newest snapshot that was healthy there, and
	// hold; only hold if there is none.
	FailureRollback FailureAction = "rollback"
)

// AdmitMode says what may enter an environment while it has a snapshot that has
// not got to the environments after it.
type AdmitMode string

// The values of AdmitMode.
const (
	// AdmitLatest: each new snapshot takes the place of the one before.
	AdmitLatest AdmitMode = "latest"
	// AdmitRelease: the environment keeps its snapshot, a release, until that is
	// in every environment after it, or was rejected. Only its patches enter
	// meanwhile; other snapshots wait, and the newest of them is next.
	AdmitRelease AdmitMode = "release"
)

// Renderings of an application.
const (
	RendererKustomize = "kustomize"
	RendererHelm      = "helm"
	RendererYAML      = "yaml"
)

// Environment is one node of the promotion graph.
type Environment struct {
	Name string
	// After names the environments that must have validated a snapshot before
	// it may enter this one. Empty for exactly one environment, the first.
	After []string
	// Path is the environment's folder in the repository, slash-separated,
	// relative, without dots.
	Path string
	// Branch is the environment's ledger. Default: environments/<name>. Always
	// empty for the first environment.
	Branch string
	// Registry is a key of Pipeline.Registries.
	Registry string
	// Promote is Auto or Manual. Default: manual.
	Promote PromoteMode
	// Admit is AdmitLatest or AdmitRelease. Default: latest.
	Admit AdmitMode
	// OnFailure is what happens when a deployment fails. Nil: nothing; it waits
	// for people, or for the next snapshot.
	OnFailure *OnFailure
	// Gates must all pass before a promotion.
	Gates []Gate
	// Requests says whose signed requests the hook carries out here. Nil: nobody's.
	Requests *Requests
	// Destinations are the clusters and namespaces its Applications go to.
	// Default: one, {cluster: in-cluster, namespace: <pipeline>-<environment>}.
	Destinations []Destination
	// Applications lists what is rendered; empty means discovery below Path.
	Applications []Application
	// Capabilities fix what templates see of the cluster, so that a render
	// does not depend on which cluster asks. Nil: the asking cluster's.
	Capabilities *Capabilities
}

// First reports whether the environment follows the source branch.
func (e Environment) First() bool { return len(e.After) == 0 }

// Destination is where an environment's Applications are deployed.
type Destination struct {
	// Cluster is Argo CD's name of the cluster. Server is its API URL. At most
	// one of them; default: cluster in-cluster.
	Cluster string
	Server  string
	// Namespace defaults to <pipeline>-<environment>.
	Namespace string
}

// Application is one renderable folder.
type Application struct {
	// Name is unique within the environment. Default: the path's last element.
	Name string
	// Path from the repository's root.
	Path string
	// Renderer forces kustomize, helm or yaml. Empty: found by the files.
	Renderer string
	// ReleaseName for Helm. Default: the application's name.
	ReleaseName string
	// Values are value files for Helm, from the repository's root, in order;
	// later ones win. Default: none beyond the chart's own.
	Values []string
	// Namespace overrides the destination's for this application.
	Namespace string
	// Empty permits a render without objects, otherwise an error.
	Empty bool
}

// Capabilities is what Helm templates may ask of a cluster.
type Capabilities struct {
	// KubeVersion such as 1.33.1.
	KubeVersion string
	// APIVersions such as monitoring.coreos.com/v1, added to the built-in set.
	APIVersions []string
}

// Environment returns the environment of that name.
func (p *Pipeline) Environment(name string) (Environment, bool) {
	for _, e := range p.Environments {
		if e.Name == name {
			return e, true
		}
	}
	return Environment{}, false
}

// First returns the environment that follows the source branch.
func (p *Pipeline) First() Environment {
	for _, e := range p.Environments {
		if e.First() {
			return e
		}
	}
	return Environment{} // unreachable for a parsed pipeline
}

// Downstream returns the names of the environment itself and of every
// environment that comes after it, directly or through others, in the order
// of the file.
func (p *Pipeline) Downstream(name string) []string {
	in := map[string]bool{name: true}
	for changed := true; changed; {
		changed = false
		for _, e := range p.Environments {
			if in[e.Name] {
				continue
			}
			for _, a := range e.After {
				if in[a] {
					in[e.Name], changed = true, true
				}
			}
		}
	}
	var names []string
	for _, e := range p.Environments {
		if in[e.Name] {
			names = append(names, e.Name)
		}
	}
	return names
}

// LongLiving reports whether images may be promoted from the registry at any
// later time.
func (r Registry) LongLiving() bool { return r.Retention != Ephemeral }

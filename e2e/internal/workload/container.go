package workload

import (
	"errors"
	"io/fs"
)

// Kinds of workloads.
const (
	Deployment  = "Deployment"
	StatefulSet = "StatefulSet"
)

// Container is what a manifest and the objects that it names say about one
// container, as a kubelet knows it before it starts the container.
type Container struct {
	// Kind, Namespace and Workload name what it belongs to.
	Kind, Namespace, Workload string
	// Pod is the Pod's name, Name the container's.
	Pod, Name string
	// Labels are the Pod's.
	Labels map[string]string
	// Image is the image's reference.
	Image string
	// Command and Args have their variables filled in.
	Command, Args []string
	// WorkingDir is empty when the image decides.
	WorkingDir string
	// Env is complete, in the order of the manifest, without repetitions.
	Env []Variable
	// Ports are those that the container declares.
	Ports []Port
	// Mounts are its files.
	Mounts []Mount
	// Readiness is nil when the container has no readinessProbe.
	Readiness *Probe
	// Startup is nil when the container has no startupProbe. It decides once when
	// a container without a readinessProbe is ready.
	Startup *Probe
	// ServiceAccount is the Pod's; Token says whether it gets its token.
	ServiceAccount string
	Token          bool
	// ReadOnlyRoot says that it can write to its mounts only.
	ReadOnlyRoot bool
	// Generation is that of the workload, Template a hash of its Pod template.
	Generation int64
	Template   string
	// Replicas is how many Pods the workload wants.
	Replicas int
}

// Variable is one environment variable.
type Variable struct {
	Name, Value string
	// Secret says that the value comes from a Secret, and may not be shown.
	Secret bool
}

// Lookup returns the value of an environment variable.
func (c *Container) Lookup(name string) (string, bool) {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value, true
		}
	}
	return "", false
}

// Port is a port that the container declares.
type Port struct {
	Name   string
	Number int
}

// Mount is one volumeMount.
type Mount struct {
	// Path is where the container sees it.
	Path string
	// Volume is its name in the Pod; containers of a Pod share volumes.
	Volume string
	// SubPath is what of the volume is mounted; empty means all of it.
	SubPath string
	// Files are those of a Secret, ConfigMap or projected volume, by path. Nil
	// for an emptyDir.
	Files map[string]File
}

// File is a file that the kubelet writes.
type File struct {
	Data []byte
	Mode fs.FileMode
}

// Probe is a readiness or startup probe: a GET when Path is set, a connection otherwise.
type Probe struct {
	// Port is its number in the Pod.
	Port int
	// Path with its query; TLS says that it is asked over https.
	Path string
	TLS  bool
}

// ErrGone reports a workload, or a container of its Pod template, that does not
// exist (any more).
var ErrGone = errors.New("does not exist")

// StartError says why a container cannot start. A kubelet tries again until it
// can.
type StartError struct {
	// Reason is the word that `kubectl get pods` shows.
	Reason string
	// Err says what is wrong.
	Err error
}

// Reasons of a [StartError].
const (
	// ReasonConfig: the environment names what does not exist.
	ReasonConfig = "CreateContainerConfigError"
	// ReasonMount: a volume cannot be filled.
	ReasonMount = "FailedMount"
	// ReasonRun: the command cannot be run.
	ReasonRun = "RunContainerError"
)

func (e *StartError) Error() string { return e.Reason + ": " + e.Err.Error() }

func (e *StartError) Unwrap() error { return e.Err }

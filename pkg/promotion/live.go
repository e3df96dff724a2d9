package promotion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Live is what the engine sees of the cluster that Argo CD runs in, beyond
// Argo CD's own word: the Pods. It is safe for concurrent use.
type Live interface {
	// Pods lists all Pods of a namespace of that cluster, fresh from its API
	// server; none is an empty list. ErrNotVisible when they cannot be seen from
	// here; any other error means that they could be, but not now.
	Pods(ctx context.Context, namespace string) ([]Pod, error)
}

// ErrNotVisible: there is no right to see the Pods of a namespace. What cannot
// be seen is no fault, and no proof either.
var ErrNotVisible = errors.New("not visible from here")

// Pod is one Pod: whose it is, and what its containers run.
type Pod struct {
	Namespace string
	Name      string
	// Owner is its controller; zero for a Pod that nothing controls.
	Owner Workload
	// TemplateHash is the label with which a Deployment or Rollout tells its
	// ReplicaSets apart; empty for others.
	TemplateHash string
	Created      time.Time
	// Terminating: it was asked to stop. Finished: all its containers ended for
	// good, or it was evicted.
	Terminating bool
	Finished    bool
	// Containers and init containers; not ephemeral ones, which are people's.
	Containers []Container
}

// Container is a container of a Pod, and what its runtime says about it.
type Container struct {
	Name string
	// Image is the reference in the Pod's spec.
	Image string
	// ImageID is what the runtime reports: registry/repository@sha256:…, the
	// same behind docker-pullable://, sha256:… alone, or nothing.
	ImageID string
	// Waiting is why it does not run (ImagePullBackOff), Message more about it;
	// empty for one that runs or ended.
	Waiting string
	Message string
}

// Workload is a resource that Pods may belong to.
type Workload struct {
	Group     string
	Kind      string
	Namespace string
	Name      string
}

func (w Workload) is(group, kind, namespace, name string) bool {
	return w == Workload{Group: group, Kind: kind, Namespace: namespace, Name: name}
}

// Sight is what the Pods of one Application show. The zero value is no Pods.
type Sight struct {
	// Pods is how many were looked at, Digests how many digests of the lock
	// their runtimes confirmed.
	Pods    int
	Digests int
	// Mismatch says which Pod runs something else than the lock has.
	Mismatch string
	// NotPulled says which image cannot be had by which Pod, Trouble why another
	// container does not run.
	NotPulled string
	Trouble   string
	// Unread is why the Pods could not be seen although they may be.
	Unread string
}

func (s *Sight) notPulled() string {
	if s == nil {
		return ""
	}
	return s.NotPulled
}

func (s *Sight) trouble() string {
	if s == nil {
		return ""
	}
	return s.Trouble
}

func (s *Sight) pods() int {
	if s == nil {
		return 0
	}
	return s.Pods
}

func (s *Sight) digests() int {
	if s == nil {
		return 0
	}
	return s.Digests
}

// fault is what the Pods have against an Application that Argo CD calls well.
func (s *Sight) fault() fault {
	switch {
	case s == nil:
		return fault{}
	case s.Unread != "":
		return fault{reason: HealthUnknown, text: "is Healthy, but what its Pods run cannot be told" + said(s.Unread)}
	case s.Mismatch != "":
		return fault{reason: DigestMismatch, text: "is Healthy, but " + s.Mismatch}
	}
	return fault{}
}

// podsOf picks an Application's own out of the Pods of its namespaces.
func (a Application) podsOf(all []Pod) []Pod {
	var own []Pod
	for _, p := range all {
		if a.owns(p) {
			own = append(own, p)
		}
	}
	return own
}

// owns follows a Pod's controller to a resource that the Application manages.
// What stands between the two is not managed, and its name has something
// appended to that of the resource: a Deployment's ReplicaSets the hash of the
// template, a CronJob's Jobs a time.
func (a Application) owns(p Pod) bool {
	owner := p.Owner
	if owner.Kind == "" {
		return a.manages("", "Pod", p.Namespace, p.Name)
	}
	if a.manages(owner.Group, owner.Kind, p.Namespace, owner.Name) {
		return true
	}
	switch owner.Kind {
	case "ReplicaSet":
		name, ok := strings.CutSuffix(owner.Name, "-"+p.TemplateHash)
		return ok && p.TemplateHash != "" &&
			(a.manages("apps", "Deployment", p.Namespace, name) || a.manages("argoproj.io", "Rollout", p.Namespace, name))
	case "Job":
		name, ok := cronJob(owner)
		return ok && a.manages("batch", "CronJob", p.Namespace, name)
	}
	return false
}

func (a Application) manages(group, kind, namespace, name string) bool {
	return slices.ContainsFunc(a.Workloads, func(w Workload) bool { return w.is(group, kind, namespace, name) })
}

// cronJob is the name of the CronJob that made a Job: without the time.
func cronJob(job Workload) (string, bool) {
	i := strings.LastIndexByte(job.Name, '-')
	if job.Kind != "Job" || i < 1 || strings.Trim(job.Name[i+1:], "0123456789") != "" {
		return "", false
	}
	return job.Name[:i], true
}

// namespaces are where an Application's Pods may be, sorted.
func (a Application) namespaces() []string {
	found := map[string]bool{}
	for _, w := range a.Workloads {
		found[w.Namespace] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// pullFaults are the reasons for which a container waits while its image cannot
// be had, as kubelets write them.
var pullFaults = []string{
	"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed",
}

// passing are the reasons for which every container waits for a moment.
var passing = []string{"", "ContainerCreating", "PodInitializing"}

// complain notes why containers do not run. It is for people; the Application's
// health is what counts.
func (s *Sight) complain(pods []Pod) {
	for _, p := range pods {
		if p.Terminating || p.Finished {
			continue
		}
		for _, c := range p.Containers {
			switch {
			case slices.Contains(passing, c.Waiting):
			case slices.Contains(pullFaults, c.Waiting):
				if s.NotPulled == "" {
					s.NotPulled = fmt.Sprintf("Pod %s: image %s: %s%s", p.Name, brief(c.Image), c.Waiting, said(c.Message))
				}
			case s.Trouble == "":
				s.Trouble = fmt.Sprintf("Pod %s: container %s: %s%s", p.Name, c.Name, brief(c.Waiting), said(c.Message))
			}
		}
	}
}

// running are the Pods that show what an Application runs now. Those that stop
// or have ended do not, and what a CronJob started before the sync, or in the
// same second, rightly runs what was there before.
func (a Application) running(pods []Pod) []Pod {
	var running []Pod
	for _, p := range pods {
		_, scheduled := cronJob(p.Owner)
		scheduled = scheduled && !a.manages("batch", "Job", p.Namespace, p.Owner.Name)
		if !p.Terminating && !p.Finished && (!scheduled || p.begun().After(a.FinishedAt)) {
			running = append(running, p)
		}
	}
	return running
}

// begun is when the Job of a scheduled Pod began. A Job whose Pod fails makes
// another one later, with the same manifest: what counts is the minute for which
// the CronJob made it, which its name ends in.
func (p Pod) begun() time.Time {
	minutes, err := strconv.ParseInt(p.Owner.Name[strings.LastIndexByte(p.Owner.Name, '-')+1:], 10, 64)
	if scheduled := time.Unix(60*minutes, 0); err == nil && minutes >= leastMinute && scheduled.Before(p.Created) {
		return scheduled
	}
	return p.Created
}

// leastMinute tells a minute, counted from 1970, from the numbers that people
// give Jobs which they start by hand: it is in 2008.
const leastMinute = 20_000_000

// repositoryOf is an image reference without tag and digest.
func repositoryOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	return name
}

// imageID takes apart what a runtime reports. A digest without a repository may
// be the manifest's or the configuration's.
func imageID(id string) (repository, digest string, ok bool) {
	if _, rest, found := strings.Cut(id, "://"); found {
		id = rest // docker-pullable://, docker://
	}
	repository, digest, found := strings.Cut(id, "@")
	if !found {
		repository, digest = "", id
	}
	hex, isDigest := strings.CutPrefix(digest, "sha256:")
	return repositoryOf(repository), digest, isDigest && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

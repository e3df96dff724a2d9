package gate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SnapshotLabel is the label, or the annotation, by which a Job says for which
// snapshot it runs: the version (shop/v1.4.0; in a label shop-v1.4.0, as labels
// have no slash) or the full id of the snapshot's commit.
const SnapshotLabel = "propagator.dev/snapshot"

// JobOptions say which Jobs a [JobGate] looks at. In Name and Selector
// {pipeline}, {environment}, {version}, {commit} and {source} stand for what is
// promoted, with a dash for a slash: {version} is shop-v1.4.0.
type JobOptions struct {
	// Jobs is where they are. Required.
	Jobs Jobs
	// Namespace is required.
	Namespace string
	// Name of a Job, or Selector of labels as in kubectl; one of them.
	Name     string
	Selector string
}

// Jobs reads Jobs of a Kubernetes cluster.
type Jobs interface {
	// Named returns one Job, and [ErrNoJob] when there is none.
	Named(ctx context.Context, namespace, name string) (Job, error)
	// Selected returns those with the labels, none being no error.
	Selected(ctx context.Context, namespace, selector string) ([]Job, error)
}

// ErrNoJob: there is no such Job.
var ErrNoJob = errors.New("no such Job")

// Job is what matters of a Job (batch/v1).
type Job struct {
	Name                string
	Labels, Annotations map[string]string
	// Conditions are the types of those that are true: Complete, Failed,
	// Suspended.
	Conditions []string
	// Message is what the last condition says.
	Message string
}

// The conditions of a Job that has ended (batch/v1, JobConditionType).
const (
	jobComplete = "Complete"
	jobFailed   = "Failed"
)

// JobGate wants Jobs to have completed for the snapshot: all that have the name
// or the labels and say by [SnapshotLabel] that they run for it, at least one.
// Those of other snapshots do not count. One that failed refuses; one that runs,
// or is not there, waits.
type JobGate struct{ JobOptions }

var _ Gate = (*JobGate)(nil)

// NewJob reports every fault of the options at once.
func NewJob(o JobOptions) (*JobGate, error) {
	var faults []error
	if o.Jobs == nil {
		faults = append(faults, errors.New("no cluster"))
	}
	if o.Namespace == "" {
		faults = append(faults, errors.New("no namespace"))
	}
	if (o.Name == "") == (o.Selector == "") {
		faults = append(faults, errors.New("give either name or selector"))
	}
	for _, word := range bracedWord.FindAllString(o.Name+" "+o.Selector, -1) {
		if leadingVariable(word) == "" {
			faults = append(faults, fmt.Errorf("there is no variable %s, only %s", word, variableNames()))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return &JobGate{o}, nil
}

// dashed makes a value fit for names and labels.
func dashed(value string) string { return strings.ReplaceAll(value, "/", "-") }

// objectName is the name of a Job (RFC 1123, subdomain).
var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// Judge asks the cluster.
func (g *JobGate) Judge(ctx context.Context, s Subject) Verdict {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	jobs, what, err := g.find(ctx, s)
	switch {
	case errors.Is(err, ErrNoJob) || err == nil && len(jobs) == 0:
		return waitUntil(time.Time{}, "there is no %s in %s; start it with the label %s=%s", what, g.Namespace, SnapshotLabel, dashed(s.Version.String()))
	case err != nil:
		return unknown("%s", oneLine(err.Error()))
	}
	return settle(ctx, g.weigh(jobs, what, s))
}

// find returns the Jobs, and what was looked for.
func (g *JobGate) find(ctx context.Context, s Subject) ([]Job, string, error) {
	name, err := expand(g.Name, s, dashed)
	if err != nil {
		return nil, "", err
	}
	selector, err := expand(g.Selector, s, dashed)
	if err != nil {
		return nil, "", err
	}
	if g.Name == "" {
		jobs, err := g.Jobs.Selected(ctx, g.Namespace, selector)
		return jobs, "Job with " + selector, err
	}
	if !objectName.MatchString(name) {
		return nil, "", fmt.Errorf("%.300q cannot be the name of a Job", name)
	}
	job, err := g.Jobs.Named(ctx, g.Namespace, name)
	return []Job{job}, "Job " + name, err
}

// weigh says what Jobs mean that were found.
func (g *JobGate) weigh(jobs []Job, what string, s Subject) Verdict {
	var others, failed, running, complete []string
	message := ""
	for _, job := range jobs {
		switch {
		case !job.runsFor(s):
			others = append(others, job.Name)
		case slices.Contains(job.Conditions, jobFailed):
			failed, message = append(failed, job.Name), job.Message
		case slices.Contains(job.Conditions, jobComplete):
			complete = append(complete, job.Name)
		default:
			running = append(running, job.Name)
		}
	}
	names := func(list []string) string { return oneLine(strings.Join(list, ", ")) }
	switch {
	case len(failed) > 0:
		detail := fmt.Sprintf("%s in %s failed: %s", names(failed), g.Namespace, oneLine(message))
		return Verdict{Result: Refuse, Detail: strings.TrimSuffix(detail, ": ")}
	case len(running) > 0:
		return waitUntil(time.Time{}, "%s in %s has not completed yet", names(running), g.Namespace)
	case len(complete) > 0:
		return passUntil(time.Time{}, "%s in %s completed", names(complete), g.Namespace)
	}
	return waitUntil(time.Time{}, "%s: %s in %s does not say that it runs for this snapshot (label %s=%s)",
		what, names(others), g.Namespace, SnapshotLabel, dashed(s.Version.String()))
}

// runsFor reports whether a Job says that it runs for the snapshot.
func (j Job) runsFor(s Subject) bool {
	said, ok := j.Labels[SnapshotLabel]
	if !ok {
		said = j.Annotations[SnapshotLabel]
	}
	if said == "" {
		return false
	}
	return said == s.Commit || !s.Version.IsZero() && (said == s.Version.String() || said == dashed(s.Version.String()))
}

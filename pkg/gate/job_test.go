package gate

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// cluster has Jobs, by namespace and name; a selector is name=<name>.
type cluster struct {
	jobs   map[string]Job
	broken error
}

func (c cluster) Named(_ context.Context, namespace, name string) (Job, error) {
	if c.broken != nil {
		return Job{}, c.broken
	}
	job, ok := c.jobs[namespace+"/"+name]
	if !ok {
		return Job{}, ErrNoJob
	}
	job.Name = name
	return job, nil
}

func (c cluster) Selected(_ context.Context, namespace, selector string) ([]Job, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	var found []Job
	for _, name := range []string{"load-1", "smoke-1", "smoke-shop-v1.4.0"} {
		if job, ok := c.jobs[namespace+"/"+name]; ok && (selector == "suite=release" || selector == "release=shop-v1.4.0") {
			job.Name = name
			found = append(found, job)
		}
	}
	return found, nil
}

func job(said string, conditions ...string) Job {
	return Job{Labels: map[string]string{SnapshotLabel: said}, Conditions: conditions, Message: "BackoffLimitExceeded"}
}

// TestJob: a Job counts by what it says it runs for, and by how it ended.
func TestJob(t *testing.T) {
	t.Parallel()
	const name = "smoke-shop-v1.4.0"
	ours := "shop-v1.4.0"
	one := func(j Job) map[string]Job { return map[string]Job{"tests/" + name: j} }
	annotated := Job{Annotations: map[string]string{SnapshotLabel: "shop/v1.4.0"}, Conditions: []string{jobComplete}}
	for _, test := range []struct {
		name    string
		options JobOptions
		jobs    map[string]Job
		broken  error
		want    Result
		detail  string
	}{
		{"complete", JobOptions{Name: "smoke-{version}"}, one(job(ours, "SuccessCriteriaMet", jobComplete)), nil, Pass, "smoke-shop-v1.4.0 in tests completed"},
		{"complete, annotated", JobOptions{Name: "smoke-{version}"}, one(annotated), nil, Pass, "smoke-shop-v1.4.0 in tests completed"},
		{"complete, by its commit", JobOptions{Name: name}, one(job(subject(t).Commit, jobComplete)), nil, Pass, "smoke-shop-v1.4.0 in tests completed"},
		{"failed", JobOptions{Name: name}, one(job(ours, "FailureTarget", jobFailed)), nil, Refuse, "smoke-shop-v1.4.0 in tests failed: BackoffLimitExceeded"},
		{"running", JobOptions{Name: name}, one(job(ours)), nil, Wait, "smoke-shop-v1.4.0 in tests has not completed yet"},
		{"about to fail", JobOptions{Name: name}, one(job(ours, "FailureTarget")), nil, Wait, "smoke-shop-v1.4.0 in tests has not completed yet"},
		{"suspended", JobOptions{Name: name}, one(job(ours, "Suspended")), nil, Wait, "smoke-shop-v1.4.0 in tests has not completed yet"},
		{"absent", JobOptions{Name: name}, nil, nil, Wait, "there is no Job smoke-shop-v1.4.0 in tests; start it with the label propagator.dev/snapshot=shop-v1.4.0"},
		{"of another snapshot", JobOptions{Name: name}, one(job("shop-v1.3.0", jobComplete)), nil, Wait, "Job smoke-shop-v1.4.0: smoke-shop-v1.4.0 in tests does not say that it runs for this snapshot"},
		{"of another pipeline", JobOptions{Name: name}, one(job("pay-v1.4.0", jobComplete)), nil, Wait, "Job smoke-shop-v1.4.0: "},
		{"of the source commit", JobOptions{Name: name}, one(job(subject(t).SourceCommit, jobComplete)), nil, Wait, "Job smoke-shop-v1.4.0: "},
		{"label before annotation", JobOptions{Name: name}, one(Job{
			Labels: map[string]string{SnapshotLabel: "shop-v1.3.0"}, Annotations: annotated.Annotations, Conditions: []string{jobComplete},
		}), nil, Wait, "Job smoke-shop-v1.4.0: "},
		{"of no snapshot", JobOptions{Name: name}, one(Job{Conditions: []string{jobComplete}}), nil, Wait, "Job smoke-shop-v1.4.0: "},
		{"failed for another snapshot", JobOptions{Name: name}, one(job("shop-v1.3.0", jobFailed)), nil, Wait, "Job smoke-shop-v1.4.0: "},
		{"all that are selected", JobOptions{Selector: "suite=release"}, map[string]Job{
			"tests/smoke-1": job(ours, jobComplete), "tests/load-1": job(ours, jobComplete), "tests/" + name: job("shop-v1.3.0", jobFailed),
		}, nil, Pass, "load-1, smoke-1 in tests completed"},
		{"selected by a variable", JobOptions{Selector: "release={version}"}, one(job(ours, jobComplete)), nil, Pass, "smoke-shop-v1.4.0 in tests completed"},
		{"one of those runs", JobOptions{Selector: "suite=release"}, map[string]Job{
			"tests/smoke-1": job(ours, jobComplete), "tests/load-1": job(ours),
		}, nil, Wait, "load-1 in tests has not completed yet"},
		{"one of those failed", JobOptions{Selector: "suite=release"}, map[string]Job{
			"tests/smoke-1": job(ours), "tests/load-1": job(ours, jobFailed),
		}, nil, Refuse, "load-1 in tests failed"},
		{"none is selected", JobOptions{Selector: "suite=release"}, nil, nil, Wait, "there is no Job with suite=release in tests"},
		{"in another namespace", JobOptions{Name: name}, map[string]Job{"other/" + name: job(ours, jobComplete)}, nil, Wait, "there is no Job"},
		{"no answer", JobOptions{Name: name}, nil, errors.New("kubernetes: unreachable"), Unknown, "kubernetes: unreachable"},
		{"no right to list", JobOptions{Selector: "suite=release"}, nil, errors.New("kubernetes: forbidden"), Unknown, "kubernetes: forbidden"},
		{"no name for a Job", JobOptions{Name: "Smoke_{environment}"}, nil, nil, Unknown, `"Smoke_prod" cannot be the name of a Job`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.options.Jobs, test.options.Namespace = cluster{test.jobs, test.broken}, "tests"
			g, err := NewJob(test.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Judge(t.Context(), subject(t)); got.Result != test.want || !strings.HasPrefix(got.Detail, test.detail) {
				t.Errorf("%+v, want %s: %s", got, test.want, test.detail)
			}
		})
	}
}

// TestJobOptions: what can never be asked is refused, all at once.
func TestJobOptions(t *testing.T) {
	t.Parallel()
	_, err := NewJob(JobOptions{Name: "a-{verison}", Selector: "b"})
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, says := range []string{"no cluster", "no namespace", "either name or selector", "there is no variable {verison}"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
	g, err := NewJob(JobOptions{Jobs: cluster{}, Namespace: "tests", Name: "smoke-{source}"})
	if err != nil {
		t.Fatal(err)
	}
	s := subject(t)
	s.SourceCommit = ""
	if got := g.Judge(t.Context(), s); got.Result != Unknown || !strings.Contains(got.Detail, "{source}") {
		t.Errorf("without a source commit: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Jobs = cluster{jobs: map[string]Job{"tests/smoke-x": job("shop-v1.4.0", jobComplete)}}
	g.Name = "smoke-x"
	if got := g.Judge(ctx, subject(t)); got.Result != Unknown {
		t.Errorf("after the end: %+v", got)
	}
}

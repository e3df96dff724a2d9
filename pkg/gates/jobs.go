package gates

import (
	"context"
	"errors"

	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/kube"
)

// jobs reads Jobs through an API server.
type jobs struct{ client *kube.Client }

var _ gate.Jobs = jobs{}

// job is what is read of a Job (batch/v1).
type job struct {
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

func (j job) plain() gate.Job {
	found := gate.Job{Name: j.Metadata.Name, Labels: j.Metadata.Labels, Annotations: j.Metadata.Annotations}
	for _, c := range j.Status.Conditions {
		if c.Status == "True" {
			found.Conditions, found.Message = append(found.Conditions, c.Type), c.Message
		}
	}
	return found
}

const batch = "batch/v1"

func (c jobs) Named(ctx context.Context, namespace, name string) (gate.Job, error) {
	var found job
	err := c.client.Get(ctx, kube.Path(batch, namespace, "jobs", name), &found)
	if errors.Is(err, kube.ErrNotFound) {
		return gate.Job{}, gate.ErrNoJob
	}
	return found.plain(), err
}

func (c jobs) Selected(ctx context.Context, namespace, selector string) ([]gate.Job, error) {
	found, err := kube.List[job](ctx, c.client, kube.Path(batch, namespace, "jobs", ""), selector)
	if err != nil {
		return nil, err
	}
	list := make([]gate.Job, 0, len(found))
	for _, j := range found {
		list = append(list, j.plain())
	}
	return list, nil
}

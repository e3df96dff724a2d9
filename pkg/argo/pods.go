package argo

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var podResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// podsTimeout bounds reading the Pods of a namespace: they tell more about what
// Argo CD says, and must not hold it up for long.
const podsTimeout = 20 * time.Second

// pageSize bounds one list of Pods that the API server answers.
const pageSize = 200

// The labels with which owners tell their ReplicaSets apart.
const (
	labelTemplateHash = "pod-template-hash"
	labelRolloutHash  = "rollouts-pod-template-hash"
)

var _ promotion.Live = (*Client)(nil)

// refusal is the answer of an API server that does not let us list Pods.
type refusal struct {
	at  time.Time
	err error
}

// Pods implements promotion.Live. It needs the right to list Pods in the
// namespace. The right is optional, so a refusal is remembered for five
// minutes: asking in vain at every look would fill the cluster's audit log with
// what looks like an intruder.
func (c *Client) Pods(ctx context.Context, namespace string) ([]promotion.Pod, error) {
	c.mu.Lock()
	refused, ok := c.unseen[namespace]
	c.mu.Unlock()
	if ok && c.now().Sub(refused.at) < pauseWithoutRight {
		return nil, refused.err
	}
	pods, err := c.pods(ctx, namespace)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unseen, namespace)
	if errors.Is(err, promotion.ErrNotVisible) {
		c.unseen[namespace] = refusal{c.now(), err}
	}
	return pods, err
}

func (c *Client) pods(ctx context.Context, namespace string) ([]promotion.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, podsTimeout)
	defer cancel()
	found := []promotion.Pod{}
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := c.kube.Resource(podResource).Namespace(namespace).List(ctx, options)
		switch {
		case apierrors.IsForbidden(err):
			return nil, fmt.Errorf("%w: list Pods: %w", promotion.ErrNotVisible, err)
		case err != nil:
			return nil, fmt.Errorf("list Pods of namespace %s: %w", namespace, err)
		}
		for _, item := range page.Items {
			p, err := decodePod(item.Object)
			if err != nil {
				return nil, fmt.Errorf("pod %s/%s: %w", namespace, item.GetName(), err)
			}
			found = append(found, p)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return found, nil
		}
	}
}

// pod has the fields of a Pod that are read. A kubelet reports much more, and
// newer ones report more than this program could know.
type pod struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		InitContainers []podContainer `json:"initContainers"`
		Containers     []podContainer `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase                 string            `json:"phase"`
		InitContainerStatuses []containerStatus `json:"initContainerStatuses"`
		ContainerStatuses     []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type podContainer struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type containerStatus struct {
	Name    string `json:"name"`
	ImageID string `json:"imageID"`
	State   struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
	} `json:"state"`
}

func decodePod(object map[string]any) (promotion.Pod, error) {
	var raw pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &raw); err != nil {
		return promotion.Pod{}, err
	}
	p := promotion.Pod{
		Namespace:   raw.Metadata.Namespace,
		Name:        raw.Metadata.Name,
		Created:     raw.Metadata.CreationTimestamp.Time,
		Terminating: raw.Metadata.DeletionTimestamp != nil,
		Finished:    raw.Status.Phase == "Succeeded" || raw.Status.Phase == "Failed",
	}
	if p.TemplateHash = raw.Metadata.Labels[labelTemplateHash]; p.TemplateHash == "" {
		p.TemplateHash = raw.Metadata.Labels[labelRolloutHash]
	}
	if owner := metav1.GetControllerOf(&raw.Metadata); owner != nil {
		group, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil {
			return p, err
		}
		p.Owner = promotion.Workload{Group: group.Group, Kind: owner.Kind, Namespace: p.Namespace, Name: owner.Name}
	}
	p.Containers = append(containers(raw.Spec.InitContainers, raw.Status.InitContainerStatuses), containers(raw.Spec.Containers, raw.Status.ContainerStatuses)...)
	return p, nil
}

// containers joins what is asked for with what is reported, by name.
func containers(spec []podContainer, status []containerStatus) []promotion.Container {
	all := make([]promotion.Container, 0, len(spec))
	for _, wanted := range spec {
		c := promotion.Container{Name: wanted.Name, Image: wanted.Image}
		for _, reported := range status {
			if reported.Name != wanted.Name {
				continue
			}
			c.ImageID = reported.ImageID
			if reported.State.Waiting != nil {
				c.Waiting, c.Message = reported.State.Waiting.Reason, reported.State.Waiting.Message
			}
		}
		all = append(all, c)
	}
	return all
}

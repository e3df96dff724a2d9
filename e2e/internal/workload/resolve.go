package workload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Resolve reads one container of the first Pod of a workload (kind
// [Deployment] or [StatefulSet]). It fails with [ErrGone] when there is no such
// workload or container, and with a [*StartError] when something that the
// container needs is missing. Init containers are found as well.
func Resolve(ctx context.Context, c Cluster, kind, namespace, name, container string) (*Container, error) {
	return resolve(ctx, newReader(c.Dynamic(), namespace), Ref{Kind: kind, Name: name, Container: container}, 0)
}

// Ref names a container of a workload.
type Ref struct {
	// Kind is [Deployment] or [StatefulSet].
	Kind string
	// Name is the workload's, Container the container's.
	Name, Container string
}

func (r Ref) String() string { return r.Name + "/" + r.Container }

// podName is that of a replica.
func podName(workload string, replica int) string { return fmt.Sprintf("%s-%d", workload, replica) }

// pod is what the containers of a Pod have in common.
type pod struct {
	reader    *reader
	namespace string
	name      string
	template  corev1.PodTemplateSpec
}

func resolve(ctx context.Context, r *reader, ref Ref, replica int) (*Container, error) {
	c := &Container{Kind: ref.Kind, Namespace: r.namespace, Workload: ref.Name, Name: ref.Container, Pod: podName(ref.Name, replica)}
	if err := c.resolve(ctx, r); err != nil {
		return nil, fmt.Errorf("container %s of %s %s/%s: %w", c.Name, c.Kind, c.Namespace, c.Workload, err)
	}
	return c, nil
}

func (c *Container) resolve(ctx context.Context, r *reader) error {
	if c.Kind != Deployment && c.Kind != StatefulSet {
		return fmt.Errorf("kind %q is neither %s nor %s", c.Kind, Deployment, StatefulSet)
	}
	workload, err := r.get(ctx, c.Kind, c.Workload)
	if err != nil {
		return err
	}
	if workload == nil {
		return fmt.Errorf("the %s %w", c.Kind, ErrGone)
	}
	p := &pod{reader: r, namespace: c.Namespace, name: c.Pod}
	if c.Template, err = decodeTemplate(workload, &p.template); err != nil {
		return err
	}
	spec := &p.template.Spec
	container := find(spec, c.Name)
	if container == nil {
		return fmt.Errorf("the container %w", ErrGone)
	}
	c.Generation = workload.GetGeneration()
	c.Replicas = replicas(workload)
	c.Labels = p.template.Labels
	c.Image = container.Image
	c.WorkingDir = container.WorkingDir
	c.ServiceAccount = spec.ServiceAccountName
	if c.ServiceAccount == "" {
		c.ServiceAccount = "default"
	}
	if c.Token, err = p.token(ctx, c.ServiceAccount); err != nil {
		return err
	}
	if s := container.SecurityContext; s != nil && s.ReadOnlyRootFilesystem != nil {
		c.ReadOnlyRoot = *s.ReadOnlyRootFilesystem
	}
	for _, port := range container.Ports {
		c.Ports = append(c.Ports, Port{Name: port.Name, Number: int(port.ContainerPort)})
	}
	if c.Readiness, err = probe(container, "readinessProbe", container.ReadinessProbe); err != nil {
		return err
	}
	if c.Startup, err = probe(container, "startupProbe", container.StartupProbe); err != nil {
		return err
	}
	if c.Env, err = p.environment(ctx, container); err != nil {
		return err
	}
	c.Command = expandAll(container.Command, c.Lookup)
	c.Args = expandAll(container.Args, c.Lookup)
	c.Mounts, err = p.mounts(ctx, container)
	return err
}

// decodeTemplate reads the Pod template of a workload and returns its hash.
func decodeTemplate(workload *unstructured.Unstructured, into *corev1.PodTemplateSpec) (string, error) {
	template, _, err := unstructured.NestedMap(workload.Object, "spec", "template")
	if err != nil {
		return "", err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, into); err != nil {
		return "", fmt.Errorf("its Pod template: %w", err)
	}
	return templateHash(workload)
}

// templateHash is one that changes with the Pod template.
func templateHash(workload *unstructured.Unstructured) (string, error) {
	template, _, err := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template")
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(template)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// replicas is how many Pods a workload wants; the API server fills in 1.
func replicas(workload *unstructured.Unstructured) int {
	n, ok, err := unstructured.NestedInt64(workload.Object, "spec", "replicas")
	if err != nil || !ok {
		return 1
	}
	return int(n)
}

func find(spec *corev1.PodSpec, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// token says whether the Pod's containers get the token of their service
// account. The Pod decides, then the account; the default is that they do.
func (p *pod) token(ctx context.Context, account string) (bool, error) {
	if automount := p.template.Spec.AutomountServiceAccountToken; automount != nil {
		return *automount, nil
	}
	found, err := p.reader.get(ctx, kindServiceAccount, account)
	if err != nil {
		return false, err
	}
	if found == nil {
		// Without it no Pod is even created.
		return false, &StartError{Reason: ReasonConfig, Err: fmt.Errorf("serviceaccount %q not found", account)}
	}
	automount, ok, err := unstructured.NestedBool(found.Object, "automountServiceAccountToken")
	if err != nil {
		return false, fmt.Errorf("service account %s: %w", account, err)
	}
	return automount || !ok, nil
}

// probe reads a probe; name is that of its field.
func probe(container *corev1.Container, name string, p *corev1.Probe) (*Probe, error) {
	switch {
	case p == nil:
		return nil, nil
	case p.HTTPGet != nil:
		port, err := probePort(container, name, p.HTTPGet.Port)
		if err != nil {
			return nil, err
		}
		path := p.HTTPGet.Path
		if path == "" {
			path = "/"
		}
		return &Probe{Port: port, Path: path, TLS: p.HTTPGet.Scheme == corev1.URISchemeHTTPS}, nil
	case p.TCPSocket != nil:
		port, err := probePort(container, name, p.TCPSocket.Port)
		return &Probe{Port: port}, err
	}
	return nil, fmt.Errorf("its %s is neither httpGet nor tcpSocket, which is all that is played here", name)
}

func probePort(container *corev1.Container, name string, port intstr.IntOrString) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, p := range container.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), nil
		}
	}
	return 0, fmt.Errorf("its %s asks port %q, which no entry of its ports has as name", name, port.StrVal)
}

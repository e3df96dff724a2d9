package workload

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

// translate turns a container into a command and makes its files.
func (k *Kubelet) translate(ctx context.Context, c *Container, port func(int) (int, error)) (*command, error) {
	image, err := k.image(c)
	if err != nil {
		return nil, &StartError{Reason: ReasonRun, Err: err}
	}
	l := local{
		volume:  k.volumes(c),
		private: filepath.Join(k.podDir(c.Pod), c.Name),
		port:    port,
		forward: func(address string) (string, error) { return k.config.Net.Forward(ctx, address) },
		env:     k.config.Net.Environment(),
	}
	if c.Token {
		if l.kubeconfig, err = k.config.Cluster.ServiceAccountKubeconfig(ctx, c.Namespace, c.ServiceAccount); err != nil {
			return nil, &StartError{Reason: ReasonMount, Err: err}
		}
	}
	if err := k.writeVolumes(c); err != nil {
		return nil, &StartError{Reason: ReasonMount, Err: err}
	}
	cmd, err := translate(c, image, l)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{filepath.Join(l.private, "root"), filepath.Join(l.private, "tmp"), cmd.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, &StartError{Reason: ReasonRun, Err: err}
		}
	}
	return cmd, nil
}

// volumes returns where the volumes of a container's Pod are. What containers
// share is named after the volume. Contents of objects are a container's own,
// so that each one can be sure of what it reads.
func (k *Kubelet) volumes(c *Container) func(string) string {
	shared := map[string]bool{}
	for _, m := range c.Mounts {
		shared[m.Volume] = m.Files == nil
	}
	return func(name string) string {
		if shared[name] {
			return filepath.Join(k.podDir(c.Pod), "volumes", name)
		}
		return filepath.Join(k.podDir(c.Pod), c.Name, "volumes", name)
	}
}

// writeVolumes makes the directories of mounts and their files as they are now.
func (k *Kubelet) writeVolumes(c *Container) error {
	where := k.volumes(c)
	var errs []error
	for _, m := range c.Mounts {
		if m.Files == nil {
			errs = append(errs, os.MkdirAll(where(m.Volume), 0o700))
			continue
		}
		errs = append(errs, writeVolume(where(m.Volume), m.Files))
	}
	return errors.Join(errs...)
}

// endpoint is what the network knows of a ready container.
func endpoint(c *Container, cmd *command) servicenet.Endpoint {
	e := servicenet.Endpoint{Namespace: c.Namespace, Pod: c.Pod, Labels: c.Labels}
	names := map[int]string{}
	for _, p := range c.Ports {
		names[p.Number] = p.Name
	}
	for number, address := range cmd.ports {
		e.Ports = append(e.Ports, servicenet.Port{Name: names[number], Number: number, Address: address})
	}
	return e
}

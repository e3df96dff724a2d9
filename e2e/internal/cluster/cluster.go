// Package cluster runs a Kubernetes control plane for an end-to-end suite.
//
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler are the real
// programs, as processes on 127.0.0.1 with ports of their own, so that several
// clusters fit on one machine. RBAC and the usual admission are on. What is not
// real is the node kwok-0: KWOK says of its Pods what a kubelet would, without
// running anything, and follows [NeverReadyKey] and images that are called
// broken (see [Start]). A real node may join by the admin's kubeconfig.
//
// Everything the cluster has is in one folder: etcd's data, keys, kubeconfigs
// and, in logs, a log for each process and the API server's audit log.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
)

const (
	// Namespace is Argo CD's, which exists from the start and is the one that
	// kubeconfigs name.
	Namespace = "argocd"
	// NodeName is the simulated node.
	NodeName = "kwok-0"
)

// Modules are the modules that [toolchain.Ensure] has to be given for a cluster.
func Modules() []string { return []string{toolchain.Kubernetes, toolchain.KWOK} }

// Cluster is a running control plane. Its methods may be called by several
// goroutines at once, except Stop.
type Cluster struct {
	dir   string
	tools *toolchain.Tools
	pki   *pki
	ports ports

	config    *rest.Config
	dynamic   dynamic.Interface
	clientset kubernetes.Interface

	processes []*process.Process // In order of their start.
}

// Start starts a cluster and waits until it works: controllers make objects,
// the simulated node is ready and the namespace argocd is there. Its files are
// in dir, which must not have been used for a cluster before. Ctx bounds the
// start only; the cluster ends with Stop, or with this process.
//
// Pods on the simulated node become ready at once and Jobs complete, unless
//   - the Pod has [NeverReadyKey] as a label or annotation: its containers run
//     and are never ready, until it is taken away;
//   - it uses an image whose repository ends in "/broken" or whose tag contains
//     "broken": that container waits with ImagePullBackOff.
func Start(ctx context.Context, t *toolchain.Tools, dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c := &Cluster{dir: dir, tools: t}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	for _, spec := range []process.Spec{c.etcd(), c.apiServer()} {
		if err := c.startAll(ctx, spec); err != nil {
			return err
		}
	}
	if err := c.startAll(ctx, c.controllerManager(), c.scheduler(), c.kwok()); err != nil {
		return err
	}
	if err := c.createNode(ctx); err != nil {
		return err
	}
	if err := c.createNamespace(ctx); err != nil {
		return err
	}
	return c.awaitWorking(ctx)
}

// prepare makes what the processes read, and clients that are not used yet.
func (c *Cluster) prepare() error {
	if _, err := os.Stat(c.path("etcd")); err == nil {
		return fmt.Errorf("folder %s has a cluster already", c.dir)
	}
	var err error
	if c.pki, err = newPKI(c.path("pki")); err != nil {
		return err
	}
	if c.ports, err = newPorts(); err != nil {
		return err
	}
	if err := c.writeAdminKubeconfig(); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("kwok.yaml"), stages(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return err
	}
	// A suite asks often and is alone; the server has limits of its own.
	c.config.QPS = -1
	c.config.UserAgent = "propagator-e2e"
	// Kubernetes warns of names that are Argo CD's.
	c.config.WarningHandler = rest.NoWarnings{}
	if c.dynamic, err = dynamic.NewForConfig(c.config); err != nil {
		return err
	}
	c.clientset, err = kubernetes.NewForConfig(c.config)
	return err
}

// startAll starts processes side by side. Those that started are the cluster's
// even if another one did not.
func (c *Cluster) startAll(ctx context.Context, specs ...process.Spec) error {
	started := make([]*process.Process, len(specs))
	group, ctx := errgroup.WithContext(ctx)
	for i, spec := range specs {
		group.Go(func() error {
			p, err := process.Start(ctx, spec)
			started[i] = p
			return err
		})
	}
	err := group.Wait()
	for _, p := range started {
		if p != nil {
			c.processes = append(c.processes, p)
		}
	}
	return err
}

// Stop ends all processes, the last one first. The folder is left as it is.
func (c *Cluster) Stop() {
	// Each has a grace of its own; this is for a machine that hangs.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, p := range slices.Backward(c.processes) {
		// One that had to be killed is as gone as the others.
		_ = p.Stop(ctx)
	}
	c.processes = nil
}

// Err says which of the cluster's processes has ended though nobody stopped
// it, and nil if all are alive.
func (c *Cluster) Err() error {
	var errs []error
	for _, p := range c.processes {
		select {
		case <-p.Done():
			err := p.Err()
			if err == nil {
				err = errors.New("exit status 0")
			}
			errs = append(errs, fmt.Errorf("%s: %w: %w; see %s", p.Name(), process.ErrExited, err, p.LogPath()))
		default:
		}
	}
	return errors.Join(errs...)
}

// Processes are the cluster's processes by name, for what a test wants to
// measure or to disturb.
func (c *Cluster) Processes() map[string]*process.Process {
	byName := make(map[string]*process.Process, len(c.processes))
	for _, p := range c.processes {
		byName[p.Name()] = p
	}
	return byName
}

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.dir }

// Server is the URL of the API server.
func (c *Cluster) Server() string { return c.ports.url("https", c.ports.apiServer) }

// RESTConfig returns a copy of the admin's client configuration, without a
// limit of requests.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// Dynamic is the admin's client for objects of any kind.
func (c *Cluster) Dynamic() dynamic.Interface { return c.dynamic }

// Clientset is the admin's client for Kubernetes' own kinds.
func (c *Cluster) Clientset() kubernetes.Interface { return c.clientset }

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

func (c *Cluster) log(name string) string { return c.path("logs", name+".log") }

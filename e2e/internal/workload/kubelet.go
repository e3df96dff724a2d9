package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
)

// Config is what a [Kubelet] needs.
type Config struct {
	// Cluster has the workloads.
	Cluster Cluster
	// Namespace is the one whose workloads run. Empty means argocd.
	Namespace string
	// Dir holds volumes and logs, a folder for each Pod. Keep its path short:
	// sockets in volumes have to fit into 107 bytes.
	Dir string
	// Net makes ready containers reachable and leads them to others.
	Net *servicenet.Network
	// Images are those that can be run.
	Images []Image
	// Log receives what starts and ends, and why. Nil means none.
	Log *slog.Logger
}

// Kubelet runs containers of workloads as processes. Make one with
// [NewKubelet]. Its methods may be called from several goroutines at once.
type Kubelet struct {
	config Config
	images map[string]*Image
	stop   context.CancelFunc
	// Ends with the kubelet; it has no other owner.
	running  context.Context
	informed func() // Waits for the watches to end.

	mu        sync.Mutex
	closed    bool
	workloads []*Workload
}

// NewKubelet starts to watch the namespace. Ctx bounds the start only; the
// kubelet works until it is stopped.
func NewKubelet(ctx context.Context, c Config) (*Kubelet, error) {
	if c.Cluster == nil || c.Net == nil || c.Dir == "" {
		return nil, errors.New("kubelet: it needs a cluster, a network and a directory")
	}
	if c.Namespace == "" {
		c.Namespace = "argocd"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	c.Dir = dir
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	k := &Kubelet{config: c, images: map[string]*Image{}, running: running, stop: stop}
	for i := range c.Images {
		k.images[c.Images[i].Name] = &c.Images[i]
	}
	if err := k.watch(ctx); err != nil {
		stop()
		k.informed()
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	return k, nil
}

// watch wakes containers when something that they were made from changes.
func (k *Kubelet) watch(ctx context.Context) error {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(k.config.Cluster.Dynamic(), 0, k.config.Namespace, nil)
	k.informed = factory.Shutdown
	var synced []cache.InformerSynced
	for _, kind := range []string{Deployment, StatefulSet, kindSecret, kindConfigMap} {
		informer := factory.ForResource(resources[kind]).Informer()
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { k.changed(kind, nil, o) },
			UpdateFunc: func(before, now any) { k.changed(kind, before, now) },
			DeleteFunc: func(o any) { k.changed(kind, nil, o) },
		})
		if err != nil {
			return err
		}
		synced = append(synced, handler.HasSynced)
	}
	factory.Start(k.running.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("watch namespace %s: %w", k.config.Namespace, context.Cause(ctx))
	}
	return nil
}

// changed tells the containers that depend on an object. Changes of a
// workload's status are none.
func (k *Kubelet) changed(kind string, before, now any) {
	if gone, ok := now.(cache.DeletedFinalStateUnknown); ok {
		now = gone.Obj
	}
	found, ok := now.(metav1.Object)
	if !ok {
		return
	}
	if old, ok := before.(metav1.Object); ok && (kind == Deployment || kind == StatefulSet) && old.GetGeneration() == found.GetGeneration() {
		return
	}
	k.mu.Lock()
	workloads := slices.Clone(k.workloads)
	k.mu.Unlock()
	for _, w := range workloads {
		w.changed(object{kind, found.GetName()})
	}
}

// Run runs a container in all replicas of its workload, now and whenever
// either changes. It does not wait: see [Workload.Ready]. The workload need not
// exist yet.
func (k *Kubelet) Run(ref Ref) (*Workload, error) {
	if ref.Kind != Deployment && ref.Kind != StatefulSet {
		return nil, fmt.Errorf("run %s: kind %q is neither %s nor %s", ref, ref.Kind, Deployment, StatefulSet)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, fmt.Errorf("run %s: the kubelet was stopped", ref)
	}
	for _, w := range k.workloads {
		if w.ref == ref {
			return nil, fmt.Errorf("run %s: it runs already", ref)
		}
	}
	w := newWorkload(k, ref)
	k.workloads = append(k.workloads, w)
	return w, nil
}

// Stop ends all processes and the kubelet.
func (k *Kubelet) Stop() {
	k.mu.Lock()
	k.closed = true
	workloads := k.workloads
	k.workloads = nil
	k.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range workloads {
		all.Go(w.end)
	}
	all.Wait()
	k.stop()
	k.informed()
}

// RunInit runs an init container of the first replica once and waits for its
// end, as a kubelet does before it starts the others. Its output is in the
// error when it does not exit with 0.
func (k *Kubelet) RunInit(ctx context.Context, ref Ref) error {
	c, err := Resolve(ctx, k.config.Cluster, ref.Kind, k.config.Namespace, ref.Name, ref.Container)
	if err != nil {
		return fmt.Errorf("run %s: %w", ref, err)
	}
	cmd, err := k.translate(ctx, c, func(int) (int, error) { return process.FreePort() })
	if err != nil {
		return fmt.Errorf("run %s: %w", ref, err)
	}
	log := filepath.Join(k.podDir(c.Pod), c.Name+".log")
	p, err := process.Start(ctx, process.Spec{Name: ref.String(), Path: cmd.path, Args: cmd.args, Env: cmd.env, Dir: cmd.dir, Log: log})
	if err != nil {
		return fmt.Errorf("run %s: %w", ref, err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("run %s: %w", ref, context.Cause(ctx))
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("run %s: %w%s", ref, err, tail(log))
	}
	return nil
}

// image finds the table entry of a container's image.
func (k *Kubelet) image(c *Container) (*Image, error) {
	name, err := imageName(c.Image)
	if err != nil {
		return nil, err
	}
	image, ok := k.images[name]
	if !ok {
		return nil, fmt.Errorf("image %s is none of those that can be run here", c.Image)
	}
	return image, nil
}

// podDir is the folder of a Pod.
func (k *Kubelet) podDir(pod string) string { return filepath.Join(k.config.Dir, pod) }

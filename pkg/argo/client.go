package argo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	argocd "github.com/argoproj/argo-cd/v2/pkg/apis/application"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

var (
	applications    = schema.GroupVersionResource{Group: argocd.Group, Version: "v1alpha1", Resource: argocd.ApplicationPlural}
	applicationSets = schema.GroupVersionResource{Group: argocd.Group, Version: "v1alpha1", Resource: argocd.ApplicationSetPlural}
)

// annotationRefresh makes the ApplicationSet controller generate anew. Only a
// changed value is an event, so every poke writes another one.
const annotationRefresh = "argocd.argoproj.io/application-set-refresh"

// Client reads Applications, pokes ApplicationSets, and asks Argo CD to see to
// an Application again. It is safe for concurrent use.
type Client struct {
	kube dynamic.Interface
	// raw gives what the API server says as it comes.
	raw       rest.Interface
	namespace string
	now       func() time.Time
	// seen is the newest version of an Application so far.
	seen atomic.Uint64

	mu     sync.Mutex         // guards unseen
	unseen map[string]refusal // by namespace, whose Pods may not be listed
}

var _ promotion.Applications = (*Client)(nil)

// New makes a client for the Applications of one namespace, usually argocd;
// "" means all namespaces. Both clients are of the same API server; raw lists
// Applications, kube does all else.
func New(kube dynamic.Interface, raw rest.Interface, namespace string) *Client {
	return &Client{kube: kube, raw: raw, namespace: namespace, now: time.Now, unseen: map[string]refusal{}}
}

// Connect makes a client from a kubeconfig file, or, when it is empty, from
// the service account of the Pod it runs in.
func Connect(kubeconfig, namespace string) (*Client, error) {
	config, err := RESTConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return newClient(config, namespace)
}

func newClient(config *rest.Config, namespace string) (*Client, error) {
	// One client below both, with one connection.
	below, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	kube, err := dynamic.NewForConfigAndClient(config, below)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", new(applications.GroupVersion())
	config.NegotiatedSerializer = serializer.NewCodecFactory(errorScheme()).WithoutConversion()
	raw, err := rest.RESTClientForConfigAndClient(config, below)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return New(kube, raw, namespace), nil
}

// errorScheme knows how an API server says what is wrong.
func errorScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme
}

// RESTConfig is how [Connect] talks to the API server, for clients of other
// objects of the same cluster.
func RESTConfig(kubeconfig string) (*rest.Config, error) {
	config, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "propagator"
	// The library's own limits (5 and 10) would make a busy moment of one
	// pipeline a delay for all; the API server has limits of its own.
	config.QPS, config.Burst = 50, 100
	return config, nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		switch {
		case clientcmd.IsEmptyConfig(err):
			// The library advises to set a variable that is not ours.
			return nil, fmt.Errorf("kubeconfig %s names no cluster; name another file with --kubeconfig", kubeconfig)
		case err != nil:
			return nil, fmt.Errorf("kubeconfig %s: %w; name another file with --kubeconfig", kubeconfig, err)
		}
		return config, nil
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("not in a Pod (%w); name a file with --kubeconfig", err)
	}
	return config, nil
}

// List implements promotion.Applications. Unless the context is exact, the API
// server answers from its cache, which it keeps for such lists: never older than
// what this client has seen before, in a list or a watch. Of an exact list every
// Application of the namespace may have to be read from etcd, whosever it is.
func (c *Client) List(ctx context.Context, pipeline string) ([]promotion.Application, error) {
	// Without a limit: pages are never served from the cache.
	options := metav1.ListOptions{LabelSelector: LabelPipeline + "=" + pipeline}
	if known := c.seen.Load(); known > 0 && !promotion.IsExact(ctx) {
		options.ResourceVersion, options.ResourceVersionMatch = strconv.FormatUint(known, 10), metav1.ResourceVersionMatchNotOlderThan
	}
	found, err := c.list(ctx, options)
	if options.ResourceVersion != "" && apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		// The server is behind what another one has said, or was restored from a
		// backup and begins to count anew.
		c.seen.Store(0)
		options.ResourceVersion, options.ResourceVersionMatch = "", ""
		found, err = c.list(ctx, options)
	}
	return found, err
}

func (c *Client) list(ctx context.Context, options metav1.ListOptions) ([]promotion.Application, error) {
	var found []promotion.Application
	for {
		result := c.raw.Get().NamespaceIfScoped(c.namespace, c.namespace != "").Resource(applications.Resource).
			VersionedParams(&options, metav1.ParameterCodec).Do(ctx)
		raw, err := result.Raw()
		if err != nil {
			return nil, fmt.Errorf("list Applications: %w", result.Error()) // Error reads the server's own words
		}
		var page struct {
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []application   `json:"items"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, unreadable(raw, err)
		}
		for i := range page.Items {
			c.see(page.Items[i].Metadata.ResourceVersion)
			if a, ok := page.Items[i].read(); ok {
				found = append(found, a)
			}
		}
		if page.Metadata.Continue == "" {
			return found, nil
		}
		// Nobody asked for pages, but a proxy may know better.
		options.Continue, options.ResourceVersion, options.ResourceVersionMatch = page.Metadata.Continue, "", ""
	}
}

// see remembers how new an Application was. Versions of one kind of object are
// numbers that grow (KEP 5504); what is none is not remembered. Those of lists are
// of all kinds: a cache of Applications may not come to one before an Application
// changes, and a request for it would wait in vain.
func (c *Client) see(version string) {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return
	}
	for {
		known := c.seen.Load()
		if n <= known || c.seen.CompareAndSwap(known, n) {
			return
		}
	}
}

// unreadable names the Application of a page that cannot be decoded.
func unreadable(raw []byte, err error) error {
	var page struct {
		Items []json.RawMessage `json:"items"`
	}
	if again := json.Unmarshal(raw, &page); again != nil {
		return fmt.Errorf("list Applications: %w", err)
	}
	for _, item := range page.Items {
		var object metav1.PartialObjectMetadata
		if _, _, err := decode(item); err != nil && json.Unmarshal(item, &object) == nil {
			return fmt.Errorf("application %s: %w", object.Name, err)
		}
	}
	return fmt.Errorf("list Applications: %w", err)
}

// Poke implements promotion.Applications: it changes the refresh annotation of
// every ApplicationSet of the pipeline.
func (c *Client) Poke(ctx context.Context, pipeline string) error {
	sets, err := c.kube.Resource(applicationSets).Namespace(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: LabelPipeline + "=" + pipeline})
	if err != nil {
		return fmt.Errorf("list ApplicationSets: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		annotationRefresh: "propagator-" + c.now().UTC().Format("20060102T150405.000000000"),
	}}})
	if err != nil {
		return err
	}
	var errs []error
	for _, set := range sets.Items {
		_, err := c.kube.Resource(applicationSets).Namespace(set.GetNamespace()).Patch(ctx, set.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			errs = append(errs, fmt.Errorf("poke ApplicationSet %s: %w", set.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// The names of our own objects, as manifests/ has them.
const (
	settingsMap       = "propagator-settings"
	generatorMap      = "propagator"
	tokenSecret       = "propagator-token"
	tokenKey          = "token"
	gitSecret         = "propagator-git"      // the hook's, which may write
	gitReadSecret     = "propagator-git-read" //nolint:gosec // a Secret's name: the generator's
	caKey             = "ca.crt"
	registriesSecret  = "propagator-registries"
	hostTokensSecret  = "propagator-host-tokens" //nolint:gosec // a name
	generatorWorkload = "propagator-applicationset-generator"
	hookWorkload      = "propagator-notifications-hook"
	sidecarContainer  = "cmp-sidecar"
	pluginsVolume     = "plugins"
	programPort       = 8080
	sidecarPort       = 8087
)

// The names of Argo CD's objects, and of parts of them.
const (
	paramsMap           = "argocd-cmd-params-cm"
	notificationsMap    = "argocd-notifications-cm"
	notificationsSecret = "argocd-notifications-secret" //nolint:gosec // a Secret's name
	notificationsToken  = "propagator-token"
	argocdSecret        = "argocd-secret"
	repoServer          = "repo-server"
	applicationSets     = "applicationset-controller"
	notifications       = "notifications-controller"
	argoAPI             = "argoproj.io/v1alpha1"
	labelPipeline       = "propagator.dev/pipeline"
	labelComponent      = "app.kubernetes.io/component"
	labelPartOf         = "app.kubernetes.io/part-of"
	partOfArgoCD        = "argocd"
)

// fieldManager owns our fields in Argo CD's objects.
const fieldManager = "propagator"

// examination is one run: the configuration, and what several checks read.
type examination struct {
	Config
	secrets   secretSet
	pipelines lazy[[]*pipeline]
}

// lazy is read once, by whoever comes first. A failure is not kept when it was
// only that check's time that ran out.
type lazy[T any] struct {
	mu    sync.Mutex // guards the rest
	known bool
	value T
	err   error
}

func (l *lazy[T]) get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known {
		return l.value, l.err
	}
	value, err := read(ctx)
	if ctx.Err() == nil {
		l.known, l.value, l.err = true, value, err
	}
	return value, err
}

func (x *examination) kubectl(format string, args ...any) string {
	return "kubectl -n " + x.Namespace + " " + fmt.Sprintf(format, args...)
}

// restart is how a Deployment reads its ConfigMaps and Secrets again.
func (x *examination) restart(name string) string {
	return x.kubectl("rollout restart deployment %s", name)
}

func (x *examination) configMap(ctx context.Context, name string) (map[string]string, error) {
	var m corev1.ConfigMap
	err := x.Cluster.Get(ctx, kube.Path("v1", x.Namespace, "configmaps", name), &m)
	return m.Data, err
}

// secret reads a Secret. Everything in it but user names is kept out of
// findings from now on.
func (x *examination) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	var s corev1.Secret
	if err := x.Cluster.Get(ctx, kube.Path("v1", x.Namespace, "secrets", name), &s); err != nil {
		return nil, err
	}
	for key, value := range s.Data {
		switch key {
		case "username", "url", "known_hosts", caKey:
		case corev1.DockerConfigJsonKey:
			x.secrets.addDockerConfig(value)
		default:
			x.secrets.add(string(value))
			x.secrets.add(strings.Split(string(value), "\n")...)
		}
	}
	return &s, nil
}

// deployment finds a part of Argo CD: by its stock name, or by the label that
// every way of installing sets.
func (x *examination) deployment(ctx context.Context, component string) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	err := x.Cluster.Get(ctx, kube.Path("apps/v1", x.Namespace, "deployments", "argocd-"+component), &d)
	if !errors.Is(err, kube.ErrNotFound) {
		return &d, err
	}
	all, listErr := kube.List[appsv1.Deployment](ctx, x.Cluster, kube.Path("apps/v1", x.Namespace, "deployments", ""), labelComponent+"="+component)
	switch {
	case listErr != nil:
		return nil, listErr // which says nothing about what there is
	case len(all) == 0:
		return nil, err
	}
	return &all[0], nil
}

func (x *examination) ownDeployment(ctx context.Context, name string) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	err := x.Cluster.Get(ctx, kube.Path("apps/v1", x.Namespace, "deployments", name), &d)
	return &d, err
}

// pods lists the Pods of a Deployment, by name.
func (x *examination) pods(ctx context.Context, d *appsv1.Deployment) ([]corev1.Pod, error) {
	if d.Spec.Selector == nil {
		return nil, nil
	}
	var terms []string
	for _, name := range slices.Sorted(maps.Keys(d.Spec.Selector.MatchLabels)) {
		terms = append(terms, name+"="+d.Spec.Selector.MatchLabels[name])
	}
	pods, err := kube.List[corev1.Pod](ctx, x.Cluster, kube.Path("v1", x.Namespace, "pods", ""), strings.Join(terms, ","))
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, err
}

// container finds a container by name, or the only one.
func container(pod corev1.PodSpec, name string) *corev1.Container {
	for i := range pod.Containers {
		if c := &pod.Containers[i]; c.Name == name || len(pod.Containers) == 1 {
			return c
		}
	}
	return nil
}

// environment resolves a container's variables as the kubelet does, but for
// those that come from Secrets or fields of the Pod, which are left out.
func (x *examination) environment(ctx context.Context, c *corev1.Container) (map[string]string, error) {
	env := map[string]string{}
	known := map[string]map[string]string{}
	read := func(name string) (map[string]string, error) {
		if data, ok := known[name]; ok {
			return data, nil
		}
		data, err := x.configMap(ctx, name)
		if errors.Is(err, kube.ErrNotFound) {
			err = nil
		}
		if err == nil {
			known[name] = data
		}
		return data, err
	}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef == nil {
			continue
		}
		data, err := read(from.ConfigMapRef.Name)
		if err != nil {
			return nil, err
		}
		for key, value := range data {
			env[from.Prefix+key] = value
		}
	}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom == nil:
			env[e.Name] = e.Value
		case e.ValueFrom.ConfigMapKeyRef != nil:
			data, err := read(e.ValueFrom.ConfigMapKeyRef.Name)
			if err != nil {
				return nil, err
			}
			if value, ok := data[e.ValueFrom.ConfigMapKeyRef.Key]; ok {
				env[e.Name] = value
			}
		}
	}
	return env, nil
}

// flagValues are the values that a container's command line gives to a flag.
func flagValues(c *corev1.Container, flag string) []string {
	var values []string
	words := slices.Concat(c.Command, c.Args)
	for i, word := range words {
		if value, ok := strings.CutPrefix(word, "--"+flag+"="); ok {
			values = append(values, value)
		} else if word == "--"+flag && i+1 < len(words) {
			values = append(values, words[i+1])
		}
	}
	return values
}

// service finds a Service; the host of a URL names it.
func (x *examination) service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	var s corev1.Service
	err := x.Cluster.Get(ctx, kube.Path("v1", namespace, "services", name), &s)
	return &s, err
}

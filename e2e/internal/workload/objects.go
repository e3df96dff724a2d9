package workload

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Cluster is what this package needs of a cluster.
type Cluster interface {
	// Dynamic has all rights.
	Dynamic() dynamic.Interface
	// ServiceAccountKubeconfig writes a kubeconfig with the rights of a
	// service account and returns its path.
	ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error)
}

// The kinds that are read.
const (
	kindSecret         = "Secret"
	kindConfigMap      = "ConfigMap"
	kindServiceAccount = "ServiceAccount"
)

var resources = map[string]schema.GroupVersionResource{
	Deployment:         {Group: "apps", Version: "v1", Resource: "deployments"},
	StatefulSet:        {Group: "apps", Version: "v1", Resource: "statefulsets"},
	kindSecret:         {Version: "v1", Resource: "secrets"},
	kindConfigMap:      {Version: "v1", Resource: "configmaps"},
	kindServiceAccount: {Version: "v1", Resource: "serviceaccounts"},
}

// object names one object of a namespace.
type object struct{ kind, name string }

// reader reads each object of a namespace once, and remembers which ones were
// asked for, whether they exist or not.
type reader struct {
	client    dynamic.Interface
	namespace string
	known     map[object]*unstructured.Unstructured
}

func newReader(client dynamic.Interface, namespace string) *reader {
	return &reader{client: client, namespace: namespace, known: map[object]*unstructured.Unstructured{}}
}

// get returns nil for what does not exist.
func (r *reader) get(ctx context.Context, kind, name string) (*unstructured.Unstructured, error) {
	id := object{kind, name}
	if found, ok := r.known[id]; ok {
		return found, nil
	}
	found, err := r.client.Resource(resources[kind]).Namespace(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		found, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, r.namespace, name, err)
	}
	r.known[id] = found
	return found, nil
}

// values returns the data of a Secret or ConfigMap, and false when it does not
// exist.
func (r *reader) values(ctx context.Context, kind, name string) (map[string][]byte, bool, error) {
	found, err := r.get(ctx, kind, name)
	if err != nil || found == nil {
		return nil, false, err
	}
	values := map[string][]byte{}
	switch kind {
	case kindSecret:
		var secret corev1.Secret
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.Object, &secret); err != nil {
			return nil, false, fmt.Errorf("secret %s/%s: %w", r.namespace, name, err)
		}
		for key, value := range secret.Data {
			values[key] = value
		}
	default:
		var configMap corev1.ConfigMap
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.Object, &configMap); err != nil {
			return nil, false, fmt.Errorf("configmap %s/%s: %w", r.namespace, name, err)
		}
		for key, value := range configMap.Data {
			values[key] = []byte(value)
		}
		for key, value := range configMap.BinaryData {
			values[key] = value
		}
	}
	return values, true, nil
}

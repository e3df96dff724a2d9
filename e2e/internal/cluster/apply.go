package cluster

import (
	"cmp"
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// ApplyFolder is "kubectl apply --server-side --force-conflicts -k dir" as a
// field manager, without kubectl, whose start takes the time of some hundred
// requests. Objects without a namespace go to [Namespace].
func (c *Cluster) ApplyFolder(ctx context.Context, dir, manager string) error {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return fmt.Errorf("apply %s: %w", dir, err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.clientset.Discovery()))
	for _, r := range resources.Resources() {
		fields, err := r.Map()
		if err != nil {
			return fmt.Errorf("apply %s: %w", dir, err)
		}
		object := &unstructured.Unstructured{Object: fields}
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return fmt.Errorf("apply %s: %w", dir, err)
		}
		resource := dynamic.ResourceInterface(c.dynamic.Resource(mapping.Resource))
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = c.dynamic.Resource(mapping.Resource).Namespace(cmp.Or(object.GetNamespace(), Namespace))
		}
		if _, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: manager, Force: true}); err != nil {
			return fmt.Errorf("apply %s: %s %s: %w", dir, object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

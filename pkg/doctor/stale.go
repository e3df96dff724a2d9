package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// checkRead wants a Deployment's Pods to have started after the last change of
// what the named variables are read from: a container gets its variables when it
// starts. It returns false when that is not so, or cannot be told, and says so.
// A key that was deleted leaves no trace, so nothing is said of it.
func (x *examination) checkRead(ctx context.Context, n *notes, d *appsv1.Deployment, c *corev1.Container, variables ...string) bool {
	subject := "Deployment " + d.Name
	pods, err := x.pods(ctx, d)
	if err != nil {
		n.trouble(subject+"'s Pods", err)
		return false
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil || e.ValueFrom.ConfigMapKeyRef == nil || !slices.Contains(variables, e.Name) {
			continue
		}
		from := e.ValueFrom.ConfigMapKeyRef
		changed, err := x.changed(ctx, from.Name, from.Key)
		if err != nil {
			n.trouble("ConfigMap "+from.Name, err)
			return false
		}
		for _, pod := range pods {
			if started := startOf(pod, c.Name); pod.DeletionTimestamp == nil && !started.IsZero() && changed.After(started) {
				n.warn(subject, fmt.Sprintf("Pod %s runs since %s, and %s in ConfigMap %s may have changed after that (%s), which it does not notice",
					pod.Name, started.UTC().Format(time.RFC3339), from.Key, from.Name, changed.UTC().Format(time.RFC3339)), x.restart(d.Name))
				return false
			}
		}
	}
	return true
}

// changed is when somebody who set a key of a ConfigMap has last written it: the
// server notes when each writer changed anything, not when which key changed. It
// is zero when the key or the note is not there.
func (x *examination) changed(ctx context.Context, name, key string) (time.Time, error) {
	var m corev1.ConfigMap
	err := x.Cluster.Get(ctx, kube.Path("v1", x.Namespace, "configmaps", name), &m)
	if err != nil {
		if errors.Is(err, kube.ErrNotFound) {
			err = nil
		}
		return time.Time{}, err
	}
	var last time.Time
	for _, entry := range m.ManagedFields {
		var fields struct {
			Data map[string]json.RawMessage `json:"f:data"`
		}
		if entry.Time == nil || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil {
			continue
		}
		if _, ok := fields.Data["f:"+key]; ok && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last, nil
}

// startOf is when a container of a Pod started; zero when it does not run.
func startOf(pod corev1.Pod, container string) time.Time {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container && status.State.Running != nil {
			return status.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
}

// argoManager says by what Argo CD's own objects are managed, when that would
// undo what kubectl writes into them: "Helm", "Argo CD", or "" for nobody.
func argoManager(d *appsv1.Deployment) string {
	switch {
	case d == nil:
		return ""
	case strings.EqualFold(d.Labels["app.kubernetes.io/managed-by"], "Helm"), d.Annotations["meta.helm.sh/release-name"] != "":
		return "Helm"
	case d.Annotations["argocd.argoproj.io/tracking-id"] != "":
		return "Argo CD"
	}
	return ""
}

// setParam sets a key of ConfigMap argocd-cmd-params-cm, in the way in which that
// is managed, and lets the Deployment that reads it start again.
func (x *examination) setParam(d *appsv1.Deployment, key, value string) string {
	switch argoManager(d) {
	case "Helm":
		return fmt.Sprintf("set configs.params.\"%s\" to \"%s\" in the values of the Helm release that Argo CD is, and upgrade it", key, value)
	case "Argo CD":
		return fmt.Sprintf("set %s to \"%s\" in ConfigMap %s in git, where Argo CD manages itself; after the sync:\n%s", key, value, paramsMap, x.restart(d.Name))
	}
	return x.kubectl(`patch configmap %s --type merge -p '{"data":{"%s":"%s"}}'`, paramsMap, key, value) + "\n" + x.restart(d.Name)
}

package applications

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// decode reads the fields by name: the suite speaks to two major versions of
// Argo CD, whose Go types differ and whose YAML does not.
func decode(u *unstructured.Unstructured) State {
	text := func(path string) string {
		s, _, _ := unstructured.NestedString(u.Object, strings.Split(path, ".")...)
		return s
	}
	moment := func(path string) time.Time {
		t, err := time.Parse(time.RFC3339, text(path))
		if err != nil {
			return time.Time{}
		}
		return t
	}
	s := State{
		Name:           u.GetName(),
		Labels:         u.GetLabels(),
		TargetRevision: text("spec.source.targetRevision"),
		Sync:           text("status.sync.status"),
		Revision:       text("status.sync.revision"),
		Health:         text("status.health.status"),
		Phase:          text("status.operationState.phase"),
		SyncedRevision: text("status.operationState.syncResult.revision"),
		Message:        text("status.operationState.message"),
		StartedAt:      moment("status.operationState.startedAt"),
		FinishedAt:     moment("status.operationState.finishedAt"),
		ReconciledAt:   moment("status.reconciledAt"),
		Conditions:     map[string]string{},
		Resources:      map[string]string{},
	}
	each(u, []string{"status", "conditions"}, func(o map[string]any) {
		s.Conditions[field(o, "type")] = field(o, "message")
	})
	each(u, []string{"status", "resources"}, func(o map[string]any) {
		health, _, _ := unstructured.NestedString(o, "health", "status")
		s.Resources[field(o, "kind")+"/"+field(o, "namespace")+"/"+field(o, "name")] = health
	})
	return s
}

func each(u *unstructured.Unstructured, path []string, use func(map[string]any)) {
	items, _, _ := unstructured.NestedSlice(u.Object, path...)
	for _, item := range items {
		if o, ok := item.(map[string]any); ok {
			use(o)
		}
	}
}

func field(o map[string]any, name string) string {
	s, _ := o[name].(string)
	return s
}

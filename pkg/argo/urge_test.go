package argo

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	kubetesting "k8s.io/client-go/testing"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// shown is the Application "mine" as the API server has it.
func shown(t *testing.T, kube dynamic.Interface) map[string]any {
	t.Helper()
	got, err := kube.Resource(applications).Namespace("argocd").Get(t.Context(), "mine", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(got.Object) // numbers as a client gets them
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// TestRefresh: the annotation is Argo CD's own, and all else stays.
func TestRefresh(t *testing.T) {
	for hard, want := range map[bool]string{false: "normal", true: "hard"} {
		kube := fakeKube(&unstructured.Unstructured{Object: named(t, "mine")})
		expected := shown(t, kube)
		if err := unstructured.SetNestedField(expected, want, "metadata", "annotations", v1alpha1.AnnotationKeyRefresh); err != nil {
			t.Fatal(err)
		}
		if err := New(kube, nil, "argocd").Refresh(t.Context(), promotion.Application{Namespace: "argocd", Name: "mine"}, hard); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expected, shown(t, kube)); diff != "" {
			t.Errorf("hard %t (-want +got):\n%s", hard, diff)
		}
	}
	err := New(fakeKube(), nil, "argocd").Refresh(t.Context(), promotion.Application{Namespace: "argocd", Name: "gone"}, false)
	if !apierrors.IsNotFound(err) {
		t.Errorf("error: %v", err)
	}
}

// TestTerminate: only an operation that waits for its next try, of that
// revision, is given up.
func TestTerminate(t *testing.T) {
	const older = "00ff"
	waiting := func(operation map[string]any) {
		operation["phase"], operation["retryCount"] = "Running", int64(2)
		object(operation, "operation")["initiatedBy"] = map[string]any{"automated": true}
		object(operation, "operation", "sync")["revision"] = older
	}
	for _, test := range []struct {
		name   string
		change func(operation map[string]any)
		phase  string
	}{
		{"waits for its next try", func(map[string]any) {}, "Terminating"},
		{"is at work", func(operation map[string]any) { delete(operation, "finishedAt") }, "Running"},
		{"is another revision's", func(operation map[string]any) { object(operation, "operation", "sync")["revision"] = "01" }, "Running"},
		{"is a person's", func(operation map[string]any) { delete(object(operation, "operation"), "initiatedBy") }, "Running"},
		{"has ended well", func(operation map[string]any) { operation["phase"] = "Succeeded" }, "Succeeded"},
		{"is no sync", func(operation map[string]any) { delete(object(operation, "operation"), "sync") }, "Running"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := named(t, "mine")
			operation := object(app, "status", "operationState")
			waiting(operation)
			test.change(operation)
			kube := fakeKube(&unstructured.Unstructured{Object: app})
			expected := shown(t, kube)
			if err := unstructured.SetNestedField(expected, test.phase, "status", "operationState", "phase"); err != nil {
				t.Fatal(err)
			}
			if err := New(kube, nil, "argocd").Terminate(t.Context(), promotion.Application{Namespace: "argocd", Name: "mine"}, older); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expected, shown(t, kube)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestTerminateRaces: an Application that somebody changes meanwhile is left to
// the next look; any other refusal is told.
func TestTerminateRaces(t *testing.T) {
	app := named(t, "mine")
	operation := object(app, "status", "operationState")
	operation["phase"] = "Running"
	object(operation, "operation")["initiatedBy"] = map[string]any{"automated": true}
	object(operation, "operation", "sync")["revision"] = "00ff"
	object(app, "metadata")["resourceVersion"] = "41"
	mine := promotion.Application{Namespace: "argocd", Name: "mine"}
	forbidden := errors.New("forbidden")
	for _, test := range []struct{ answer, want error }{
		{apierrors.NewConflict(applications.GroupResource(), "mine", errors.New("changed")), nil},
		{forbidden, forbidden},
	} {
		kube := fakeKube(&unstructured.Unstructured{Object: app})
		patches := 0
		kube.PrependReactor("patch", "applications", func(action kubetesting.Action) (bool, runtime.Object, error) {
			patches++
			if patch, ok := action.(kubetesting.PatchAction); !ok || !cmp.Equal(string(patch.GetPatch()),
				`{"metadata":{"resourceVersion":"41"},"status":{"operationState":{"phase":"Terminating"}}}`) {
				t.Errorf("patched with %v", action)
			}
			return true, nil, test.answer
		})
		if err := New(kube, nil, "argocd").Terminate(t.Context(), mine, "00ff"); !errors.Is(err, test.want) || patches != 1 {
			t.Errorf("%d patches, error: %v", patches, err)
		}
	}
	if err := New(fakeKube(), nil, "argocd").Terminate(t.Context(), mine, "00ff"); !apierrors.IsNotFound(err) {
		t.Errorf("error: %v", err)
	}
}

// TestRefreshForbidden: whoever upgraded the program and not its Role is told
// what to allow.
func TestRefreshForbidden(t *testing.T) {
	kube := fakeKube(&unstructured.Unstructured{Object: named(t, "mine")})
	kube.PrependReactor("patch", "applications", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(applications.GroupResource(), "mine", errors.New("no"))
	})
	err := New(kube, nil, "argocd").Refresh(t.Context(), promotion.Application{Namespace: "argocd", Name: "mine"}, false)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "allow verb patch on applications.argoproj.io") {
		t.Errorf("error: %v", err)
	}
}

package kube_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/kube"
	"github.com/fleeting-taas/propagator/pkg/kube/kubetest"
)

// TestAllowed: the question is about the service account, not about who asks.
func TestAllowed(t *testing.T) {
	s := kubetest.New(t, "")
	s.Deny("patch applications", "shop-prod/list pods")
	for _, test := range []struct {
		access kube.Access
		want   bool
	}{
		{kube.Access{Verb: "list", Group: "argoproj.io", Resource: "applications", Namespace: "argocd"}, true},
		{kube.Access{Verb: "patch", Group: "argoproj.io", Resource: "applications", Namespace: "argocd"}, false},
		{kube.Access{Verb: "list", Resource: "pods", Namespace: "shop-stage"}, true},
		{kube.Access{Verb: "list", Resource: "pods", Namespace: "shop-prod"}, false},
		{kube.Access{Verb: "patch", Group: "argoproj.io", Resource: "applicationsets", Namespace: "argocd", Name: "propagator-shop"}, true},
	} {
		got, _, err := s.Client().Allowed(t.Context(), "argocd", "hook", test.access)
		if err != nil || got != test.want {
			t.Errorf("%+v: %v, %v", test.access, got, err)
		}
	}
	if asked := s.Asked(); len(asked) != 5 || !slices.Contains(asked, "system:serviceaccount:argocd:hook patch argocd/applicationsets/propagator-shop") {
		t.Errorf("asked %q", asked)
	}
	s.Forbid("subjectaccessreviews")
	_, _, err := s.Client().Allowed(t.Context(), "argocd", "hook", kube.Access{Verb: "list", Resource: "pods"})
	var said *kube.Error
	if !errors.Is(err, kube.ErrForbidden) || !errors.As(err, &said) || !strings.Contains(said.Said, "ada") {
		t.Errorf("got %v", err)
	}
}

//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/shop"
)

// TestLeastRights: a whole train, from the start of the programs to Prod, asks
// Kubernetes for nothing that it is refused, so the Role of manifests/ has
// enough. And it has nothing else: whoever takes the hook over may look at
// Applications, patch them and the ApplicationSets of pipelines, which is what
// docs/operations.md says.
func TestLeastRights(t *testing.T) {
	claim(t)
	begin := time.Now()
	c := open(t, kiosk{name: "rights"}) // restarts generator and hook
	c.awaitEvent("prod", "deployed v0.1.0")
	c.release("web-1", "asks for nothing")
	c.awaitEvent("prod", "deployed v0.2.0")

	ours := []string{account(hookName), account(generatorName)}
	denials, err := world.cluster.Denials()
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]int{}
	for _, d := range denials {
		switch {
		case !slices.Contains(ours, d.User) || d.At.Before(begin):
		case d.Verb == "list" && d.Resource == "pods" && d.User == ours[0]:
			// Optional (manifests/components/live-digests): it asks whether it may.
			refused[d.Namespace]++
		default:
			t.Errorf("during the train: %s", d)
		}
	}
	for _, environment := range []string{"dev", "stage", "prod"} {
		if n := refused[c.Name()+"-"+environment]; n > 1 {
			t.Errorf("the hook asked %d times for the Pods of %s, which it may not see", n, environment)
		}
	}

	// What anybody may who has a token at all, like asking for one's rights.
	const nobody = "system:serviceaccount:argocd:nobody-at-all"
	for _, namespace := range []string{cluster.Namespace, c.Name() + "-stage", "kube-system"} {
		documented := []string{}
		if namespace == cluster.Namespace {
			documented = []string{
				"get,list,patch,watch applications.argoproj.io",
				"list applicationsets.argoproj.io",
			}
			for _, set := range pipelineSets(t) {
				documented = append(documented, "patch applicationsets.argoproj.io "+set)
			}
			slices.Sort(documented)
		}
		anybody := rightsOf(t, nobody, namespace)
		for user, want := range map[string][]string{account(hookName): documented, account(generatorName): {}} {
			got := slices.DeleteFunc(rightsOf(t, user, namespace), func(right string) bool { return slices.Contains(anybody, right) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s in %s (-documented +granted):\n%s", user, namespace, diff)
			}
		}
	}

	// The same by questions, which also find what other bindings would grant.
	for _, ask := range []struct {
		may                              bool
		verb, group, resource, sub, name string
	}{
		{may: true, verb: "watch", group: "argoproj.io", resource: "applications"},
		{may: true, verb: "patch", group: "argoproj.io", resource: "applicationsets", name: c.applicationSet()},
		{verb: "patch", group: "argoproj.io", resource: "applicationsets", name: "of-somebody-else"},
		{verb: "get", resource: "secrets", name: "propagator-token"},
		{verb: "list", resource: "secrets"},
		{verb: "create", resource: "pods", sub: "exec"},
		{verb: "list", resource: "pods"},
		{verb: "create", group: "argoproj.io", resource: "applications"},
		{verb: "update", group: "argoproj.io", resource: "applications", name: "rights-prod-web-1"},
		{may: true, verb: "patch", group: "argoproj.io", resource: "applications", name: "rights-prod-web-1"},
		{verb: "delete", group: "argoproj.io", resource: "applications", name: "rights-prod-web-1"},
		{verb: "update", group: "argoproj.io", resource: "applicationsets", name: c.applicationSet()},
		{verb: "delete", group: "argoproj.io", resource: "applicationsets", name: c.applicationSet()},
		{verb: "patch", group: "argoproj.io", resource: "appprojects", name: c.applicationSet()},
		{verb: "patch", group: "apps", resource: "deployments", name: "argocd-repo-server"},
		{verb: "create", group: "rbac.authorization.k8s.io", resource: "rolebindings"},
	} {
		review, err := world.cluster.Clientset().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorization.SubjectAccessReview{
			Spec: authorization.SubjectAccessReviewSpec{
				User: account(hookName), Groups: []string{"system:serviceaccounts", "system:serviceaccounts:argocd", "system:authenticated"},
				ResourceAttributes: &authorization.ResourceAttributes{
					Namespace: cluster.Namespace, Verb: ask.verb, Group: ask.group, Resource: ask.resource, Subresource: ask.sub, Name: ask.name,
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != ask.may {
			t.Errorf("may the hook %s %s/%s %s: %t", ask.verb, ask.resource, ask.sub, ask.name, review.Status.Allowed)
		}
	}
}

// pipelineSets are the names of the ApplicationSets of all pipelines.
func pipelineSets(t *testing.T) []string {
	t.Helper()
	text, err := world.cluster.Kubectl(t.Context(), "get", "applicationsets.argoproj.io", "-l", shop.PipelineLabel, "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(text)
}

// account is how Kubernetes calls the service account of one of our programs.
func account(workload string) string {
	return "system:serviceaccount:" + cluster.Namespace + ":" + workload
}

// rightsOf is "kubectl auth can-i --list --as", a line for each rule.
func rightsOf(t *testing.T, user, namespace string) []string {
	t.Helper()
	config := world.cluster.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	as, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review, err := as.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorization.SelfSubjectRulesReview{Spec: authorization.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Incomplete {
		t.Fatalf("the rights of %s are not known in full: %s", user, review.Status.EvaluationError)
	}
	rights := []string{}
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				right := strings.Join(rule.Verbs, ",") + " " + strings.TrimSuffix(resource+"."+group, ".")
				if len(rule.ResourceNames) > 0 {
					right += " " + strings.Join(rule.ResourceNames, ",")
				}
				rights = append(rights, right)
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		rights = append(rights, fmt.Sprint(strings.Join(rule.Verbs, ","), " ", strings.Join(rule.NonResourceURLs, ",")))
	}
	slices.Sort(rights)
	return rights
}

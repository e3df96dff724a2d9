package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// The finalizer of Argo CD. On an ApplicationSet it lets the controller hand the
// Applications over before it goes; on an Application it deletes the workloads.
const setFinalizer = "resources-finalizer.argocd.argoproj.io"

// cascades reports whether a finalizer of an Application deletes its workloads;
// it may have a way of deletion behind a slash.
func cascades(finalizer string) bool {
	name, _, _ := strings.Cut(finalizer, "/")
	return name == setFinalizer
}

// finalize sets the finalizers of an object.
func (x *examination) finalize(kind, name string, finalizers []string) string {
	list, err := json.Marshal(finalizers)
	if err != nil || len(finalizers) == 0 {
		list = []byte("null")
	}
	return x.kubectl(`patch %s %s --type merge -p '{"metadata":{"finalizers":%s}}'`, kind, name, list)
}

// checkMortals wants Applications whose deletion leaves their workloads alone.
// Those of a set whose own settings do otherwise are left to that finding.
func (x *examination) checkMortals(ctx context.Context, n *notes, sets []applicationSet) {
	safe := map[string]bool{}
	for _, s := range sets {
		safe[s.Metadata.Name] = s.Spec.SyncPolicy != nil && s.Spec.SyncPolicy.PreserveResourcesOnDeletion && !slices.ContainsFunc(s.Spec.Template.Metadata.Finalizers, cascades)
	}
	all, err := x.applications(ctx)
	if err != nil {
		n.trouble("Applications", err)
		return
	}
	for _, a := range all {
		ours := safe[a.set()] || a.set() == "" && slices.ContainsFunc(a.all(), source.ours)
		if !ours || a.Metadata.DeletionTimestamp != nil || !slices.ContainsFunc(a.Metadata.Finalizers, cascades) {
			continue // Dev's own may be as their owners like
		}
		rest := slices.DeleteFunc(slices.Clone(a.Metadata.Finalizers), cascades)
		n.fail("Application "+a.Metadata.Name, "it has the finalizer "+setFinalizer+", so whoever deletes it deletes its workloads", x.finalize("application", a.Metadata.Name, rest))
	}
}

// The variables by which the ApplicationSet controller is told its policy, and
// the keys of argocd-cmd-params-cm that they are read from.
const (
	policyVariable   = "ARGOCD_APPLICATIONSET_CONTROLLER_POLICY"
	overrideVariable = "ARGOCD_APPLICATIONSET_CONTROLLER_ENABLE_POLICY_OVERRIDE"
	policyParam      = "applicationsetcontroller.policy"
	overrideParam    = "applicationsetcontroller.enable.policy.override"
)

// checkPolicy looks whether the controller obeys the sets' own policy. It does
// when it has none of its own, or was told that theirs win.
func (x *examination) checkPolicy(ctx context.Context, n *notes) {
	subject := "Deployment argocd-" + applicationSets
	d, err := x.deployment(ctx, applicationSets)
	if err != nil {
		if !errors.Is(err, kube.ErrNotFound) { // check argocd says that
			n.trouble(subject, err)
		}
		return
	}
	subject = "Deployment " + d.Name
	c := container(d.Spec.Template.Spec, d.Name)
	if c == nil && len(d.Spec.Template.Spec.Containers) > 0 {
		c = &d.Spec.Template.Spec.Containers[0]
	}
	if c == nil {
		n.fail(subject, "it has no container", x.kubectl("get deployment %s -o yaml", d.Name))
		return
	}
	env, err := x.environment(ctx, c)
	if err != nil {
		n.trouble(subject, err)
		return
	}
	policy, override := controllerPolicy(c, env)
	switch {
	case override, policy == policyCreateUpdate:
		if !x.checkRead(ctx, n, d, c, policyVariable, overrideVariable) {
			return
		}
		if override {
			n.ok(subject, "obeys applicationsSync of the ApplicationSets")
			return
		}
		n.ok(subject, "its own policy is create-update, for all ApplicationSets")
	case policy == "" || policy == policySync:
		n.fail(subject, "it ignores applicationsSync of the ApplicationSets and deletes (policy sync)", x.policyFix(d, c, overrideParam, "true"))
	case policy == policyCreateOnly:
		n.fail(subject, "its policy create-only overrides applicationsSync, so no promotion ever changes an Application that exists", x.policyFix(d, c, policyParam, policyCreateUpdate))
	default:
		n.fail(subject, fmt.Sprintf("its policy %s overrides applicationsSync of the ApplicationSets", policy), x.policyFix(d, c, policyParam, policyCreateUpdate))
	}
}

// controllerPolicy is the controller's own policy, and whether those of the sets
// win. Unless it is said, they win when the variable names no policy; a policy
// among the arguments does not count for that.
func controllerPolicy(c *corev1.Container, env map[string]string) (policy string, override bool) {
	policy = env[policyVariable]
	override = policy == ""
	switch said := env[overrideVariable]; {
	case strings.EqualFold(said, "true"):
		override = true
	case strings.EqualFold(said, "false"):
		override = false
	}
	if values := flagValues(c, "policy"); len(values) > 0 {
		policy = values[len(values)-1]
	}
	for _, word := range slices.Concat(c.Command, c.Args) {
		value, given := strings.CutPrefix(word, "--enable-policy-override=")
		switch said, err := strconv.ParseBool(value); {
		case word == "--enable-policy-override":
			override = true
		case given && err == nil:
			override = said
		}
	}
	return policy, override
}

// policyFix says where the policy is set: an argument wins over the ConfigMap.
func (x *examination) policyFix(d *appsv1.Deployment, c *corev1.Container, param, value string) string {
	flag := map[string]string{overrideParam: "enable-policy-override", policyParam: "policy"}[param]
	if slices.ContainsFunc(slices.Concat(c.Command, c.Args), func(word string) bool { return word == "--"+flag || strings.HasPrefix(word, "--"+flag+"=") }) {
		return fmt.Sprintf("set --%s=%s in the arguments of Deployment %s, in the file that it is applied from; it holds for every ApplicationSet here", flag, value, d.Name)
	}
	return x.setParam(d, param, value) + "\nit holds for every ApplicationSet of this Argo CD: ask whoever has set it first"
}

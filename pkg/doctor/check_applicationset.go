package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// The policies of ApplicationSets.
const (
	policySync         = "sync"
	policyCreateUpdate = "create-update"
	policyCreateOnly   = "create-only"
)

func checkApplicationSets(ctx context.Context, x *examination, n *notes) {
	sets, err := x.sets(ctx)
	if err != nil {
		n.trouble("ApplicationSets", err)
		return
	}
	if len(sets) == 0 {
		n.warn("ApplicationSets", "none in namespace "+x.Namespace+" uses the generator, so no promotion becomes an Application", applyPipeline())
	}
	for _, s := range sets {
		before := len(n.all())
		x.checkSafety(n, s)
		x.checkPoke(n, s)
		for _, c := range s.Status.Conditions {
			if c.Type == "ErrorOccurred" && c.Status == "True" {
				n.fail("ApplicationSet "+s.Metadata.Name, "Argo CD reports: "+c.Message, "its Applications stay as they are; "+x.kubectl("describe applicationset %s", s.Metadata.Name)+
					"\npropagator doctor --only generator-config,tokens,git")
			}
		}
		if len(n.all()) == before {
			n.ok("ApplicationSet "+s.Metadata.Name, "cannot delete Applications, and is poked by the hook")
		}
	}
	x.checkPolicy(ctx, n)
}

// checkSafety wants settings with which no answer of anybody's deletes anything.
func (x *examination) checkSafety(n *notes, s applicationSet) {
	subject := "ApplicationSet " + s.Metadata.Name
	patch := func(spec string) string {
		return x.kubectl(`patch applicationset %s --type merge -p '{"spec":%s}'`, s.Metadata.Name, spec) + "\nand in the file that it is applied from"
	}
	sync, preserve := "", false
	if s.Spec.SyncPolicy != nil {
		sync, preserve = s.Spec.SyncPolicy.ApplicationsSync, s.Spec.SyncPolicy.PreserveResourcesOnDeletion
	}
	switch sync {
	case policyCreateUpdate:
	case policyCreateOnly:
		n.fail(subject, "applicationsSync is create-only, so no promotion ever changes an Application that exists", patch(`{"syncPolicy":{"applicationsSync":"create-update"}}`))
	default:
		said := "applicationsSync is not set"
		if sync != "" {
			said = "applicationsSync is " + sync
		}
		n.fail(subject, said+", so a wrong answer from whatever stands at the generator's address deletes Applications", patch(`{"syncPolicy":{"applicationsSync":"create-update"}}`))
	}
	if !preserve {
		n.fail(subject, "preserveResourcesOnDeletion is not true, so whatever deletes an Application deletes its workloads", patch(`{"syncPolicy":{"preserveResourcesOnDeletion":true}}`))
	}
	switch {
	case !s.Spec.GoTemplate:
		n.fail(subject, "goTemplate is not true, and then a parameter that is missing stays in the text as it is", patch(`{"goTemplate":true,"goTemplateOptions":["missingkey=error"]}`))
	case !slices.Contains(s.Spec.GoTemplateOptions, "missingkey=error"):
		n.fail(subject, `goTemplateOptions lacks missingkey=error, so a parameter that is missing becomes "<no value>"`, patch(`{"goTemplateOptions":["missingkey=error"]}`))
	}
}

// checkPoke wants promotions to be noticed: at once by the hook's poke, and
// otherwise soon.
func (x *examination) checkPoke(n *notes, s applicationSet) {
	subject := "ApplicationSet " + s.Metadata.Name
	p := s.plugin()
	label, pipeline := s.Metadata.Labels[labelPipeline], p.pipeline()
	switch {
	case pipeline == "":
		n.fail(subject, "its plugin generator has no input.parameters.pipeline, which the generator answers with 400", "add input: {parameters: {pipeline: <metadata.name of propagator.yaml>}}")
	case templated(pipeline):
	case label == "":
		n.warn(subject, "it has no label "+labelPipeline+", so the hook cannot tell it of promotions", x.kubectl("label applicationset %s %s=%s", s.Metadata.Name, labelPipeline, pipeline)+"\nand in the file that it is applied from")
	case label != pipeline:
		n.warn(subject, fmt.Sprintf("its label says pipeline %s, its generator is asked for %s", label, pipeline), x.kubectl("label --overwrite applicationset %s %s=%s", s.Metadata.Name, labelPipeline, pipeline))
	}
	const slow = 600 // seconds
	switch {
	case p.RequeueAfterSeconds == nil:
		n.warn(subject, "requeueAfterSeconds is not set: a promotion whose poke is lost takes up to 30 minutes", "set requeueAfterSeconds: 60 beside configMapRef")
	case *p.RequeueAfterSeconds == 0:
		n.warn(subject, "requeueAfterSeconds is 0: a promotion whose poke is lost never arrives", "set requeueAfterSeconds: 60 beside configMapRef")
	case *p.RequeueAfterSeconds > slow:
		n.warn(subject, fmt.Sprintf("requeueAfterSeconds is %d: a promotion whose poke is lost takes that long", *p.RequeueAfterSeconds), "set requeueAfterSeconds: 60 beside configMapRef")
	}
}

// checkPolicy looks whether the controller obeys the sets' own policy. It does
// when it has none of its own, or was told that theirs win.
func (x *examination) checkPolicy(ctx context.Context, n *notes) {
	d, err := x.deployment(ctx, applicationSets)
	subject := "Deployment argocd-" + applicationSets
	if err != nil {
		if !errors.Is(err, kube.ErrNotFound) { // check argocd says that
			n.trouble(subject, err)
		}
		return
	}
	subject = "Deployment " + d.Name
	c := container(d.Spec.Template.Spec, d.Name)
	if c == nil {
		for i := range d.Spec.Template.Spec.Containers {
			c = &d.Spec.Template.Spec.Containers[i]
			break
		}
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
	policy, override := env["ARGOCD_APPLICATIONSET_CONTROLLER_POLICY"], env["ARGOCD_APPLICATIONSET_CONTROLLER_ENABLE_POLICY_OVERRIDE"]
	if values := flagValues(c, "policy"); len(values) > 0 {
		policy = values[len(values)-1]
	}
	if values := flagValues(c, "enable-policy-override"); len(values) > 0 {
		override = values[len(values)-1]
	} else if slices.Contains(slices.Concat(c.Command, c.Args), "--enable-policy-override") {
		override = "true"
	}
	obeys := override == "true" || override == "" && policy == ""
	fix := x.kubectl(`patch configmap %s --type merge -p '{"data":{"applicationsetcontroller.enable.policy.override":"true"}}'`, paramsMap) + "\n" + x.restart(d.Name)
	switch {
	case obeys:
		n.ok(subject, "obeys applicationsSync of the ApplicationSets")
	case policy == policyCreateUpdate:
		n.ok(subject, "its own policy is create-update, for all ApplicationSets")
	case policy == "" || policy == policySync:
		n.fail(subject, "it ignores applicationsSync of the ApplicationSets and deletes (policy sync)", fix)
	case policy == policyCreateOnly:
		n.fail(subject, "its policy create-only overrides applicationsSync, so no promotion ever changes an Application that exists", fix)
	default:
		n.fail(subject, fmt.Sprintf("its policy %s overrides applicationsSync of the ApplicationSets", policy), fix)
	}
}

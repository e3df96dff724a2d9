package doctor

import (
	"context"
	"fmt"
	"slices"
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
					"\npropagator doctor --only generator-config,tokens,git\nafter a fix Argo CD asks again within minutes, or at once: "+
					x.kubectl("annotate applicationset %s --overwrite argocd.argoproj.io/application-set-refresh=true", s.Metadata.Name))
			}
		}
		if len(n.all()) == before {
			n.ok("ApplicationSet "+s.Metadata.Name, "neither its answers nor its own deletion delete Applications, and it is poked by the hook")
		}
	}
	x.checkMortals(ctx, n, sets)
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
	if !slices.Contains(s.Metadata.Finalizers, setFinalizer) {
		n.fail(subject, "it lacks the finalizer "+setFinalizer+", so whoever deletes it deletes its Applications along with it", x.finalize("applicationset", s.Metadata.Name, append(slices.Clone(s.Metadata.Finalizers), setFinalizer))+"\nand in the file that it is applied from")
	}
	if given := slices.DeleteFunc(slices.Clone(s.Spec.Template.Metadata.Finalizers), func(f string) bool { return !cascades(f) }); len(given) > 0 {
		n.fail(subject, "its template gives Applications the finalizer "+given[0]+", so whatever deletes an Application deletes its workloads",
			x.kubectl(`patch applicationset %s --type json -p '[{"op":"remove","path":"/spec/template/metadata/finalizers"}]'`, s.Metadata.Name)+"\nand in the file that it is applied from")
	}
	if !preserve {
		n.fail(subject, "preserveResourcesOnDeletion is not true, so whatever deletes an Application deletes its workloads", patch(`{"syncPolicy":{"preserveResourcesOnDeletion":true}}`))
	}
	switch {
	case !s.Spec.GoTemplate:
		n.fail(subject, "goTemplate is not true, and then a parameter that is missing stays in the text as it is", "compare it with manifests/components/pipeline/applicationset.yaml, whose template is written for goTemplate: {{ .name }} where this one has {{name}}; then set goTemplate: true and goTemplateOptions: [missingkey=error] in the file that it is applied from")
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

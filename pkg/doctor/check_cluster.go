package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// nativeSidecars is the minor version of Kubernetes 1 from which an init
// container with restartPolicy Always works without a feature gate.
const nativeSidecars = 29

// version is a version as images and API servers spell it.
type version struct{ major, minor int }

func (v version) less(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

func parseVersion(text string) (version, bool) {
	text = strings.TrimPrefix(text, "v")
	major, rest, _ := strings.Cut(text, ".")
	minor, _, _ := strings.Cut(rest, ".")
	minor = strings.TrimRight(minor, "+") // "33+", as some providers write it
	minor, _, _ = strings.Cut(minor, "-")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return version{a, b}, errA == nil && errB == nil
}

func checkKubernetes(ctx context.Context, x *examination, n *notes) {
	subject := x.Cluster.Server()
	var is struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := x.Cluster.Get(ctx, "/version", &is); err != nil {
		n.trouble(subject, err)
		return
	}
	v, ok := parseVersion(is.GitVersion)
	switch {
	case !ok:
		n.warn(subject, fmt.Sprintf("its version is %q, which says nothing about native sidecars", is.GitVersion), "kubectl version")
	case v.less(version{1, nativeSidecars}):
		n.fail(subject, fmt.Sprintf("Kubernetes %s does not know native sidecars; it drops restartPolicy from init containers, and repo-server then waits for cmp-sidecar to end", is.GitVersion),
			fmt.Sprintf("upgrade Kubernetes to 1.%d or newer; until then take Argo CD's part off again (docs/install.md, uninstall)", nativeSidecars))
	default:
		n.ok(subject, "Kubernetes %s", is.GitVersion)
	}
	x.checkNodes(ctx, n)
}

// checkNodes wants native sidecars to be known where repo-server's Pod may land:
// a kubelet may be three versions older than the API server.
func (x *examination) checkNodes(ctx context.Context, n *notes) {
	nodes, err := kube.List[corev1.Node](ctx, x.Cluster, kube.Path("v1", "", "nodes", ""), "")
	if err != nil {
		n.trouble("nodes", err)
		return
	}
	var old []string
	known := 0
	for _, node := range nodes {
		v, ok := parseVersion(node.Status.NodeInfo.KubeletVersion)
		if !ok || node.Spec.Unschedulable || node.Labels[corev1.LabelOSStable] == "windows" {
			continue
		}
		known++
		if v.less(version{1, nativeSidecars}) {
			old = append(old, node.Name+" "+node.Status.NodeInfo.KubeletVersion)
		}
	}
	switch {
	case len(old) > 0:
		n.fail("nodes", "these kubelets do not know native sidecars, so a Pod of repo-server that lands there does not start: "+clip(strings.Join(old, ", ")),
			fmt.Sprintf("upgrade them to 1.%d or newer, or keep repo-server away from them with a nodeSelector", nativeSidecars))
	case known > 0:
		n.ok("nodes", "%s, all with kubelets that know native sidecars", plural(known, "node"))
	}
}

// imageTag is the tag of an image reference, "" when there is none.
func imageTag(image string) string {
	name, _, _ := strings.Cut(image, "@")
	_, last, found := strings.Cut(name, "/")
	for found {
		name = last
		_, last, found = strings.Cut(name, "/")
	}
	_, tag, _ := strings.Cut(name, ":")
	return tag
}

// The versions of Argo CD between which everything was tried.
var (
	oldestArgoCD = version{2, 14}
	newestArgoCD = 3 // major
)

// argoVersion is Argo CD's version, by repo-server's image.
func argoVersion(d *appsv1.Deployment) (string, version, bool) {
	c := container(d.Spec.Template.Spec, d.Name)
	for i := range d.Spec.Template.Spec.Containers {
		if candidate := &d.Spec.Template.Spec.Containers[i]; candidate.Name != sidecarContainer && (c == nil || strings.Contains(candidate.Name, repoServer)) {
			c = candidate
		}
	}
	if c == nil {
		return "", version{}, false
	}
	tag := imageTag(c.Image)
	v, ok := parseVersion(tag)
	return tag, v, ok
}

// overlay is the folder of manifests/ that fits the Argo CD that runs.
func overlay(d *appsv1.Deployment) string {
	if _, v, ok := argoVersion(d); ok && v.major == 2 {
		return "manifests/overlays/argocd-v2"
	}
	return "manifests/overlays/argocd-v3"
}

// apply applies one of the folders that docs/install.md makes in $INSTALL, in
// the way of that page: another field manager would be a conflict the next time.
func apply(folder, section string) string {
	return fmt.Sprintf(`kubectl apply --server-side --field-manager=%s -k "$INSTALL/%s"   # docs/install.md, %s`, fieldManager, folder, section)
}

// applySuite applies our own objects again.
func applySuite() string { return apply("suite", "generator and hook") }

// applyPipeline applies a pipeline's, whose objects Argo CD's controllers write
// as well.
func applyPipeline() string {
	return `kubectl apply -k "$INSTALL/pipelines/$PIPELINE"   # docs/install.md, the pipeline`
}

// applyOverlay applies what Argo CD's own objects get.
func applyOverlay(d *appsv1.Deployment) string {
	switch argoManager(d) {
	case "Helm":
		return "Helm manages Argo CD and would take it off again: put it into the release's values (docs/install.md, when Argo CD is managed from git, or by Helm), and upgrade that"
	case "Argo CD":
		return "Argo CD manages itself from git and would take it off again: put it there (docs/install.md, when Argo CD is managed from git, or by Helm)"
	}
	return apply("argocd", "Argo CD's part ("+overlay(d)+")")
}

func checkArgoCD(ctx context.Context, x *examination, n *notes) {
	subject := "Deployment argocd-" + repoServer
	d, err := x.deployment(ctx, repoServer)
	if errors.Is(err, kube.ErrNotFound) {
		n.fail(subject, fmt.Sprintf("namespace %s has none, so there is no Argo CD in it", x.Namespace),
			"kubectl get deployment -A -l "+labelComponent+"="+repoServer+"\npropagator doctor --argocd-namespace NAMESPACE")
		return
	}
	if err != nil {
		n.trouble(subject, err)
		return
	}
	subject = "Argo CD"
	tag, v, ok := argoVersion(d)
	switch {
	case !ok:
		n.warn(subject, "the image of Deployment "+d.Name+" does not tell its version", "compare it with the versions in docs/install.md: "+x.kubectl("exec deploy/%s -- argocd version --client", d.Name))
	case v.less(oldestArgoCD):
		n.fail(subject, fmt.Sprintf("%s is older than %d.%d, with which Propagator was never tried", tag, oldestArgoCD.major, oldestArgoCD.minor), "upgrade Argo CD")
	case v.major > newestArgoCD:
		n.warn(subject, tag+" is newer than the versions that Propagator was tried with", "try it on a test cluster first; docs/install.md has the versions")
	default:
		n.ok(subject, "%s", tag)
	}
	x.checkAvailable(ctx, n, d)
	for _, component := range []string{applicationSets, notifications} {
		x.checkComponent(ctx, n, component)
	}
}

// checkComponent looks whether a part of Argo CD exists and runs.
func (x *examination) checkComponent(ctx context.Context, n *notes, component string) {
	subject := "Deployment argocd-" + component
	d, err := x.deployment(ctx, component)
	switch {
	case errors.Is(err, kube.ErrNotFound) && component == notifications:
		n.warn(subject, "there is none; the hook then notices syncs by itself only", "install Argo CD's notifications controller: it is part of manifests/install.yaml of Argo CD")
	case errors.Is(err, kube.ErrNotFound):
		n.fail(subject, "there is none, and nobody else asks the generator", "install Argo CD's ApplicationSet controller: it is part of manifests/install.yaml of Argo CD")
	case err != nil:
		n.trouble(subject, err)
	case wanted(d) == 0 && component == notifications:
		n.warn("Deployment "+d.Name, "it is scaled to zero; the hook then notices syncs by itself only", x.kubectl("scale deployment %s --replicas 1", d.Name))
	case wanted(d) == 0:
		n.fail("Deployment "+d.Name, "it is scaled to zero, so no promotion reaches Argo CD", x.kubectl("scale deployment %s --replicas 1", d.Name))
	case d.Status.AvailableReplicas < wanted(d):
		n.fail("Deployment "+d.Name, fmt.Sprintf("%d of %s available", d.Status.AvailableReplicas, plural(int(wanted(d)), "replica")), x.kubectl("describe deployment %s", d.Name))
	default:
		n.ok("Deployment "+d.Name, "%s available", plural(int(d.Status.AvailableReplicas), "replica"))
	}
}

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func checkPrograms(ctx context.Context, x *examination, n *notes) {
	versions := map[string][]string{} // tag to programs
	var programs []*appsv1.Deployment
	for _, name := range []string{generatorWorkload, hookWorkload} {
		d, err := x.ownDeployment(ctx, name)
		subject := "Deployment " + name
		if errors.Is(err, kube.ErrNotFound) {
			n.fail(subject, "there is none in namespace "+x.Namespace, applySuite())
			continue
		}
		if err != nil {
			n.trouble(subject, err)
			continue
		}
		if c := container(d.Spec.Template.Spec, strings.TrimPrefix(name, "propagator-")); c != nil {
			versions[imageTag(c.Image)] = append(versions[imageTag(c.Image)], name)
		}
		x.checkAvailable(ctx, n, d)
		programs = append(programs, d)
	}
	x.checkReferences(ctx, n, programs)
	if d, err := x.deployment(ctx, repoServer); err == nil {
		if c := sidecarOf(d.Spec.Template.Spec); c != nil {
			versions[imageTag(c.Image)] = append(versions[imageTag(c.Image)], sidecarContainer)
		}
	}
	x.compareVersions(n, versions)
}

// checkAvailable says whether a Deployment runs, and otherwise why its Pods do
// not.
func (x *examination) checkAvailable(ctx context.Context, n *notes, d *appsv1.Deployment) {
	subject := "Deployment " + d.Name
	if wanted(d) == 0 {
		n.fail(subject, "it is scaled to zero", x.kubectl("scale deployment %s --replicas 1", d.Name))
		return
	}
	if d.Status.AvailableReplicas >= wanted(d) && d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= wanted(d) {
		n.ok(subject, "%s available", plural(int(d.Status.AvailableReplicas), "replica"))
		return
	}
	message := fmt.Sprintf("%d of %s available", d.Status.AvailableReplicas, plural(int(wanted(d)), "replica"))
	fix := x.kubectl("describe deployment %s", d.Name)
	if d.Status.AvailableReplicas >= wanted(d) {
		message = "it is being rolled out"
		fix = x.kubectl("rollout status deployment %s", d.Name)
	}
	pods, err := x.pods(ctx, d)
	if err != nil {
		n.trouble(subject+"'s Pods", err)
	}
	for _, pod := range pods {
		if why, what := notReady(pod); why != "" {
			message += "; Pod " + pod.Name + ": " + why
			fix = x.kubectl("%s", what)
			break
		}
	}
	if d.Status.AvailableReplicas >= wanted(d) {
		n.warn(subject, message, fix)
		return
	}
	n.fail(subject, message, fix)
}

// notReady says why a Pod is not ready, and what shows more of it.
func notReady(pod corev1.Pod) (why, what string) {
	if podReady(pod) || pod.DeletionTimestamp != nil {
		return "", ""
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		switch state := status.State; {
		case state.Waiting != nil && state.Waiting.Reason == "CrashLoopBackOff":
			return "container " + status.Name + " ends again and again", fmt.Sprintf("logs %s -c %s --previous", pod.Name, status.Name)
		case state.Waiting != nil && state.Waiting.Reason != "" && state.Waiting.Reason != "PodInitializing" && state.Waiting.Reason != "ContainerCreating":
			why := "container " + status.Name + ": " + state.Waiting.Reason
			if state.Waiting.Message != "" {
				why += ": " + clip(state.Waiting.Message)
			}
			return why, "describe pod " + pod.Name
		case state.Running != nil && !status.Ready:
			return "container " + status.Name + " runs and is not ready", fmt.Sprintf("logs %s -c %s", pod.Name, status.Name)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			return "not scheduled: " + clip(c.Message), "describe pod " + pod.Name
		}
	}
	return "not ready", "describe pod " + pod.Name
}

// clip bounds what a kubelet says.
func clip(text string) string {
	const longest = 300
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}

// released are versions that images are tagged with. Builds from a checkout have
// others, which are compared with nothing.
var released = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[a-z][a-z0-9.]*)?$`)

// compareVersions wants one version of all programs, the examiner's included.
func (x *examination) compareVersions(n *notes, versions map[string][]string) {
	const subject = "images"
	const fix = "set newTag in $INSTALL/suite/kustomization.yaml and $INSTALL/argocd/kustomization.yaml to one version, and apply both (docs/install.md, upgrade)"
	if len(versions) == 0 {
		return // said above
	}
	var lines []string
	for tag, programs := range versions {
		if tag == "" {
			tag = "without a tag"
		}
		lines = append(lines, strings.Join(programs, " and ")+" "+tag)
	}
	slices.Sort(lines)
	switch mine := x.Version; {
	case len(versions) > 1:
		n.warn(subject, "versions differ: "+strings.Join(lines, ", "), fix)
	case versions[""] != nil:
		n.ok(subject, "named by digest only, so versions cannot be compared")
	case !released.MatchString(mine) || versions[mine] != nil || versions[strings.TrimPrefix(mine, "v")] != nil:
		n.ok(subject, "all programs %s", strings.TrimPrefix(lines[0], strings.Join(versions[onlyKey(versions)], " and ")+" "))
	default:
		n.warn(subject, fmt.Sprintf("the programs are %s, this one is %s", onlyKey(versions), mine), "use propagator "+onlyKey(versions)+" here, or: "+fix)
	}
}

func onlyKey(m map[string][]string) string {
	for key := range m {
		return key
	}
	return ""
}

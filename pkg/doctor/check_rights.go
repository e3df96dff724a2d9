package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

const (
	argoGroup = "argoproj.io"
	// thisCluster is how Argo CD knows the cluster that it runs in.
	thisCluster     = "https://kubernetes.default.svc"
	shareVariable   = "PROPAGATOR_SHARE"
	webhookVariable = "PROPAGATOR_WEBHOOK_SECRET_FILE"
	// mostNamespaces bounds how many are asked about.
	mostNamespaces = 50
)

// right is something that the hook's service account should be allowed.
type right struct {
	access kube.Access
	// without says what it is without the right.
	without string
	fix     string
	// needed: nothing works without it.
	needed bool
}

// checkRights asks the API server what the hook may do. It asks as whoever runs
// the examination, about the hook's service account.
func checkRights(ctx context.Context, x *examination, n *notes) {
	d, err := x.ownDeployment(ctx, hookWorkload)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		n.skip("Deployment "+hookWorkload, "there is none", "propagator doctor --only programs")
		return
	case err != nil:
		n.trouble("Deployment "+hookWorkload, err)
		return
	}
	account := cmp.Or(d.Spec.Template.Spec.ServiceAccountName, "default")
	subject := "ServiceAccount " + account
	sets, err := x.sets(ctx)
	if err != nil {
		n.trouble("ApplicationSets", err)
		return
	}
	shares := false
	if c := container(d.Spec.Template.Spec, "notifications-hook"); c != nil {
		env, err := x.environment(ctx, c)
		if err != nil {
			n.trouble("Deployment "+hookWorkload, err)
			return
		}
		shares = strings.EqualFold(env[shareVariable], "true")
	}
	wanted := x.hookRights(sets, shares)
	granted := 0
	for _, r := range wanted {
		allowed, why, err := x.Cluster.Allowed(ctx, x.Namespace, account, r.access)
		if err != nil {
			n.trouble(subject, err)
			return
		}
		if allowed {
			granted++
			continue
		}
		message := fmt.Sprintf("it may not %s %s in namespace %s: %s", r.access.Verb, object(r.access), x.Namespace, r.without)
		if why != "" {
			message += " (" + why + ")"
		}
		if r.needed {
			n.fail(subject, message, r.fix)
		} else {
			n.warn(subject, message, r.fix)
		}
	}
	if granted == len(wanted) {
		n.ok(subject, "it may do all that the hook does in namespace %s", x.Namespace)
	}
	x.checkPodRights(ctx, n, subject, account)
}

// object is what a right is about.
func object(a kube.Access) string {
	name := a.Resource
	if a.Group != "" {
		name += "." + a.Group
	}
	if a.Name != "" {
		name += "/" + a.Name
	}
	return name
}

// hookRights are what manifests/ gives the hook in Argo CD's namespace.
func (x *examination) hookRights(sets []applicationSet, shares bool) []right {
	application := func(verb, without string, needed bool) right {
		return right{kube.Access{Verb: verb, Group: argoGroup, Resource: "applications", Namespace: x.Namespace}, without, applySuite(), needed}
	}
	wanted := []right{
		application("list", "it sees no Application, so nothing is captured and nothing counts as deployed", true),
		application("get", "it cannot look at one before it asks Argo CD to try it again", false),
		application("patch", "it cannot ask Argo CD to compare one again or to give up an operation that can only fail, which then takes minutes, or an hour", false),
		application("watch", "it notices what happens in Argo CD by notifications and once a minute only", false),
		{kube.Access{Verb: "list", Group: argoGroup, Resource: "applicationsets", Namespace: x.Namespace}, "a promotion reaches Argo CD by its own polling only", applySuite(), false},
	}
	for _, s := range sets {
		wanted = append(wanted, right{
			kube.Access{Verb: "patch", Group: argoGroup, Resource: "applicationsets", Namespace: x.Namespace, Name: s.Metadata.Name},
			"a promotion reaches Argo CD by its own polling only", applyPipeline(), false,
		})
	}
	if shares {
		for _, verb := range []string{"get", "list", "create", "update", "delete"} {
			wanted = append(wanted, right{
				kube.Access{Verb: verb, Group: "coordination.k8s.io", Resource: "leases", Namespace: x.Namespace},
				"replicas cannot share, so each looks at every pipeline", applySuite() + " with manifests/overlays/ha in it", false,
			})
		}
	}
	return wanted
}

// checkPodRights looks whether the hook sees the Pods of the environments. It
// need not see any; to see those of some namespaces only is more often a mistake.
func (x *examination) checkPodRights(ctx context.Context, n *notes, subject, account string) {
	applications, err := x.applications(ctx)
	if err != nil {
		n.trouble("Applications", err)
		return
	}
	found := map[string]bool{}
	for _, a := range applications {
		if to := a.Spec.Destination; to.Namespace != "" && (to.Name == "in-cluster" || to.Server == thisCluster) {
			found[to.Namespace] = true
		}
	}
	namespaces := slices.Sorted(maps.Keys(found))
	namespaces = namespaces[:min(len(namespaces), mostNamespaces)]
	var blind []string
	for _, namespace := range namespaces {
		allowed, _, err := x.Cluster.Allowed(ctx, x.Namespace, account, kube.Access{Verb: "list", Resource: "pods", Namespace: namespace})
		if err != nil {
			n.trouble(subject, err)
			return
		}
		if !allowed {
			blind = append(blind, namespace)
		}
	}
	fix := "add manifests/components/live-digests to the folder suite, then: " + applySuite()
	switch {
	case len(namespaces) == 0:
	case len(blind) == 0:
		n.ok(subject, "it sees the Pods of %s", plural(len(namespaces), "namespace"))
	case len(blind) == len(namespaces):
		n.ok(subject, "it sees no Pods, which is optional: Argo CD's word is all there is; %s", fix)
	default:
		n.warn(subject, "it sees the Pods of some environments and not those of the namespaces "+clip(strings.Join(blind, ", "))+", where Argo CD's word is all there is",
			fix+"\nor, in each of them: kubectl -n NAMESPACE create rolebinding propagator-live-digests --clusterrole=propagator-live-digests --serviceaccount="+x.Namespace+":"+account)
	}
}

// mostWebhookSecrets is how many secrets of git hosts' webhooks the hook accepts.
const mostWebhookSecrets = 8

// checkWebhookSecrets looks at the secrets with which git hosts sign, if the hook
// is told to take any.
func (x *examination) checkWebhookSecrets(ctx context.Context, n *notes) {
	d, err := x.ownDeployment(ctx, hookWorkload)
	if err != nil {
		return // check programs says so
	}
	c := container(d.Spec.Template.Spec, "notifications-hook")
	if c == nil {
		return
	}
	env, err := x.environment(ctx, c)
	if err != nil {
		n.trouble("Deployment "+hookWorkload, err)
		return
	}
	file := env[webhookVariable]
	if values := flagValues(c, "webhook-secret-file"); len(values) > 0 {
		file = values[len(values)-1]
	}
	name := secretAt(d.Spec.Template.Spec, c, path.Dir(file))
	if file == "" || name == "" {
		return
	}
	subject := "Secret " + name
	s, err := x.secret(ctx, name)
	if errors.Is(err, kube.ErrNotFound) {
		n.fail(subject, "there is none, so the hook refuses what git hosts send", x.createWebhook(name, path.Base(file)))
		return
	}
	if err != nil {
		n.trouble(subject, err)
		return
	}
	var secrets []string
	for line := range strings.Lines(string(s.Data[path.Base(file)])) {
		if line = strings.TrimSpace(line); line != "" {
			secrets = append(secrets, line)
		}
	}
	short := slices.ContainsFunc(secrets, func(one string) bool { return len(one) < shortToken })
	switch {
	case len(secrets) == 0:
		n.fail(subject, "key "+path.Base(file)+" is missing or empty, so the hook refuses what git hosts send", x.createWebhook(name, path.Base(file)))
	case len(secrets) > mostWebhookSecrets:
		n.fail(subject, fmt.Sprintf("key %s has %d lines; the hook takes %d secrets at most", path.Base(file), len(secrets), mostWebhookSecrets), "take off those that no git host uses any more")
	case short:
		n.fail(subject, fmt.Sprintf("a secret in key %s has fewer than %d characters, which the hook does not accept", path.Base(file), shortToken), x.createWebhook(name, path.Base(file)))
	default:
		n.ok(subject, "%s of git hosts' webhooks, long enough", plural(len(secrets), "secret"))
	}
}

// createWebhook makes the Secret with a new secret in it.
func (x *examination) createWebhook(name, key string) string {
	return x.kubectl("create secret generic %s --dry-run=client -o yaml", name) +
		fmt.Sprintf(` | { cat; printf 'data: {%s: %%s}\n' "$(openssl rand -hex 32 | openssl base64 -A)"; } | %s`, key, applySecret) +
		"\ngive the git host the same: docs/operations.md, a git host's webhook"
}

// secretAt is the Secret that a container has at a folder, "" when it has none.
func secretAt(pod corev1.PodSpec, c *corev1.Container, folder string) string {
	for _, mount := range c.VolumeMounts {
		if path.Clean(mount.MountPath) != folder {
			continue
		}
		for _, v := range pod.Volumes {
			if v.Name == mount.Name && v.Secret != nil {
				return v.Secret.SecretName
			}
		}
	}
	return ""
}

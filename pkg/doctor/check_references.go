package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// reference is a Secret or ConfigMap without which a kubelet starts no container
// of a Pod.
type reference struct{ kind, name string }

func (r reference) String() string { return r.kind + " " + r.name }

// checkReferences wants everything to exist that Pods of ours need. Programs
// that run already go on without it until their next start, so nothing else
// tells of it before it is too late.
func (x *examination) checkReferences(ctx context.Context, n *notes, programs []*appsv1.Deployment) {
	var order []reference
	users := map[reference][]string{}
	for _, d := range programs {
		for _, r := range references(d.Spec.Template.Spec) {
			if users[r] == nil {
				order = append(order, r)
			}
			users[r] = append(users[r], d.Name)
		}
	}
	for _, r := range order {
		var err error
		if r.kind == "Secret" {
			_, err = x.secret(ctx, r.name)
		} else {
			_, err = x.configMap(ctx, r.name)
		}
		switch {
		case err == nil:
		case errors.Is(err, kube.ErrNotFound):
			n.fail(r.String(), fmt.Sprintf("there is none in namespace %s, so no Pod of %s can start", x.Namespace, strings.Join(users[r], " and ")), x.create(ctx, r))
		default:
			n.trouble(r.String(), err)
		}
	}
}

// create is how an object that manifests/ names is made.
func (x *examination) create(ctx context.Context, r reference) string {
	switch r {
	case reference{"Secret", tokenSecret}:
		return x.createToken() + "\n" + x.copyToken()
	case reference{"Secret", gitSecret}, reference{"Secret", gitReadSecret}:
		return x.renewGit(ctx, r.name)
	case reference{"Secret", registriesSecret}:
		return x.renewRegistries("each registry")
	case reference{"ConfigMap", settingsMap}:
		return applySuite()
	}
	return x.kubectl("get events --field-selector reason=FailedMount") + "\nmake it, or take it out of the Deployment"
}

// references are the objects that a Pod cannot do without, in the order of its
// manifest.
func references(pod corev1.PodSpec) []reference {
	var found []reference
	add := func(kind, name string, optional *bool) {
		if r := (reference{kind, name}); name != "" && (optional == nil || !*optional) && !slices.Contains(found, r) {
			found = append(found, r)
		}
	}
	for _, v := range pod.Volumes {
		if v.Secret != nil {
			add("Secret", v.Secret.SecretName, v.Secret.Optional)
		}
		if v.ConfigMap != nil {
			add("ConfigMap", v.ConfigMap.Name, v.ConfigMap.Optional)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				add("Secret", s.Secret.Name, s.Secret.Optional)
			}
			if s.ConfigMap != nil {
				add("ConfigMap", s.ConfigMap.Name, s.ConfigMap.Optional)
			}
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				add("Secret", from.SecretRef.Name, from.SecretRef.Optional)
			}
			if from.ConfigMapRef != nil {
				add("ConfigMap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				continue
			}
			if from := e.ValueFrom.SecretKeyRef; from != nil {
				add("Secret", from.Name, from.Optional)
			}
			if from := e.ValueFrom.ConfigMapKeyRef; from != nil {
				add("ConfigMap", from.Name, from.Optional)
			}
		}
	}
	return found
}

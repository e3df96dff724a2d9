package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

func checkGeneratorConfig(ctx context.Context, x *examination, n *notes) {
	sets, err := x.sets(ctx)
	if err != nil && !errors.Is(err, kube.ErrForbidden) {
		n.trouble("ApplicationSets", err)
		return
	}
	names := []string{}
	seen := map[string]bool{}
	for _, s := range sets {
		for _, p := range []*pluginGenerator{s.plugin()} {
			if ref := p.ConfigMapRef.Name; !seen[ref] {
				seen[ref] = true
				names = append(names, ref)
			}
		}
	}
	if len(names) == 0 {
		names = []string{generatorMap}
	}
	for _, name := range names {
		before := len(n.all())
		x.checkGeneratorMap(ctx, n, name)
		if len(n.all()) == before {
			n.ok("ConfigMap "+name, "address, token and time-out are usable")
		}
	}
}

func (x *examination) checkGeneratorMap(ctx context.Context, n *notes, name string) {
	subject := "ConfigMap " + name
	data, err := x.configMap(ctx, name)
	if errors.Is(err, kube.ErrNotFound) {
		fix := applySuite()
		if name != generatorMap {
			fix = fmt.Sprintf("set configMapRef.name to %s in the ApplicationSet", generatorMap)
		}
		n.fail(subject, "there is none in namespace "+x.Namespace+", so the ApplicationSet controller asks nobody", fix)
		return
	}
	if err != nil {
		n.trouble(subject, err)
		return
	}
	x.checkBaseURL(ctx, n, subject, name, data["baseUrl"])
	x.checkTokenReference(ctx, n, subject, name, data["token"])
	if timeout, ok := data["requestTimeout"]; ok {
		if seconds, err := strconv.Atoi(timeout); err != nil || seconds < 0 {
			n.fail(subject, fmt.Sprintf("requestTimeout is %q; it must be whole seconds, without a unit", timeout), x.applyValue(name, "requestTimeout", "20"))
		} else if seconds > 0 && seconds < 15 {
			n.warn(subject, fmt.Sprintf("requestTimeout is %d s; the generator may take 10 s to read a repository", seconds), x.applyValue(name, "requestTimeout", "20"))
		}
	}
}

// applyValue corrects a value in a ConfigMap of ours: what $INSTALL/suite makes of
// it counts. Whoever has set it otherwise by hand loses it, since nobody else
// owns anything in these objects.
func (x *examination) applyValue(name, key, value string) string {
	if name != generatorMap {
		return fmt.Sprintf("set %s to %s in the file that ConfigMap %s is applied from, and apply it", key, value, name)
	}
	return fmt.Sprintf("kubectl apply --server-side --field-manager=%s --force-conflicts -k \"$INSTALL/suite\"   # sets %s to %s, unless a patch in there says otherwise", fieldManager, key, value)
}

// checkBaseURL follows the address to the port of a Service.
func (x *examination) checkBaseURL(ctx context.Context, n *notes, subject, name, base string) {
	fix := x.applyValue(name, "baseUrl", fmt.Sprintf("http://%s.%s.svc.cluster.local:%d", generatorWorkload, x.Namespace, programPort))
	if fault := x.serviceFault(ctx, base); fault.message != "" {
		switch {
		case fault.err != nil:
			n.trouble(subject, fault.err)
		case fault.unknown:
			n.skip(subject, "baseUrl: "+fault.message, "ask it from a Pod: curl -i "+publicURL(base)+"/healthz")
		default:
			n.fail(subject, "baseUrl: "+fault.message, fix)
		}
	}
}

// serviceProblem is why an address leads nowhere; the zero value is none.
type serviceProblem struct {
	message string
	// unknown: it cannot be told from here.
	unknown bool
	// err is why the cluster did not say.
	err error
}

// serviceFault looks whether an address inside the cluster is one of a Service
// that has that port.
func (x *examination) serviceFault(ctx context.Context, raw string) serviceProblem {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return serviceProblem{message: "it is not set"}
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return serviceProblem{message: publicURL(raw) + " is not an http:// or https:// address"}
	}
	service, namespace, ok := clusterService(u.Hostname(), x.Namespace)
	if !ok {
		return serviceProblem{message: publicURL(raw) + " is no Service of this cluster", unknown: true}
	}
	s, err := x.service(ctx, namespace, service)
	switch {
	case errors.Is(err, kube.ErrNotFound) && namespace != x.Namespace && !inCluster(u.Hostname()):
		// generator.internal may be a machine of the company as well.
		return serviceProblem{message: fmt.Sprintf("%s is no Service of this cluster: namespace %s has no Service %s", publicURL(raw), namespace, service), unknown: true}
	case errors.Is(err, kube.ErrNotFound):
		return serviceProblem{message: fmt.Sprintf("there is no Service %s in namespace %s", service, namespace)}
	case err != nil:
		return serviceProblem{message: err.Error(), err: err}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	var has []string
	for _, p := range s.Spec.Ports {
		if strconv.Itoa(int(p.Port)) == port {
			return x.targetFault(ctx, s, p)
		}
		has = append(has, strconv.Itoa(int(p.Port)))
	}
	return serviceProblem{message: fmt.Sprintf("Service %s has no port %s; it has %s", service, port, strings.Join(has, ", "))}
}

// targetFault looks whether the Service leads to Pods that are ready. Only
// namespaces of Argo CD are looked into.
func (x *examination) targetFault(ctx context.Context, s *corev1.Service, port corev1.ServicePort) serviceProblem {
	if s.Namespace != "" && s.Namespace != x.Namespace || len(s.Spec.Selector) == 0 {
		return serviceProblem{}
	}
	var terms []string
	for key, value := range s.Spec.Selector {
		terms = append(terms, key+"="+value)
	}
	pods, err := kube.List[corev1.Pod](ctx, x.Cluster, kube.Path("v1", x.Namespace, "pods", ""), strings.Join(terms, ","))
	switch {
	case errors.Is(err, kube.ErrForbidden):
		return serviceProblem{}
	case err != nil:
		return serviceProblem{message: err.Error(), err: err}
	case len(pods) == 0:
		return serviceProblem{message: fmt.Sprintf("Service %s selects no Pod", s.Name)}
	}
	if port.TargetPort.Type == intstr.String {
		named := false
		for _, c := range pods[0].Spec.Containers {
			for _, p := range c.Ports {
				named = named || p.Name == port.TargetPort.StrVal
			}
		}
		if !named {
			return serviceProblem{message: fmt.Sprintf("Service %s leads to port %s, which its Pods do not have", s.Name, port.TargetPort.StrVal)}
		}
	}
	return serviceProblem{}
}

// checkTokenReference follows the token as the ApplicationSet controller does:
// $secret:key, or $key for a key of argocd-secret. When there is no such key the
// controller sends the reference itself.
func (x *examination) checkTokenReference(ctx context.Context, n *notes, subject, name, reference string) {
	right := x.applyValue(name, "token", "$"+tokenSecret+":"+tokenKey)
	to, ok := strings.CutPrefix(reference, "$")
	if !ok {
		said := "token is not set"
		if reference != "" {
			x.secrets.add(reference)
			said = "token is written out in the ConfigMap, where everybody can read it, and Argo CD does not accept it so"
		}
		n.fail(subject, said, right)
		return
	}
	secret, key, found := strings.Cut(to, ":")
	if !found {
		secret, key = argocdSecret, to
	}
	x.checkToken(ctx, n, secret, key, "and set token to it: "+right)
}

package manifests

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fleeting-taas/propagator/applicationset-generator/generator"
	"github.com/fleeting-taas/propagator/cmp-sidecar/sidecar"
	"github.com/fleeting-taas/propagator/notifications-hook/hook"
)

// program is a container of ours and the Pod that it is in.
type program struct {
	pod       corev1.PodSpec
	labels    map[string]string
	container corev1.Container
	// uid is the user that the image and docs/operations.md say.
	uid int64
	// help is what the program prints about its flags.
	help string
}

// programs are all three, as they are applied.
func programs(t *testing.T) map[string]program {
	t.Helper()
	all := map[string]program{}
	base := build(t, "base")
	var help, ignored bytes.Buffer
	for name, main := range map[string]func() int{
		"applicationset-generator": func() int { return generator.Main(t.Context(), []string{"--help"}, nil, &help, &ignored) },
		"notifications-hook":       func() int { return hook.Main(t.Context(), []string{"--help"}, nil, &help, &ignored, nil) },
	} {
		help.Reset()
		if code := main(); code != 0 {
			t.Fatalf("%s --help: exit code %d", name, code)
		}
		var deployment appsv1.Deployment
		find(t, base, "Deployment", "propagator-"+name, &deployment)
		template := deployment.Spec.Template
		if len(template.Spec.Containers) != 1 || template.Spec.Containers[0].Name != name {
			t.Fatalf("containers of %s: %v", name, template.Spec.Containers)
		}
		all[name] = program{pod: template.Spec, labels: template.Labels, container: template.Spec.Containers[0], uid: 65532, help: help.String()}
	}
	help.Reset()
	if code := sidecar.Main(t.Context(), []string{"serve", "--help"}, nil, strings.NewReader(""), &help, &ignored); code != 0 {
		t.Fatalf("cmp-sidecar --help: exit code %d", code)
	}
	var repoServer appsv1.Deployment
	find(t, build(t, "overlays/argocd-v3"), "Deployment", "argocd-repo-server", &repoServer)
	spec := repoServer.Spec.Template.Spec
	// What the stock Deployment has besides.
	spec.Volumes = []corev1.Volume{{Name: "plugins"}}
	all["cmp-sidecar"] = program{pod: spec, container: spec.InitContainers[0], uid: 999, help: help.String()}
	return all
}

func TestProgramsRunUnprivileged(t *testing.T) {
	for name, p := range programs(t) {
		t.Run(name, func(t *testing.T) {
			c := p.container.SecurityContext
			if c == nil {
				t.Fatal("no security context")
			}
			user, nonRoot, seccomp := c.RunAsUser, c.RunAsNonRoot, c.SeccompProfile
			if pod := p.pod.SecurityContext; pod != nil {
				user, nonRoot, seccomp = pod.RunAsUser, pod.RunAsNonRoot, pod.SeccompProfile
			}
			if nonRoot == nil || !*nonRoot || user == nil || *user != p.uid {
				t.Errorf("runs as %v, want %d", user, p.uid)
			}
			if seccomp == nil || seccomp.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Error("not the runtime's seccomp profile")
			}
			if c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
				t.Error("the root file system is writable")
			}
			if c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation {
				t.Error("may gain privileges")
			}
			if c.Capabilities == nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(c.Capabilities.Add) > 0 {
				t.Error("keeps capabilities")
			}
			if p.container.Resources.Requests.Memory().IsZero() || p.container.Resources.Limits.Memory().IsZero() {
				t.Error("no memory request or limit")
			}
			if p.pod.PriorityClassName != "" {
				t.Error("the priority is the operator's")
			}
		})
	}
}

// TestOnlyTheHookHasAToken: the others cannot talk to Kubernetes.
func TestOnlyTheHookHasAToken(t *testing.T) {
	for _, name := range []string{"applicationset-generator", "notifications-hook"} {
		p := programs(t)[name]
		want := name == "notifications-hook"
		if got := p.pod.AutomountServiceAccountToken; got == nil || *got != want {
			t.Errorf("%s: token mounted: %v, want %v", name, got, want)
		}
		if p.pod.ServiceAccountName != "propagator-"+name {
			t.Errorf("%s: service account %q", name, p.pod.ServiceAccountName)
		}
		var account corev1.ServiceAccount
		find(t, build(t, "base"), "ServiceAccount", p.pod.ServiceAccountName, &account)
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
			t.Errorf("%s: the account mounts its token wherever it is used", name)
		}
	}
}

// TestSidecarSharesTheSocketOnly: it is a native sidecar, and one volume is all
// that it has of repo-server's.
func TestSidecarSharesTheSocketOnly(t *testing.T) {
	c := programs(t)["cmp-sidecar"].container
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("repo-server would wait for it to end")
	}
	if c.StartupProbe == nil {
		t.Error("repo-server would not wait for its socket")
	}
	want := []corev1.VolumeMount{{Name: "plugins", MountPath: sidecar.DefaultOptions().SocketDir}}
	if diff := cmp.Diff(want, c.VolumeMounts); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(c.EnvFrom) > 0 {
		t.Errorf("it is given %v", c.EnvFrom)
	}
}

func TestProbesReachTheProgram(t *testing.T) {
	for name, p := range programs(t) {
		t.Run(name, func(t *testing.T) {
			port := func(name string) int32 {
				i := slices.IndexFunc(p.container.Ports, func(port corev1.ContainerPort) bool { return port.Name == name })
				if i < 0 {
					t.Fatalf("no port %q", name)
				}
				return p.container.Ports[i].ContainerPort
			}
			type asked struct {
				field, path string
				probe       *corev1.Probe
			}
			probes := []asked{{"livenessProbe", "/healthz", p.container.LivenessProbe}, {"readinessProbe", "/readyz", p.container.ReadinessProbe}}
			if name == "cmp-sidecar" {
				// A restart makes the socket anew; readiness would be repo-server's.
				probes = []asked{{"livenessProbe", "/readyz", p.container.LivenessProbe}, {"startupProbe", "/readyz", p.container.StartupProbe}}
				if p.container.ReadinessProbe != nil {
					t.Error("a sidecar that is not ready takes repo-server away from everybody")
				}
			}
			for _, ask := range probes {
				probe := ask.probe
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != ask.path {
					t.Fatalf("%s: %v, want %s", ask.field, probe, ask.path)
				}
				if probe.HTTPGet.Port.Type != intstr.String || port(probe.HTTPGet.Port.StrVal) != 8087 {
					t.Errorf("%s at %v; the operator's address is :8087", ask.field, probe.HTTPGet.Port)
				}
			}
			if name != "cmp-sidecar" && port("http") != 8080 {
				t.Error("port http is not the program's --listen")
			}
		})
	}
}

// TestVariablesExist: every PROPAGATOR_ variable is one of the program's, and
// paths in them are mounted.
func TestVariablesExist(t *testing.T) {
	known := regexp.MustCompile(`\[\$(PROPAGATOR_[A-Z0-9_]+)\]`)
	for name, p := range programs(t) {
		t.Run(name, func(t *testing.T) {
			var flags []string
			for _, match := range known.FindAllStringSubmatch(p.help, -1) {
				flags = append(flags, match[1])
			}
			if len(flags) == 0 {
				t.Fatalf("no variables in the help:\n%s", p.help)
			}
			for _, variable := range p.container.Env {
				if strings.HasPrefix(variable.Name, "PROPAGATOR_") && !slices.Contains(flags, variable.Name) {
					t.Errorf("%s has no %s", name, variable.Name)
				}
				if strings.HasPrefix(variable.Value, "/") && !slices.ContainsFunc(p.container.VolumeMounts, func(m corev1.VolumeMount) bool {
					return variable.Value == m.MountPath || strings.HasPrefix(variable.Value, m.MountPath+"/")
				}) {
					t.Errorf("%s is %s, which is not mounted", variable.Name, variable.Value)
				}
			}
			for _, mount := range p.container.VolumeMounts {
				if !slices.ContainsFunc(p.pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }) {
					t.Errorf("no volume %s", mount.Name)
				}
			}
		})
	}
}

// TestImagesHaveOneVersion: no latest, and one place to change.
func TestImagesHaveOneVersion(t *testing.T) {
	versions := map[string]bool{}
	for name, p := range programs(t) {
		image, tag, _ := strings.Cut(p.container.Image, ":")
		if image != "ghcr.io/fleeting-taas/propagator/"+name || !regexp.MustCompile(`^v\d+\.\d+\.\d+$`).MatchString(tag) {
			t.Errorf("%s runs %s", name, p.container.Image)
		}
		versions[tag] = true
	}
	if len(versions) != 1 {
		t.Errorf("versions %v", versions)
	}
}

// selects reports whether labels have all of want.
func selects(want, labels map[string]string) bool {
	for key, value := range want {
		if labels[key] != value {
			return false
		}
	}
	return len(want) > 0
}

// TestSelectorsMeet: Services, budgets, policies and spread find the Pods, and
// the configuration of Argo CD finds the Services.
func TestSelectorsMeet(t *testing.T) {
	base := build(t, "base")
	// What Argo CD's stock manifests call their Pods.
	callers := map[string][]string{
		"applicationset-generator": {"argocd-applicationset-controller", "argocd-server"},
		"notifications-hook":       {"argocd-notifications-controller"},
	}
	for name, allowed := range callers {
		t.Run(name, func(t *testing.T) {
			p := programs(t)[name]
			var service corev1.Service
			find(t, base, "Service", "propagator-"+name, &service)
			if !selects(service.Spec.Selector, p.labels) {
				t.Errorf("the Service selects %v, the Pods have %v", service.Spec.Selector, p.labels)
			}
			for _, port := range service.Spec.Ports {
				if !slices.ContainsFunc(p.container.Ports, func(c corev1.ContainerPort) bool {
					return c.Name == port.TargetPort.StrVal && c.ContainerPort == port.Port
				}) {
					t.Errorf("the Service's port %s leads nowhere", port.Name)
				}
			}
			var budget policyv1.PodDisruptionBudget
			find(t, base, "PodDisruptionBudget", "propagator-"+name, &budget)
			if !selects(budget.Spec.Selector.MatchLabels, p.labels) {
				t.Errorf("the budget selects %v", budget.Spec.Selector)
			}
			for _, spread := range p.pod.TopologySpreadConstraints {
				if !selects(spread.LabelSelector.MatchLabels, p.labels) {
					t.Errorf("the spread selects %v", spread.LabelSelector)
				}
			}
			var policy networkingv1.NetworkPolicy
			find(t, base, "NetworkPolicy", "propagator-"+name, &policy)
			if !selects(policy.Spec.PodSelector.MatchLabels, p.labels) {
				t.Errorf("the policy selects %v", policy.Spec.PodSelector)
			}
			if !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
				t.Errorf("policy types %v; git and registries are outside", policy.Spec.PolicyTypes)
			}
			var got []string
			for _, rule := range policy.Spec.Ingress {
				for _, peer := range rule.From {
					if peer.PodSelector != nil {
						got = append(got, peer.PodSelector.MatchLabels["app.kubernetes.io/name"])
						if rule.Ports[0].Port.StrVal != "http" {
							t.Errorf("%v may reach %v", peer.PodSelector, rule.Ports)
						}
					} else if rule.Ports[0].Port.StrVal != "metrics" {
						t.Errorf("everybody may reach %v", rule.Ports)
					}
				}
			}
			if diff := cmp.Diff(allowed, got); diff != "" {
				t.Errorf("callers, -want +got:\n%s", diff)
			}
		})
	}
	var ha appsv1.Deployment
	find(t, build(t, "overlays/ha"), "Deployment", "propagator-notifications-hook", &ha)
	if ha.Spec.Replicas == nil || *ha.Spec.Replicas != 2 || ha.Spec.Template.Spec.Affinity == nil {
		t.Errorf("ha: %v replicas, affinity %v", ha.Spec.Replicas, ha.Spec.Template.Spec.Affinity)
	}
}

// TestSecretsAreNamedOnce: what docs/install.md creates is what is mounted.
func TestSecretsAreNamedOnce(t *testing.T) {
	want := map[string][]string{
		"applicationset-generator": {"propagator-git-read", "propagator-token"},
		"notifications-hook":       {"propagator-git", "propagator-registries", "propagator-token"},
		"cmp-sidecar":              nil,
	}
	for name, p := range programs(t) {
		var got []string
		for _, volume := range p.pod.Volumes {
			if volume.Secret != nil {
				got = append(got, volume.Secret.SecretName)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

const (
	// defaultPlugins is where repo-server looks for sockets.
	defaultPlugins = "/home/argocd/cmp-server/plugins"
	// defaultPlugin is what the plugin is called unless told otherwise.
	defaultPlugin = "propagator"
	// argocdUser is the user of Argo CD's image, and of the sidecar's.
	argocdUser = 999
	// sockets is the ending of the files that repo-server takes for plugins.
	sockets = ".sock"
)

// sidecarOf finds our container, wherever it is.
func sidecarOf(pod corev1.PodSpec) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			if list[i].Name == sidecarContainer {
				return &list[i]
			}
		}
	}
	return nil
}

func checkSidecar(ctx context.Context, x *examination, n *notes) {
	d, err := x.deployment(ctx, repoServer)
	if err != nil {
		n.trouble("Deployment argocd-"+repoServer, err)
		return
	}
	subject := "Deployment " + d.Name
	pod := d.Spec.Template.Spec
	sidecar := sidecarOf(pod)
	if sidecar == nil {
		n.fail(subject, "it has no container "+sidecarContainer, applyOverlay(d))
		return
	}
	x.checkNative(ctx, n, d, sidecar)
	server := repoServerContainer(d)
	if server == nil {
		n.fail(subject, "it has no container of repo-server itself", x.kubectl("get deployment %s -o yaml", d.Name))
		return
	}
	checkShared(n, subject, d, server, sidecar)
	checkUser(n, subject, d, server, sidecar)
	if !n.faults() {
		n.ok(subject, "native sidecar, shares the folder of plugins only")
	}
}

func repoServerContainer(d *appsv1.Deployment) *corev1.Container {
	for i := range d.Spec.Template.Spec.Containers {
		if c := &d.Spec.Template.Spec.Containers[i]; c.Name != sidecarContainer && (strings.Contains(c.Name, repoServer) || strings.Contains(strings.Join(slices.Concat(c.Command, c.Args), " "), repoServer)) {
			return c
		}
	}
	return nil
}

// checkNative wants the kubelet to start the sidecar before repo-server and to
// keep it running.
func (x *examination) checkNative(ctx context.Context, n *notes, d *appsv1.Deployment, sidecar *corev1.Container) {
	subject := "Deployment " + d.Name
	initial := slices.ContainsFunc(d.Spec.Template.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == sidecarContainer })
	switch {
	case !initial:
		n.warn(subject, sidecarContainer+" is an ordinary container: repo-server may start before the socket exists, and after three failed renders Argo CD serves the error for an hour",
			"make it a native sidecar: "+applyOverlay(d))
	case sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != corev1.ContainerRestartPolicyAlways:
		fix := applyOverlay(d) + "\nif restartPolicy is gone again, the tool that applies the Deployment drops it: upgrade that tool"
		var is struct {
			GitVersion string `json:"gitVersion"`
		}
		if err := x.Cluster.Get(ctx, "/version", &is); err == nil {
			if v, ok := parseVersion(is.GitVersion); ok && v.less(version{1, nativeSidecars}) {
				fix = fmt.Sprintf("Kubernetes %s does not know native sidecars: upgrade it to 1.%d or newer; until then take Argo CD's part off again (docs/install.md, uninstall)", is.GitVersion, nativeSidecars)
			}
		}
		n.fail(subject, "init container "+sidecarContainer+" lacks restartPolicy: Always, so repo-server waits for it to end and never starts", fix)
	case sidecar.StartupProbe == nil:
		n.warn(subject, sidecarContainer+" has no startup probe, so repo-server does not wait for the socket", applyOverlay(d))
	}
}

// checkShared wants one volume in common, where both look for sockets.
func checkShared(n *notes, subject string, d *appsv1.Deployment, server, sidecar *corev1.Container) {
	where := func(c *corev1.Container, variable, flag string) string {
		if values := flagValues(c, flag); flag != "" && len(values) > 0 {
			return values[len(values)-1]
		}
		for _, e := range c.Env {
			if e.Name == variable && e.Value != "" {
				return e.Value
			}
		}
		return defaultPlugins
	}
	serverAt := where(server, "ARGOCD_PLUGINSOCKFILEPATH", "")
	sidecarAt := where(sidecar, "PROPAGATOR_SOCKET_DIR", "socket-dir")
	theirs, ours := mountAt(server, serverAt), mountAt(sidecar, sidecarAt)
	switch {
	case theirs == nil:
		n.fail(subject, "repo-server has no volume at "+serverAt+", so it sees no plugin", applyOverlay(d))
	case ours == nil:
		n.fail(subject, sidecarContainer+" has no volume at "+sidecarAt+", so repo-server cannot see its socket", applyOverlay(d))
	case theirs.Name != ours.Name || theirs.SubPath != ours.SubPath:
		n.fail(subject, fmt.Sprintf("repo-server looks for sockets in volume %s, %s makes its own in volume %s", theirs.Name, sidecarContainer, ours.Name), applyOverlay(d))
	}
	var shared []string
	for _, m := range sidecar.VolumeMounts {
		if ours != nil && m.Name == ours.Name {
			continue
		}
		if slices.ContainsFunc(server.VolumeMounts, func(o corev1.VolumeMount) bool { return o.Name == m.Name }) {
			shared = append(shared, m.Name)
		}
	}
	if len(shared) > 0 {
		n.warn(subject, "repo-server and "+sidecarContainer+" share more than the folder of plugins: "+strings.Join(shared, ", "),
			"remove these volumeMounts from container "+sidecarContainer+"; it needs nothing but "+pluginsVolume)
	}
}

func mountAt(c *corev1.Container, path string) *corev1.VolumeMount {
	for i := range c.VolumeMounts {
		if filepath.Clean(c.VolumeMounts[i].MountPath) == filepath.Clean(path) {
			return &c.VolumeMounts[i]
		}
	}
	return nil
}

// checkUser wants repo-server to be able to connect to the socket, which takes
// the same user or a common group.
func checkUser(n *notes, subject string, d *appsv1.Deployment, server, sidecar *corev1.Container) {
	pod := d.Spec.Template.Spec
	user := func(c *corev1.Container) int64 {
		switch {
		case c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil:
			return *c.SecurityContext.RunAsUser
		case pod.SecurityContext != nil && pod.SecurityContext.RunAsUser != nil:
			return *pod.SecurityContext.RunAsUser
		}
		return argocdUser // that of both images
	}
	common := pod.SecurityContext != nil && pod.SecurityContext.FSGroup != nil
	if a, b := user(server), user(sidecar); a != b && !common {
		n.fail(subject, fmt.Sprintf("repo-server runs as user %d, %s as %d, and they have no fsGroup in common: repo-server may not open the socket", a, sidecarContainer, b),
			fmt.Sprintf("set securityContext.runAsUser of container %s to %d", sidecarContainer, a))
	}
}

// pluginName is what the sidecar calls itself.
func (x *examination) pluginName(ctx context.Context) (string, error) {
	d, err := x.deployment(ctx, repoServer)
	if err != nil {
		return defaultPlugin, err
	}
	sidecar := sidecarOf(d.Spec.Template.Spec)
	if sidecar == nil {
		return defaultPlugin, nil
	}
	if values := flagValues(sidecar, "name"); len(values) > 0 {
		return values[len(values)-1], nil
	}
	env, err := x.environment(ctx, sidecar)
	if err != nil {
		return defaultPlugin, err
	}
	if name := env["PROPAGATOR_NAME"]; name != "" {
		return name, nil
	}
	return defaultPlugin, nil
}

func checkSocket(ctx context.Context, x *examination, n *notes) {
	if x.PluginsDir != "" {
		x.checkSocketFiles(ctx, n)
		return
	}
	if url := x.URLs[Sidecar]; url != "" {
		x.checkReady(ctx, n, &endpoint{url: url, client: x.HTTP, where: publicURL(url)}, publicURL(url))
		return
	}
	if x.Cluster == nil {
		n.skip(sidecarContainer, "needs the cluster, the sidecar's address, or the folder of sockets", "propagator doctor --sidecar-url URL, or --plugins-dir DIR inside repo-server's Pod")
		return
	}
	d, err := x.deployment(ctx, repoServer)
	if err != nil {
		n.trouble("Deployment argocd-"+repoServer, err)
		return
	}
	if sidecarOf(d.Spec.Template.Spec) == nil {
		n.skip("Deployment "+d.Name, "it has no container "+sidecarContainer, "propagator doctor --only sidecar")
		return
	}
	pods, err := x.pods(ctx, d)
	if err != nil {
		n.trouble("repo-server's Pods", err)
		return
	}
	asked := 0
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			asked++
			x.checkReady(ctx, n, x.inPod(pod.Name, sidecarPort), "Pod "+pod.Name)
		}
	}
	if asked == 0 {
		n.fail("Deployment "+d.Name, "none of its Pods runs", x.kubectl("describe deployment %s", d.Name))
	}
}

// checkReady asks the sidecar whether its socket is in place.
func (x *examination) checkReady(ctx context.Context, n *notes, at *endpoint, subject string) {
	got, err := at.ask(ctx, http.MethodGet, "/readyz", "", "")
	switch {
	case err != nil:
		x.unreached(n, subject, Sidecar, err)
		return
	case got.status == http.StatusOK:
		n.ok(subject, "the socket is there and answers")
		return
	}
	var answer struct {
		Message string            `json:"message"`
		Reasons map[string]string `json:"reasons"`
	}
	if json.Unmarshal(got.body, &answer) != nil {
		answer.Message = fmt.Sprintf("it answers %d", got.status)
	}
	message := answer.Message
	if why := answer.Reasons["socket"]; why != "" {
		message = why
	}
	n.fail(subject, message, x.restart("argocd-"+repoServer)+"\nif another plugin uses the name: "+x.kubectl("get deployment argocd-%s -o yaml", repoServer))
}

// checkSocketFiles looks at the folder itself and asks the plugin what
// repo-server asks it first.
func (x *examination) checkSocketFiles(ctx context.Context, n *notes) {
	found, err := filepath.Glob(filepath.Join(x.PluginsDir, "*"+sockets))
	if err != nil {
		n.fail(x.PluginsDir, "this is not a folder's name", "propagator doctor --plugins-dir "+defaultPlugins)
		return
	}
	var names []string
	for _, file := range found {
		names = append(names, strings.TrimSuffix(filepath.Base(file), sockets))
	}
	want := defaultPlugin
	if x.Cluster != nil {
		if name, err := x.pluginName(ctx); err == nil {
			want = name
		}
	}
	path := filepath.Join(x.PluginsDir, want+sockets)
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		there := "the folder has none"
		if len(names) > 0 {
			there = "the folder has " + strings.Join(names, ", ")
		}
		n.fail(path, "there is no such socket; "+there, x.restart("argocd-"+repoServer))
		return
	}
	conn, err := cmpwire.Dial(path)
	if err != nil {
		n.fail(path, err.Error(), "propagator doctor --plugins-dir "+defaultPlugins)
		return
	}
	defer func() { _ = conn.Close() }()
	answer, err := pluginpb.NewConfigManagementPluginServiceClient(conn).CheckPluginConfiguration(ctx, &emptypb.Empty{})
	switch {
	case err != nil:
		n.fail(path, "nobody answers there: "+err.Error(), x.restart("argocd-"+repoServer))
	case answer.GetIsDiscoveryConfigured():
		n.fail(path, "another plugin answers there: it has discovery, ours has none", "rename the other plugin, or ours with --name")
	default:
		n.ok(path, "it answers as ours does; plugins here: %s", strings.Join(names, ", "))
	}
}

package realnode

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

// cniPlugins is where Debian's containernetworking-plugins are.
const cniPlugins = "/usr/lib/cni"

// containerdConfig: the out-of-memory score is left alone because root in a
// sandbox may lack CAP_SYS_RESOURCE, without which runc cannot set it.
const containerdConfig = `version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = %[3]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = %[5]q
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[6]q
    conf_dir = %[7]q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

// kubeletConfig works without systemd, with either version of cgroups, and
// leaves the machine's own resources alone.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: %[1]d
healthzPort: %[2]d
readOnlyPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://%[3]s
cgroupRoot: /
cgroupsPerQOS: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
evictionHard: {}
imageGCHighThresholdPercent: 100
staticPodPath: ""
resolvConf: ""
nodeStatusUpdateFrequency: 2s
registerWithTaints: [{key: %[4]s, value: %[5]s, effect: NoSchedule}]
`

// network is a bridge of the node's own: Pods have addresses and reach the
// node, nothing else. No firewall rules are made.
const network = `{"cniVersion": "0.4.0", "name": "e2e", "plugins": [
  {"type": "bridge", "bridge": %[1]q, "isGateway": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": %[2]q, "subnet": "10.245.0.0/24"}}]}
`

// mirror sends requests for a host name to the suite's registry.
const mirror = `server = %[1]q
[host.%[1]q]
  capabilities = ["pull", "resolve"]
`

func (n *Node) configure() error {
	port, err := process.FreePort()
	if err != nil {
		return err
	}
	healthPort, err := process.FreePort()
	if err != nil {
		return err
	}
	files := map[string]string{
		"containerd.toml": fmt.Sprintf(containerdConfig, n.path("root"), n.path("state"), n.socket(), n.config.Sandbox,
			n.path("certs.d"), cniPlugins, n.path("cni")),
		"kubelet.yaml":         fmt.Sprintf(kubeletConfig, port, healthPort, n.socket(), Taint, Value),
		"cni/10-e2e.conflist":  fmt.Sprintf(network, n.bridge, n.path("ipam")),
		"kubelet/.placeholder": "",
	}
	for host, endpoint := range n.config.Mirrors {
		files[filepath.Join("certs.d", host, "hosts.toml")] = fmt.Sprintf(mirror, endpoint)
	}
	for name, content := range files {
		path := n.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

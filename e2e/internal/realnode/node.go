package realnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

// Name of the node.
const Name = "real-0"

// A Pod runs on the real node if it selects the label and tolerates the taint.
const (
	Label = "e2e.propagator.dev/node"
	Taint = "e2e.propagator.dev/real"
	Value = "real"
)

var nodes = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// Config says what the node belongs to.
type Config struct {
	// Dir holds the node's state and logs. It must be short: it becomes part
	// of socket paths.
	Dir string
	// Kubelet is the binary.
	Kubelet string
	// Kubeconfig is the kubelet's way to the API server.
	Kubeconfig string
	// Kube is the suite's own.
	Kube dynamic.Interface
	// Mirrors say where the registry of a host name really is:
	// stage.registry.example to http://127.0.0.1:5001.
	Mirrors map[string]string
	// Sandbox is the image of Pod sandboxes, to be pulled without credentials.
	Sandbox string
}

// Node is the running node.
type Node struct {
	config     Config
	containerd *process.Process
	kubelet    *process.Process
	bridge     string
}

// Missing says why a real node cannot run here; empty if it can. Root in a
// sandbox may lack rights that it needs, so it is tried.
func Missing() string {
	switch {
	case runtime.GOOS != "linux":
		return "a real node needs Linux"
	case os.Geteuid() != 0:
		return "a real node needs root"
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return "there is no " + program + ": apt-get install containerd runc containernetworking-plugins"
		}
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		if _, err := os.Stat(filepath.Join(cniPlugins, plugin)); err != nil {
			return "there is no " + filepath.Join(cniPlugins, plugin) + ": apt-get install containernetworking-plugins"
		}
	}
	if err := tryRights(); err != nil {
		return "root may not do here what a real node needs: " + err.Error()
	}
	return ""
}

// Start brings the node up and waits until it is Ready.
func Start(ctx context.Context, c Config) (*Node, error) {
	// The name of an interface has at most 15 characters.
	n := &Node{config: c, bridge: fmt.Sprintf("pgt%d", os.Getpid()%1_000_000)}
	if err := n.configure(); err != nil {
		return nil, err
	}
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return nil, err
	}
	n.containerd, err = process.Start(ctx, process.Spec{
		Name: "containerd", Path: containerd, Args: []string{"--config", n.path("containerd.toml")},
		Env: os.Environ(), Dir: c.Dir, Log: n.path("containerd.log"),
		Ready: func(context.Context) error {
			_, err := os.Stat(n.socket())
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	n.kubelet, err = process.Start(ctx, process.Spec{
		Name: "kubelet", Path: c.Kubelet,
		Args: []string{
			"--config", n.path("kubelet.yaml"), "--kubeconfig", c.Kubeconfig, "--hostname-override", Name,
			"--root-dir", n.path("kubelet"), "--cert-dir", n.path("pki"), "--node-labels", Label + "=" + Value,
		},
		Env: os.Environ(), Dir: c.Dir, Log: n.path("kubelet.log"),
		Ready: n.ready,
	})
	if err != nil {
		n.Stop(context.WithoutCancel(ctx))
		return nil, err
	}
	return n, nil
}

func (n *Node) ready(ctx context.Context) error {
	node, err := n.config.Kube.Resource(nodes).Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(node.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok || condition["type"] != "Ready" {
			continue
		}
		if condition["status"] == "True" {
			return nil
		}
		return fmt.Errorf("node %s is not ready: %v", Name, condition["message"])
	}
	return errors.New("node " + Name + " has no condition Ready")
}

func (n *Node) path(name string) string { return filepath.Join(n.config.Dir, name) }

func (n *Node) socket() string { return n.path("containerd.sock") }

// Logs are the files to read when a Pod does not come up.
func (n *Node) Logs() []string { return []string{n.path("kubelet.log"), n.path("containerd.log")} }

// Stop removes the node with everything that it left on the machine: Pods,
// containers, mounts and its bridge. Namespaces of Pods on it should be gone
// before.
func (n *Node) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if n.kubelet != nil {
		_ = n.kubelet.Stop(ctx)
	}
	n.removeContainers(ctx)
	if n.containerd != nil {
		_ = n.containerd.Stop(ctx)
	}
	_ = n.config.Kube.Resource(nodes).Delete(ctx, Name, metav1.DeleteOptions{})
	killShims(n.socket())
	unmountBelow(n.config.Dir)
	_ = exec.CommandContext(ctx, "ip", "link", "delete", n.bridge).Run()
}

// removeContainers asks containerd to end what the kubelet started.
func (n *Node) removeContainers(ctx context.Context) {
	ctr := func(args ...string) []string {
		command := exec.CommandContext(ctx, "ctr", append([]string{"--address", n.socket(), "--namespace", "k8s.io"}, args...)...)
		output, _ := command.Output()
		return strings.Fields(string(output))
	}
	for _, task := range ctr("tasks", "list", "--quiet") {
		ctr("tasks", "delete", "--force", task)
	}
	for _, container := range ctr("containers", "list", "--quiet") {
		ctr("containers", "delete", container)
	}
}

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/realnode"
	"github.com/fleeting-taas/propagator/e2e/internal/registries"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
)

// realNode starts a real node for the time of a test. Where there can be none
// the test is skipped, unless PROPAGATOR_E2E_REALNODE says that there has to be
// one.
func realNode(t *testing.T) []byte {
	t.Helper()
	if missing := realnode.Missing(); missing != "" {
		if os.Getenv("PROPAGATOR_E2E_REALNODE") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := filepath.Join(world.dir, "n")
	program, err := realnode.Program(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	sandbox, err := realnode.Image(program, "pause", nil)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := world.registries.Dev.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := imagebuild.Push(ctx, dev, "sandbox/pause", sandbox, "1"); err != nil {
		t.Fatal(err)
	}
	mirrors := map[string]string{}
	for _, r := range world.registries.All() {
		mirrors[r.Name()] = r.URL()
	}
	node, err := realnode.Start(ctx, realnode.Config{
		Dir: dir, Kubelet: world.tools.Path("kubelet"), Kubeconfig: world.cluster.Kubeconfig(), Kube: world.cluster.Dynamic(),
		Mirrors: mirrors, Sandbox: registries.DevName + "/sandbox/pause:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Stop(context.WithoutCancel(t.Context())) })
	return program
}

// pullSecret lets the Pods of a namespace pull from the environments'
// registries, as an operator arranges it: by the namespace's default account.
func pullSecret(t *testing.T, namespace string) {
	t.Helper()
	ctx := t.Context()
	docker, err := world.registries.DockerConfig()
	if err != nil {
		t.Fatal(err)
	}
	client := world.cluster.Clientset().CoreV1()
	if _, err := client.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: docker},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := world.cluster.Kubectl(ctx, "-n", namespace, "patch", "serviceaccount", "default", "--type", "merge", "--patch", `{"imagePullSecrets": [{"name": "pull"}]}`)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "not found") {
			t.Fatal(err) // a new namespace gets its account a moment later
		}
	}
}

// TestRealNode: Stage's and Prod's Pods pull the mirrored digests from their own
// environment's registry and run them; the hook compares what the kubelet
// reports with the lock. Then a digest disappears from Stage's registry before
// it was pulled: the kubelet gives up, nothing is promoted, and status names
// the reason.
func TestRealNode(t *testing.T) {
	claim(t)
	program := realNode(t)
	for _, environment := range []string{"stage", "prod"} {
		pullSecret(t, "node-"+environment)
	}
	addComponent(t, "live-digests", "clusterrolebinding/propagator-live-digests", "clusterrole/propagator-live-digests")
	build := func(service, version string, labels map[string]string) (imagebuild.Built, error) {
		return realnode.Image(program, service+" "+version, labels)
	}
	c := openContent(t, kiosk{name: "node", pods: true, real: true}.content(), build)
	c.awaitDeployed("prod", "v0.1.0")
	c.checkRuns("stage", "v0.1.0")
	c.checkRuns("prod", "v0.1.0")
	for _, environment := range []string{"stage", "prod"} {
		c.checkPulled(environment, "v0.1.0")
	}

	// The registry loses the image of the next version as soon as it has it, and
	// before the node, which is told not to take Pods for a moment, can pull it.
	if _, err := world.cluster.Kubectl(t.Context(), "cordon", realnode.Name); err != nil {
		t.Fatal(err)
	}
	c.release("web-1", "will be lost")
	c.await("stage points at v0.2.0", func() bool {
		list := c.of("stage")
		return len(list) == 1 && list[0].TargetRevision == c.tag("v0.2.0")
	})
	digest := c.lock("v0.2.0").Images[0].Digest
	if err := world.registries.Stage.Lose(c.Name()+"/web-1", digest); err != nil {
		t.Fatal(err)
	}
	if _, err := world.cluster.Kubectl(t.Context(), "uncordon", realnode.Name); err != nil {
		t.Fatal(err)
	}
	c.eventually("the kubelet gives up", func() bool {
		return strings.Contains(strings.Join(c.waitingReasons("stage"), " "), "ImagePullBackOff")
	})
	// Nothing tells the hook about Pods: it sees them whenever it looks.
	if status := c.lookAgain(); !status.waits("prod", promotion.ImageNotPulled) && !status.waits("stage", promotion.ImageNotPulled) {
		t.Errorf("the hook does not name the reason: %v", status.Waits)
	}
	if list := c.of("prod"); len(list) != 1 || list[0].TargetRevision != c.tag("v0.1.0") {
		t.Errorf("prod went on: %v", list)
	}
	for _, event := range c.ledger("stage") {
		if event == "deployed v0.2.0" {
			t.Error("stage has evidence of a version that never ran")
		}
	}

	// Mirroring again brings the image back, and the train goes on. The kubelet tries
	// again within minutes; whoever does not want to wait deletes the Pod.
	c.propagator("mirror", "copy", "stage", "v0.2.0")
	if _, err := world.cluster.Kubectl(t.Context(), "-n", c.Name()+"-stage", "delete", "pods", "--all", "--wait=false"); err != nil {
		t.Fatal(err)
	}
	c.awaitDeployed("prod", "v0.2.0")
	c.checkPulled("prod", "v0.2.0")
}

// checkPulled checks what the kubelet says it has pulled: the lock's digests
// from the environment's registry.
func (c *company) checkPulled(environment, version string) {
	c.t.Helper()
	image := c.lock(version).Images[0]
	want := fmt.Sprintf("%s.registry.example/%s/web-1@%s", environment, c.Name(), image.Digest)
	c.eventually(fmt.Sprintf("%s pulled %s", environment, want), func() bool {
		for _, pod := range c.pods(environment) {
			for _, container := range pod.Status.ContainerStatuses {
				if container.Ready && container.ImageID == want && pod.Spec.NodeName == realnode.Name {
					return true
				}
			}
		}
		return false
	})
}

func (c *company) pods(environment string) []corev1.Pod {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	list, err := world.cluster.Clientset().CoreV1().Pods(c.Name()+"-"+environment).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return list.Items
}

// waitingReasons are why an environment's containers do not run.
func (c *company) waitingReasons(environment string) []string {
	c.t.Helper()
	var reasons []string
	for _, pod := range c.pods(environment) {
		for _, container := range pod.Status.ContainerStatuses {
			if waiting := container.State.Waiting; waiting != nil {
				reasons = append(reasons, waiting.Reason+": "+waiting.Message)
			}
		}
	}
	return reasons
}

package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (c *Cluster) createNode(ctx context.Context) error {
	room := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("512Gi"),
		corev1.ResourcePods:   resource.MustParse("2000"),
	}
	_, err := c.clientset.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: NodeName,
			Labels: map[string]string{
				corev1.LabelHostname: NodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
				// For topology spread constraints that name a zone.
				corev1.LabelTopologyZone: "e2e-a",
			},
		},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room},
	}, metav1.CreateOptions{})
	return err
}

func (c *Cluster) createNamespace(ctx context.Context) error {
	_, err := c.clientset.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}, metav1.CreateOptions{})
	return err
}

// How long controllers may take for their first objects.
const workingWithin = time.Minute

// awaitWorking waits for what only working controllers and a working
// simulation make.
func (c *Cluster) awaitWorking(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workingWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.working(ctx)
		if err == nil {
			return nil
		}
		// A controller that died says why in its log, which beats waiting.
		if dead := c.Err(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w after %s: %w", ctx.Err(), workingWithin, err)
		case <-tick.C:
		}
	}
}

func (c *Cluster) working(ctx context.Context) error {
	// Pods are refused without both.
	if _, err := c.clientset.CoreV1().ServiceAccounts(Namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
		return fmt.Errorf("the controllers have not made the namespace's service account: %w", err)
	}
	if _, err := c.clientset.CoreV1().ConfigMaps(Namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{}); err != nil {
		return fmt.Errorf("the controllers have not published the certificate authority: %w", err)
	}
	node, err := c.clientset.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// The taint goes when the node lifecycle controller has seen it ready.
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("node %s has the taint %s", NodeName, node.Spec.Taints[0].ToString())
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not ready", NodeName)
}

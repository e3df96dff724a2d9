// Package realnode runs a real node beside the simulated one: Debian's
// containerd and runc, and the kubelet of the cluster's version. Its Pods pull
// their images from the suite's registries and run them, so what Kubernetes
// reports about them (imageID, ImagePullBackOff) is the truth.
//
// The node is tainted and labelled; see [Label] and [Taint]. There is no Pod
// network beyond a bridge of the node's own, and Services do not route.
//
// It needs Linux and root.
package realnode

// Package workload plays the kubelet for programs that run as plain processes
// beside a cluster whose Pods are only simulated.
//
// What a program is told (command, arguments, environment, mounted Secrets and
// ConfigMaps, service account) is read from the Deployment or StatefulSet in
// the API server, never written down a second time: [Resolve] does what a
// kubelet does to a container before it starts it. A [Kubelet] then runs it: one
// process for each replica, restarted when it ends, replaced when the Pod
// template changes, with mounted files that follow their objects, and reachable
// over a [servicenet.Network] while it is ready.
//
// A process has no network and no file system of its own, so some of what the
// manifest says has to be translated: addresses to listen on become free ports
// of loopback, paths below a mount become local paths. What a [Program] needs
// is written in a small table ([Image]); an address or path in a manifest that
// neither the table nor the container's mounts explain is an error, since in a
// cluster it would be a mistake, too.
//
// Not played: other init containers than those that run for good
// ([Kubelet.RunInit] runs one on request), liveness probes, preStop hooks,
// resource limits, security contexts, and the surge of a rolling update: a
// process is stopped before its successor starts, one replica after the other.
// Pods are named like those of a StatefulSet.
package workload
